//! Who uses a data directory.

use std::fmt;
use std::time::Duration;

/// A process that uses a data directory, as its lock file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// The process's number, `std::process::id`.
    pub pid: u32,
    /// When it locked the directory, since the Unix epoch.
    pub since: Duration,
}

impl LockHolder {
    /// Reads what a lock file says; `None` if that is not who holds it.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut words = text.split_whitespace();
        let pid = words.nth(1)?.parse().ok()?;
        let seconds = words.nth(1)?.parse().ok()?;
        Some(Self { pid, since: Duration::from_secs(seconds) })
    }
}

/// `process 77 since 1700000000`, the time in seconds of the Unix epoch.
impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "process {} since {}", self.pid, self.since.as_secs())
    }
}

/// The file that is locked.
pub(crate) const LOCK_NAME: &str = "lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_anything_else_names_nobody() {
        let holder = LockHolder { pid: 77, since: Duration::from_secs(1_700_000_000) };
        assert_eq!(LockHolder::parse(holder.to_string().as_bytes()), Some(holder));
        for text in ["", "process", "process x since y", "process 77 since"] {
            assert_eq!(LockHolder::parse(text.as_bytes()), None);
        }
    }
}
