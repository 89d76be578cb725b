//! Where an engine's records go: nowhere, or to disk.

mod checkpoint_thread;
mod files;
mod found;
mod read_ahead;
mod recovery;
mod set_aside;

use std::io;

use kv_core::{CheckpointDelta, PersistSeq, Status, Waiting, Wire};
use kv_storage::{CheckpointStore, DataDirectory, Journal, RealDisk, Shortage};

use crate::config::DataConfig;
use crate::data::files::DataFiles;
use crate::failure::ServerError;

pub(crate) use files::{DataEvent, Progress};
pub use found::{FoundData, SetAside};
pub(crate) use recovery::recover;

/// Where an engine's records go.
#[derive(Debug)]
pub(crate) enum Persistence<R> {
    /// Nowhere: nothing is ever safer than it is at once.
    Memory {
        /// The last record that was taken and not said to be persisted.
        taken: Option<PersistSeq>,
    },
    /// To a journal, of which checkpoints make the older part dispensable.
    Disk(Box<DataFiles<R>>),
}

impl<R: Wire + Send + 'static> Persistence<R> {
    pub(crate) const MEMORY: Self = Self::Memory { taken: None };

    /// Starts the threads over what was recovered.
    pub(crate) fn start(
        directory: DataDirectory<RealDisk>,
        journal: Journal<RealDisk>,
        store: CheckpointStore,
        config: &DataConfig,
    ) -> io::Result<Self> {
        let files = DataFiles::start(directory, journal, store, config)?;
        Ok(Self::Disk(Box::new(files)))
    }

    /// Takes a record, to be handed over.
    pub(crate) fn take(&mut self, seq: PersistSeq, record: R) {
        match self {
            Self::Memory { taken } => *taken = Some(seq),
            Self::Disk(files) => files.take(seq, record),
        }
    }

    /// What is as safe as it will ever be, without waiting for anything.
    pub(crate) fn persisted_at_once(&mut self) -> Option<PersistSeq> {
        match self {
            Self::Memory { taken } => taken.take(),
            Self::Disk(_) => None,
        }
    }

    /// Hands the records that were taken to the disk, as one batch.
    pub(crate) fn hand_over(&mut self) {
        match self {
            Self::Memory { .. } => {}
            Self::Disk(files) => files.hand_over(),
        }
    }

    /// Waits for events, or until it is time for a checkpoint. Loses none if it is dropped.
    pub(crate) async fn wait(&mut self, events: &mut Vec<DataEvent>) {
        match self {
            Self::Memory { .. } => std::future::pending().await,
            Self::Disk(files) => files.wait(events).await,
        }
    }

    /// Takes note of an event.
    ///
    /// # Errors
    /// [`ServerError`] if the server must not go on.
    pub(crate) fn on_event(&mut self, event: DataEvent) -> Result<Option<Progress>, ServerError> {
        match self {
            Self::Memory { .. } => Ok(None),
            Self::Disk(files) => files.on_event(event),
        }
    }

    /// What writes may need and there is too little of, in the words of a refusal.
    pub(crate) fn shortage(&self) -> Option<Waiting> {
        match self {
            Self::Memory { .. } => None,
            Self::Disk(files) => files.shortage().map(|shortage| match shortage {
                Shortage::Space => Waiting::DiskFull,
                Shortage::OpenFiles => Waiting::TooManyOpenFiles,
            }),
        }
    }

    /// Whether the engine should be asked for a checkpoint.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        match self {
            Self::Memory { .. } => false,
            Self::Disk(files) => files.wants_checkpoint(),
        }
    }

    /// Has a checkpoint written.
    pub(crate) fn write_checkpoint(&mut self, delta: CheckpointDelta) {
        match self {
            Self::Memory { .. } => {}
            Self::Disk(files) => files.write_checkpoint(delta),
        }
    }

    /// Notes in the data directory which cluster the server is in, once its engine says so.
    pub(crate) fn note_cluster(&mut self, status: &Status) {
        match self {
            Self::Memory { .. } => {}
            Self::Disk(files) => files.note_cluster(status),
        }
    }

    /// How it stands, for people.
    pub(crate) fn counters(&self) -> Vec<(String, u64)> {
        match self {
            Self::Memory { .. } => vec![("data_in_memory".to_owned(), 1)],
            Self::Disk(files) => files.counters(),
        }
    }

    /// Persists all that was taken, and gives the data directory free.
    pub(crate) async fn close(self) -> Result<(), ServerError> {
        match self {
            Self::Memory { .. } => Ok(()),
            Self::Disk(files) => {
                let closed = tokio::task::spawn_blocking(move || files.close()).await;
                closed.unwrap_or(Err(ServerError::Driver))
            }
        }
    }
}
