//! What this server itself holds of a range of keys, deletes included.

use kv_core::{Key, Scan};

use crate::state::State;
use crate::state::record::Write;

/// Records of a range, in ascending order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) records: Vec<Write>,
    /// Up to this key, itself included, these are all; `None` for the end of the range.
    pub(crate) through: Option<Key>,
}

impl State {
    /// What it holds of a range, up to as many keys as the scan wants that are there, about
    /// `bytes_max` bytes, or [`LOOKED_AT_MAX`] records.
    pub(crate) fn range(&self, scan: &Scan, bytes_max: usize) -> Held {
        let (start, is_in) = scan.start();
        let named = start.as_ref().filter(|_| is_in);
        let first = named.and_then(|start| Some((start, self.store.get(start)?)));
        let found = first.into_iter().chain(self.store.after(start.as_ref()));
        let wanted = usize::try_from(scan.limit).unwrap_or(usize::MAX).max(1);
        let mut records: Vec<Write> = Vec::new();
        let (mut there, mut bytes) = (0, 0);
        for (key, entry) in found.take_while(|(key, _)| scan.is_before_end(key)) {
            if there >= wanted || bytes >= bytes_max || records.len() >= LOOKED_AT_MAX {
                let through = records.last().map(|record| record.key.clone());
                return Held { records, through };
            }
            let write = Write { key: key.clone(), entry: entry.clone() };
            there += usize::from(entry.value.is_some());
            bytes += write.size_bytes();
            records.push(write);
        }
        Held { records, through: None }
    }
}

/// The most records that are looked at for one page.
pub(crate) const LOOKED_AT_MAX: usize = 4_096;
