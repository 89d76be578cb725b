//! Pages of what this server itself holds.

use kv_core::{Dump, Key, Page, Versioned};

use crate::state::State;
use crate::state::stamp::Entry;

impl State {
    /// One page. It ends at the number of entries asked for or allowed, at 1 MiB, or after
    /// looking at [`LOOKED_AT_MAX`] keys: a long run of tombstones gives short pages, not a
    /// long step.
    pub(crate) fn dump(&self, dump: &Dump, entries_max: usize) -> Page {
        let asked = usize::try_from(dump.limit).unwrap_or(usize::MAX);
        let limit = asked.min(entries_max).max(1);
        let mut entries = Vec::new();
        let mut bytes = 0usize;
        let mut last: Option<&Key> = None;
        for (looked_at, (key, entry)) in self.store.after(dump.after.as_ref()).enumerate() {
            if entries.len() >= limit || bytes >= PAGE_BYTES || looked_at >= LOOKED_AT_MAX {
                return Page { entries, next: last.cloned() };
            }
            last = Some(key);
            if let Some(versioned) = shown(entry) {
                bytes += key.as_bytes().len() + entry.size_bytes();
                entries.push((key.clone(), versioned));
            }
        }
        Page { entries, next: None }
    }
}

fn shown(entry: &Entry) -> Option<Versioned> {
    Some(Versioned { value: entry.value.clone()?, version: entry.stamp.into() })
}

const PAGE_BYTES: usize = 1 << 20;

const LOOKED_AT_MAX: usize = 10_000;
