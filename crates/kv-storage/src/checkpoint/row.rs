//! A checkpoint's items as rows of the store below, whose keys are bounded.

use std::iter::Peekable;

use bytes::{BufMut, Bytes, BytesMut};
use kv_core::{CheckpointItem, Wire, digest};

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

impl Row {
    /// A number that tells this row from any other one, but for accidents.
    pub(crate) fn digest(&self) -> u64 {
        digest_of(&self.key, &self.value)
    }
}

pub(crate) fn digest_of(key: &[u8], value: &[u8]) -> u64 {
    let mut both = [0; 16];
    let mut out: &mut [u8] = &mut both;
    out.put_u64_le(digest(key));
    out.put_u64_le(digest(value));
    digest(&both)
}

/// Makes rows of items that ascend.
pub(crate) struct Rows<I: Iterator<Item = CheckpointItem>> {
    items: Peekable<I>,
}

impl<I: Iterator<Item = CheckpointItem>> Rows<I> {
    pub(crate) fn new(items: I) -> Self {
        Self { items: items.peekable() }
    }
}

impl<I: Iterator<Item = CheckpointItem>> Iterator for Rows<I> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        let (key, value) = self.items.next()?;
        if key.len() < KEY_BYTES_MAX {
            return Some(Row { key: row_key(&key), value });
        }
        let shared = key.slice(..KEY_BYTES_MAX);
        let mut group = vec![(key.slice(KEY_BYTES_MAX..), value)];
        while let Some((key, value)) = self.items.next_if(|(key, _)| key.starts_with(&shared)) {
            group.push((key.slice(KEY_BYTES_MAX..), value));
        }
        Some(Row { key: row_key(&shared), value: group.to_bytes() })
    }
}

/// The items of a row; `None` if the row was not made by [`Rows`].
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

    #[test]
    fn keys_of_every_length_come_back_in_order() {
        let long = |len: usize, end: &[u8]| Bytes::from([&vec![7; len], end].concat());
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
        let mut items: Vec<CheckpointItem> =
            keys.iter().map(|key| (key.clone(), Bytes::from(key.len().to_string()))).collect();
        items.sort_unstable();
        let rows: Vec<Row> = Rows::new(items.iter().cloned()).collect();
        assert!(rows.windows(2).all(|pair| pair[0].key < pair[1].key));
        assert!(rows.iter().all(|row| row.key.len() <= 65_001 && row.key[..] < HEAD_KEY[..]));
        assert_eq!(rows.len(), items.len() - 2);
        let back: Vec<CheckpointItem> = rows.iter().flat_map(|r| items_of(r).unwrap()).collect();
        assert_eq!(back, items);
    }
}
