//! Why the data of a server that does not run cannot be made use of.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use kv_core::RecoverError;
use kv_storage::{CheckpointError, JournalError};

/// Why the data of a server that does not run cannot be made use of.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestingError {
    #[error(
        "cannot copy {} to {}, where it is looked at: {source}; TMPDIR names another place",
        from.display(),
        to.display()
    )]
    NotCopied { from: PathBuf, to: PathBuf, source: io::Error },
    /// `text` names the checkpoint, where the error names its copy.
    #[error("{text}")]
    Checkpoint { error: CheckpointError, text: String },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the engine does not go on from what is there: {0}")]
    Engine(#[from] RecoverError),
}

impl RestingError {
    /// Whether the files are not those that were written. Otherwise nothing is known of them: they
    /// could not be read, or only another release can.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::NotCopied { .. } => false,
            Self::Checkpoint { error, .. } => error.is_damage(),
            Self::Journal(error) => is_damage(error),
            Self::Engine(RecoverError::OtherForm { .. }) => false,
            // All checksums are right, so it was never what an engine writes.
            Self::Engine(
                RecoverError::Checkpoint(_)
                | RecoverError::Record { .. }
                | RecoverError::OtherConfiguration,
            ) => true,
        }
    }
}

fn is_damage(error: &JournalError) -> bool {
    match error {
        JournalError::Failed(error) => error.kind == ErrorKind::UnexpectedEof,
        JournalError::Full { .. }
        | JournalError::NotDense { .. }
        | JournalError::TooLarge { .. }
        | JournalError::NewerFormat { .. }
        | JournalError::OlderFormat { .. }
        | JournalError::TooManyFiles { .. }
        | JournalError::NotReadable { .. } => false,
        JournalError::Damaged { .. }
        | JournalError::DamagedHeader { .. }
        | JournalError::DamagedLength { .. }
        | JournalError::MissingSegment { .. }
        | JournalError::MissingRecords { .. }
        | JournalError::BehindCheckpoint { .. }
        | JournalError::OtherStore { .. }
        | JournalError::OtherSegment { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use kv_core::PersistSeq;
    use kv_storage::{DiskAction, DiskError};

    use super::*;

    #[test]
    fn what_cannot_be_read_is_not_called_damaged() {
        let file = PathBuf::from("d/journal-1.segment");
        let failed = |kind| {
            let (action, path) = (DiskAction::Read, file.clone());
            RestingError::from(JournalError::from(DiskError {
                action,
                path,
                offset: None,
                kind,
                os_code: None,
            }))
        };
        assert!(!failed(ErrorKind::PermissionDenied).is_damage());
        assert!(!failed(ErrorKind::Other).is_damage());
        assert!(failed(ErrorKind::UnexpectedEof).is_damage());
        let newer = JournalError::NewerFormat { file: file.clone(), found: 2, known: 1 };
        assert!(!RestingError::from(newer).is_damage());
        assert!(
            RestingError::from(JournalError::MissingSegment { file: file.clone() }).is_damage()
        );
        let (from, to) = (file.clone(), file.clone());
        let source = io::Error::from(ErrorKind::StorageFull);
        assert!(!RestingError::NotCopied { from, to, source }.is_damage());
        let of_checkpoint =
            |error| RestingError::Checkpoint { error, text: String::new() }.is_damage();
        let directory = PathBuf::from("d");
        let newer =
            CheckpointError::NewerFormat { directory: directory.clone(), found: 2, known: 1 };
        assert!(!of_checkpoint(newer));
        assert!(of_checkpoint(CheckpointError::Damaged { directory, what: "x" }));
        let older = RecoverError::OtherForm { found: 0, known: 1 };
        assert!(!RestingError::from(older).is_damage());
        let error = RecoverError::Record { seq: PersistSeq(3) };
        assert!(RestingError::from(error).is_damage());
    }
}
