//! How a journal stands.

use kv_core::PersistSeq;

/// Whether a journal has room for what may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It has.
    Enough,
    /// The next segment could not be laid out. What is left is for records that cannot be
    /// refused; new writes should be.
    Low {
        /// Bytes left for frames in the segment in use.
        left_bytes: u64,
        /// Why it could not.
        shortage: Shortage,
        /// Whether there is room for deletes all the same: for small records that let others go.
        takes_deletes: bool,
    },
}

impl Room {
    /// What there is too little of, if there is.
    #[must_use]
    pub const fn shortage(self) -> Option<Shortage> {
        match self {
            Self::Enough => None,
            Self::Low { shortage, .. } => Some(shortage),
        }
    }

    /// Whether small records that let others go find room, although others do not.
    #[must_use]
    pub const fn takes_deletes(self) -> bool {
        matches!(self, Self::Low { takes_deletes: true, .. })
    }
}

/// What a file lacks that is to be made. Nothing is broken, and it is made once there is some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Free space on the disk.
    Space,
    /// Descriptors: the process or the system has as many open files as it may.
    OpenFiles,
}

/// A journal in figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalStatus {
    /// How many segments hold records.
    pub segments: usize,
    /// The first record that is held; the one after the last if there is none.
    pub first: PersistSeq,
    /// The last record that was appended.
    pub last: PersistSeq,
    /// The last record that is on disk.
    pub durable: PersistSeq,
    /// Bytes of all frames and headers.
    pub used_bytes: u64,
    /// Bytes that its files take.
    pub disk_bytes: u64,
}
