//! How much clients did with the rising numbers.

use std::fmt;

/// What clients did, and how often reads showed what no promise forbids.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) acknowledged: u64,
    pub(crate) reads: u64,
    /// Acknowledged puts that another server stamped than the key's last one.
    pub(crate) moved: u64,
    /// Reads that showed an earlier number than the last one acknowledged.
    pub(crate) overtaken: u64,
    pub(crate) is_linearizable: bool,
}

impl Tally {
    /// # Panics
    /// If clients did not do what the test is about.
    pub(crate) fn assert_worth(&self) {
        assert!(self.acknowledged > 0 && self.reads > 0, "nothing was tried: {self}");
        let has_failed_over = self.is_linearizable || self.moved > 0;
        assert!(has_failed_over, "no client went on at another server: {self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, reads, moved, overtaken, .. } = self;
        write!(f, "{acknowledged} acknowledged puts of rising numbers")?;
        if !self.is_linearizable {
            write!(f, " ({moved} at another server than the one before)")?;
        }
        write!(f, ", {reads} reads, {overtaken} of a put that overtook a later one")
    }
}
