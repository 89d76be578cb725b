//! What can be wrong with a journal.

use kv_core::{DecodeError, PersistSeq};

/// Why a journal takes a record not, or does not give one back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// Records follow each other without a gap.
    #[error("record {found} cannot be appended: the journal goes on with record {expected}")]
    NotDense {
        /// The place after the last record.
        expected: PersistSeq,
        /// The place that was asked for.
        found: PersistSeq,
    },
    /// A record's bytes are not those that were written.
    #[error(
        "record {seq} is damaged: its checksum does not match; restore the server from its peers"
    )]
    Damaged {
        /// Where the record should stand.
        seq: PersistSeq,
    },
    /// A record's bytes are whole but not the form of any record.
    #[error("record {seq} is not readable: {source}; it was written by another version")]
    NotReadable {
        /// Which record.
        seq: PersistSeq,
        /// What is wrong with it.
        source: DecodeError,
    },
}
