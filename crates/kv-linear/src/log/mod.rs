//! The log: entries in one order, chained by their hashes.

pub(crate) mod entry;
pub(crate) mod epoch;
pub(crate) mod hold_back;
pub(crate) mod suffix;

use std::collections::VecDeque;

use kv_core::wire_struct;

use crate::log::entry::Entry;
use crate::log::epoch::{Epoch, LogIndex};

/// The part of the log that a server keeps: everything after `base`. It knows nothing of what the
/// operations in it do.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    base: Position,
    entries: VecDeque<Entry>,
    size_bytes: usize,
}

/// A position in the log with what identifies everything up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) index: LogIndex,
    pub(crate) hash: u64,
    /// The epoch in which the entry was assigned this position.
    pub(crate) epoch: Epoch,
    pub(crate) log_time_ms: u64,
}

wire_struct!(Position { index, hash, epoch, log_time_ms });

impl Log {
    pub(crate) const fn starting_after(base: Position) -> Self {
        Self { base, entries: VecDeque::new(), size_bytes: 0 }
    }

    /// The position before the first entry that is kept.
    pub(crate) const fn base(&self) -> Position {
        self.base
    }

    /// The position of the last entry.
    pub(crate) fn last(&self) -> Position {
        self.entries.back().map_or(self.base, Position::of)
    }

    pub(crate) const fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Appends the entry that follows the last one.
    pub(crate) fn append(&mut self, entry: Entry) {
        let last = self.last();
        assert_eq!(entry.index(), last.index.next());
        assert_eq!(entry.header().previous_hash, last.hash);
        assert!(entry.header().log_time_ms >= last.log_time_ms);
        self.size_bytes += entry.size_bytes();
        self.entries.push_back(entry);
    }

    pub(crate) fn entry(&self, index: LogIndex) -> Option<&Entry> {
        self.entries.get(self.offset(index)?)
    }

    /// The hash of the log up to `index`; `None` beyond the last entry and before the base.
    pub(crate) fn hash_at(&self, index: LogIndex) -> Option<u64> {
        self.position_at(index).map(|position| position.hash)
    }

    /// A position with all that identifies it; `None` where [`Log::hash_at`] is.
    pub(crate) fn position_at(&self, index: LogIndex) -> Option<Position> {
        if index == self.base.index {
            return Some(self.base);
        }
        self.entry(index).map(Position::of)
    }

    /// The last position that was assigned in `epoch` or before; `None` if that is before the base.
    pub(crate) fn last_through(&self, epoch: Epoch) -> Option<LogIndex> {
        if self.base.epoch > epoch {
            return None;
        }
        let count = self.entries.partition_point(|entry| entry.header().epoch <= epoch);
        let last = count.checked_sub(1).and_then(|place| self.entries.get(place));
        Some(last.map_or(self.base.index, Entry::index))
    }

    /// The entries from `index` on, which must not be before the base.
    pub(crate) fn from(&self, index: LogIndex) -> impl Iterator<Item = &Entry> {
        let offset = self.offset(index).unwrap_or(self.entries.len());
        self.entries.range(offset.min(self.entries.len())..)
    }

    /// Drops the last entry.
    pub(crate) fn drop_last(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_back()?;
        self.size_bytes -= entry.size_bytes();
        Some(entry)
    }

    /// Forgets the oldest entry and makes it the base.
    pub(crate) fn trim_first(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.size_bytes -= entry.size_bytes();
        self.base = Position::of(&entry);
        Some(entry)
    }

    fn offset(&self, index: LogIndex) -> Option<usize> {
        let offset = index.0.checked_sub(self.base.index.0)?.checked_sub(1)?;
        usize::try_from(offset).ok()
    }
}

impl Position {
    pub(crate) const fn of(entry: &Entry) -> Self {
        Self {
            index: entry.index(),
            hash: entry.hash(),
            epoch: entry.header().epoch,
            log_time_ms: entry.header().log_time_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kv_core::{Incarnation, NodeId};

    use super::*;
    use crate::log::entry::{EntryHeader, Origin};

    fn following(log: &Log) -> Entry {
        following_in(log, Epoch::default())
    }

    fn following_in(log: &Log, epoch: Epoch) -> Entry {
        let last = log.last();
        let header = EntryHeader {
            index: last.index.next(),
            epoch,
            log_time_ms: last.log_time_ms,
            origin: Origin {
                server: NodeId::FIRST,
                incarnation: Incarnation(1),
                number: last.index.0 + 1,
                settled_below: 1,
            },
            previous_hash: last.hash,
        };
        Entry::new(header, &Bytes::from_static(b"x"))
    }

    fn log_of(count: u64) -> Log {
        let mut log = Log::starting_after(Position::default());
        for _ in 0..count {
            log.append(following(&log));
        }
        log
    }

    #[test]
    fn trimming_keeps_the_chain() {
        let mut log = log_of(5);
        let whole = log.clone();
        assert_eq!(log.trim_first().map(|entry| entry.index()), Some(LogIndex(1)));
        assert_eq!(log.trim_first().map(|entry| entry.index()), Some(LogIndex(2)));
        assert_eq!(log.base().index, LogIndex(2));
        assert_eq!(log.last(), whole.last());
        assert_eq!(log.hash_at(LogIndex(1)), None);
        assert_eq!(log.hash_at(LogIndex(2)), whole.hash_at(LogIndex(2)));
        assert_eq!(log.entry(LogIndex(2)), None);
        let rest: Vec<_> = log.from(LogIndex(4)).map(|entry| entry.index().0).collect();
        assert_eq!(rest, [4, 5]);
        assert_eq!(log.from(LogIndex(6)).count(), 0);
        assert_eq!(log.size_bytes(), whole.size_bytes() / 5 * 3);
    }

    #[test]
    fn the_last_place_of_an_epoch_is_known_as_far_as_the_log_is_kept() {
        let generation = |generation| Epoch { generation, ..Epoch::default() };
        let mut log = Log::starting_after(Position::default());
        for of in [0, 0, 2, 2, 5] {
            log.append(following_in(&log, generation(of)));
        }
        let last = |log: &Log, of| log.last_through(generation(of)).map(|index| index.0);
        let places = [0, 1, 2, 3, 5, 6].map(|of| last(&log, of));
        assert_eq!(places, [Some(2), Some(2), Some(4), Some(4), Some(5), Some(5)]);
        (0..3).for_each(|_| drop(log.trim_first()));
        let places = [0, 1, 2, 4, 5].map(|of| last(&log, of));
        assert_eq!(places, [None, None, Some(4), Some(4), Some(5)]);
    }

    #[test]
    fn what_is_dropped_from_the_end_can_be_given_anew() {
        let mut log = log_of(3);
        let whole = log.clone();
        assert_eq!(log.drop_last().map(|entry| entry.index()), Some(LogIndex(3)));
        assert_eq!(log.last().index, LogIndex(2));
        log.append(following(&log));
        assert_eq!((log.last(), log.size_bytes()), (whole.last(), whole.size_bytes()));
    }

    #[test]
    #[should_panic(expected = "left == right")]
    fn an_entry_from_elsewhere_is_not_appended() {
        let mut log = log_of(2);
        log.append(following(&log_of(1)));
    }
}
