//! What a server finds in its data directory, and how far it has come in reading it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kv_core::Status;

use crate::config::{RecoveryHook, RecoveryProgress};

/// What a server found in its data directory when it started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundData {
    /// The directory.
    pub directory: PathBuf,
    /// Whether there was nothing: the server begins.
    pub is_new: bool,
    /// How many keys the server holds.
    pub keys: u64,
    /// How many entries of the log are not known to be committed, and so show in no key yet. The
    /// linearizable engine learns of the last ones when its servers have found each other.
    pub unconfirmed: u64,
    /// How many records were read beside the checkpoint.
    pub records: u64,
    /// How long it took.
    pub took: Duration,
    /// What it held before losses of power under [`SyncPolicy::Interval`](crate::SyncPolicy) or
    /// `Never`, after which a server starts empty, the oldest first.
    pub set_aside: Vec<SetAside>,
}

/// A folder with what a server held before a loss of power. It stays until somebody removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The folder, within the data directory.
    pub folder: PathBuf,
    /// How many bytes its files have, as far as they can be looked at.
    pub bytes: u64,
}

/// Counts what is read, and tells every second.
pub(crate) struct Reading {
    directory: PathBuf,
    hook: Option<RecoveryHook>,
    began: Instant,
    tell_at: Mutex<Instant>,
    items: AtomicU64,
    records: AtomicU64,
}

impl Reading {
    pub(crate) fn begin(directory: PathBuf, hook: Option<RecoveryHook>) -> Self {
        let began = Instant::now();
        let tell_at = Mutex::new(began + INTERVAL);
        let (items, records) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { directory, hook, began, tell_at, items, records }
    }

    /// An item of the checkpoint was read.
    pub(crate) fn note_item(&self) {
        self.tell_at_times(self.items.fetch_add(1, Ordering::Relaxed));
    }

    /// A record was read.
    pub(crate) fn note_record(&self) {
        self.tell_at_times(self.records.fetch_add(1, Ordering::Relaxed));
    }

    /// What was found in the end, as an engine that was made of it tells.
    pub(crate) fn found(&self, status: &Status) -> FoundData {
        let positions = &status.positions;
        let applied = positions.last.zip(positions.applied);
        let (items, records) = self.counts();
        FoundData {
            directory: self.directory.clone(),
            is_new: items == 0 && records == 0,
            keys: positions.keys.unwrap_or_default(),
            unconfirmed: applied.map_or(0, |(last, applied)| last.saturating_sub(applied)),
            records,
            took: self.began.elapsed(),
            set_aside: Vec::new(),
        }
    }

    fn tell_at_times(&self, before: u64) {
        if before.is_multiple_of(LOOK_EVERY)
            && let Some(RecoveryHook(tell)) = &self.hook
        {
            let mut tell_at = self.tell_at.lock().unwrap_or_else(PoisonError::into_inner);
            if *tell_at <= Instant::now() {
                let (items, records) = self.counts();
                tell(&RecoveryProgress { directory: self.directory.clone(), items, records });
                *tell_at = Instant::now() + INTERVAL;
            }
        }
    }

    fn counts(&self) -> (u64, u64) {
        (self.items.load(Ordering::Relaxed), self.records.load(Ordering::Relaxed))
    }
}

/// How often it is told.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looking at the clock for each item would take longer than reading it.
const LOOK_EVERY: u64 = 1024;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kv_core::{ClusterConfig, Incarnation, NodeId, Positions, Quorum, Role};

    use super::*;

    #[test]
    fn progress_is_told_once_the_time_has_come() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let hook = RecoveryHook(Arc::new({
            let told = Arc::clone(&told);
            move |progress: &RecoveryProgress| told.lock().unwrap().push(progress.clone())
        }));
        let reading = Reading::begin(PathBuf::from("d"), Some(hook));
        (0..=LOOK_EVERY).for_each(|_| reading.note_item());
        assert!(told.lock().unwrap().is_empty(), "it did not take long");
        *reading.tell_at.lock().unwrap() = Instant::now();
        (0..=LOOK_EVERY).for_each(|_| reading.note_record());
        let progress =
            RecoveryProgress { directory: PathBuf::from("d"), items: LOOK_EVERY + 1, records: 1 };
        assert_eq!(*told.lock().unwrap(), [progress]);
        let all = Quorum::All;
        let status = Status {
            engine: "e".to_owned(),
            node: NodeId::FIRST,
            incarnation: Incarnation(1),
            cluster_id: None,
            cluster: ClusterConfig::new([NodeId::FIRST], all, all).unwrap(),
            role: Role::Joining,
            connected: Vec::new(),
            waiting: None,
            positions: Positions {
                keys: Some(3),
                last: Some(9),
                applied: Some(7),
                ..Positions::default()
            },
            lags: Vec::new(),
            counters: Vec::new(),
        };
        let found = reading.found(&status);
        assert_eq!((found.is_new, found.keys, found.unconfirmed), (false, 3, 2));
        assert_eq!(found.records, LOOK_EVERY + 1);
    }
}
