//! What can be wrong with a checkpoint on disk.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use fjall::LsmError;
use kv_core::PersistSeq;

use crate::disk::{RAISE_LIMIT, is_want_of_descriptors};

/// Why a checkpoint was not written or is not to be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The store below failed. What it held before is unchanged.
    #[error("the checkpoint in {} failed: {source}; {}", directory.display(), advice(source))]
    Failed {
        /// The checkpoint's directory.
        directory: PathBuf,
        /// Why.
        source: fjall::Error,
    },
    /// What is on disk is not what was written.
    #[error(
        "the checkpoint in {} is damaged: {what}; restore a backup, or empty the data directory \
         and let the server join again",
        directory.display()
    )]
    Damaged {
        /// The checkpoint's directory.
        directory: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
    /// A newer release wrote the checkpoint.
    #[error(
        "the checkpoint in {} has format {found} and this release reads up to {known}: start the \
         newer release again",
        directory.display()
    )]
    NewerFormat {
        /// The checkpoint's directory.
        directory: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is read.
        known: u32,
    },
    /// The checkpoint belongs to another data directory.
    #[error(
        "the checkpoint in {} belongs to another data directory: move it back there",
        directory.display()
    )]
    OtherStore {
        /// The checkpoint's directory.
        directory: PathBuf,
    },
    /// The items of a checkpoint did not ascend, so it was not written.
    #[error("the engine's checkpoint at record {covers} is not in ascending order of its keys")]
    NotAscending {
        /// The checkpoint's place.
        covers: PersistSeq,
    },
    /// A checkpoint reflects less than the one on disk, so it was not written.
    #[error("the checkpoint on disk reflects records up to {written}, this one only to {covers}")]
    Older {
        /// The checkpoint's place.
        covers: PersistSeq,
        /// The place of the one on disk.
        written: PersistSeq,
    },
    /// Not all items were read, so nothing can be said of the whole.
    #[error("the checkpoint was not read to its end")]
    NotReadThrough,
}

impl CheckpointError {
    /// What a failure of the store below means: what it found to be damaged is not the disk's
    /// failure, and calls for another remedy.
    pub(crate) fn of_store(directory: &Path, source: fjall::Error) -> Self {
        let directory = directory.to_owned();
        if is_damage(&source) {
            return Self::Damaged { directory, what: NOT_AS_WRITTEN };
        }
        Self::Failed { directory, source }
    }

    /// Whether there is only no room, or no further file to be had: it can be tried again once
    /// there is.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let Some(cause) = io_cause(self) else {
            return false;
        };
        let is_full =
            matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        is_full || lacks_descriptors(cause)
    }
}

fn advice(source: &fjall::Error) -> &'static str {
    if io_cause(source).is_some_and(lacks_descriptors) { RAISE_LIMIT } else { "check the disk" }
}

fn lacks_descriptors(cause: &io::Error) -> bool {
    cause.raw_os_error().is_some_and(is_want_of_descriptors)
}

/// The failure of the system below an error.
fn io_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

fn is_damage(source: &fjall::Error) -> bool {
    matches!(
        source,
        fjall::Error::Storage(
            LsmError::ChecksumMismatch { .. }
                | LsmError::Unrecoverable
                | LsmError::InvalidTag(_)
                | LsmError::InvalidHeader(_)
                | LsmError::InvalidTrailer
                | LsmError::Decompress(_)
                | LsmError::Utf8(_)
        ) | fjall::Error::JournalRecovery(_)
            | fjall::Error::InvalidTag(_)
            | fjall::Error::InvalidTrailer
            | fjall::Error::Decompress(_)
            | fjall::Error::Unrecoverable
    )
}

const NOT_AS_WRITTEN: &str = "its files are not as they were written";
