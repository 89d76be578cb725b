//! A checkpoint on its way back into an engine.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kv_core::CheckpointItem;

use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::row::{HEAD_KEY, Row, digest_of, items_of};
use crate::checkpoint::{ROWS_DIFFER, RowSum};

/// Knows how the reading of a checkpoint went, once its items were all taken.
#[derive(Debug)]
pub struct CheckpointReading {
    verdict: Verdict,
}

impl CheckpointReading {
    /// Whether the items that were given are all, and those that were written.
    ///
    /// # Errors
    /// [`CheckpointError`] if not; whatever was made of the items is then worthless.
    pub fn finish(self) -> Result<(), CheckpointError> {
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        verdict.take().unwrap_or(Err(CheckpointError::NotReadThrough))
    }
}

type Verdict = Arc<Mutex<Option<Result<(), CheckpointError>>>>;

/// Begins to read the rows, which should come to `expected`.
pub(crate) fn start(
    directory: PathBuf,
    rows: fjall::Iter,
    expected: RowSum,
) -> (impl Iterator<Item = CheckpointItem> + Send, CheckpointReading) {
    let verdict = Verdict::default();
    let items = Items {
        directory,
        rows,
        sum: RowSum::default(),
        expected,
        row: Vec::new().into_iter(),
        verdict: Arc::clone(&verdict),
        ended: false,
    };
    (items, CheckpointReading { verdict })
}

struct Items {
    directory: PathBuf,
    rows: fjall::Iter,
    /// Of the rows that were read.
    sum: RowSum,
    expected: RowSum,
    row: std::vec::IntoIter<CheckpointItem>,
    verdict: Verdict,
    ended: bool,
}

impl Items {
    fn read_row(&mut self) -> Result<Option<Vec<CheckpointItem>>, CheckpointError> {
        let row = self.next_row();
        let directory = || self.directory.clone();
        let damaged = || CheckpointError::Damaged { directory: directory(), what: ROWS_DIFFER };
        match row.map_err(|source| CheckpointError::of_store(&self.directory, source))? {
            Some(row) => items_of(&row).map(Some).ok_or_else(damaged),
            None if self.sum == self.expected => Ok(None),
            None => Err(damaged()),
        }
    }

    fn next_row(&mut self) -> Result<Option<Row>, fjall::Error> {
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

    fn end(&mut self, verdict: Result<(), CheckpointError>) {
        self.ended = true;
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
    }
}

impl Iterator for Items {
    type Item = CheckpointItem;

    fn next(&mut self) -> Option<CheckpointItem> {
        loop {
            if let Some(item) = self.row.next() {
                return Some(item);
            }
            if self.ended {
                return None;
            }
            match self.read_row() {
                Ok(Some(items)) => self.row = items.into_iter(),
                Ok(None) => self.end(Ok(())),
                Err(error) => self.end(Err(error)),
            }
        }
    }
}
