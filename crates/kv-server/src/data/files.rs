//! The files that an engine's records go to, and the threads that write them.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use kv_core::driver::{CheckpointPolicy, DriverDisk};
use kv_core::{ClusterId, Counter, PersistSeq, Shortage, Wire};
use kv_storage::{
    CheckpointStore, DataDirectory, Journal, JournalEvent, JournalThread, RealDisk, SyncPolicy,
};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::config::DataConfig;
use crate::data::DataNews;
use crate::data::checkpoint_thread::{CheckpointEvent, CheckpointThread};
use crate::failure::ServerError;

/// The journal and the checkpoint of a server that runs.
#[derive(Debug)]
pub(crate) struct DataFiles<R> {
    directory: Arc<Mutex<DataDirectory<RealDisk>>>,
    journal: JournalThread<R>,
    checkpoints: CheckpointThread,
    sync: SyncPolicy,
    /// What was last noted in the directory since the start.
    noted_cluster: Option<ClusterId>,
}

/// The files, with what the driver must know of them, and what their threads tell.
pub(crate) struct OpenedFiles<R> {
    pub(crate) files: DataFiles<R>,
    pub(crate) disk: DriverDisk,
    pub(crate) events: mpsc::Receiver<DataEvent>,
}

/// What the threads of the disk tell the driver.
#[derive(Debug)]
pub(crate) enum DataEvent {
    /// What became of records.
    Journal(JournalEvent),
    /// What became of a checkpoint.
    Checkpoint(CheckpointEvent),
    /// A thread ended that nobody told to.
    Ended,
}

impl<R: Wire + Send + 'static> DataFiles<R> {
    /// Starts the threads over what was recovered.
    pub(crate) fn start(
        directory: DataDirectory<RealDisk>,
        journal: Journal<RealDisk>,
        store: CheckpointStore,
        config: &DataConfig,
    ) -> io::Result<OpenedFiles<R>> {
        let (sender, events) = mpsc::channel(EVENTS_LEN);
        let disk = DriverDisk {
            persisted: journal.durable(),
            covers: store.covers(),
            journal_bytes: journal.status().used_bytes,
            checkpoints: CheckpointPolicy {
                bytes_max: config.checkpoint_bytes,
                ..CheckpointPolicy::default()
            },
        };
        let directory = Arc::new(Mutex::new(directory));
        let teller = Teller { sender, _directory: Arc::clone(&directory) };
        let of_checkpoints = teller.clone();
        let checkpoints = CheckpointThread::start(store, move |event| {
            of_checkpoints.tell(DataEvent::Checkpoint(event));
        })?;
        let notify = move |event| teller.tell(DataEvent::Journal(event));
        let files = Self {
            directory,
            journal: JournalThread::start(journal, config.sync, notify)?,
            checkpoints,
            sync: config.sync,
            noted_cluster: None,
        };
        Ok(OpenedFiles { files, disk, events })
    }

    pub(crate) fn append(&self, records: Vec<(PersistSeq, R)>) {
        self.journal.append(records);
    }

    pub(crate) fn written_bytes(&self) -> u64 {
        self.journal.written_bytes()
    }

    pub(crate) const fn checkpoints(&self) -> &CheckpointThread {
        &self.checkpoints
    }

    pub(crate) fn on_event(&self, event: DataEvent) -> Result<DataNews, ServerError> {
        match event {
            DataEvent::Journal(JournalEvent::Persisted { up_to }) => {
                Ok(DataNews::Persisted { up_to })
            }
            DataEvent::Journal(JournalEvent::Room(room)) => {
                let shortage = room.shortage().map(|shortage| match shortage {
                    kv_storage::Shortage::Space if room.takes_deletes() => Shortage::SpaceForData,
                    kv_storage::Shortage::Space => Shortage::Space,
                    kv_storage::Shortage::OpenFiles => Shortage::OpenFiles,
                });
                match shortage {
                    Some(Shortage::SpaceForData) => {
                        tracing::warn!(
                            "the disk is too full for the journal: only deletes are taken"
                        );
                    }
                    Some(Shortage::Space) => {
                        tracing::warn!("the disk is too full for the journal: writes are refused");
                    }
                    Some(Shortage::OpenFiles) => {
                        tracing::warn!("no further file can be opened: writes are refused");
                    }
                    None => {}
                }
                Ok(DataNews::Room { shortage })
            }
            DataEvent::Journal(JournalEvent::Failed(error)) => Err(ServerError::Journal(error)),
            DataEvent::Checkpoint(CheckpointEvent::Taken) => Ok(DataNews::ChangesTaken),
            DataEvent::Checkpoint(CheckpointEvent::Ended(Ok(written))) => {
                let (covers, rows) = (written.covers, written.rows);
                let (changed, removed) = (written.changed, written.removed);
                tracing::info!(%covers, rows, changed, removed, "checkpoint written");
                self.journal.remove_through(covers);
                Ok(DataNews::CheckpointWritten)
            }
            DataEvent::Checkpoint(CheckpointEvent::Ended(Err(error))) if error.is_full() => {
                tracing::warn!("{error}; it is tried again");
                Ok(DataNews::CheckpointFailed)
            }
            DataEvent::Checkpoint(CheckpointEvent::Ended(Err(error))) => {
                Err(ServerError::Checkpoint(error))
            }
            DataEvent::Ended => Err(ServerError::Driver),
        }
    }

    /// The random number that names the directory.
    pub(crate) fn store(&self) -> u64 {
        let directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        directory.meta().identity.store
    }

    /// The note is for people and tools, so nothing waits for it.
    pub(crate) fn note_cluster(&mut self, cluster: ClusterId) {
        if self.noted_cluster.replace(cluster) == Some(cluster) {
            return;
        }
        let directory = Arc::clone(&self.directory);
        tokio::task::spawn_blocking(move || {
            let mut directory = directory.lock().unwrap_or_else(PoisonError::into_inner);
            if directory.meta().cluster != Some(cluster)
                && let Err(error) = directory.note_cluster(cluster)
            {
                tracing::warn!("{error}; which cluster the data is of is not noted");
            }
        });
    }

    pub(crate) fn counters(&self) -> [(Counter, u64); 2] {
        let policy = match self.sync {
            SyncPolicy::Always => (Counter::FsyncAlways, 1),
            SyncPolicy::Interval(interval) => {
                let millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
                (Counter::FsyncInterval, millis)
            }
            SyncPolicy::Never => (Counter::FsyncNever, 1),
        };
        let loses = u64::from(self.sync != SyncPolicy::Always);
        [policy, (Counter::EmptyAfterLossOfPower, loses)]
    }

    /// Ends the threads.
    pub(crate) fn close(self) -> Result<(), ServerError> {
        let Self { directory, journal, checkpoints, .. } = self;
        checkpoints.close();
        match journal.close() {
            Ok(_) => {
                let mut directory = directory.lock().unwrap_or_else(PoisonError::into_inner);
                directory.end_run().map_err(ServerError::Data)
            }
            // What had no room was never said to be persisted.
            Err(error) if error.is_full() => Ok(()),
            Err(error) => Err(ServerError::Journal(error)),
        }
    }
}

/// Tells the driver what happens on a thread. It keeps the directory locked as long as the thread
/// lives, which may be longer than the driver does.
#[derive(Clone)]
struct Teller {
    sender: mpsc::Sender<DataEvent>,
    _directory: Arc<Mutex<DataDirectory<RealDisk>>>,
}

impl Teller {
    /// Waits while the driver is behind; a driver that has gone hears nothing.
    fn tell(&self, event: DataEvent) {
        if let Err(TrySendError::Full(event)) = self.sender.try_send(event) {
            let _ = self.sender.blocking_send(event);
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        // Only a thread that died is still listened to.
        let _ = self.sender.try_send(DataEvent::Ended);
    }
}

/// How many events may wait for the driver; then the threads wait.
const EVENTS_LEN: usize = 1024;
