//! The records that must outlive the process, in files.

mod config;
mod error;
mod frame;
mod inspection;
mod layout;
mod recovery;
mod replay;
mod scan;
mod segment;
mod status;
mod sync;

use std::collections::VecDeque;

use bytes::BytesMut;
use kv_core::{GroupId, PersistSeq, Wire};

use crate::disk::{Disk, DiskFile};
use crate::journal::frame::{FrameHeader, FrameKind};
use crate::journal::segment::{Segment, SegmentHeader};
use crate::journal::sync::Syncs;

pub use config::JournalConfig;
pub use error::JournalError;
pub use inspection::{JournalInspection, SegmentReport};
pub use layout::{LayoutDone, LayoutJob};
pub use recovery::{Recovery, TornTail};
pub use replay::Replay;
pub use status::{JournalStatus, Room, Shortage};
pub(crate) use sync::SYNCS_MAX;
pub use sync::{SyncDone, SyncJob};

/// An append-only sequence of records in segments of a fixed size.
///
/// It has no thread and no clock. Records are [appended](Self::append) to a batch in memory, the
/// batch is [written](Self::write) at once, and a [sync](Self::begin_sync) makes all that was
/// written durable; the sync's work can be done elsewhere, while more is appended and written.
/// The same goes for [laying out](Self::begin_layout) the next segment. At most two syncs and one
/// layout are under way. What fails once fails for ever, but for a lack of room.
#[derive(Debug)]
pub struct Journal<D: Disk> {
    disk: D,
    config: JournalConfig,
    /// Those that hold records, oldest first; the last one takes more.
    segments: VecDeque<Segment<D::File>>,
    /// Those that are laid out and empty, in the order of their use.
    spares: VecDeque<Segment<D::File>>,
    layout_under_way: bool,
    /// Bytes of the frame for which there was no room, which the next segment is to hold; 0 if
    /// there was room for the last one.
    awaited_bytes: u64,
    /// Why the next segment could not be laid out, which may end by itself.
    lack: Option<JournalError>,
    /// Frames that are not written, for the end of the last segment.
    buffer: BytesMut,
    last: PersistSeq,
    written: PersistSeq,
    durable: PersistSeq,
    syncs: Syncs<D::File>,
    failure: Option<JournalError>,
}

impl<D: Disk> Journal<D> {
    /// Appends a record to the batch. It is lost in a crash until a sync has covered it.
    ///
    /// The batch is written by itself whenever it has more than a mebibyte. A record that is larger
    /// than a segment gets a segment of its own size.
    ///
    /// # Errors
    /// [`JournalError::Full`] if there is no room for the record, or [`JournalError::TooManyFiles`]:
    /// then it can be appended again.
    /// [`JournalError::NotDense`] and [`JournalError::TooLarge`] refuse it for good. Any other
    /// error stays for ever.
    pub fn append(&mut self, seq: PersistSeq, record: &impl Wire) -> Result<(), JournalError> {
        self.check_sound()?;
        let expected = self.last.next();
        if seq != expected {
            return Err(JournalError::NotDense { expected, found: seq });
        }
        let kind = FrameKind::Record;
        let header = FrameHeader { kind, group: GroupId(0), seq, durable_through: self.durable };
        loop {
            let size = self.put_frame(header, record);
            if len_of(&self.buffer) <= self.active().left_bytes() {
                break;
            }
            self.buffer.truncate(self.buffer.len() - size);
            let size_bytes = u64::try_from(size).unwrap_or(u64::MAX);
            if size_bytes > FRAME_BYTES_MAX {
                let limit_bytes = FRAME_BYTES_MAX;
                return Err(JournalError::TooLarge { seq, size_bytes, limit_bytes });
            }
            self.rotate(size_bytes)?;
        }
        self.last = seq;
        self.awaited_bytes = 0;
        if self.buffer.len() > BATCH_BYTES { self.write() } else { Ok(()) }
    }

    /// Writes the batch to the segment.
    ///
    /// # Errors
    /// [`JournalError::Failed`], for ever.
    pub fn write(&mut self) -> Result<(), JournalError> {
        self.check_sound()?;
        if self.buffer.is_empty() {
            return Ok(());
        }
        let last = self.last;
        let active = self.active();
        let written = active.file().write_at(active.end, &self.buffer);
        self.or_fail(written.map_err(JournalError::from))?;
        let len = len_of(&self.buffer);
        let active = self.active_mut();
        active.end += len;
        assert!(active.end + segment::MARK_BYTES <= active.capacity_bytes);
        active.note(last);
        self.written = last;
        self.buffer.clear();
        if self.buffer.capacity() > 2 * BATCH_BYTES {
            self.buffer = BytesMut::new();
        }
        if let Some(active) = self.segments.back() {
            self.syncs.note_written(active);
        }
        Ok(())
    }

    /// Writes the batch and begins a sync of all that was written; `None` if all of it is on
    /// disk or on its way there, or if two syncs are under way.
    ///
    /// # Errors
    /// [`JournalError`], for ever.
    pub fn begin_sync(&mut self) -> Result<Option<SyncJob<D::File>>, JournalError> {
        self.write()?;
        Ok(self.syncs.begin(self.written, self.config.broken))
    }

    /// Ends a sync; returns the last record that is on disk: that of a sync counts once all that
    /// began before it have ended.
    ///
    /// # Errors
    /// [`JournalError::Failed`] if the sync failed, for ever.
    pub fn end_sync(&mut self, done: SyncDone) -> Result<PersistSeq, JournalError> {
        self.check_sound()?;
        let newly_durable = self.syncs.end(&done);
        self.or_fail(done.result.map_err(JournalError::from))?;
        if let Some(durable) = newly_durable {
            assert!(durable <= self.written);
            self.durable = self.durable.max(durable);
            self.write_mark()?;
        }
        Ok(self.durable)
    }

    /// Whether a sync is under way.
    #[must_use]
    pub fn is_syncing(&self) -> bool {
        self.syncs.are_under_way()
    }

    /// Writes and syncs all that was appended, here and now; returns the last record.
    ///
    /// # Errors
    /// [`JournalError`], for ever.
    ///
    /// # Panics
    /// If a sync is under way elsewhere.
    pub fn sync(&mut self) -> Result<PersistSeq, JournalError> {
        assert!(!self.is_syncing());
        match self.begin_sync()? {
            Some(job) => self.end_sync(job.run()),
            None => Ok(self.durable),
        }
    }

    /// Syncs all that was appended, and the note that it is on disk, and lets go of the files.
    ///
    /// A journal that is dropped instead is as safe; only damage to its last records may then be
    /// taken for a torn tail.
    ///
    /// # Errors
    /// [`JournalError`] if that failed.
    ///
    /// # Panics
    /// If a sync is under way elsewhere.
    pub fn close(mut self) -> Result<PersistSeq, JournalError> {
        let durable = self.sync()?;
        self.active().file().sync()?;
        Ok(durable)
    }

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
                self.lack = None;
                Ok(())
            }
            Err(error) if error.is_full() => {
                if error.shortage() != self.shortage() {
                    tracing::warn!("{error}");
                }
                self.lack = Some(error);
                Ok(())
            }
            Err(error) => self.or_fail(Err(error)),
        }
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
            let left_bytes = self.active().left_bytes().saturating_sub(len_of(&self.buffer));
            Room::Low { left_bytes, shortage }
        })
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

    /// The last record that was appended, 0 before the first.
    #[must_use]
    pub const fn last(&self) -> PersistSeq {
        self.last
    }

    /// The last record that a crash cannot lose, 0 before the first.
    #[must_use]
    pub const fn durable(&self) -> PersistSeq {
        self.durable
    }

    /// How it is laid out.
    #[must_use]
    pub const fn config(&self) -> &JournalConfig {
        &self.config
    }

    /// The journal in figures.
    #[must_use]
    pub fn status(&self) -> JournalStatus {
        let first = self.segments.iter().find_map(|segment| segment.records);
        let all = self.segments.iter().chain(&self.spares);
        JournalStatus {
            segments: self.segments.len(),
            first: first.map_or(self.last.next(), |(first, _)| first),
            last: self.last,
            durable: self.durable,
            used_bytes: self.segments.iter().map(|segment| segment.end).sum(),
            disk_bytes: all.map(|segment| segment.capacity_bytes).sum(),
        }
    }

    fn active(&self) -> &Segment<D::File> {
        self.segments.back().unwrap_or_else(|| unreachable!("a journal has a segment"))
    }

    fn active_mut(&mut self) -> &mut Segment<D::File> {
        self.segments.back_mut().unwrap_or_else(|| unreachable!("a journal has a segment"))
    }

    /// Appends a frame to the batch; returns its size.
    fn put_frame(&mut self, header: FrameHeader, record: &impl Wire) -> usize {
        let seed = self.active().seed;
        let start = self.buffer.len();
        header.encode(seed, record, &mut self.buffer);
        self.buffer.len() - start
    }

    /// Goes on in the next segment that can hold a frame of this size. One that is too small stays
    /// behind empty, since segments follow each other by their numbers.
    ///
    /// Each one that is left says so behind its last record, and is synced with the first record of
    /// the next one at the latest, so that no segment with records can vanish unseen.
    fn rotate(&mut self, frame_bytes: u64) -> Result<(), JournalError> {
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

    fn layout_job(&self, frame_bytes: u64) -> LayoutJob<D> {
        let number = self.segments.back().map_or(scan::FIRST_NUMBER, |last| last.number + 1);
        let capacity_bytes = self.config.capacity_bytes(number);
        LayoutJob {
            disk: self.disk.clone(),
            config: self.config.clone(),
            number,
            capacity_bytes: capacity_bytes
                .max(SegmentHeader::END + frame_bytes + segment::MARK_BYTES),
        }
    }

    /// Notes behind the last record what is on disk, so that damage to it is not taken for a torn
    /// tail. The next record takes the mark's place; it need not be synced.
    fn write_mark(&mut self) -> Result<(), JournalError> {
        let durable = self.durable;
        let is_idle = self.buffer.is_empty() && self.written == durable;
        if !is_idle || durable == PersistSeq(0) {
            return Ok(());
        }
        let written = self.active().write_mark(FrameKind::Mark, durable, durable);
        self.or_fail(written)
    }

    fn check_sound(&self) -> Result<(), JournalError> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// Remembers a failure for ever.
    fn or_fail<T>(&mut self, result: Result<T, JournalError>) -> Result<T, JournalError> {
        if let Err(error) = &result {
            self.failure = Some(error.clone());
        }
        result
    }
}

fn len_of(buffer: &impl AsRef<[u8]>) -> u64 {
    u64::try_from(buffer.as_ref().len()).unwrap_or(u64::MAX)
}

/// The largest frame: its length must fit into its header.
const FRAME_BYTES_MAX: u64 = 4 << 30;

/// A batch that is larger is written before it is asked for.
const BATCH_BYTES: usize = 1 << 20;
