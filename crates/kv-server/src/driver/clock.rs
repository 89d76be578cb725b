//! The clocks that the driver hands to its engine.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kv_core::Now;

/// Reads both clocks at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(self) -> Now {
        // A machine whose clock stands before 1970 gets 1970, which the engines tell apart from
        // their peers' clocks.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { mono: self.start.elapsed(), wall }
    }

    /// The moment at which [`Now::mono`] reads `mono`.
    pub(crate) fn instant(self, mono: Duration) -> tokio::time::Instant {
        (self.start + mono).into()
    }
}
