//! Where an engine's records go: nowhere, or to disk.

mod checkpoint_thread;
mod files;
mod found;
mod read_ahead;
pub(crate) mod recovery;
mod set_aside;

use bytes::Bytes;
use kv_core::driver::DriverDisk;
use kv_core::{CheckpointChange, ClusterId, Counter, PersistSeq, Shortage, Wire};
use tokio::sync::mpsc;

use crate::failure::ServerError;
pub use found::{FoundData, SetAside};

pub(crate) use files::{DataEvent, DataFiles, OpenedFiles};

/// Where an engine's records go.
#[derive(Debug, Default)]
pub(crate) enum Persistence<R> {
    /// Nowhere: nothing is ever safer than it is at once.
    #[default]
    Memory,
    /// To a journal, of which checkpoints make the older part dispensable.
    Disk(Box<DataFiles<R>>),
}

/// What has become of something that was handed to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataNews {
    Persisted {
        up_to: PersistSeq,
    },
    Room {
        shortage: Option<Shortage>,
    },
    ChangesTaken,
    CheckpointWritten,
    /// It is tried again.
    CheckpointFailed,
}

impl<R: Wire + Send + 'static> Persistence<R> {
    /// Of opened files, or of none; beside it what the driver knows of the disk, and the disk's
    /// news.
    pub(crate) fn of(
        opened: Option<OpenedFiles<R>>,
    ) -> (Self, Option<DriverDisk>, Option<mpsc::Receiver<DataEvent>>) {
        let Some(OpenedFiles { files, disk, events }) = opened else {
            return (Self::Memory, None, None);
        };
        (Self::Disk(Box::new(files)), Some(disk), Some(events))
    }

    /// Hands records to the disk, as one batch.
    pub(crate) fn append(&self, records: Vec<(PersistSeq, R)>) {
        if let Self::Disk(files) = self {
            files.append(records);
        }
    }

    /// Takes note of an event.
    ///
    /// # Errors
    /// [`ServerError`] if the server must not go on.
    pub(crate) fn on_event(&self, event: DataEvent) -> Result<DataNews, ServerError> {
        match self {
            Self::Memory => Err(ServerError::Driver),
            Self::Disk(files) => files.on_event(event),
        }
    }

    /// Bytes of records that the journal has written since the start; `None` without one.
    pub(crate) fn written_bytes(&self) -> Option<u64> {
        match self {
            Self::Memory => None,
            Self::Disk(files) => Some(files.written_bytes()),
        }
    }

    /// Begins a checkpoint, of which about so many changes will come.
    pub(crate) fn begin_checkpoint(&self, covers: PersistSeq, metadata: Bytes, changes: usize) {
        if let Self::Disk(files) = self {
            files.checkpoints().begin(covers, metadata, changes);
        }
    }

    /// Writes the next changes of the checkpoint that was begun.
    pub(crate) fn write_changes(&self, changes: Vec<CheckpointChange>, is_last: bool) {
        if let Self::Disk(files) = self {
            files.checkpoints().write(changes, is_last);
        }
    }

    /// Drops the checkpoint that was begun.
    pub(crate) fn abandon_checkpoint(&self) {
        if let Self::Disk(files) = self {
            files.checkpoints().abandon();
        }
    }

    /// Notes in the data directory which cluster the server is in, once its engine says so.
    pub(crate) fn note_cluster(&mut self, cluster: Option<ClusterId>) {
        if let (Self::Disk(files), Some(cluster)) = (self, cluster) {
            files.note_cluster(cluster);
        }
    }

    /// Its settings, for the server's status.
    pub(crate) fn counters(&self) -> Vec<(Counter, u64)> {
        match self {
            Self::Memory => vec![(Counter::DataInMemory, 1)],
            Self::Disk(files) => files.counters().to_vec(),
        }
    }

    /// Persists all that was handed over, and lets go of the data directory.
    pub(crate) fn close(self) -> Result<(), ServerError> {
        match self {
            Self::Memory => Ok(()),
            Self::Disk(files) => files.close(),
        }
    }
}
