//! Entries that are to follow a position of the log.

use kv_core::{Operation, Wire};

use crate::log::Position;
use crate::log::entry::Entry;
use crate::log::epoch::Epoch;

/// A chain of entries after a position, kept apart from the log until it is whole.
///
/// It is as long as what a sequencer keeps of its log: `Limits::log_bytes_max` and a window.
#[derive(Clone, Debug)]
pub(crate) struct Suffix {
    base: Position,
    entries: Vec<(Entry, Operation)>,
}

impl Suffix {
    /// An empty one.
    pub(crate) const fn after(base: Position) -> Self {
        Self { base, entries: Vec::new() }
    }

    /// The position after which it follows.
    pub(crate) const fn base(&self) -> Position {
        self.base
    }

    /// Its last position.
    pub(crate) fn last(&self) -> Position {
        self.entries.last().map_or(self.base, |(entry, _)| Position::of(entry))
    }

    /// Appends an entry of an epoch up to `epoch_max`; `None` if it does not follow.
    pub(crate) fn append(&mut self, entry: Entry, epoch_max: Epoch) -> Option<()> {
        let (header, last) = (entry.header(), self.last());
        let follows = header.index == last.index.next()
            && header.previous_hash == last.hash
            && header.log_time_ms >= last.log_time_ms
            && (last.epoch..=epoch_max).contains(&header.epoch);
        let operation = Operation::from_bytes(entry.operation()).ok();
        self.entries.push((entry, operation.filter(|_| follows)?));
        Some(())
    }

    pub(crate) fn into_entries(self) -> Vec<(Entry, Operation)> {
        self.entries
    }
}
