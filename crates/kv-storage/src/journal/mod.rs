//! The records that must outlive the process, in files.

mod config;
mod error;
mod frame;
mod growth;
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
use crate::journal::segment::Segment;
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
    /// The last record that was noted to be on disk since the start.
    noted: PersistSeq,
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
        }
        Ok(self.durable)
    }

    /// Notes behind the last record that it is on disk, so that damage to it is not taken for a torn
    /// tail. Does nothing while more is to be synced, or if that is noted.
    ///
    /// The next record takes the note's place, so it is worth writing only when none waits. It need
    /// not be synced.
    ///
    /// # Errors
    /// [`JournalError::Failed`] if it cannot be written, for ever.
    pub fn note_durable(&mut self) -> Result<(), JournalError> {
        self.check_sound()?;
        let durable = self.durable;
        let is_idle = self.buffer.is_empty() && self.written == durable;
        if !is_idle || self.noted == durable {
            return Ok(());
        }
        let written = self.active().write_mark(FrameKind::Mark, durable, durable);
        self.or_fail(written)?;
        self.noted = durable;
        Ok(())
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
        if let Some(job) = self.begin_sync()? {
            self.end_sync(job.run())?;
            self.note_durable()?;
        }
        Ok(self.durable)
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
