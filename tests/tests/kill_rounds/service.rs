//! When a cluster last acknowledged a write.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The acknowledgements of all clients.
pub(crate) struct Service {
    seen: Mutex<Seen>,
}

struct Seen {
    count: u64,
    last: Instant,
    /// When the last-begun of the acknowledged writes began.
    begun: Option<Instant>,
    longest_pause: Duration,
}

impl Service {
    pub(crate) fn new() -> Self {
        let last = Instant::now();
        Self {
            seen: Mutex::new(Seen { count: 0, last, begun: None, longest_pause: Duration::ZERO }),
        }
    }

    /// Notes that a write was acknowledged just now.
    pub(crate) fn acknowledge(&self, begun: Instant) {
        let mut seen = self.seen();
        let now = Instant::now();
        seen.longest_pause = seen.longest_pause.max(now - seen.last);
        seen.last = now;
        seen.count += 1;
        seen.begun = seen.begun.max(Some(begun));
    }

    pub(crate) fn count(&self) -> u64 {
        self.seen().count
    }

    /// Whether a write was acknowledged that began at this time or later.
    pub(crate) fn has_served_since(&self, time: Instant) -> bool {
        self.seen().begun.is_some_and(|begun| begun >= time)
    }

    /// The longest time without an acknowledgement, since this was last asked for.
    pub(crate) fn take_longest_pause(&self) -> Duration {
        let mut seen = self.seen();
        let longest = seen.longest_pause.max(seen.last.elapsed());
        seen.longest_pause = Duration::ZERO;
        longest
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }
}
