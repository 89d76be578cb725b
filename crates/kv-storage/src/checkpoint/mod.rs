//! The state that lets older records go, on disk.

mod error;
mod reading;
mod row;

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use kv_core::{Checkpoint, CheckpointItem, PersistSeq, Wire, wire_struct};

use crate::checkpoint::row::{HEAD_KEY, Row, Rows, digest_of};
use crate::identity::{Preamble, PreambleFault, StoreIdentity};

pub use error::CheckpointError;
pub use reading::CheckpointReading;

/// A checkpoint in a directory of its own, kept in a log-structured store (fjall).
///
/// A new one replaces the old one in one step, whatever happens meanwhile, and only what differs
/// is written: both are read side by side, in the order of their keys, in constant memory.
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
    /// Rows of the checkpoint; a row is an item, but for items with very long keys.
    pub rows: u64,
    /// Rows that were new or different.
    pub changed: u64,
    /// Rows that were not there any more.
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

    /// Replaces the checkpoint. When this returns it is on disk; if it fails, or the process ends,
    /// the old one is there unchanged. The old one is verified on the way.
    ///
    /// # Errors
    /// [`CheckpointError`]; after one that [is a lack of room](CheckpointError::is_full) it can be
    /// tried again.
    pub fn write(&mut self, checkpoint: Checkpoint) -> Result<CheckpointWritten, CheckpointError> {
        let covers = checkpoint.covers;
        if covers < self.covers() {
            return Err(CheckpointError::Older { covers, written: self.covers() });
        }
        let written = self.rows().and_then(|rows| self.replace(&rows, checkpoint));
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

    fn replace(
        &mut self,
        rows: &Keyspace,
        checkpoint: Checkpoint,
    ) -> Result<CheckpointWritten, CheckpointError> {
        let Checkpoint { covers, metadata, items } = checkpoint;
        let mut ingestion = rows.start_ingestion().map_err(|e| self.failed(e))?;
        let mut merge = Merge {
            store: self,
            written: CheckpointWritten { covers, rows: 0, changed: 0, removed: 0 },
            old: OldRows { rows: rows.iter(), sum: RowSum::default() },
            new: AscendingRows { rows: Rows::new(items), covers, last: None },
            sum: RowSum::default(),
        };
        merge.run(&mut |change| match change {
            Change::Put(row) => ingestion.write(row.key.as_ref(), row.value.as_ref()),
            Change::Remove(row) => ingestion.write_tombstone(row.key.as_ref()),
        })?;
        let Merge { mut written, sum, .. } = merge;
        written.rows = sum.rows;
        let (identity, metadata) = (self.identity.clone(), Bytes::copy_from_slice(&metadata));
        let head = Head { identity, covers, metadata, sum };
        ingestion.write(HEAD_KEY, head.seal().as_ref()).map_err(|e| self.failed(e))?;
        ingestion.finish().map_err(|e| self.failed(e))?;
        self.head = Some(head);
        Ok(written)
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
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default);
        Ok(Self { rows: rows.map_err(|e| failed(directory, e))?, _database: database })
    }
}

fn failed(directory: &Path, source: fjall::Error) -> CheckpointError {
    CheckpointError::Failed { directory: directory.to_owned(), source }
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

/// The old and the new rows side by side.
struct Merge<'a, I: Iterator<Item = CheckpointItem>> {
    store: &'a CheckpointStore,
    written: CheckpointWritten,
    old: OldRows,
    new: AscendingRows<I>,
    sum: RowSum,
}

enum Change<'a> {
    Put(&'a Row),
    Remove(&'a Row),
}

type Changes<'a> = dyn FnMut(Change<'_>) -> Result<(), fjall::Error> + 'a;

impl<I: Iterator<Item = CheckpointItem>> Merge<'_, I> {
    /// Hands what differs to `changes`, in order.
    fn run(&mut self, changes: &mut Changes<'_>) -> Result<(), CheckpointError> {
        let (mut old, mut new) = (self.next_old()?, self.new.next()?);
        loop {
            let order = match (&old, &new) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.key.cmp(&new.key),
            };
            if let (Ordering::Less, Some(gone)) = (order, &old) {
                self.written.removed += 1;
                changes(Change::Remove(gone)).map_err(|e| self.store.failed(e))?;
            }
            if let (Ordering::Equal | Ordering::Greater, Some(row)) = (order, &new) {
                self.sum.add(row.digest());
                if order.is_gt() || old.as_ref() != Some(row) {
                    self.written.changed += 1;
                    changes(Change::Put(row)).map_err(|e| self.store.failed(e))?;
                }
            }
            if order.is_le() {
                old = self.next_old()?;
            }
            if order.is_ge() {
                new = self.new.next()?;
            }
        }
        let expected = self.store.head.as_ref().map(|head| head.sum).unwrap_or_default();
        if self.old.sum == expected { Ok(()) } else { Err(self.store.damaged(ROWS_DIFFER)) }
    }

    fn next_old(&mut self) -> Result<Option<Row>, CheckpointError> {
        self.old.next().map_err(|e| self.store.failed(e))
    }
}

/// The rows of items that are on disk.
pub(crate) struct OldRows {
    rows: fjall::Iter,
    sum: RowSum,
}

impl OldRows {
    fn next(&mut self) -> Result<Option<Row>, fjall::Error> {
        let Some(row) = self.rows.next() else {
            return Ok(None);
        };
        let (key, value) = row.into_inner()?;
        if key[..] == HEAD_KEY[..] {
            return Ok(None);
        }
        self.sum.add(digest_of(&key, &value));
        let copied = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        Ok(Some(Row { key: copied(&key), value: copied(&value) }))
    }
}

/// Rows of an engine's items, of which it is not taken for granted that they ascend.
struct AscendingRows<I: Iterator<Item = CheckpointItem>> {
    rows: Rows<I>,
    covers: PersistSeq,
    last: Option<Bytes>,
}

impl<I: Iterator<Item = CheckpointItem>> AscendingRows<I> {
    fn next(&mut self) -> Result<Option<Row>, CheckpointError> {
        let row = self.rows.next();
        if let Some(row) = &row {
            if self.last.as_ref().is_some_and(|last| *last >= row.key) {
                return Err(CheckpointError::NotAscending { covers: self.covers });
            }
            self.last = Some(row.key.clone());
        }
        Ok(row)
    }
}

const FORMAT: Preamble = Preamble { magic: *b"KVCHECKP", version: 1 };

const ROWS_DIFFER: &str = "its rows are not those that were written";

/// A checkpoint is read once from end to end, so blocks that were read are not worth keeping.
const CACHE_BYTES: u64 = 4 << 20;
