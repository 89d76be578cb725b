//! Making records durable, on whichever threads.

use std::collections::VecDeque;

use kv_core::PersistSeq;

use crate::disk::{DiskError, DiskFile};
use crate::journal::segment::Segment;
use crate::mutation::{Broken, Mutation};

/// The work of making durable all that was written since the sync before it began. Meanwhile the
/// journal takes more records, and may begin the next sync.
#[derive(Debug)]
pub struct SyncJob<F> {
    number: u64,
    files: Vec<F>,
    up_to: PersistSeq,
    broken: Broken,
}

/// How a [`SyncJob`] went, for [`Journal::end_sync`](crate::Journal::end_sync).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncDone {
    number: u64,
    pub(crate) result: Result<(), DiskError>,
}

impl<F: DiskFile> SyncJob<F> {
    /// Which sync it is: 0, 1, 2 and so on in the life of a journal.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The last record that the sync makes durable.
    #[must_use]
    pub const fn up_to(&self) -> PersistSeq {
        self.up_to
    }

    /// Syncs.
    #[must_use]
    pub fn run(self) -> SyncDone {
        let mut result = self.files.iter().try_for_each(DiskFile::sync);
        if self.broken.is(Mutation::FailedSyncRetried) && result.is_err() {
            result = self.files.iter().try_for_each(DiskFile::sync);
        }
        SyncDone { number: self.number, result }
    }
}

/// The syncs of a journal that are under way, and what the next one is to cover.
///
/// Two syncs may overlap, each on a handle of its own: the system tells each handle of a file that
/// a write was lost, but only once. A sync is believed only when all that began before it have ended
/// well, since it covers what was written after they began.
#[derive(Debug)]
pub(crate) struct Syncs<F> {
    /// How many syncs have begun.
    begun: u64,
    /// The last record that a sync covers which has begun.
    covered: PersistSeq,
    /// In the order in which they began.
    under_way: VecDeque<UnderWay>,
    /// Files that were written since the last sync began, by all their handles.
    unsynced: Vec<[F; SYNCS_MAX]>,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    number: u64,
    up_to: PersistSeq,
    has_ended: bool,
}

impl<F: DiskFile> Syncs<F> {
    /// For a journal that is durable up to a record.
    pub(crate) const fn after(durable: PersistSeq) -> Self {
        Self { begun: 0, covered: durable, under_way: VecDeque::new(), unsynced: Vec::new() }
    }

    /// The segment is about to be written, or was.
    pub(crate) fn note_written(&mut self, segment: &Segment<F>) {
        if self.unsynced.is_empty() {
            self.unsynced.push(segment.handles.clone());
        }
    }

    /// The journal leaves a segment, in which that is noted, for the next one.
    pub(crate) fn note_rotated(&mut self, left: &Segment<F>, next: &Segment<F>) {
        self.note_written(left);
        self.unsynced.push(next.handles.clone());
    }

    /// Begins a sync up to the record that was written last; `None` if there is nothing to cover,
    /// or if as many are under way as may be.
    pub(crate) fn begin(&mut self, written: PersistSeq, broken: Broken) -> Option<SyncJob<F>> {
        if self.under_way.len() == SYNCS_MAX || self.covered == written {
            return None;
        }
        let number = self.begun;
        let slot = usize::from(!number.is_multiple_of(2));
        let unsynced = std::mem::take(&mut self.unsynced);
        assert!(!unsynced.is_empty());
        let files = unsynced.iter().filter_map(|handles| handles.get(slot).cloned()).collect();
        self.begun += 1;
        self.covered = written;
        self.under_way.push_back(UnderWay { number, up_to: written, has_ended: false });
        Some(SyncJob { number, files, up_to: written, broken })
    }

    /// A sync has ended well; returns the record up to which all is durable, if that is news.
    pub(crate) fn end(&mut self, done: &SyncDone) -> Option<PersistSeq> {
        let ended = self.under_way.iter_mut().find(|sync| sync.number == done.number)?;
        ended.has_ended = true;
        let mut durable = None;
        while let Some(first) = self.under_way.front().copied().filter(|sync| sync.has_ended) {
            durable = Some(first.up_to);
            self.under_way.pop_front();
        }
        durable
    }

    /// Whether one is under way.
    pub(crate) fn are_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }
}

/// How many syncs may overlap: each has a handle of each file.
pub(crate) const SYNCS_MAX: usize = 2;
