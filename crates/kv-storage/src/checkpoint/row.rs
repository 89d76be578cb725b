//! A checkpoint's items as rows of the store below, whose keys are bounded.

use std::collections::BTreeMap;
use std::iter::Peekable;

use bytes::{BufMut, Bytes, BytesMut};
use kv_core::{CheckpointChange, CheckpointItem, Wire, digest};

/// A key and a value of the store below.
///
/// An item whose key is short is a row of its own. All items whose keys share their first
/// [`KEY_BYTES_MAX`] bytes are one row, in order: so rows ascend as items do, and there is no
/// bound on an item's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
}

/// A number that tells a row from any other one, but for accidents.
pub(crate) fn digest_of(key: &[u8], value: &[u8]) -> u64 {
    let mut both = [0; 16];
    let mut out: &mut [u8] = &mut both;
    out.put_u64_le(digest(key));
    out.put_u64_le(digest(value));
    digest(&both)
}

/// What becomes of a row.
pub(crate) struct RowChange {
    key: Bytes,
    to: RowContent,
}

enum RowContent {
    /// The row is one item, which holds this or goes.
    Item(Option<Bytes>),
    /// Some of the row's items, each by the rest of its key.
    Group(Vec<CheckpointChange>),
}

impl RowChange {
    /// The row's key.
    pub(crate) const fn key(&self) -> &Bytes {
        &self.key
    }

    /// The row's value after the change, which is `None` for a row that goes; `None` in place of
    /// that if the old value is none of a row.
    pub(crate) fn apply(self, old: Option<&[u8]>) -> Option<Option<Bytes>> {
        let changes = match self.to {
            RowContent::Item(held) => return Some(held),
            RowContent::Group(changes) => changes,
        };
        let old = old.map(|old| Vec::from_bytes(Bytes::copy_from_slice(old)));
        let mut group: BTreeMap<Bytes, Bytes> = match old {
            Some(Ok(old)) => old.into_iter().collect(),
            Some(Err(_)) => return None,
            None => BTreeMap::new(),
        };
        for (rest, held) in changes {
            match held {
                Some(held) => group.insert(rest, held),
                None => group.remove(&rest),
            };
        }
        let group: Vec<CheckpointItem> = group.into_iter().collect();
        Some((!group.is_empty()).then(|| group.to_bytes()))
    }
}

/// Makes changes of rows of changes of items that ascend.
pub(crate) struct RowChanges<I: Iterator<Item = CheckpointChange>> {
    changes: Peekable<I>,
}

impl<I: Iterator<Item = CheckpointChange>> RowChanges<I> {
    pub(crate) fn new(changes: I) -> Self {
        Self { changes: changes.peekable() }
    }
}

impl<I: Iterator<Item = CheckpointChange>> Iterator for RowChanges<I> {
    type Item = RowChange;

    fn next(&mut self) -> Option<RowChange> {
        let (key, held) = self.changes.next()?;
        if key.len() < KEY_BYTES_MAX {
            return Some(RowChange { key: row_key(&key), to: RowContent::Item(held) });
        }
        let shared = key.slice(..KEY_BYTES_MAX);
        let mut group = vec![(key.slice(KEY_BYTES_MAX..), held)];
        while let Some((key, held)) = self.changes.next_if(|(key, _)| key.starts_with(&shared)) {
            group.push((key.slice(KEY_BYTES_MAX..), held));
        }
        Some(RowChange { key: row_key(&shared), to: RowContent::Group(group) })
    }
}

/// The items of a row; `None` if the row was not made by [`RowChanges`].
pub(crate) fn items_of(row: &Row) -> Option<Vec<CheckpointItem>> {
    let key = row.key.strip_prefix(&[ITEM_TAG]).map(|_| row.key.slice(1..))?;
    if key.len() < KEY_BYTES_MAX {
        return Some(vec![(key, row.value.clone())]);
    }
    let group = Vec::<(Bytes, Bytes)>::from_bytes(row.value.clone()).ok()?;
    let whole = |rest: Bytes| Bytes::from([key.as_ref(), rest.as_ref()].concat());
    Some(group.into_iter().map(|(rest, value)| (whole(rest), value)).collect())
}

fn row_key(key: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + key.len());
    bytes.put_u8(ITEM_TAG);
    bytes.put_slice(key);
    bytes.freeze()
}

/// The first byte of every row of items.
const ITEM_TAG: u8 = 0;

/// The key of the row that says what the checkpoint is; it follows all others.
pub(crate) const HEAD_KEY: [u8; 1] = [1];

/// The store below takes keys of up to 65,535 bytes.
const KEY_BYTES_MAX: usize = 65_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn long(len: usize, end: &[u8]) -> Bytes {
        Bytes::from([&vec![7; len], end].concat())
    }

    /// Rows as a store keeps them.
    fn write(rows: &mut BTreeMap<Bytes, Bytes>, changes: Vec<CheckpointChange>) {
        for change in RowChanges::new(changes.into_iter()) {
            let key = change.key().clone();
            match change.apply(rows.get(&key).map(|old| &old[..])).unwrap() {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
    }

    fn items(rows: &BTreeMap<Bytes, Bytes>) -> Vec<CheckpointItem> {
        let rows = rows.iter().map(|(key, value)| Row { key: key.clone(), value: value.clone() });
        rows.flat_map(|row| items_of(&row).unwrap()).collect()
    }

    #[test]
    fn keys_of_every_length_come_back_in_order() {
        let keys = [
            Bytes::from_static(b"a"),
            Bytes::from_static(&[6, 255]),
            long(KEY_BYTES_MAX - 1, b""),
            long(KEY_BYTES_MAX, b""),
            long(KEY_BYTES_MAX, b"a"),
            long(70_000, b"z"),
            long(KEY_BYTES_MAX - 1, b"\x08"),
            Bytes::from_static(&[8]),
        ];
        let mut all: Vec<CheckpointItem> =
            keys.iter().map(|key| (key.clone(), Bytes::from(key.len().to_string()))).collect();
        all.sort_unstable();
        let changes = || all.iter().cloned().map(|(key, held)| (key, Some(held)));
        let row_keys: Vec<Bytes> = RowChanges::new(changes()).map(|row| row.key).collect();
        assert!(row_keys.is_sorted());
        assert!(row_keys.iter().all(|key| key.len() <= 65_001 && key[..] < HEAD_KEY[..]));
        assert_eq!(row_keys.len(), all.len() - 2);
        let mut rows = BTreeMap::new();
        write(&mut rows, changes().collect());
        assert_eq!(items(&rows), all);
    }

    #[test]
    fn one_item_of_a_row_of_several_changes_alone() {
        let item = |end: &'static [u8], held: &'static str| {
            (long(KEY_BYTES_MAX, end), Bytes::from_static(held.as_bytes()))
        };
        let (a, b, c) = (item(b"a", "1"), item(b"b", "2"), item(b"c", "3"));
        let put = |(key, held): &CheckpointItem| (key.clone(), Some(held.clone()));
        let remove = |(key, _): &CheckpointItem| (key.clone(), None);
        let mut rows = BTreeMap::new();
        write(&mut rows, vec![put(&a), put(&c)]);
        write(&mut rows, vec![put(&b)]);
        assert_eq!(rows.len(), 1);
        assert_eq!(items(&rows), [a.clone(), b.clone(), c.clone()]);
        let changed = item(b"a", "other");
        write(&mut rows, vec![put(&changed), remove(&c), remove(&item(b"none", ""))]);
        assert_eq!(items(&rows), [changed, b.clone()]);
        write(&mut rows, vec![remove(&a), remove(&b)]);
        assert!(rows.is_empty(), "a row without items goes");
        let broken = RowChanges::new([put(&a)].into_iter()).next().unwrap();
        assert!(broken.apply(Some(b"x")).is_none());
    }
}
