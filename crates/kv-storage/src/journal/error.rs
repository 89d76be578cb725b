//! What can be wrong with a journal.

use std::path::PathBuf;

use kv_core::{DecodeError, PersistSeq};

use crate::disk::{DiskError, RESTORE_OR_JOIN};
use crate::journal::status::Shortage;

/// Why a journal does not take a record, or does not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// A file operation failed. The journal takes nothing more, and gives this error for ever:
    /// the system may have dropped what was to be written, and trying again would hide it.
    #[error("the journal cannot go on: {0}; then start the server again")]
    Failed(DiskError),
    /// There is no room for the record. Nothing is broken and nothing was written: reads go on,
    /// and the same record can be appended once there is room.
    #[error(
        "the disk is too full for the journal: {needed_bytes} bytes are needed and {free_bytes} \
         are free; writes are refused until there is room"
    )]
    Full {
        /// What the next segment takes, and what must be left free beside it.
        needed_bytes: u64,
        /// What is free.
        free_bytes: u64,
    },
    /// The next segment cannot be made while so many files are open. Like [`JournalError::Full`],
    /// this ends by itself once some are closed.
    #[error("the journal cannot grow: {0}; writes are refused meanwhile")]
    TooManyFiles(DiskError),
    /// Records follow each other without a gap.
    #[error("record {found} cannot be appended: the journal goes on with record {expected}")]
    NotDense {
        /// The place after the last record.
        expected: PersistSeq,
        /// The place that was asked for.
        found: PersistSeq,
    },
    /// A record is larger than any segment can be.
    #[error(
        "record {seq} takes {size_bytes} bytes and a journal takes {limit_bytes} at most: this \
         server's state is too large for it"
    )]
    TooLarge {
        /// Which record.
        seq: PersistSeq,
        /// What it takes with its frame.
        size_bytes: u64,
        /// What a segment can hold.
        limit_bytes: u64,
    },
    /// A record that was on disk is not there any more as it was written.
    #[error(
        "{} is damaged at byte {offset}: record {seq} was on disk and is not readable; do not \
         start this server on it: {RESTORE_OR_JOIN}",
        file.display()
    )]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where the record stood, or its segment's records end.
        offset: u64,
        /// The first record that is missing.
        seq: PersistSeq,
    },
    /// A segment's first bytes are not as they were written.
    #[error(
        "{} is damaged: it does not begin as a journal segment does; {RESTORE_OR_JOIN}",
        file.display()
    )]
    DamagedHeader {
        /// The segment.
        file: PathBuf,
    },
    /// A segment is not as long as it was laid out, which no crash can do.
    #[error(
        "{} is damaged: it is {found_bytes} bytes long and was {expected_bytes}; {RESTORE_OR_JOIN}",
        file.display()
    )]
    DamagedLength {
        /// The segment.
        file: PathBuf,
        /// The length that its header names.
        expected_bytes: u64,
        /// Its length.
        found_bytes: u64,
    },
    /// A segment between others is gone.
    #[error(
        "{} is missing from the journal; put it back, or restore a backup",
        file.display()
    )]
    MissingSegment {
        /// The segment.
        file: PathBuf,
    },
    /// The journal begins later than the checkpoint ends.
    #[error(
        "records {from} to {until} are missing: the checkpoint ends before them and the journal \
         begins after them; restore a backup"
    )]
    MissingRecords {
        /// The first one.
        from: PersistSeq,
        /// The last one.
        until: PersistSeq,
    },
    /// The journal ends before the checkpoint does, though a checkpoint holds only what the
    /// journal had on disk.
    #[error(
        "the journal ends at record {last}, but the checkpoint reflects records up to {covers}: \
         the journal is not the one that belongs to it; restore a backup"
    )]
    BehindCheckpoint {
        /// The journal's last record.
        last: PersistSeq,
        /// The checkpoint's.
        covers: PersistSeq,
    },
    /// A newer release wrote the segment.
    #[error(
        "{} has format {found} and this release reads up to {known}: start the newer release \
         again",
        file.display()
    )]
    NewerFormat {
        /// The segment.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is read.
        known: u32,
    },
    /// A release wrote the segment that was too old.
    #[error(
        "{} has format {found} and this release reads {oldest} and later; nothing was changed. Start \
         the older release again, back its data up (`kv-server backup`), and restore the backup into \
         a new cluster of this release",
        file.display()
    )]
    OlderFormat {
        /// The segment.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The oldest format that is read.
        oldest: u32,
    },
    /// The segment belongs to another data directory.
    #[error("{} belongs to another data directory: move it back there", file.display())]
    OtherStore {
        /// The segment.
        file: PathBuf,
    },
    /// The segment is another one than its name says.
    #[error("{} is really {}: give each file its own name again", file.display(), right.display())]
    OtherSegment {
        /// The segment.
        file: PathBuf,
        /// What it should be called.
        right: PathBuf,
    },
    /// A record's bytes are whole but not the form of any record.
    #[error(
        "record {seq} in {} is not readable: {problem}; it was written by another release",
        file.display()
    )]
    NotReadable {
        /// The segment.
        file: PathBuf,
        /// Which record.
        seq: PersistSeq,
        /// What is wrong with it.
        problem: DecodeError,
    },
}

impl From<DiskError> for JournalError {
    fn from(error: DiskError) -> Self {
        Self::Failed(error)
    }
}

impl JournalError {
    /// Whether there is only no room, or no further file to be had: the journal goes on once there
    /// is.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.shortage().is_some()
    }

    /// What there is too little of, if that is all.
    pub(crate) const fn shortage(&self) -> Option<Shortage> {
        match self {
            Self::Full { .. } => Some(Shortage::Space),
            Self::TooManyFiles(_) => Some(Shortage::OpenFiles),
            Self::Failed(_)
            | Self::NotDense { .. }
            | Self::TooLarge { .. }
            | Self::Damaged { .. }
            | Self::DamagedHeader { .. }
            | Self::DamagedLength { .. }
            | Self::MissingSegment { .. }
            | Self::MissingRecords { .. }
            | Self::BehindCheckpoint { .. }
            | Self::NewerFormat { .. }
            | Self::OlderFormat { .. }
            | Self::OtherStore { .. }
            | Self::OtherSegment { .. }
            | Self::NotReadable { .. } => None,
        }
    }
}
