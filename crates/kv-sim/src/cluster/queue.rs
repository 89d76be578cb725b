//! What is going to happen.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

/// Events in the order of their times; of those at one time, the one scheduled first goes first.
#[derive(Debug)]
pub(crate) struct EventQueue<T> {
    heap: BinaryHeap<Reverse<Scheduled<T>>>,
    scheduled: u64,
}

#[derive(Debug)]
struct Scheduled<T> {
    at: Duration,
    tie: u64,
    event: T,
}

impl<T> EventQueue<T> {
    pub(crate) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), scheduled: 0 }
    }

    pub(crate) fn push(&mut self, at: Duration, event: T) {
        self.scheduled += 1;
        let tie = self.scheduled;
        self.heap.push(Reverse(Scheduled { at, tie, event }));
    }

    /// When the next event is due.
    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(next)| next.at)
    }

    pub(crate) fn pop(&mut self) -> Option<(Duration, T)> {
        let Reverse(next) = self.heap.pop()?;
        Some((next.at, next.event))
    }
}

impl<T> PartialEq for Scheduled<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Scheduled<T> {}

impl<T> PartialOrd for Scheduled<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Scheduled<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.tie).cmp(&(other.at, other.tie))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_as_they_were_scheduled() {
        let mut queue = EventQueue::new();
        let second = Duration::from_secs(1);
        for (at, event) in [(2, "c"), (1, "a"), (2, "d"), (1, "b")] {
            queue.push(at * second, event);
        }
        assert_eq!(queue.next_at(), Some(second));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, e)| e).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
    }
}
