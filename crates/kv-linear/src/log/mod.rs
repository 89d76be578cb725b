//! The log: entries in one order, chained by their hashes.

pub(crate) mod entry;
pub(crate) mod epoch;
pub(crate) mod hold_back;
pub(crate) mod tail;

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
    /// How many operations the log has up to here.
    pub(crate) operations: u64,
}

wire_struct!(Position { index, hash, epoch, log_time_ms, operations });

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

    /// Whether an entry can come next, by all that its header says.
    pub(crate) fn is_next(&self, entry: &Entry) -> bool {
        let (header, last) = (entry.header(), self.last());
        header.index == last.index.next()
            && header.previous_hash == last.hash
            && header.epoch >= last.epoch
            && header.log_time_ms >= last.log_time_ms
            && header.operations_before == last.operations
    }

    /// Appends the entry that follows the last one.
    pub(crate) fn append(&mut self, entry: Entry) {
        assert!(self.is_next(&entry));
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

    /// The epoch in which a position was assigned; `None` where [`Log::hash_at`] is.
    pub(crate) fn epoch_at(&self, index: LogIndex) -> Option<Epoch> {
        self.position_at(index).map(|position| position.epoch)
    }

    /// The first entry that is kept and of `epoch` or a later one; the next one if there is none.
    pub(crate) fn first_of(&self, epoch: Epoch) -> LogIndex {
        self.place_at(self.entries.partition_point(|entry| entry.header().epoch < epoch))
    }

    /// The last position of `epoch` or an earlier one, as far as the log is kept.
    pub(crate) fn last_of(&self, epoch: Epoch) -> LogIndex {
        let after = self.entries.partition_point(|entry| entry.header().epoch <= epoch);
        self.place_at(after).previous()
    }

    /// The entry that has the operation with a number, if it is kept.
    pub(crate) fn entry_with(&self, number: u64) -> Option<&Entry> {
        let ends_before = |entry: &Entry| Position::of(entry).operations < number;
        let entry = self.entries.get(self.entries.partition_point(ends_before))?;
        (entry.header().operations_before < number).then_some(entry)
    }

    /// The entries from `index` on, which must not be before the base.
    pub(crate) fn from(&self, index: LogIndex) -> impl Iterator<Item = &Entry> {
        let offset = self.offset(index).unwrap_or(self.entries.len());
        self.entries.range(offset.min(self.entries.len())..)
    }

    /// Drops what comes after `index`; gives its size in bytes.
    pub(crate) fn truncate(&mut self, index: LogIndex) -> usize {
        let kept = index.distance_from(self.base.index);
        let before = self.size_bytes;
        while u64::try_from(self.entries.len()).unwrap_or(u64::MAX) > kept {
            if let Some(entry) = self.entries.pop_back() {
                self.size_bytes -= entry.size_bytes();
            }
        }
        before - self.size_bytes
    }

    /// Forgets the oldest entry and makes it the base.
    pub(crate) fn trim_first(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.size_bytes -= entry.size_bytes();
        self.base = Position::of(&entry);
        Some(entry)
    }

    fn place_at(&self, offset: usize) -> LogIndex {
        let offset = u64::try_from(offset).unwrap_or(u64::MAX);
        LogIndex(self.base.index.0.saturating_add(offset)).next()
    }

    fn offset(&self, index: LogIndex) -> Option<usize> {
        let offset = index.0.checked_sub(self.base.index.0)?.checked_sub(1)?;
        usize::try_from(offset).ok()
    }
}

impl Position {
    pub(crate) fn of(entry: &Entry) -> Self {
        let header = entry.header();
        Self {
            index: header.index,
            hash: entry.hash(),
            epoch: header.epoch,
            log_time_ms: header.log_time_ms,
            operations: header.operations_before.saturating_add(u64::from(header.operations)),
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

    fn round(round: u32) -> Epoch {
        Epoch { round, ..Epoch::default() }
    }

    fn following_in(log: &Log, epoch: Epoch) -> Entry {
        let last = log.last();
        let header = EntryHeader {
            index: last.index.next(),
            epoch,
            log_time_ms: last.log_time_ms,
            operations_before: last.operations,
            operations: 1,
            previous_hash: last.hash,
        };
        let origin = Origin {
            server: NodeId::FIRST,
            incarnation: Incarnation(1),
            number: last.index.0 + 1,
            settled_below: 1,
        };
        Entry::new(header, &[(origin, Bytes::from_static(b"x"))])
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
    fn the_places_of_an_epoch_are_known_as_far_as_the_log_is_kept() {
        let mut log = Log::starting_after(Position::default());
        for of in [0, 0, 2, 2, 5] {
            log.append(following_in(&log, round(of)));
        }
        let ends = |log: &Log, of| (log.first_of(round(of)).0, log.last_of(round(of)).0);
        assert_eq!(
            [0, 1, 2, 5, 6].map(|of| ends(&log, of)),
            [(1, 2), (3, 2), (3, 4), (5, 5), (6, 5)]
        );
        (0..3).for_each(|_| drop(log.trim_first()));
        assert_eq!([0, 2, 5].map(|of| ends(&log, of)), [(4, 3), (4, 4), (5, 5)]);
        let epochs = [2, 3, 4, 5, 6].map(|index| log.epoch_at(LogIndex(index)));
        assert_eq!(epochs, [None, Some(round(2)), Some(round(2)), Some(round(5)), None]);
    }

    #[test]
    fn what_is_dropped_from_the_end_can_be_given_anew() {
        let mut log = log_of(3);
        let whole = log.clone();
        assert_eq!(log.truncate(LogIndex(1)), whole.size_bytes() / 3 * 2);
        assert_eq!(log.last().index, LogIndex(1));
        log.append(following(&log));
        log.append(following(&log));
        assert_eq!((log.last(), log.size_bytes()), (whole.last(), whole.size_bytes()));
        assert_eq!(log.truncate(LogIndex(9)), 0);
    }

    #[test]
    #[should_panic(expected = "self.is_next(&entry)")]
    fn an_entry_from_elsewhere_is_not_appended() {
        let mut log = log_of(2);
        log.append(following(&log_of(1)));
    }
}
