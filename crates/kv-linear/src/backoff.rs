//! How long to wait before sending again.

use std::time::Duration;

/// A wait that doubles each time, up to its greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub(crate) wait: Duration,
    pub(crate) wait_max: Duration,
}

impl Backoff {
    /// Doubles the wait, up to its greatest.
    pub(crate) fn double(&mut self) {
        self.wait = self.wait.saturating_mul(2).min(self.wait_max);
    }

    /// The wait while this many bytes are in flight: what is still coming is not lost, and a
    /// second copy would only queue behind it.
    pub(crate) fn wait_for(&self, bytes: usize) -> Duration {
        self.wait.saturating_add(delivery_time(bytes))
    }
}

/// How long bytes may take to arrive, in whole milliseconds.
fn delivery_time(bytes: usize) -> Duration {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    let millis = bytes.saturating_mul(1000) / DELIVERED_BYTES_PER_SECOND;
    Duration::from_millis(millis).min(DELIVERY_TIME_MAX)
}

/// The slowest delivery that does not count as loss, disk included. It is below what 100 Mbit/s
/// carry, so that such a link, the slowest that is usual between servers, is not filled with
/// copies.
const DELIVERED_BYTES_PER_SECOND: u64 = 8 << 20;

/// However much is in flight, something is sent again after this.
const DELIVERY_TIME_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_grows_with_the_bytes_on_their_way_up_to_a_bound() {
        let wait = Duration::from_millis(100);
        let backoff = Backoff { wait, wait_max: wait };
        assert_eq!(backoff.wait_for(0), wait);
        assert_eq!(backoff.wait_for(4 << 20), Duration::from_millis(600));
        assert_eq!(backoff.wait_for(16 << 20), Duration::from_millis(2100));
        assert_eq!(backoff.wait_for(usize::MAX), Duration::from_millis(30_100));
    }
}
