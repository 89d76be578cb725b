//! The state that lets older records go, on disk.

mod creation;
mod error;
mod old_rows;
mod reading;
mod row;

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use fjall::config::PartitioningPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use kv_core::{Checkpoint, CheckpointDelta, PersistSeq, Wire, wire_struct};

use crate::checkpoint::old_rows::OldRows;
use crate::checkpoint::row::{HEAD_KEY, RowChange, RowChanges, digest_of};
use crate::identity::{Preamble, PreambleFault, StoreIdentity};

pub use error::CheckpointError;
pub use reading::CheckpointReading;

/// A checkpoint in a directory of its own, kept in a log-structured store (fjall).
///
/// Each change of it takes effect in one step, whatever happens meanwhile, and costs as much as
/// there is changed: a look-up of the old row for each new one, in constant memory. Where a large
/// part changes, all rows are read in order instead.
pub struct CheckpointStore {
    directory: PathBuf,
    identity: StoreIdentity,
    /// Closed after a failure, since only opening it again frees what a half written checkpoint
    /// took.
    open: Option<OpenStore>,
    head: Option<Head>,
}

/// What writing a checkpoint took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointWritten {
    /// The last record that it reflects: older ones are not needed any more.
    pub covers: PersistSeq,
    /// Rows of the whole checkpoint; a row is an item, but for items with very long keys.
    pub rows: u64,
    /// Rows that were written, since they are new or different.
    pub changed: u64,
    /// Rows that were removed.
    pub removed: u64,
}

/// What a checkpoint is, beside its items.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Head {
    identity: StoreIdentity,
    covers: PersistSeq,
    metadata: Bytes,
    sum: RowSum,
}

wire_struct!(Head { identity, covers, metadata, sum });

/// How many rows there are and a hash over all of them, in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RowSum {
    rows: u64,
    digest: u64,
}

wire_struct!(RowSum { rows, digest });

impl RowSum {
    const fn add(&mut self, digest: u64) {
        self.rows += 1;
        self.digest = self.digest.wrapping_add(digest);
    }

    /// `None` if there was no row to take away.
    #[must_use]
    const fn remove(self, digest: u64) -> Option<Self> {
        match self.rows.checked_sub(1) {
            Some(rows) => Some(Self { rows, digest: self.digest.wrapping_sub(digest) }),
            None => None,
        }
    }
}

impl CheckpointStore {
    /// Opens the checkpoint in a directory, which is made if need be.
    ///
    /// # Errors
    /// [`CheckpointError`] if it is damaged, of another store, or the disk fails.
    pub fn open(
        directory: impl Into<PathBuf>,
        identity: StoreIdentity,
    ) -> Result<Self, CheckpointError> {
        let directory = directory.into();
        creation::make_if_missing(&directory)?;
        let open = OpenStore::open(&directory)?;
        let head = open.rows.get(HEAD_KEY);
        let head = match head.map_err(|e| failed(&directory, e))? {
            Some(bytes) => Some(Head::open(&bytes, &identity, &directory)?),
            None => None,
        };
        Ok(Self { directory, identity, open: Some(open), head })
    }

    /// The last record that the checkpoint reflects; 0 without one.
    #[must_use]
    pub fn covers(&self) -> PersistSeq {
        self.head.as_ref().map_or(PersistSeq(0), |head| head.covers)
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes the checkpoint a later one by what changed. When this returns it is on disk; if it
    /// fails, or the process ends, the one before is there unchanged.
    ///
    /// What is not touched is not verified: damage shows when it is [read](Self::read), which no
    /// later change can hide.
    ///
    /// # Errors
    /// [`CheckpointError`]; after one that [is a lack of room](CheckpointError::is_full) it can be
    /// tried again, with all that this one was to change.
    pub fn write(&mut self, delta: CheckpointDelta) -> Result<CheckpointWritten, CheckpointError> {
        self.write_if(delta, || true)
    }

    /// [Writes](Self::write) a checkpoint whose changes come bit by bit. `is_whole` is asked once
    /// they have ended, whether all of them came: otherwise nothing is changed.
    ///
    /// # Errors
    /// As [`Self::write`]; [`CheckpointError::Abandoned`] if they did not all come.
    pub fn write_if(
        &mut self,
        delta: CheckpointDelta,
        is_whole: impl FnOnce() -> bool,
    ) -> Result<CheckpointWritten, CheckpointError> {
        let covers = delta.covers;
        if covers < self.covers() {
            return Err(CheckpointError::Older { covers, written: self.covers() });
        }
        let written = self.rows().and_then(|rows| self.change(&rows, delta, is_whole));
        if written.is_err() {
            self.open = None;
        }
        written
    }

    /// The checkpoint; `None` without one. Once its items were all taken,
    /// [`CheckpointReading::finish`] tells whether they were those that were written.
    ///
    /// # Errors
    /// [`CheckpointError::Failed`] if the disk fails.
    pub fn read(&mut self) -> Result<Option<(Checkpoint, CheckpointReading)>, CheckpointError> {
        let rows = self.rows()?;
        let Some(Head { covers, metadata, sum, .. }) = self.head.clone() else {
            return Ok(None);
        };
        let (items, reading) = reading::start(self.directory.clone(), rows.iter(), sum);
        Ok(Some((Checkpoint { covers, metadata, items: Box::new(items) }, reading)))
    }

    fn rows(&mut self) -> Result<Keyspace, CheckpointError> {
        if self.open.is_none() {
            self.open = Some(OpenStore::open(&self.directory)?);
        }
        let open = self.open.as_ref().map(|open| open.rows.clone());
        Ok(open.unwrap_or_else(|| unreachable!("it was opened")))
    }

    fn change(
        &mut self,
        rows: &Keyspace,
        delta: CheckpointDelta,
        is_whole: impl FnOnce() -> bool,
    ) -> Result<CheckpointWritten, CheckpointError> {
        let CheckpointDelta { covers, metadata, changes } = delta;
        let mut ingestion = rows.start_ingestion().map_err(|e| self.failed(e))?;
        let sum = self.head.as_ref().map(|head| head.sum).unwrap_or_default();
        let mut tally = Tally { sum, changed: 0, removed: 0 };
        let mut old_rows = OldRows::new(rows, changes.size_hint().0, sum.rows);
        let mut last: Option<Bytes> = None;
        for change in RowChanges::new(changes) {
            let key = change.key().clone();
            if last.is_some_and(|last| last >= key) {
                return Err(CheckpointError::NotAscending { covers });
            }
            let old = old_rows.find(&key).map_err(|e| self.failed(e))?;
            let next = tally.make(change, old.as_deref());
            match next.ok_or_else(|| self.damaged(ROWS_DIFFER))? {
                Next::Same => Ok(()),
                Next::Written(value) => ingestion.write(key.as_ref(), value.as_ref()),
                Next::Removed => ingestion.write_tombstone(key.as_ref()),
            }
            .map_err(|e| self.failed(e))?;
            last = Some(key);
        }
        if !is_whole() {
            return Err(CheckpointError::Abandoned { covers });
        }
        let Tally { sum, changed, removed } = tally;
        let (identity, metadata) = (self.identity.clone(), Bytes::copy_from_slice(&metadata));
        let head = Head { identity, covers, metadata, sum };
        ingestion.write(HEAD_KEY, head.seal().as_ref()).map_err(|e| self.failed(e))?;
        ingestion.finish().map_err(|e| self.failed(e))?;
        self.head = Some(head);
        Ok(CheckpointWritten { covers, rows: sum.rows, changed, removed })
    }

    fn failed(&self, source: fjall::Error) -> CheckpointError {
        failed(&self.directory, source)
    }

    fn damaged(&self, what: &'static str) -> CheckpointError {
        CheckpointError::Damaged { directory: self.directory.clone(), what }
    }
}

/// The store below.
struct OpenStore {
    // Declared before the database, so that it is closed first.
    rows: Keyspace,
    _database: Database,
}

impl OpenStore {
    fn open(directory: &Path) -> Result<Self, CheckpointError> {
        let database = Database::builder(directory).cache_size(CACHE_BYTES).worker_threads(1);
        let database = database.open().map_err(|e| failed(directory, e))?;
        let rows = database.keyspace("rows", options);
        Ok(Self { rows: rows.map_err(|e| failed(directory, e))?, _database: database })
    }
}

/// The old rows are looked up with a small cache: so indexes and filters are cut into small
/// blocks, of which a look-up needs one each. Whole, they would be read anew each time.
fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .index_block_partitioning_policy(PartitioningPolicy::all(true))
        .filter_block_partitioning_policy(PartitioningPolicy::all(true))
}

fn failed(directory: &Path, source: fjall::Error) -> CheckpointError {
    CheckpointError::of_store(directory, source)
}

impl std::fmt::Debug for CheckpointStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckpointStore")
            .field("directory", &self.directory)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl Head {
    fn seal(&self) -> Bytes {
        let mut out = BytesMut::new();
        FORMAT.encode(&mut out);
        self.encode(&mut out);
        out.freeze()
    }

    fn open(
        bytes: &[u8],
        identity: &StoreIdentity,
        directory: &Path,
    ) -> Result<Self, CheckpointError> {
        let directory = directory.to_owned();
        let what = "it does not begin as a checkpoint does";
        match FORMAT.check(bytes) {
            Ok(_) => {}
            Err(PreambleFault::Damaged) => {
                return Err(CheckpointError::Damaged { directory, what });
            }
            Err(PreambleFault::Newer { found }) => {
                let known = FORMAT.version;
                return Err(CheckpointError::NewerFormat { directory, found, known });
            }
        }
        let body = Bytes::copy_from_slice(bytes.get(Preamble::LEN..).unwrap_or_default());
        match Self::from_bytes(body) {
            Err(_) => Err(CheckpointError::Damaged { directory, what }),
            Ok(head) if head.identity != *identity => {
                Err(CheckpointError::OtherStore { directory })
            }
            Ok(head) => Ok(head),
        }
    }
}

/// What the changes come to.
struct Tally {
    sum: RowSum,
    changed: u64,
    removed: u64,
}

/// What becomes of a row.
enum Next {
    Same,
    Written(Bytes),
    Removed,
}

impl Tally {
    /// Changes a row; `None` if the old one cannot be a row of the checkpoint.
    fn make(&mut self, change: RowChange, old: Option<&[u8]>) -> Option<Next> {
        let key = change.key().clone();
        let new = change.apply(old)?;
        if new.as_deref() == old {
            return Some(Next::Same);
        }
        if let Some(old) = old {
            self.sum = self.sum.remove(digest_of(&key, old))?;
        }
        let Some(new) = new else {
            self.removed += 1;
            return Some(Next::Removed);
        };
        self.sum.add(digest_of(&key, &new));
        self.changed += 1;
        Some(Next::Written(new))
    }
}

const FORMAT: Preamble = Preamble { magic: *b"KVCHECKP", version: 1 };

const ROWS_DIFFER: &str = "its rows are not those that were written";

/// A checkpoint is read once from end to end, so blocks that were read are not worth keeping.
const CACHE_BYTES: u64 = 4 << 20;
