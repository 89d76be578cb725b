//! The rows that changes are about, as they are on disk.

use fjall::{Keyspace, Slice};

/// Finds old rows by ascending keys, in constant memory: one look-up each where few are asked for,
/// otherwise by reading all rows in order.
pub(crate) enum OldRows<'a> {
    /// There are none.
    None,
    LookedUp(&'a Keyspace),
    Read {
        rows: fjall::Iter,
        /// The first row that was read and not asked for yet.
        next: Option<(Slice, Slice)>,
    },
}

impl<'a> OldRows<'a> {
    /// For at least `asked` of `held` rows.
    pub(crate) fn new(rows: &'a Keyspace, asked: usize, held: u64) -> Self {
        let asked = u64::try_from(asked).unwrap_or(u64::MAX);
        if held == 0 {
            Self::None
        } else if asked.saturating_mul(READ_PER_LOOK_UP) < held {
            Self::LookedUp(rows)
        } else {
            Self::Read { rows: rows.iter(), next: None }
        }
    }

    /// What the row with a key holds; keys must ascend.
    pub(crate) fn find(&mut self, key: &[u8]) -> Result<Option<Slice>, fjall::Error> {
        let (rows, next) = match self {
            Self::None => return Ok(None),
            Self::LookedUp(rows) => return rows.get(key),
            Self::Read { rows, next } => (rows, next),
        };
        while next.as_ref().is_none_or(|(next, _)| next[..] < *key) {
            match rows.next() {
                Some(row) => *next = Some(row.into_inner()?),
                None => return Ok(None),
            }
        }
        Ok(next.take_if(|(next, _)| next[..] == *key).map(|(_, value)| value))
    }
}

/// How many rows are read in order in the time of one look-up.
const READ_PER_LOOK_UP: u64 = 4;
