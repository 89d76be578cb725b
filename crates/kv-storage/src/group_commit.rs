//! What is done with records and when, without a thread and without a clock.

use std::collections::VecDeque;
use std::time::Duration;

use kv_core::{PersistSeq, Wire};

use crate::disk::Disk;
use crate::journal::{
    Journal, JournalError, LayoutDone, LayoutJob, Room, Shortage, SyncDone, SyncJob,
};
use crate::mutation::Mutation;

/// Group commit over a [`Journal`]: which records are written when, what is synced and laid out,
/// and what the owner of the records is told.
///
/// It does no lengthy work itself. Syncs and layouts are jobs that it hands out and that come back
/// done, on whichever thread and after however long; meanwhile it takes more records. A
/// [`JournalThread`](crate::JournalThread) runs it on real time, a simulator on virtual time. Times
/// are since any fixed moment, and never go back.
#[derive(Debug)]
pub struct GroupCommit<D: Disk, R> {
    journal: Journal<D>,
    policy: SyncPolicy,
    /// Records that were taken and not appended.
    waiting: VecDeque<(PersistSeq, R)>,
    /// The last record that was said to be persisted.
    said: PersistSeq,
    /// What was last said to be lacking, and whether there is room for deletes.
    shortage: Option<(Shortage, bool)>,
    /// When to look for room again.
    retry_at: Option<Duration>,
    sync_due: Option<Duration>,
}

/// When records are synced, and so what a loss of power may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before they are said to be persisted: nothing is lost.
    Always,
    /// So long after they were written: that much may be lost, though it was said to be persisted.
    Interval(Duration),
    /// When the system likes, and at the end: all since the start may be lost.
    Never,
}

impl<D: Disk, R: Wire> GroupCommit<D, R> {
    /// Goes on with a journal, of which all that is durable counts as said to be persisted.
    #[must_use]
    pub const fn new(journal: Journal<D>, policy: SyncPolicy) -> Self {
        let said = journal.durable();
        Self {
            journal,
            policy,
            waiting: VecDeque::new(),
            said,
            shortage: None,
            retry_at: None,
            sync_due: None,
        }
    }

    /// Takes records, in order. Nothing here refuses one: how many may wait is bounded by the
    /// engine, which has so many requests in hand at most and withholds their answers.
    pub fn take(&mut self, records: impl IntoIterator<Item = (PersistSeq, R)>) {
        self.waiting.extend(records);
    }

    /// Appends what has been taken, as far as there is room, and writes it; begins a sync where the
    /// policy asks for one and fewer than two are under way.
    ///
    /// To be called after anything has come or come back, and at [`GroupCommit::wake_at`].
    ///
    /// # Errors
    /// [`JournalError`], for ever. A lack of room is none.
    pub fn advance(&mut self, now: Duration) -> Result<Option<SyncJob<D::File>>, JournalError> {
        self.append_waiting()?;
        let job = match self.policy {
            SyncPolicy::Always => self.journal.begin_sync()?,
            SyncPolicy::Never => {
                self.journal.write()?;
                None
            }
            SyncPolicy::Interval(interval) => {
                self.journal.write()?;
                self.sync_at_times(now, interval)?
            }
        };
        if job.is_none() {
            self.journal.note_durable()?;
        }
        Ok(job)
    }

    /// Ends a sync. Another [`GroupCommit::advance`] must follow.
    ///
    /// # Errors
    /// [`JournalError`] if the sync failed, for ever.
    pub fn end_sync(&mut self, done: SyncDone) -> Result<(), JournalError> {
        self.journal.end_sync(done).map(|_| ())
    }

    /// Whether a sync is under way.
    #[must_use]
    pub fn is_syncing(&self) -> bool {
        self.journal.is_syncing()
    }

    /// The last record that is persisted in the sense of the policy, if that has not been said.
    pub fn newly_persisted(&mut self) -> Option<PersistSeq> {
        let broken = self.journal.config().broken;
        let persisted = match self.policy {
            SyncPolicy::Always if broken.is(Mutation::SaidBeforeSync) => self.journal.last(),
            SyncPolicy::Always => self.journal.durable(),
            SyncPolicy::Interval(_) | SyncPolicy::Never => self.journal.last(),
        };
        if persisted <= self.said {
            return None;
        }
        self.said = persisted;
        Some(persisted)
    }

    /// Begins to lay out the next segment if there is none; after a lack of room, now and then.
    pub fn begin_layout(&mut self, now: Duration) -> Option<LayoutJob<D>> {
        let is_waiting = self.retry_at.is_some_and(|at| now < at);
        if is_waiting || !(self.journal.needs_layout() || self.journal.awaits_room()) {
            return None;
        }
        self.retry_at = None;
        self.journal.look_for_room();
        self.journal.begin_layout()
    }

    /// Ends the laying out of a segment. Another [`GroupCommit::advance`] must follow.
    ///
    /// # Errors
    /// [`JournalError`] if it failed for another reason than a lack of room, for ever.
    pub fn end_layout(&mut self, now: Duration, done: LayoutDone<D>) -> Result<(), JournalError> {
        self.journal.end_layout(done)?;
        if matches!(self.journal.room(), Room::Low { .. }) {
            self.retry_at = Some(now + ROOM_INTERVAL);
        }
        Ok(())
    }

    /// What there is to say of the room, if it has changed between enough and low, or is low for
    /// another reason, or in whether it suffices for deletes: while it is low, other writes should be
    /// refused.
    pub fn room_changed(&mut self, now: Duration) -> Option<Room> {
        let room = self.journal.room();
        if self.journal.awaits_room() {
            self.retry_at = self.retry_at.or(Some(now + ROOM_INTERVAL));
        }
        let news = room.shortage().map(|shortage| (shortage, room.takes_deletes()));
        if news == self.shortage {
            return None;
        }
        self.shortage = news;
        Some(room)
    }

    /// Lets go of records that a checkpoint reflects, which is on disk. Room that was lacking is
    /// looked for at once.
    ///
    /// # Errors
    /// [`JournalError`] if the disk fails, for ever.
    pub fn remove_through(&mut self, covers: PersistSeq) -> Result<(), JournalError> {
        self.journal.remove_through(covers)?;
        self.retry_at = None;
        Ok(())
    }

    /// When there is something to do though nothing comes.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        [self.retry_at, self.sync_due].into_iter().flatten().min()
    }

    /// The journal, to look at.
    #[must_use]
    pub const fn journal(&self) -> &Journal<D> {
        &self.journal
    }

    /// Persists all that was taken and lets go of the files; returns the last record.
    ///
    /// # Errors
    /// [`JournalError`] if the journal failed; also if there is no room for all records.
    ///
    /// # Panics
    /// If a sync is under way elsewhere.
    pub fn close(mut self) -> Result<PersistSeq, JournalError> {
        self.append_waiting()?;
        if !self.waiting.is_empty() {
            return Err(self.journal.full());
        }
        self.journal.close()
    }

    fn append_waiting(&mut self) -> Result<(), JournalError> {
        while let Some((seq, record)) = self.waiting.front() {
            match self.journal.append(*seq, record) {
                Ok(()) => {
                    self.waiting.pop_front();
                }
                Err(error) if error.is_full() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync_at_times(
        &mut self,
        now: Duration,
        interval: Duration,
    ) -> Result<Option<SyncJob<D::File>>, JournalError> {
        let is_due = self.sync_due.is_some_and(|due| due <= now);
        let job = if is_due { self.journal.begin_sync()? } else { None };
        if is_due {
            self.sync_due = None;
        }
        if job.is_none() && self.journal.durable() < self.journal.last() {
            self.sync_due = self.sync_due.or(Some(now + interval));
        }
        Ok(job)
    }
}

/// How often to look whether a full disk has room again.
const ROOM_INTERVAL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use kv_core::NodeId;

    use super::*;
    use crate::disk::{DiskAction, DiskError, SimDisk};
    use crate::identity::StoreIdentity;
    use crate::journal::JournalConfig;

    const SEGMENT_BYTES: u64 = 512;

    fn recover(disk: &SimDisk) -> Result<Journal<SimDisk>, JournalError> {
        let identity = StoreIdentity { store: 1, node: NodeId::FIRST, engine: "e".to_owned() };
        let config = JournalConfig {
            segment_bytes: SEGMENT_BYTES,
            reserve_bytes: 0,
            ..JournalConfig::new(identity)
        };
        Journal::recover(disk.clone(), config, PersistSeq(0)).map(|(journal, _)| journal)
    }

    fn commit(disk: &SimDisk) -> GroupCommit<SimDisk, u64> {
        GroupCommit::new(recover(disk).unwrap(), SyncPolicy::Always)
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn two_syncs_overlap_and_are_believed_in_the_order_in_which_they_began() {
        for first_ends_last in [false, true] {
            let mut commit = commit(&SimDisk::new(1));
            commit.take([(PersistSeq(1), 10)]);
            let first = commit.advance(millis(0)).unwrap().unwrap();
            assert!(commit.advance(millis(0)).unwrap().is_none(), "nothing new to sync");
            commit.take([(PersistSeq(2), 20), (PersistSeq(3), 30)]);
            let second = commit.advance(millis(1)).unwrap().unwrap();
            commit.take([(PersistSeq(4), 40)]);
            assert!(commit.advance(millis(1)).unwrap().is_none(), "two at the most");
            if first_ends_last {
                commit.end_sync(second.run()).unwrap();
                assert_eq!(commit.newly_persisted(), None);
                assert!(commit.advance(millis(2)).unwrap().is_none(), "the first one is not over");
                commit.end_sync(first.run()).unwrap();
            } else {
                commit.end_sync(first.run()).unwrap();
                assert_eq!(commit.newly_persisted(), Some(PersistSeq(1)));
                commit.end_sync(second.run()).unwrap();
            }
            assert_eq!(commit.newly_persisted(), Some(PersistSeq(3)));
            let third = commit.advance(millis(3)).unwrap().unwrap();
            commit.end_sync(third.run()).unwrap();
            assert_eq!(commit.newly_persisted(), Some(PersistSeq(4)));
            assert_eq!((commit.newly_persisted(), commit.wake_at()), (None, None));
            assert!(!commit.is_syncing());
        }
    }

    #[test]
    fn a_sync_that_failed_lets_no_later_one_be_believed() {
        let disk = SimDisk::new(1);
        let mut commit = commit(&disk);
        commit.take([(PersistSeq(1), 10)]);
        let first = commit.advance(millis(0)).unwrap().unwrap();
        disk.fail_next_sync();
        let first = first.run();
        commit.take([(PersistSeq(2), 20)]);
        let second = commit.advance(millis(1)).unwrap().unwrap();
        commit.end_sync(second.run()).unwrap();
        assert_eq!(commit.newly_persisted(), None);
        assert!(commit.end_sync(first).is_err());
        assert_eq!(commit.newly_persisted(), None);
        assert!(commit.advance(millis(2)).is_err(), "it has failed for ever");
    }

    /// Else it would be cut off as a torn tail, though it was said to be persisted.
    #[test]
    fn damage_to_the_last_record_is_seen_once_nothing_more_is_to_be_synced() {
        let disk = SimDisk::new(1);
        let mut commit = commit(&disk);
        commit.take([(PersistSeq(1), 10)]);
        let job = commit.advance(millis(0)).unwrap().unwrap();
        commit.end_sync(job.run()).unwrap();
        assert_eq!(commit.newly_persisted(), Some(PersistSeq(1)));
        assert!(commit.advance(millis(1)).unwrap().is_none());
        drop(commit);
        disk.kill();
        let ten = |bytes: &mut Vec<u8>| bytes.iter().rposition(|byte| *byte == 10).unwrap();
        disk.damage("journal-000000000001.segment", |bytes| {
            let place = ten(bytes);
            bytes[place] ^= 1;
        });
        let error = recover(&disk).unwrap_err();
        assert!(matches!(error, JournalError::Damaged { seq: PersistSeq(1), .. }), "{error}");
    }

    #[test]
    fn a_full_disk_is_looked_at_now_and_then_and_at_once_after_records_went() {
        let disk = SimDisk::new(1);
        let mut commit = commit(&disk);
        disk.set_quota(Some(SEGMENT_BYTES));
        let job = commit.begin_layout(millis(0)).unwrap();
        commit.end_layout(millis(1), job.run()).unwrap();
        assert!(matches!(commit.room_changed(millis(1)), Some(Room::Low { .. })));
        assert_eq!(commit.wake_at(), Some(millis(501)));
        assert!(commit.begin_layout(millis(500)).is_none());
        let job = commit.begin_layout(millis(501)).unwrap();
        commit.end_layout(millis(502), job.run()).unwrap();
        assert!(commit.begin_layout(millis(503)).is_none());
        commit.remove_through(PersistSeq(0)).unwrap();
        disk.set_quota(None);
        let job = commit.begin_layout(millis(504)).unwrap();
        commit.end_layout(millis(505), job.run()).unwrap();
        assert_eq!(commit.room_changed(millis(505)), Some(Room::Enough));
        assert_eq!(commit.wake_at(), None);
    }

    #[test]
    fn deletes_are_not_taken_while_a_record_waits_for_room() {
        let disk = SimDisk::new(1);
        let mut commit = GroupCommit::new(recover(&disk).unwrap(), SyncPolicy::Always);
        disk.set_quota(Some(SEGMENT_BYTES + 100));
        let job = commit.begin_layout(millis(0)).unwrap();
        commit.end_layout(millis(0), job.run()).unwrap();
        assert!(commit.room_changed(millis(0)).unwrap().takes_deletes());
        commit.take([(PersistSeq(1), vec![0_u8; 400])]);
        assert!(
            commit.advance(millis(1)).unwrap().is_none(),
            "there is room for smaller ones alone"
        );
        let room = commit.room_changed(millis(1)).unwrap();
        assert_eq!((room.shortage(), room.takes_deletes()), (Some(Shortage::Space), false));
        assert_eq!(commit.room_changed(millis(2)), None);
    }

    #[test]
    fn another_shortage_than_before_is_told() {
        let disk = SimDisk::new(1);
        let mut commit = commit(&disk);
        let limit = std::io::Error::from_raw_os_error(24);
        let limit = DiskError::new(DiskAction::Create, "x", &limit);
        let full = JournalError::Full { needed_bytes: 2, free_bytes: 1 };
        for (error, expected) in [
            (JournalError::TooManyFiles(limit), Some(Shortage::OpenFiles)),
            (full.clone(), Some(Shortage::Space)),
            (full, None),
        ] {
            commit.remove_through(PersistSeq(0)).unwrap();
            commit.begin_layout(millis(0)).unwrap();
            commit.end_layout(millis(0), LayoutDone { result: Err(error), lack: None }).unwrap();
            assert_eq!(commit.room_changed(millis(0)).and_then(Room::shortage), expected);
        }
    }
}
