//! When a cluster last acknowledged a write.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The acknowledgements of all clients.
pub struct Service {
    seen: Mutex<Seen>,
}

struct Seen {
    count: u64,
    last: Instant,
    /// When the last-begun of the acknowledged writes began.
    begun: Option<Instant>,
    longest_pause: Duration,
    longest_wait: Duration,
}

impl Default for Service {
    fn default() -> Self {
        let (last, longest) = (Instant::now(), Duration::ZERO);
        let seen =
            Seen { count: 0, last, begun: None, longest_pause: longest, longest_wait: longest };
        Self { seen: Mutex::new(seen) }
    }
}

impl Service {
    /// Notes that a write that was `begun` then was acknowledged just now.
    pub fn acknowledge(&self, begun: Instant) {
        let mut seen = self.seen();
        let now = Instant::now();
        seen.longest_pause = seen.longest_pause.max(now - seen.last);
        seen.longest_wait = seen.longest_wait.max(now - begun);
        seen.last = now;
        seen.count += 1;
        seen.begun = seen.begun.max(Some(begun));
    }

    /// How many writes were acknowledged.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.seen().count
    }

    /// Whether a write was acknowledged that began at this time or later.
    #[must_use]
    pub fn has_served_since(&self, time: Instant) -> bool {
        self.seen().begun.is_some_and(|begun| begun >= time)
    }

    /// The longest time without an acknowledgement, since this was last asked for.
    #[must_use]
    pub fn take_longest_pause(&self) -> Duration {
        let mut seen = self.seen();
        let longest = seen.longest_pause.max(seen.last.elapsed());
        seen.longest_pause = Duration::ZERO;
        longest
    }

    /// The longest time that an acknowledged write took, since this was last asked for.
    #[must_use]
    pub fn take_longest_wait(&self) -> Duration {
        std::mem::take(&mut self.seen().longest_wait)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }
}
