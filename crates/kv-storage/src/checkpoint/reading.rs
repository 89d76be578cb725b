//! A checkpoint on its way back into an engine.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use kv_core::CheckpointItem;

use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::row::items_of;
use crate::checkpoint::{OldRows, ROWS_DIFFER, RowSum};

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
        rows: OldRows { rows, sum: RowSum::default() },
        expected,
        row: Vec::new().into_iter(),
        verdict: Arc::clone(&verdict),
        ended: false,
    };
    (items, CheckpointReading { verdict })
}

struct Items {
    directory: PathBuf,
    rows: OldRows,
    expected: RowSum,
    row: std::vec::IntoIter<CheckpointItem>,
    verdict: Verdict,
    ended: bool,
}

impl Items {
    fn read_row(&mut self) -> Result<Option<Vec<CheckpointItem>>, CheckpointError> {
        let directory = || self.directory.clone();
        let damaged = || CheckpointError::Damaged { directory: directory(), what: ROWS_DIFFER };
        let row = self.rows.next();
        match row.map_err(|source| CheckpointError::Failed { directory: directory(), source })? {
            Some(row) => items_of(&row).map(Some).ok_or_else(damaged),
            None if self.rows.sum == self.expected => Ok(None),
            None => Err(damaged()),
        }
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
