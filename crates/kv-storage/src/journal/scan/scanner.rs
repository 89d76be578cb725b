//! Segments are taken one after the other, each with the records that follow from those before it.

use std::collections::VecDeque;

use kv_core::PersistSeq;

use super::{FIRST_NUMBER, Leftover, Scan};
use crate::disk::Disk;
use crate::journal::error::JournalError;
use crate::journal::frame::{FRAME_ALIGN, Frame, FrameKind, HEADER_LEN};
use crate::journal::segment::{Segment, SegmentHeader};
use crate::mutation::Broken;

pub(super) struct Scanner<'a, D: Disk> {
    pub(super) disk: &'a D,
    pub(super) covers: PersistSeq,
    pub(super) scan: Scan<D::File>,
    pub(super) last: Option<PersistSeq>,
    /// The highest record that any frame knows to be on disk.
    pub(super) known_durable: PersistSeq,
    /// Where the first record that is missing should stand.
    pub(super) hole: Option<Hole>,
    /// The first record that is missing before frames that follow from nothing.
    pub(super) missing: Option<PersistSeq>,
    /// Records that were accepted and are not known to be durable, with their places.
    pub(super) unsure: VecDeque<(PersistSeq, usize, u64)>,
    pub(super) broken: Broken,
}

#[derive(Clone, Copy)]
pub(super) struct Hole {
    pub(super) place: usize,
    pub(super) offset: u64,
    leftover_bytes: usize,
}

impl Hole {
    pub(super) const fn has_leftovers(self) -> bool {
        self.leftover_bytes > 0
    }
}

impl<'a, D: Disk> Scanner<'a, D> {
    pub(super) fn new(disk: &'a D, covers: PersistSeq, broken: Broken) -> Self {
        let scan = Scan {
            segments: Vec::new(),
            last: PersistSeq(0),
            records: 0,
            leftovers: Vec::new(),
            records_after: 0,
            unsure: Vec::new(),
            durable_through: PersistSeq(0),
            checked_bytes: 0,
        };
        Self {
            disk,
            covers,
            scan,
            last: None,
            known_durable: PersistSeq(0),
            hole: None,
            missing: None,
            unsure: VecDeque::new(),
            broken,
        }
    }

    pub(super) fn take(&mut self, mut segment: Segment<D::File>) -> Result<(), JournalError> {
        let bytes = segment.read()?;
        let place = self.scan.segments.len();
        if self.scan.records_after == 0 {
            self.accept(&mut segment, &bytes)?;
        }
        let end = usize::try_from(segment.end).unwrap_or(usize::MAX);
        let found = self.look_through(&mut segment, bytes.get(end..).unwrap_or_default());
        if let Some(len) = found {
            let until = segment.end + u64::try_from(len).unwrap_or(u64::MAX);
            self.scan.leftovers.push(Leftover { place, from: segment.end, until });
        }
        let leftover_bytes = found.unwrap_or(0);
        let known = self.hole.filter(|hole| hole.has_leftovers() || leftover_bytes == 0);
        if segment.records.is_some() || known.is_none() {
            self.hole = Some(Hole { place, offset: segment.end, leftover_bytes });
        }
        self.scan.segments.push(segment);
        Ok(())
    }

    /// Takes the records that follow from those before them.
    fn accept(&mut self, segment: &mut Segment<D::File>, bytes: &[u8]) -> Result<(), JournalError> {
        let from = |offset| bytes.get(usize::try_from(offset).ok()?..);
        while let Some(rest) = from(segment.end)
            && let Some(frame) = self.decode(segment.seed, rest)
        {
            self.known_durable = self.known_durable.max(frame.header.durable_through);
            if frame.header.kind != FrameKind::Record {
                return Ok(());
            }
            let seq = frame.header.seq;
            let follows = match self.last {
                Some(last) => seq == last.next(),
                None if segment.number == FIRST_NUMBER => seq == PersistSeq(1),
                None => self.may_begin_with(seq)?,
            };
            if !follows {
                return Ok(());
            }
            segment.note(seq);
            self.unsure.push_back((seq, self.scan.segments.len(), segment.end));
            segment.end += u64::try_from(frame.size).unwrap_or(u64::MAX);
            self.last = Some(seq);
            self.scan.records += 1;
            self.forget_sure();
        }
        Ok(())
    }

    /// Whether this may be the first record of a journal, after segments that were removed or that
    /// stayed empty because it was too large for them.
    fn may_begin_with(&self, seq: PersistSeq) -> Result<bool, JournalError> {
        let expected = self.covers.next();
        let is_whole = self.scan.segments.first().is_some_and(|first| first.number == FIRST_NUMBER);
        match self.hole {
            None if seq > expected => {
                let until = PersistSeq(seq.0 - 1);
                Err(JournalError::MissingRecords { from: expected, until })
            }
            None => Ok(true),
            // What stood in the segments before it is gone: this only tells what is missing. A torn
            // mark is none of that.
            Some(hole) if hole.leftover_bytes > HEADER_LEN => Ok(false),
            Some(_) if is_whole => Ok(seq == PersistSeq(1)),
            Some(_) => Ok(seq <= expected),
        }
    }

    /// Looks for whole frames among bytes that follow from nothing, and says how many of them
    /// there are up to the last that is not zero; `None` if there are none.
    fn look_through(&mut self, segment: &mut Segment<D::File>, rest: &[u8]) -> Option<usize> {
        let seed = segment.seed;
        let first = first_nonzero(rest)?;
        let len = rest.iter().rposition(|byte| *byte != 0)? + 1;
        // The mark that stands right after the last record is where it belongs.
        if let Some(mark) = self.decode(seed, rest)
            && mark.header.kind != FrameKind::Record
            && len <= HEADER_LEN
        {
            segment.continues = mark.header.kind == FrameKind::Continuation;
            self.known_durable = self.known_durable.max(mark.header.durable_through);
            return None;
        }
        let mut offset = first / FRAME_ALIGN * FRAME_ALIGN;
        while let Some(bytes) = rest.get(offset..).filter(|bytes| !bytes.is_empty()) {
            let Some(frame) = self.decode(seed, bytes) else {
                offset += FRAME_ALIGN;
                continue;
            };
            self.known_durable = self.known_durable.max(frame.header.durable_through);
            segment.continues |= frame.header.kind == FrameKind::Continuation;
            let missing = match frame.header.kind {
                FrameKind::Record => {
                    self.scan.records_after += 1;
                    Some(PersistSeq(frame.header.seq.0.saturating_sub(1)))
                }
                FrameKind::Mark | FrameKind::Continuation => {
                    Some(frame.header.seq).filter(|_| offset > 0)
                }
            };
            self.missing = self.missing.into_iter().chain(missing).min();
            offset += frame.size;
        }
        Some(len)
    }

    fn decode<'b>(&mut self, seed: u32, bytes: &'b [u8]) -> Option<Frame<'b>> {
        Frame::decode_counting(seed, bytes, &mut self.scan.checked_bytes)
    }

    /// Forgets the places of records that some frame knows to be durable.
    pub(super) fn forget_sure(&mut self) {
        while self.unsure.front().is_some_and(|(seq, ..)| *seq <= self.known_durable) {
            self.unsure.pop_front();
        }
    }
}

/// The place of the first byte that is not zero, found in strides: a segment may be all zeros.
fn first_nonzero(bytes: &[u8]) -> Option<usize> {
    let stride = [0; 4096];
    let zeros = |chunk: &&[u8]| stride.get(..chunk.len()) == Some(*chunk);
    let skipped = bytes.chunks(stride.len()).take_while(zeros).count() * stride.len();
    let place = bytes.get(skipped..)?.iter().position(|byte| *byte != 0)?;
    Some(skipped + place)
}

const _: () = assert!(SegmentHeader::LEN.is_multiple_of(FRAME_ALIGN));
