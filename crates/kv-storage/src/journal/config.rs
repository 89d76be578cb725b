//! How a journal is laid out.

use crate::identity::StoreIdentity;
use crate::journal::scan::FIRST_NUMBER;
use crate::mutation::Broken;

/// How a journal is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// Whose journal it is.
    pub identity: StoreIdentity,
    /// The size of the segments made from here on, at least [`JournalConfig::SEGMENT_BYTES_MIN`];
    /// a larger record gets a larger segment.
    /// The first few of a journal are smaller, so that a small store starts at once.
    pub segment_bytes: u64,
    /// What a new segment must leave free on the disk, so that a checkpoint can still be written
    /// and so make room. The segment that is to hold the last records on a full disk, deletes among
    /// them, leaves half of it.
    pub reserve_bytes: u64,
    /// For tests: the rule that the journal breaks.
    pub broken: Broken,
}

impl JournalConfig {
    /// The default size of a segment.
    pub const SEGMENT_BYTES: u64 = 64 << 20;

    /// The least size of a segment.
    pub const SEGMENT_BYTES_MIN: u64 = 256;

    /// What is left free by default.
    pub const RESERVE_BYTES: u64 = 128 << 20;

    /// The default layout.
    #[must_use]
    pub const fn new(identity: StoreIdentity) -> Self {
        Self {
            identity,
            segment_bytes: Self::SEGMENT_BYTES,
            reserve_bytes: Self::RESERVE_BYTES,
            broken: Broken::NONE,
        }
    }

    /// The same on a file system of so many bytes: no segment takes more than a sixteenth of it, and
    /// no more than an eighth is left free.
    #[must_use]
    pub fn fitting(self, total_bytes: u64) -> Self {
        Self {
            segment_bytes: self.segment_bytes.min((total_bytes / 16).max(FIRST_BYTES)),
            reserve_bytes: self.reserve_bytes.min(total_bytes / 8),
            ..self
        }
    }

    /// What must be left of segments that are laid out for deletes to be taken on a full disk: more
    /// than those in flight may need, once no further ones are.
    pub(crate) fn kept_bytes(&self) -> u64 {
        (self.segment_bytes / 8).min(KEPT_BYTES_MAX)
    }

    /// The size of a segment that is made now.
    pub(crate) fn capacity_bytes(&self, number: u64) -> u64 {
        let before = u32::try_from(number - FIRST_NUMBER).unwrap_or(u32::MAX);
        let grown = FIRST_BYTES.saturating_mul(4u64.saturating_pow(before));
        self.segment_bytes.min(grown)
    }
}

/// The size of a journal's first segment; each one after it is four times larger than the last.
const FIRST_BYTES: u64 = 4 << 20;

/// The most of a segment that is kept from deletes.
const KEPT_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use kv_core::NodeId;

    use super::*;

    #[test]
    fn segments_grow_to_the_configured_size() {
        let identity = StoreIdentity { store: 1, node: NodeId::FIRST, engine: "e".to_owned() };
        let config = JournalConfig::new(identity);
        let sizes = [1, 2, 3, 4, 31, 32, 33, 1 << 40].map(|number| config.capacity_bytes(number));
        let mebibytes = sizes.map(|size| size >> 20);
        assert_eq!(mebibytes, [4, 16, 64, 64, 64, 64, 64, 64]);
        let small = JournalConfig { segment_bytes: 512, ..config.clone() };
        assert_eq!(small.capacity_bytes(1), 512);
    }

    #[test]
    fn on_a_small_file_system_less_is_left_free() {
        let identity = StoreIdentity { store: 1, node: NodeId::FIRST, engine: "e".to_owned() };
        let config = JournalConfig::new(identity);
        let of = |mebibytes: u64| {
            let config = config.clone().fitting(mebibytes << 20);
            (config.segment_bytes >> 20, config.reserve_bytes >> 20)
        };
        assert_eq!(of(16), (4, 2));
        assert_eq!(of(160), (10, 20));
        assert_eq!(of(1 << 20), (64, 128));
    }
}
