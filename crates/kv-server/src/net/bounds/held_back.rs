//! Messages that a delay holds back.

use std::collections::VecDeque;

use kv_core::SeedStream;
use tokio::time::Instant;

use crate::delay::Delay;

/// What is held back for one connection, first in, first out.
#[derive(Debug)]
pub(crate) struct HeldBack<T> {
    delay: Delay,
    random: SeedStream,
    queue: VecDeque<(Instant, T)>,
}

impl<T> HeldBack<T> {
    pub(crate) fn new(delay: Delay, seed: u64) -> Self {
        Self { delay, random: SeedStream::new(seed), queue: VecDeque::new() }
    }

    pub(crate) fn is_off(&self) -> bool {
        self.delay.is_off()
    }

    /// Whether more may be held back; further messages are dropped, and engines send again what
    /// matters.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.len() < HELD_BACK_MAX
    }

    /// Holds something back for a time of its own, and at least until all before it have gone.
    pub(crate) fn push(&mut self, now: Instant, item: T) {
        let due = now + self.delay.draw(&mut self.random);
        let due = self.queue.back().map_or(due, |(before, _)| due.max(*before));
        self.queue.push_back((due, item));
    }

    /// The first one, once its time has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<T> {
        let due = self.queue.front().is_some_and(|(due, _)| *due <= now);
        if due { self.queue.pop_front().map(|(_, item)| item) } else { None }
    }

    /// When the first one's time comes, if there is one.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.queue.front().map(|(due, _)| *due)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }
}

/// How many messages may be held back for one connection.
const HELD_BACK_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn millis(min: u64, max: u64) -> Delay {
        Delay::new(Duration::from_millis(min), Duration::from_millis(max)).unwrap()
    }

    #[test]
    fn what_was_first_leaves_first_and_none_before_its_time() {
        let mut held = HeldBack::new(millis(10, 500), 7);
        let start = Instant::now();
        for number in 0..100 {
            held.push(start, number);
        }
        assert_eq!(held.pop_due(start + Duration::from_millis(9)), None);
        let late = start + Duration::from_millis(500);
        let left: Vec<i32> = std::iter::from_fn(|| held.pop_due(late)).collect();
        assert_eq!(left, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn there_is_a_bound() {
        let mut held = HeldBack::new(millis(1, 1), 7);
        for _ in 0..HELD_BACK_MAX {
            assert!(held.has_room());
            held.push(Instant::now(), ());
        }
        assert!(!held.has_room());
        held.clear();
        assert!(held.has_room());
    }
}
