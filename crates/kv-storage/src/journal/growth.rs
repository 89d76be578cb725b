//! A journal takes further segments when it needs them, and lets go of those that it does not.

use kv_core::PersistSeq;

use crate::disk::Disk;
use crate::journal::frame::FrameKind;
use crate::journal::segment::{self, Segment, SegmentHeader};
use crate::journal::{Journal, JournalError, LayoutDone, LayoutJob, Room, Shortage, len_of, scan};

impl<D: Disk> Journal<D> {
    /// Begins to lay out the next segment; `None` if there is one, or if that is under way.
    ///
    /// To be called whenever [`Journal::needs_layout`] says so, and after a lack of room now and
    /// then, when there may be some.
    pub fn begin_layout(&mut self) -> Option<LayoutJob<D>> {
        if !self.needs_layout() {
            return None;
        }
        self.layout_under_way = true;
        Some(self.layout_job(self.awaited_bytes))
    }

    /// Whether the next segment is to be laid out.
    #[must_use]
    pub fn needs_layout(&self) -> bool {
        self.spares.is_empty() && !self.layout_under_way && self.failure.is_none()
    }

    /// Ends the laying out of a segment.
    ///
    /// # Errors
    /// [`JournalError::Failed`] if it failed, for ever. A lack of room is no error: it is what
    /// [`Journal::room`] tells from here on.
    pub fn end_layout(&mut self, done: LayoutDone<D>) -> Result<(), JournalError> {
        self.check_sound()?;
        self.layout_under_way = false;
        match done.result {
            Ok(segment) => {
                self.spares.push_back(segment);
                self.note_lack(done.lack.map(|lack| *lack));
                Ok(())
            }
            Err(error) if error.is_full() => {
                self.note_lack(Some(error));
                Ok(())
            }
            Err(error) => self.or_fail(Err(error)),
        }
    }

    fn note_lack(&mut self, lack: Option<JournalError>) {
        let shortage = lack.as_ref().and_then(JournalError::shortage);
        if let Some(error) = lack.as_ref().filter(|_| shortage != self.shortage()) {
            tracing::warn!("{error}");
        }
        self.lack = lack;
    }

    /// Looks whether what the last segment took of the reserve is free again.
    pub(crate) fn look_for_room(&mut self) {
        let is_free = |free_bytes| free_bytes >= self.config.reserve_bytes;
        if !self.spares.is_empty() && self.disk.free_bytes().is_ok_and(is_free) {
            self.lack = None;
        }
    }

    /// Whether room is lacking and nothing is done about that at present.
    pub(crate) fn awaits_room(&self) -> bool {
        self.lack.is_some() && !self.layout_under_way && self.failure.is_none()
    }

    /// Lays out the next segment here and now, if there is none.
    ///
    /// # Errors
    /// As [`Journal::end_layout`].
    pub fn lay_out(&mut self) -> Result<(), JournalError> {
        self.lay_out_for(0)
    }

    /// The same, with room for a frame of that size at least.
    fn lay_out_for(&mut self, frame_bytes: u64) -> Result<(), JournalError> {
        if !self.needs_layout() {
            return Ok(());
        }
        let done = self.layout_job(frame_bytes).run();
        self.end_layout(done)
    }

    /// Whether there is room for what may come.
    #[must_use]
    pub fn room(&self) -> Room {
        self.shortage().map_or(Room::Enough, |shortage| {
            let left_bytes = self.left_bytes();
            let spare_bytes: u64 = self.spares.iter().map(Segment::left_bytes).sum();
            let takes_deletes = shortage == Shortage::Space
                && self.awaited_bytes == 0
                && left_bytes.saturating_add(spare_bytes) >= self.config.kept_bytes();
            Room::Low { left_bytes, shortage, takes_deletes }
        })
    }

    fn left_bytes(&self) -> u64 {
        self.active().left_bytes().saturating_sub(len_of(&self.buffer))
    }

    /// Removes the segments whose records a checkpoint reflects, and that are on disk; returns
    /// how many.
    ///
    /// # Errors
    /// [`JournalError::Failed`] if the disk fails, for ever.
    pub fn remove_through(&mut self, covers: PersistSeq) -> Result<usize, JournalError> {
        self.check_sound()?;
        let covers = covers.min(self.durable);
        let mut removed = 0;
        while self.segments.len() > 1
            && let Some(oldest) = self.segments.front()
            && oldest.records.is_none_or(|(_, last)| last <= covers)
        {
            // One after the other, so that a crash leaves no gap between segments.
            let gone = self.disk.remove(&segment::name(oldest.number));
            let gone = gone.and_then(|()| self.disk.sync_directory());
            self.or_fail(gone.map_err(JournalError::from))?;
            self.segments.pop_front();
            removed += 1;
        }
        Ok(removed)
    }

    /// Goes on in the next segment that can hold a frame of this size. One that is too small stays
    /// behind empty, since segments follow each other by their numbers.
    ///
    /// Each one that is left says so behind its last record, and is synced with the first record of
    /// the next one at the latest, so that no segment with records can vanish unseen.
    pub(super) fn rotate(&mut self, frame_bytes: u64) -> Result<(), JournalError> {
        self.write()?;
        loop {
            if self.spares.is_empty() {
                self.lay_out_for(frame_bytes)?;
            }
            let Some(next) = self.spares.pop_front() else {
                self.awaited_bytes = frame_bytes;
                return Err(self.full_for(frame_bytes));
            };
            let noted =
                self.active().write_mark(FrameKind::Continuation, self.written, self.durable);
            self.or_fail(noted)?;
            if let Some(left) = self.segments.back() {
                self.syncs.note_rotated(left, &next);
            }
            let is_large_enough = next.left_bytes() >= frame_bytes;
            self.segments.push_back(next);
            if is_large_enough {
                return Ok(());
            }
        }
    }

    /// The error for a record that finds no room.
    pub(crate) fn full(&self) -> JournalError {
        self.full_for(0)
    }

    fn full_for(&self, frame_bytes: u64) -> JournalError {
        if let Some(error @ JournalError::TooManyFiles(_)) = &self.lack {
            return error.clone();
        }
        let needed_bytes = self.layout_job(frame_bytes).needed_bytes();
        JournalError::Full { needed_bytes, free_bytes: self.disk.free_bytes().unwrap_or(0) }
    }

    fn shortage(&self) -> Option<Shortage> {
        self.lack.as_ref().and_then(JournalError::shortage)
    }

    pub(super) fn layout_job(&self, frame_bytes: u64) -> LayoutJob<D> {
        let number = self.segments.back().map_or(scan::FIRST_NUMBER, |last| last.number + 1);
        let capacity_bytes = self.config.capacity_bytes(number);
        LayoutJob {
            disk: self.disk.clone(),
            config: self.config.clone(),
            number,
            capacity_bytes: capacity_bytes
                .max(SegmentHeader::END + frame_bytes + segment::MARK_BYTES),
            may_use_reserve: frame_bytes > 0
                || self
                    .segments
                    .back()
                    .is_some_and(|active| self.left_bytes() < active.capacity_bytes / 2),
        }
    }
}
