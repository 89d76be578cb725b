//! A journal's records, read back.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::path::PathBuf;

use bytes::Bytes;
use kv_core::{PersistSeq, Wire};

use crate::disk::Disk;
use crate::journal::Journal;
use crate::journal::error::JournalError;
use crate::journal::frame::{Frame, FrameKind};
use crate::journal::segment::{self, Segment, SegmentHeader};

/// The records of a journal in order, one segment in memory at a time.
///
/// It ends early at a record that cannot be read: whoever has taken them all, by reference, asks
/// [`Replay::finish`] whether these were all.
#[derive(Debug)]
pub struct Replay<D: Disk, R> {
    disk: D,
    segments: VecDeque<Segment<D::File>>,
    bytes: Bytes,
    offset: usize,
    after: PersistSeq,
    error: Option<JournalError>,
    records: PhantomData<fn() -> R>,
}

impl<D: Disk> Journal<D> {
    /// The records after `after`, as they are on disk now; those that were appended since
    /// [`Journal::recover`] are not among them.
    pub fn replay<R: Wire>(&self, after: PersistSeq) -> Replay<D, R> {
        Replay::over(self.disk.clone(), &self.segments, after)
    }
}

impl<D: Disk, R: Wire> Replay<D, R> {
    pub(crate) fn over<'a>(
        disk: D,
        segments: impl IntoIterator<Item = &'a Segment<D::File>>,
        after: PersistSeq,
    ) -> Self {
        let held = |segment: &&Segment<D::File>| segment.records.is_some_and(|(_, l)| l > after);
        Self {
            disk,
            segments: segments.into_iter().filter(held).cloned().collect(),
            bytes: Bytes::new(),
            offset: 0,
            after,
            error: None,
            records: PhantomData,
        }
    }

    /// Whether all records were given.
    ///
    /// # Errors
    /// [`JournalError`] for the one that could not be read.
    pub fn finish(self) -> Result<(), JournalError> {
        self.error.map_or(Ok(()), Err)
    }

    fn read_next(&mut self) -> Result<Option<(PersistSeq, R)>, JournalError> {
        loop {
            let Some(segment) = self.segments.front() else {
                return Ok(None);
            };
            if self.offset == 0 {
                self.bytes = segment.read()?.into();
                self.offset = SegmentHeader::LEN;
            }
            if u64::try_from(self.offset).unwrap_or(u64::MAX) >= segment.end {
                self.segments.pop_front();
                self.offset = 0;
                continue;
            }
            let frame = self.bytes.get(self.offset..).and_then(|b| Frame::decode(segment.seed, b));
            let Some(frame) = frame.filter(|frame| frame.header.kind == FrameKind::Record) else {
                let offset = u64::try_from(self.offset).unwrap_or(u64::MAX);
                let (file, seq) = (self.file(segment.number), self.after.next());
                return Err(JournalError::Damaged { file, offset, seq });
            };
            let seq = frame.header.seq;
            self.offset += frame.size;
            if seq > self.after {
                // A copy, so that no record keeps a whole segment in memory.
                let record = R::from_bytes(Bytes::copy_from_slice(frame.record));
                let file = self.file(segment.number);
                self.after = seq;
                let record =
                    record.map_err(|problem| JournalError::NotReadable { file, seq, problem });
                return record.map(|record| Some((seq, record)));
            }
        }
    }

    fn file(&self, number: u64) -> PathBuf {
        self.disk.path(&segment::name(number))
    }
}

impl<D: Disk, R: Wire> Iterator for Replay<D, R> {
    type Item = (PersistSeq, R);

    fn next(&mut self) -> Option<(PersistSeq, R)> {
        if self.error.is_some() {
            return None;
        }
        self.read_next().unwrap_or_else(|error| {
            self.error = Some(error);
            None
        })
    }
}
