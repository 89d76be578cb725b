//! Redis's time: milliseconds since the Unix epoch, with a sign.

use std::time::Duration;

use kv_core::Now;

/// The wall clock.
pub(crate) fn now_ms(now: Now) -> i64 {
    millis(now.wall)
}

/// A duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// How long it is until a deadline.
pub(crate) fn left(deadline_ms: i64, now_ms: i64) -> Duration {
    let left_ms = deadline_ms.saturating_sub(now_ms);
    Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))
}
