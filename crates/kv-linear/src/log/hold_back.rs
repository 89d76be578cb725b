//! Entries that came before those they follow.

use std::collections::BTreeMap;

use kv_core::Limits;

use crate::log::entry::Entry;
use crate::log::epoch::LogIndex;

/// A bounded buffer of entries beyond a gap, by their positions.
#[derive(Clone, Debug, Default)]
pub(crate) struct HoldBack {
    entries: BTreeMap<LogIndex, Entry>,
    size_bytes: usize,
}

impl HoldBack {
    /// Keeps an entry for later; false if there is no room, so that it must be sent again.
    pub(crate) fn hold(&mut self, entry: Entry, limits: &Limits) -> bool {
        let index = entry.index();
        if self.entries.contains_key(&index) {
            return true;
        }
        let full = self.entries.len() >= limits.hold_back_entries_max
            || self.size_bytes + entry.size_bytes() > limits.window_bytes_max;
        if !full {
            self.size_bytes += entry.size_bytes();
            self.entries.insert(index, entry);
        }
        !full
    }

    /// Takes the entry at a position, and drops those before it.
    pub(crate) fn take(&mut self, index: LogIndex) -> Option<Entry> {
        while let Some(first) = self.entries.first_entry() {
            if *first.key() > index {
                return None;
            }
            let entry = first.remove();
            self.size_bytes -= entry.size_bytes();
            if entry.index() == index {
                return Some(entry);
            }
        }
        None
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
