//! The records that must outlive the process.

use std::collections::VecDeque;

use bytes::Bytes;
use kv_core::{GroupId, PersistSeq, Wire};

use crate::memory::error::StorageError;
use crate::memory::frame::Frame;

/// A journal in memory: it outlives the engine that wrote it, and a crash loses what was not
/// synced.
///
/// Records are kept in the byte form that a disk would hold, checksum included. It grows until
/// [`MemoryJournal::remove_through`] lets records go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryJournal {
    frames: VecDeque<(PersistSeq, Bytes)>,
    last: PersistSeq,
    durable: PersistSeq,
}

impl MemoryJournal {
    /// An empty journal; its first record is 1.
    #[must_use]
    pub const fn new() -> Self {
        Self { frames: VecDeque::new(), last: PersistSeq(0), durable: PersistSeq(0) }
    }

    /// Appends a record; it is lost in a crash until it is synced.
    ///
    /// # Errors
    /// [`StorageError::NotDense`] if `seq` does not follow the last record.
    pub fn append(&mut self, seq: PersistSeq, record: &impl Wire) -> Result<(), StorageError> {
        let expected = self.last.next();
        if seq != expected {
            return Err(StorageError::NotDense { expected, found: seq });
        }
        let frame = Frame {
            group: GroupId(0),
            seq,
            durable_through: self.durable,
            record: record.to_bytes(),
        };
        self.frames.push_back((seq, frame.sealed()));
        self.last = seq;
        Ok(())
    }

    /// Makes every record durable and says up to which one that is.
    pub fn sync(&mut self) -> PersistSeq {
        self.sync_through(self.last)
    }

    /// Makes the records up to `seq` durable and says up to which one all are: a later one, if an
    /// earlier call reached further, and never one that was not appended.
    pub fn sync_through(&mut self, seq: PersistSeq) -> PersistSeq {
        self.durable = self.durable.max(seq.min(self.last));
        self.durable
    }

    /// Loses every record that was not synced.
    pub fn crash(&mut self) {
        self.crash_keeping(0);
    }

    /// Loses the records that were not synced, but for the first `unsynced` of them, which had
    /// reached the disk by themselves. What is kept is durable from then on.
    pub fn crash_keeping(&mut self, unsynced: u64) {
        let kept = PersistSeq(self.durable.0.saturating_add(unsynced)).min(self.last);
        while self.frames.back().is_some_and(|(seq, _)| *seq > kept) {
            self.frames.pop_back();
        }
        self.last = kept;
        self.durable = kept;
    }

    /// Loses the records that were not synced, but for the first `unsynced` of them; of the one
    /// after those the first `torn_bytes` bytes are there, fewer than it has. True if one was torn.
    ///
    /// [`MemoryJournal::recover`] must come before the next record is appended.
    pub fn crash_tearing(&mut self, unsynced: u64, torn_bytes: usize) -> bool {
        let kept = PersistSeq(self.durable.0.saturating_add(unsynced)).min(self.last);
        let next = self.frames.iter().find(|(seq, _)| *seq == kept.next());
        let torn = next.map(|(seq, sealed)| {
            let len = torn_bytes.min(sealed.len().saturating_sub(1));
            (*seq, sealed.slice(..len))
        });
        self.crash_keeping(unsynced);
        let is_torn = torn.is_some();
        self.frames.extend(torn);
        is_torn
    }

    /// Flips one bit of a record that a later record knows to be on disk, so that the damage can
    /// be told from a torn tail; `choice` decides which. `None` if there is no such record.
    pub fn flip_bit(&mut self, choice: u64) -> Option<PersistSeq> {
        let known = self.known_durable();
        let places = self.frames.iter().take_while(|(seq, _)| *seq <= known).count();
        let place = usize::try_from(choice).unwrap_or(usize::MAX).checked_rem(places)?;
        let (seq, sealed) = self.frames.get_mut(place)?;
        let mut bytes = sealed.to_vec();
        let bit = usize::try_from(choice >> 16).unwrap_or(usize::MAX) % (bytes.len() * 8);
        *bytes.get_mut(bit / 8)? ^= 1 << (bit % 8);
        *sealed = bytes.into();
        Some(*seq)
    }

    /// Looks at every record after a crash and cuts off a torn tail; how many records that cost.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] if a later record knows that the damaged one was on disk: that is
    /// no torn tail, and nothing is cut.
    pub fn recover(&mut self) -> Result<usize, StorageError> {
        let damaged = self.frames.iter().find(|(seq, sealed)| !is_whole(*seq, sealed));
        let Some(seq) = damaged.map(|(seq, _)| *seq) else {
            return Ok(0);
        };
        if seq <= self.known_durable() {
            return Err(StorageError::Damaged { seq });
        }
        let before = self.frames.len();
        self.frames.retain(|(other, _)| *other < seq);
        self.last = PersistSeq(seq.0 - 1);
        self.durable = self.last;
        Ok(before - self.frames.len())
    }

    /// Lets go of records up to `covers`, which a checkpoint reflects; records that are not
    /// durable stay.
    pub fn remove_through(&mut self, covers: PersistSeq) {
        let end = covers.min(self.durable);
        while self.frames.front().is_some_and(|(seq, _)| *seq <= end) {
            self.frames.pop_front();
        }
    }

    /// The records that are held, in order, durable or not; those after a checkpoint follow
    /// [`kv_core::Checkpoint::covers`].
    ///
    /// # Errors
    /// [`StorageError`] in place of a record whose bytes are damaged or no `R`.
    pub fn records<R: Wire>(
        &self,
    ) -> impl Iterator<Item = Result<(PersistSeq, R), StorageError>> + '_ {
        self.frames.iter().map(|(seq, sealed)| {
            let seq = *seq;
            let frame = Frame::open(sealed.clone()).map_err(|_| StorageError::Damaged { seq })?;
            if frame.seq != seq {
                return Err(StorageError::Damaged { seq });
            }
            let record = R::from_bytes(frame.record)
                .map_err(|source| StorageError::NotReadable { seq, source })?;
            Ok((seq, record))
        })
    }

    /// The last record appended, 0 before the first.
    #[must_use]
    pub const fn last(&self) -> PersistSeq {
        self.last
    }

    /// The last record that a crash cannot lose, 0 before the first.
    #[must_use]
    pub const fn durable(&self) -> PersistSeq {
        self.durable
    }

    /// How many records are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether no record is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The last record that a whole record knows to be on disk.
    fn known_durable(&self) -> PersistSeq {
        let frames = self.frames.iter().filter_map(|(_, sealed)| Frame::open(sealed.clone()).ok());
        frames.map(|frame| frame.durable_through).max().unwrap_or_default()
    }
}

fn is_whole(seq: PersistSeq, sealed: &Bytes) -> bool {
    Frame::open(sealed.clone()).is_ok_and(|frame| frame.seq == seq)
}

#[cfg(test)]
mod tests {
    use kv_core::DecodeError;

    use super::*;

    fn journal(records: u64) -> MemoryJournal {
        let mut journal = MemoryJournal::new();
        for seq in 1..=records {
            journal.append(PersistSeq(seq), &(seq * 10)).unwrap();
        }
        journal
    }

    fn held(journal: &MemoryJournal) -> Vec<u64> {
        let records = journal.records::<u64>();
        records.map(|record| record.unwrap().1).collect()
    }

    #[test]
    fn records_are_dense() {
        let mut journal = journal(2);
        let not_dense = |expected, found| {
            let (expected, found) = (PersistSeq(expected), PersistSeq(found));
            Err(StorageError::NotDense { expected, found })
        };
        assert_eq!(journal.append(PersistSeq(4), &0u64), not_dense(3, 4));
        assert_eq!(journal.append(PersistSeq(2), &0u64), not_dense(3, 2));
        assert_eq!(held(&journal), [10, 20]);
    }

    #[test]
    fn a_crash_loses_what_was_not_synced_and_nothing_else() {
        let mut journal = journal(4);
        assert_eq!(journal.sync_through(PersistSeq(2)), PersistSeq(2));
        assert_eq!(journal.sync_through(PersistSeq(1)), PersistSeq(2));
        journal.crash();
        assert_eq!(held(&journal), [10, 20]);
        assert_eq!(journal.append(PersistSeq(3), &31u64), Ok(()));
        assert_eq!(journal.sync(), PersistSeq(3));
        journal.crash();
        assert_eq!(held(&journal), [10, 20, 31]);
    }

    #[test]
    fn some_unsynced_records_may_survive_a_crash_but_never_with_a_hole() {
        let mut journal = journal(5);
        journal.sync_through(PersistSeq(2));
        journal.crash_keeping(2);
        assert_eq!(held(&journal), [10, 20, 30, 40]);
        assert_eq!(journal.durable(), PersistSeq(4));
        journal.crash_keeping(9);
        assert_eq!(journal.last(), PersistSeq(4));
    }

    #[test]
    fn a_sync_promises_no_more_than_was_appended() {
        let mut journal = journal(2);
        assert_eq!(journal.sync_through(PersistSeq(9)), PersistSeq(2));
    }

    #[test]
    fn a_torn_tail_is_cut() {
        for torn_bytes in 0..40 {
            let mut journal = journal(4);
            journal.sync_through(PersistSeq(2));
            assert!(journal.crash_tearing(1, torn_bytes));
            assert_eq!(journal.len(), 4);
            assert_eq!(journal.recover(), Ok(1));
            assert_eq!(held(&journal), [10, 20, 30]);
            assert_eq!(journal.append(PersistSeq(4), &41u64), Ok(()));
        }
        let mut journal = journal(2);
        journal.sync();
        assert!(!journal.crash_tearing(0, 9), "nothing was under way");
        assert_eq!(journal.recover(), Ok(0));
    }

    #[test]
    fn a_flipped_bit_below_what_is_known_to_be_on_disk_is_damage() {
        for choice in 0..500 {
            let mut journal = journal(3);
            assert_eq!(journal.flip_bit(choice), None, "no record knows of another");
            journal.sync();
            journal.append(PersistSeq(4), &40u64).unwrap();
            let seq = journal.flip_bit(choice << 7).unwrap();
            assert!(seq <= PersistSeq(3));
            assert_eq!(journal.recover(), Err(StorageError::Damaged { seq }));
            assert_eq!(journal.len(), 4);
        }
    }

    #[test]
    fn covered_records_go_and_numbers_go_on() {
        let mut journal = journal(3);
        journal.sync_through(PersistSeq(2));
        journal.remove_through(PersistSeq(3));
        assert_eq!(held(&journal), [30], "3 is not durable, so it stays");
        journal.crash();
        assert!(journal.is_empty());
        assert_eq!(journal.append(PersistSeq(3), &31u64), Ok(()));
    }

    #[test]
    fn a_record_of_another_kind_is_an_error_that_names_it() {
        let journal = journal(1);
        let read: Vec<_> = journal.records::<(u64, u64)>().collect();
        let source = DecodeError::Truncated { needed: 8, left: 0 };
        let seq = PersistSeq(1);
        assert_eq!(read, [Err(StorageError::NotReadable { seq, source })]);
    }
}
