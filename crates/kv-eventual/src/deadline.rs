//! What the engine does when its time has come.

use std::collections::BTreeSet;
use std::time::Duration;

use kv_core::Timing;

use crate::ids::{QueuePosition, ReadId, Slot, WriteId};

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// Joining waits no longer for peers.
    Join,
    /// No peer is waited for any longer to say what it knows.
    Settled,
    /// The servers are to be brought in step.
    Sync,
    /// A comparison goes on, or is given up.
    Compare,
    /// A hello has no answer yet.
    Hello(Slot),
    /// A request has waited in the queue for as long as it may.
    Queued(QueuePosition),
    /// A write is to be sent again, or has run out of time.
    Write(WriteId),
    /// A query is to be sent again, or the read has run out of time.
    Read(ReadId),
    /// The same of a scan.
    Scan(ReadId),
}

/// All deadlines in the order in which they come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deadlines {
    set: BTreeSet<(Duration, Due)>,
}

impl Deadlines {
    /// Sets a deadline, or moves it if `armed` says that it is set.
    pub(crate) fn arm(&mut self, armed: &mut Option<Duration>, at: Duration, due: Due) {
        if *armed == Some(at) {
            debug_assert!(self.set.contains(&(at, due)), "a deadline that is armed is in the set");
            return;
        }
        self.disarm(armed, due);
        *armed = Some(at);
        self.set.insert((at, due));
    }

    /// Removes a deadline if `armed` says that it is set.
    pub(crate) fn disarm(&mut self, armed: &mut Option<Duration>, due: Due) {
        if let Some(at) = armed.take() {
            let was_set = self.set.remove(&(at, due));
            assert!(was_set, "a deadline that is armed is in the set");
        }
    }

    pub(crate) fn first(&self) -> Option<Duration> {
        self.set.first().map(|(at, _)| *at)
    }

    /// Takes the first deadline that has come; its owner notes that it is not armed any more.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<Due> {
        self.first().filter(|at| *at <= now)?;
        self.set.pop_first().map(|(_, due)| due)
    }

    pub(crate) fn len(&self) -> usize {
        self.set.len()
    }
}

/// The growing waits between sendings of one thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    wait: Duration,
}

impl Backoff {
    pub(crate) fn new(timing: &Timing) -> Self {
        Self { wait: timing.resend_min.max(RESEND_FLOOR) }
    }

    /// When to send again what is sent at `now`.
    pub(crate) fn next(&mut self, now: Duration, timing: &Timing) -> Duration {
        let at = now.saturating_add(self.wait);
        let longest = timing.resend_max.max(RESEND_FLOOR);
        self.wait = self.wait.saturating_mul(2).min(longest);
        at
    }
}

/// Whatever the configuration says, a deadline that is set again lies in the future.
const RESEND_FLOOR: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let timing = Timing::default();
        let mut backoff = Backoff::new(&timing);
        let mut now = Duration::ZERO;
        let mut waits = Vec::new();
        for _ in 0..7 {
            let at = backoff.next(now, &timing);
            waits.push((at - now).as_millis());
            now = at;
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000]);
    }

    #[test]
    fn a_wait_of_zero_still_moves_the_deadline() {
        let timing =
            Timing { resend_min: Duration::ZERO, resend_max: Duration::ZERO, ..Timing::default() };
        let mut backoff = Backoff::new(&timing);
        let now = Duration::from_secs(1);
        assert!(backoff.next(now, &timing) > now);
        assert!(backoff.next(now, &timing) > now);
    }

    #[test]
    fn deadlines_come_in_order_and_not_early() {
        let mut deadlines = Deadlines::default();
        let at = Duration::from_millis;
        let (mut read, mut join) = (None, None);
        deadlines.arm(&mut read, at(9), Due::Read(ReadId(1)));
        deadlines.arm(&mut read, at(2), Due::Read(ReadId(1)));
        deadlines.arm(&mut join, at(1), Due::Join);
        assert_eq!(deadlines.first(), Some(at(1)));
        assert_eq!(deadlines.pop_due(at(1)), Some(Due::Join));
        assert_eq!(deadlines.pop_due(at(1)), None);
        assert_eq!(deadlines.first(), Some(at(2)));
        deadlines.disarm(&mut read, Due::Read(ReadId(1)));
        assert_eq!((deadlines.first(), read), (None, None));
    }
}
