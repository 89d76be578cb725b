//! A server that does not run, made of its data directory, which is left as it is.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use kv_core::{Checkpoint, ConsistencyEngine, EngineConfig, PersistSeq};
use kv_storage::{
    CHECKPOINT_DIRECTORY, CheckpointError, CheckpointReading, CheckpointStore, DataDirectoryError,
    Journal, JournalInspection, Meta, RealDisk, RestingDirectory,
};

use crate::tools::resting_error::RestingError;

/// The data directory of a server that does not run, and cannot be started meanwhile.
pub(crate) struct RestingServer {
    directory: RestingDirectory,
    /// Opening a checkpoint writes into its folder, so a copy is opened.
    copy: CheckpointCopy,
    checkpoint: Option<CheckpointStore>,
}

impl RestingServer {
    /// Takes a data directory.
    pub(crate) fn open(folder: &Path) -> Result<Self, DataDirectoryError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let directory = RestingDirectory::open(folder, now)?;
        let copy = CheckpointCopy { from: folder.join(CHECKPOINT_DIRECTORY), to: None };
        Ok(Self { directory, copy, checkpoint: None })
    }

    pub(crate) fn meta(&self) -> &Meta {
        self.directory.meta()
    }

    /// Opens the checkpoint; returns the last record that it reflects, 0 without one.
    pub(crate) fn open_checkpoint(&mut self) -> Result<PersistSeq, RestingError> {
        let Some(copy) = self.copy.make()? else {
            return Ok(PersistSeq(0));
        };
        let opened = CheckpointStore::open(copy, self.meta().identity.clone());
        let store = opened.map_err(|error| self.copy.rename_in(error))?;
        let covers = store.covers();
        self.checkpoint = Some(store);
        Ok(covers)
    }

    /// Reads the checkpoint to its end and verifies it; returns how many items it has.
    pub(crate) fn verify_checkpoint(&mut self) -> Result<u64, RestingError> {
        let Some((checkpoint, reading)) = self.read_checkpoint()? else {
            return Ok(0);
        };
        let items = checkpoint.items.count();
        reading.finish().map_err(|error| self.copy.rename_in(error))?;
        Ok(u64::try_from(items).unwrap_or(u64::MAX))
    }

    /// Looks at the journal and verifies it. Where the last process has kept its promises there is
    /// one.
    pub(crate) fn journal(
        &self,
        covers: PersistSeq,
    ) -> Result<JournalInspection<RealDisk>, RestingError> {
        let Meta { identity, run, .. } = self.meta();
        if run.is_some_and(|run| run.synced || run.ended) {
            Journal::check_present(self.directory.disk())?;
        }
        Ok(JournalInspection::open(self.directory.disk().clone(), identity, covers)?)
    }

    /// Makes an engine of the checkpoint and of the records after it.
    pub(crate) fn engine<E: ConsistencyEngine>(
        &mut self,
        journal: &JournalInspection<RealDisk>,
        covers: PersistSeq,
    ) -> Result<E, RestingError> {
        let meta = self.meta();
        let config = EngineConfig::seeded(meta.identity.node, meta.configuration.clone(), 0);
        let (checkpoint, reading) = self.read_checkpoint()?.unzip();
        let mut records = journal.replay::<E::Record>(covers);
        let engine = E::recover(config, checkpoint, records.by_ref());
        records.finish()?;
        let engine = engine?;
        if let Some(reading) = reading {
            reading.finish().map_err(|error| self.copy.rename_in(error))?;
        }
        Ok(engine)
    }

    fn read_checkpoint(&mut self) -> Result<Option<(Checkpoint, CheckpointReading)>, RestingError> {
        let read = self.checkpoint.as_mut().map_or(Ok(None), CheckpointStore::read);
        read.map_err(|error| self.copy.rename_in(error))
    }
}

/// A copy of a folder in the system's folder for temporary files; removed when it is dropped.
struct CheckpointCopy {
    from: PathBuf,
    to: Option<PathBuf>,
}

impl CheckpointCopy {
    /// Makes the copy; `None` if there is nothing to copy.
    fn make(&mut self) -> Result<Option<PathBuf>, RestingError> {
        if fs::symlink_metadata(&self.from).is_err_and(|error| error.kind() == ErrorKind::NotFound)
        {
            return Ok(None);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("kv-checkpoint-{}-{}", std::process::id(), now.as_nanos());
        let to = std::env::temp_dir().join(name);
        self.to = Some(to.clone());
        copy_folder(&self.from, &to).map_err(|source| {
            let (from, to) = (self.from.clone(), to.clone());
            RestingError::NotCopied { from, to, source }
        })?;
        Ok(Some(to))
    }

    /// An error of the copy, as one of what was copied.
    fn rename_in(&self, error: CheckpointError) -> RestingError {
        let text = error.to_string();
        let text = self.to.as_ref().map_or(text.clone(), |to| {
            text.replace(&to.display().to_string(), &self.from.display().to_string())
        });
        RestingError::Checkpoint { error, text }
    }
}

impl Drop for CheckpointCopy {
    fn drop(&mut self) {
        if let Some(to) = &self.to {
            // What stays is for the system to clear away.
            let _ = fs::remove_dir_all(to);
        }
    }
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
