//! How a journal is laid out.

use crate::identity::StoreIdentity;

/// How a journal is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// Whose journal it is.
    pub identity: StoreIdentity,
    /// The size of the segments made from here on, at least [`JournalConfig::SEGMENT_BYTES_MIN`].
    pub segment_bytes: u64,
    /// What a new segment must leave free on the disk, so that a checkpoint can still be written
    /// and so make room.
    pub reserve_bytes: u64,
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
        Self { identity, segment_bytes: Self::SEGMENT_BYTES, reserve_bytes: Self::RESERVE_BYTES }
    }
}
