//! The files that an engine's records go to, and the threads that write them.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kv_core::{CheckpointDelta, ClusterId, PersistSeq, Status, Wire};
use kv_storage::{
    CheckpointError, CheckpointStore, CheckpointWritten, DataDirectory, Journal, JournalEvent,
    JournalThread, RealDisk, Shortage, SyncPolicy,
};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::config::DataConfig;
use crate::data::checkpoint_thread::CheckpointThread;
use crate::failure::ServerError;

/// The journal and the checkpoint of a server that runs.
#[derive(Debug)]
pub(crate) struct DataFiles<R> {
    directory: Arc<Mutex<DataDirectory<RealDisk>>>,
    journal: JournalThread<R>,
    checkpoints: CheckpointThread,
    events: mpsc::Receiver<DataEvent>,
    sync: SyncPolicy,
    /// Records of the steps since the last hand-over.
    batch: Vec<(PersistSeq, R)>,
    persisted: PersistSeq,
    shortage: Option<Shortage>,
    pace: CheckpointPace,
    /// What was last noted in the directory since the start.
    noted_cluster: Option<ClusterId>,
}

/// When the next checkpoint is due.
#[derive(Debug)]
struct CheckpointPace {
    /// Bytes of records that call for one.
    bytes_max: u64,
    /// Bytes of the journal that the last one does not cover, when it was taken.
    carried_bytes: u64,
    /// What the journal had written by then.
    written_bytes: u64,
    /// The last record that the one on disk reflects.
    covers: PersistSeq,
    under_way: bool,
    not_before: Instant,
}

/// What the threads of the disk tell the driver.
#[derive(Debug)]
pub(crate) enum DataEvent {
    /// What became of records.
    Journal(JournalEvent),
    /// What became of a checkpoint.
    Checkpoint(Result<CheckpointWritten, CheckpointError>),
    /// A thread ended that nobody told to.
    Ended,
}

/// What the engine has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Persisted { up_to: PersistSeq },
    CheckpointWritten { covers: PersistSeq },
}

impl<R: Wire + Send + 'static> DataFiles<R> {
    /// Starts the threads over what was recovered.
    pub(crate) fn start(
        directory: DataDirectory<RealDisk>,
        journal: Journal<RealDisk>,
        store: CheckpointStore,
        config: &DataConfig,
    ) -> io::Result<Self> {
        let (sender, events) = mpsc::channel(EVENTS_LEN);
        let (persisted, covers) = (journal.durable(), store.covers());
        let carried_bytes = journal.status().used_bytes;
        let directory = Arc::new(Mutex::new(directory));
        let teller = Teller { sender, _directory: Arc::clone(&directory) };
        let of_checkpoints = teller.clone();
        let checkpoints = CheckpointThread::start(store, move |written| {
            of_checkpoints.tell(DataEvent::Checkpoint(written));
        })?;
        let notify = move |event| teller.tell(DataEvent::Journal(event));
        Ok(Self {
            directory,
            journal: JournalThread::start(journal, config.sync, notify)?,
            checkpoints,
            events,
            sync: config.sync,
            batch: Vec::new(),
            persisted,
            shortage: None,
            pace: CheckpointPace {
                bytes_max: config.checkpoint_bytes,
                carried_bytes,
                written_bytes: 0,
                covers,
                under_way: false,
                not_before: Instant::now(),
            },
            noted_cluster: None,
        })
    }

    /// Takes a record, to be handed over.
    pub(crate) fn take(&mut self, seq: PersistSeq, record: R) {
        self.batch.push((seq, record));
    }

    /// What writes may need and there is too little of.
    pub(crate) const fn shortage(&self) -> Option<Shortage> {
        self.shortage
    }

    /// Waits for events, or until it is time for a checkpoint. Loses none if it is dropped.
    pub(crate) async fn wait(&mut self, events: &mut Vec<DataEvent>) {
        // What the journal's thread counts may come after its last event.
        let look_again = Instant::now() + CHECKPOINT_INTERVAL_MIN;
        let due = self.checkpoint_due().unwrap_or(look_again);
        let due = tokio::time::sleep_until(due.into());
        tokio::select! {
            biased;
            taken = self.events.recv_many(events, EVENTS_LEN) => if taken == 0 {
                events.push(DataEvent::Ended);
            },
            () = due => {}
        }
    }

    pub(crate) fn hand_over(&mut self) {
        if !self.batch.is_empty() {
            self.journal.append(std::mem::take(&mut self.batch));
        }
    }

    pub(crate) fn on_event(&mut self, event: DataEvent) -> Result<Option<Progress>, ServerError> {
        match event {
            DataEvent::Journal(JournalEvent::Persisted { up_to }) => {
                self.persisted = up_to;
                Ok(Some(Progress::Persisted { up_to }))
            }
            DataEvent::Journal(JournalEvent::Room(room)) => {
                self.shortage = room.shortage();
                match self.shortage {
                    Some(Shortage::Space) => {
                        tracing::warn!("the disk is too full for the journal: writes are refused");
                    }
                    Some(Shortage::OpenFiles) => {
                        tracing::warn!("no further file can be opened: writes are refused");
                    }
                    None => {}
                }
                Ok(None)
            }
            DataEvent::Journal(JournalEvent::Failed(error)) => Err(ServerError::Journal(error)),
            DataEvent::Checkpoint(written) => self.on_checkpoint(written),
            DataEvent::Ended => Err(ServerError::Driver),
        }
    }

    fn on_checkpoint(
        &mut self,
        written: Result<CheckpointWritten, CheckpointError>,
    ) -> Result<Option<Progress>, ServerError> {
        self.pace.under_way = false;
        self.pace.not_before = Instant::now() + CHECKPOINT_INTERVAL_MIN;
        match written {
            Ok(CheckpointWritten { covers, rows, changed, removed }) => {
                tracing::info!(%covers, rows, changed, removed, "checkpoint written");
                self.pace.covers = covers;
                self.journal.remove_through(covers);
                Ok(Some(Progress::CheckpointWritten { covers }))
            }
            Err(error) if error.is_full() => {
                tracing::warn!("{error}; it is tried again");
                // As if it had not been taken.
                self.pace.carried_bytes = self.pace.bytes_max;
                Ok(None)
            }
            Err(error) => Err(ServerError::Checkpoint(error)),
        }
    }

    pub(crate) fn wants_checkpoint(&self) -> bool {
        self.checkpoint_due().is_some_and(|at| at <= Instant::now())
    }

    /// When the next checkpoint is to be taken of what is there; may be past.
    fn checkpoint_due(&self) -> Option<Instant> {
        let pace = &self.pace;
        let new_bytes = self.journal.written_bytes() - pace.written_bytes;
        let is_due = self.shortage.is_some() || pace.carried_bytes + new_bytes >= pace.bytes_max;
        (is_due && !pace.under_way && self.persisted > pace.covers).then_some(pace.not_before)
    }

    pub(crate) fn write_checkpoint(&mut self, delta: CheckpointDelta) {
        let pace = &mut self.pace;
        // Dropped, it is as if it had failed: the engine gives it again.
        if delta.covers > pace.covers {
            pace.written_bytes = self.journal.written_bytes();
            pace.carried_bytes = 0;
            pace.under_way = true;
            self.checkpoints.write(delta);
        } else {
            pace.not_before = Instant::now() + CHECKPOINT_INTERVAL_MIN;
        }
    }

    /// The note is for people and tools, so nothing waits for it.
    pub(crate) fn note_cluster(&mut self, status: &Status) {
        let named = status.counters.iter().find(|(name, id)| name == CLUSTER_ID && *id != 0);
        let Some(cluster) = named.map(|(_, id)| ClusterId(*id)) else {
            return;
        };
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

    pub(crate) fn counters(&self) -> Vec<(String, u64)> {
        let (policy, value) = match self.sync {
            SyncPolicy::Always => ("fsync_always", 1),
            SyncPolicy::Interval(interval) => {
                ("fsync_interval_ms", u64::try_from(interval.as_millis()).unwrap_or(u64::MAX))
            }
            SyncPolicy::Never => ("fsync_never", 1),
        };
        let counters = [
            (policy, value),
            ("journal_persisted", self.persisted.0),
            ("journal_written_bytes", self.journal.written_bytes()),
            ("checkpoint_covers", self.pace.covers.0),
            ("disk_full", u64::from(self.shortage == Some(Shortage::Space))),
            ("too_many_open_files", u64::from(self.shortage == Some(Shortage::OpenFiles))),
            ("empty_after_loss_of_power", u64::from(self.sync != SyncPolicy::Always)),
        ];
        counters.map(|(name, count)| (name.to_owned(), count)).to_vec()
    }

    pub(crate) fn close(mut self) -> Result<(), ServerError> {
        self.hand_over();
        let Self { directory, journal, checkpoints, events, .. } = self;
        // The threads do not wait to be heard.
        drop(events);
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

/// The counter by which an engine names its cluster; 0 while it is in none.
const CLUSTER_ID: &str = "cluster_id";

/// How many events may wait for the driver; then the threads wait.
const EVENTS_LEN: usize = 1024;

/// The least time between two checkpoints.
const CHECKPOINT_INTERVAL_MIN: Duration = Duration::from_secs(1);
