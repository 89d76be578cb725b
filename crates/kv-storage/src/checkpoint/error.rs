//! What can be wrong with a checkpoint on disk.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use fjall::LsmError;
use kv_core::PersistSeq;

use crate::disk::{MAKE_ROOM, RAISE_LIMIT, RESTORE_OR_JOIN, is_want_of_descriptors};

/// Why a checkpoint was not written or is not to be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The store below failed. What it held before is unchanged.
    #[error(
        "the checkpoint in {} failed: {}; {}",
        directory.display(), Plain(cause), advice(cause)
    )]
    Failed {
        /// The checkpoint's directory.
        directory: PathBuf,
        /// Why.
        cause: fjall::Error,
    },
    /// What is on disk is not what was written.
    #[error(
        "the checkpoint in {} is damaged: {what}; {RESTORE_OR_JOIN}",
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
    /// The changes of a checkpoint ended before all of them had come, so it was not written.
    #[error("the checkpoint at record {covers} was abandoned")]
    Abandoned {
        /// The checkpoint's place.
        covers: PersistSeq,
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
        Self::Failed { directory, cause: source }
    }

    /// Whether the files are not those that were written; `false` where that cannot be told.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Failed { cause, .. } => is_missing_or_cut(cause),
            Self::NewerFormat { .. } | Self::Abandoned { .. } => false,
            Self::Damaged { .. }
            | Self::OtherStore { .. }
            | Self::NotAscending { .. }
            | Self::Older { .. }
            | Self::NotReadThrough => true,
        }
    }

    /// Whether there is only no room, or no further file to be had: it can be tried again once
    /// there is.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let Self::Failed { cause, .. } = self else {
            return false;
        };
        io_cause(cause).is_some_and(|cause| lacks_room(cause) || lacks_descriptors(cause))
    }
}

fn is_missing_or_cut(source: &fjall::Error) -> bool {
    let kind = io_cause(source).map(io::Error::kind);
    kind.is_some_and(|kind| {
        use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
        matches!(kind, NotFound | UnexpectedEof | InvalidData)
    })
}

/// An error of the store below in words: its own text is that of a debugger.
struct Plain<'a>(&'a fjall::Error);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => error.fmt(f),
            fjall::Error::Locked => f.write_str("another process has it open"),
            fjall::Error::Poisoned => f.write_str("an earlier write to it failed"),
            fjall::Error::InvalidVersion(_)
            | fjall::Error::Storage(LsmError::InvalidVersion(_)) => {
                f.write_str("its files are of another format than this release reads")
            }
            // Nearly all of them are damage, which has a text of its own.
            fjall::Error::Storage(_)
            | fjall::Error::JournalRecovery(_)
            | fjall::Error::Decompress(_)
            | fjall::Error::InvalidTrailer
            | fjall::Error::InvalidTag(_)
            | fjall::Error::KeyspaceDeleted
            | fjall::Error::Unrecoverable
            | _ => f.write_str("the store that it is kept in cannot go on"),
        }
    }
}

fn advice(source: &fjall::Error) -> &'static str {
    match io_cause(source) {
        Some(cause) if lacks_descriptors(cause) => RAISE_LIMIT,
        Some(cause) if lacks_room(cause) => MAKE_ROOM,
        Some(_) | None => "check the disk",
    }
}

fn lacks_room(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
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
            // Its marker names no version at all.
            | fjall::Error::InvalidVersion(None)
    )
}

const NOT_AS_WRITTEN: &str = "its files are not as they were written";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_words() {
        let told = |source| CheckpointError::of_store(Path::new("d"), source).to_string();
        assert_eq!(
            told(fjall::Error::Io(io::Error::from_raw_os_error(24))),
            "the checkpoint in d failed: Too many open files (os error 24); raise the limit of open \
             files (`ulimit -n`)"
        );
        let full = || io::Error::from_raw_os_error(28);
        for source in [fjall::Error::Io(full()), fjall::Error::Storage(LsmError::Io(full()))] {
            assert_eq!(
                told(source),
                "the checkpoint in d failed: No space left on device (os error 28); make room on \
                 this disk"
            );
        }
        let cut =
            fjall::Error::Storage(LsmError::Io(io::Error::from(io::ErrorKind::UnexpectedEof)));
        assert!(CheckpointError::of_store(Path::new("d"), cut).is_damage());
        let unmarked =
            CheckpointError::of_store(Path::new("d"), fjall::Error::InvalidVersion(None));
        assert!(matches!(unmarked, CheckpointError::Damaged { .. }), "{unmarked}");
        let sources = [
            fjall::Error::Locked,
            fjall::Error::Poisoned,
            fjall::Error::KeyspaceDeleted,
            fjall::Error::Storage(LsmError::InvalidVersion(9)),
        ];
        for source in sources {
            let error = CheckpointError::of_store(Path::new("d"), source);
            assert!(!error.is_damage() && !error.is_full(), "{error}");
            let text = error.to_string();
            assert!(!text.contains("Error") && !text.contains('('), "{text}");
        }
    }
}
