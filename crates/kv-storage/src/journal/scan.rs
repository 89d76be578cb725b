//! What a journal's segments hold, without changing them.

use kv_core::PersistSeq;

use crate::disk::{Disk, DiskFile};
use crate::identity::StoreIdentity;
use crate::journal::error::JournalError;
use crate::journal::frame::{FRAME_ALIGN, Frame, FrameKind, HEADER_LEN};
use crate::journal::segment::{self, Segment, SegmentHeader};

/// The journal as it was found.
#[derive(Debug)]
pub(crate) struct Scan<F> {
    /// All segments, each up to the last record that follows from those before it.
    pub(crate) segments: Vec<Segment<F>>,
    /// The last record that follows from those before it, or that went with removed segments.
    pub(crate) last: PersistSeq,
    /// How many records there are up to that one.
    pub(crate) records: u64,
    /// Bytes that follow from nothing.
    pub(crate) leftovers: Vec<Leftover>,
    /// Whole records among them.
    pub(crate) records_after: u64,
    /// The highest record that any frame knows to be on disk.
    pub(crate) durable_through: PersistSeq,
}

/// Bytes after a segment's last record that should be zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leftover {
    /// The segment's place in [`Scan::segments`].
    pub(crate) place: usize,
    pub(crate) from: u64,
    pub(crate) until: u64,
}

/// Reads all segments in order and tells a torn tail from damage: what is missing at or below the
/// `durable_through` of any frame was on disk once.
///
/// # Errors
/// [`JournalError`] for damage, which is left as it is.
pub(crate) fn scan<D: Disk>(
    disk: &D,
    identity: &StoreIdentity,
    covers: PersistSeq,
    sync: bool,
) -> Result<Scan<D::File>, JournalError> {
    let mut scanner = Scanner::new(disk, covers);
    for number in numbers(disk)? {
        let segment = Segment::open(disk, number, identity)?;
        if sync {
            segment.file.sync()?;
        }
        scanner.take(segment)?;
    }
    scanner.finish()
}

/// The numbers of the segments, which must follow each other.
fn numbers(disk: &impl Disk) -> Result<Vec<u64>, JournalError> {
    let mut numbers: Vec<u64> =
        disk.list()?.iter().filter_map(|name| segment::number_of(name)).collect();
    numbers.sort_unstable();
    let first = numbers.first().copied().unwrap_or_default();
    for (expected, number) in (first..).zip(&numbers) {
        if expected != *number {
            return Err(JournalError::MissingSegment { file: disk.path(&segment::name(expected)) });
        }
    }
    Ok(numbers)
}

struct Scanner<'a, D: Disk> {
    disk: &'a D,
    covers: PersistSeq,
    scan: Scan<D::File>,
    last: Option<PersistSeq>,
    /// The highest record that any frame knows to be on disk.
    known_durable: PersistSeq,
    /// Where the first record that is missing should stand.
    hole: Option<Hole>,
}

#[derive(Clone, Copy)]
struct Hole {
    place: usize,
    offset: u64,
    has_leftovers: bool,
}

impl<'a, D: Disk> Scanner<'a, D> {
    fn new(disk: &'a D, covers: PersistSeq) -> Self {
        let scan = Scan {
            segments: Vec::new(),
            last: PersistSeq(0),
            records: 0,
            leftovers: Vec::new(),
            records_after: 0,
            durable_through: PersistSeq(0),
        };
        Self { disk, covers, scan, last: None, known_durable: PersistSeq(0), hole: None }
    }

    fn take(&mut self, mut segment: Segment<D::File>) -> Result<(), JournalError> {
        let bytes = segment.read()?;
        let place = self.scan.segments.len();
        if self.scan.records_after == 0 {
            self.accept(&mut segment, &bytes)?;
        }
        let end = usize::try_from(segment.end).unwrap_or(usize::MAX);
        let found = self.look_through(segment.seed, bytes.get(end..).unwrap_or_default());
        if let Some(len) = found {
            let until = segment.end + u64::try_from(len).unwrap_or(u64::MAX);
            self.scan.leftovers.push(Leftover { place, from: segment.end, until });
        }
        let has_leftovers = found.is_some();
        let known = self.hole.filter(|hole| hole.has_leftovers || !has_leftovers);
        if segment.records.is_some() || known.is_none() {
            self.hole = Some(Hole { place, offset: segment.end, has_leftovers });
        }
        self.scan.segments.push(segment);
        Ok(())
    }

    /// Takes the records that follow from those before them.
    fn accept(&mut self, segment: &mut Segment<D::File>, bytes: &[u8]) -> Result<(), JournalError> {
        while let Some(frame) = frame_at(segment.seed, bytes, segment.end) {
            self.known_durable = self.known_durable.max(frame.header.durable_through);
            if frame.header.kind == FrameKind::Mark {
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
            segment.end += u64::try_from(frame.size).unwrap_or(u64::MAX);
            self.last = Some(seq);
            self.scan.records += 1;
        }
        Ok(())
    }

    /// Whether a journal whose first segments were removed may begin with this record.
    fn may_begin_with(&self, seq: PersistSeq) -> Result<bool, JournalError> {
        let expected = self.covers.next();
        // A hole before it was met already: then it only tells what is missing.
        if self.hole.is_some() {
            return Ok(false);
        }
        if seq > expected {
            let until = PersistSeq(seq.0 - 1);
            return Err(JournalError::MissingRecords { from: expected, until });
        }
        Ok(true)
    }

    /// Looks for whole frames among bytes that follow from nothing, and says how many of them
    /// there are up to the last that is not zero; `None` if there are none.
    fn look_through(&mut self, seed: u32, rest: &[u8]) -> Option<usize> {
        let first = first_nonzero(rest)?;
        let len = rest.iter().rposition(|byte| *byte != 0)? + 1;
        // The mark that stands right after the last record is where it belongs.
        if let Some(mark) = Frame::decode(seed, rest)
            && mark.header.kind == FrameKind::Mark
            && len <= HEADER_LEN
        {
            self.known_durable = self.known_durable.max(mark.header.durable_through);
            return None;
        }
        let mut offset = first / FRAME_ALIGN * FRAME_ALIGN;
        while let Some(bytes) = rest.get(offset..).filter(|bytes| !bytes.is_empty()) {
            let Some(frame) = Frame::decode(seed, bytes) else {
                offset += FRAME_ALIGN;
                continue;
            };
            self.known_durable = self.known_durable.max(frame.header.durable_through);
            self.scan.records_after += u64::from(frame.header.kind == FrameKind::Record);
            offset += frame.size;
        }
        Some(len)
    }

    fn finish(mut self) -> Result<Scan<D::File>, JournalError> {
        let last = self.last.unwrap_or_else(|| self.last_without_records());
        if last >= self.known_durable.max(self.covers) {
            self.scan.last = last;
            self.scan.durable_through = self.known_durable;
            return Ok(self.scan);
        }
        let damage_at = self.hole.filter(|hole| hole.has_leftovers || self.known_durable > last);
        let segment = damage_at.and_then(|hole| self.scan.segments.get(hole.place));
        match (damage_at, segment) {
            (Some(hole), Some(segment)) => Err(JournalError::Damaged {
                file: self.disk.path(&segment::name(segment.number)),
                offset: hole.offset,
                seq: last.next(),
            }),
            _ => Err(JournalError::BehindCheckpoint { last, covers: self.covers }),
        }
    }

    /// Where a journal without records stands: after those that went with its first segments.
    fn last_without_records(&self) -> PersistSeq {
        match self.scan.segments.first() {
            Some(first) if first.number != FIRST_NUMBER => self.covers,
            Some(_) | None => PersistSeq(0),
        }
    }
}

fn frame_at(seed: u32, bytes: &[u8], offset: u64) -> Option<Frame<'_>> {
    Frame::decode(seed, bytes.get(usize::try_from(offset).ok()?..)?)
}

/// The place of the first byte that is not zero, found in strides: a segment may be all zeros.
fn first_nonzero(bytes: &[u8]) -> Option<usize> {
    let stride = [0; 4096];
    let zeros = |chunk: &&[u8]| stride.get(..chunk.len()) == Some(*chunk);
    let skipped = bytes.chunks(stride.len()).take_while(zeros).count() * stride.len();
    let place = bytes.get(skipped..)?.iter().position(|byte| *byte != 0)?;
    Some(skipped + place)
}

/// The number of a journal's first segment.
pub(crate) const FIRST_NUMBER: u64 = 1;

const _: () = assert!(SegmentHeader::LEN.is_multiple_of(FRAME_ALIGN));
