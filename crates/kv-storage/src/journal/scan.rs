//! What a journal's segments hold, without changing them.

use std::collections::VecDeque;

use kv_core::PersistSeq;

use crate::disk::{Disk, DiskFile};
use crate::identity::StoreIdentity;
use crate::journal::error::JournalError;
use crate::journal::frame::{FRAME_ALIGN, Frame, FrameKind, HEADER_LEN};
use crate::journal::segment::{self, Segment, SegmentHeader};
use crate::mutation::{Broken, Mutation};

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
    /// Where records stand of which no frame knows that they were synced: the segment's place in
    /// [`Scan::segments`], and from which byte to which.
    pub(crate) unsure: Vec<Leftover>,
    /// The highest record that any frame knows to be on disk.
    pub(crate) durable_through: PersistSeq,
    /// Bytes of frames, or of what might have been one, whose checksum was computed. Where it is
    /// much more than there is, somebody has found out how to make the work long.
    pub(crate) checked_bytes: u64,
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
    broken: Broken,
) -> Result<Scan<D::File>, JournalError> {
    let mut scanner = Scanner::new(disk, covers, broken);
    for number in numbers(disk)? {
        let segment = Segment::open(disk, number, identity)?;
        if sync {
            segment.file().sync()?;
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
    /// The first record that is missing before frames that follow from nothing.
    missing: Option<PersistSeq>,
    /// Records that were accepted and are not known to be durable, with their places.
    unsure: VecDeque<(PersistSeq, usize, u64)>,
    broken: Broken,
}

#[derive(Clone, Copy)]
struct Hole {
    place: usize,
    offset: u64,
    leftover_bytes: usize,
}

impl Hole {
    const fn has_leftovers(self) -> bool {
        self.leftover_bytes > 0
    }
}

impl<'a, D: Disk> Scanner<'a, D> {
    fn new(disk: &'a D, covers: PersistSeq, broken: Broken) -> Self {
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

    fn take(&mut self, mut segment: Segment<D::File>) -> Result<(), JournalError> {
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
    fn forget_sure(&mut self) {
        while self.unsure.front().is_some_and(|(seq, ..)| *seq <= self.known_durable) {
            self.unsure.pop_front();
        }
    }

    fn finish(mut self) -> Result<Scan<D::File>, JournalError> {
        self.check_beginning()?;
        self.check_end()?;
        let last = self.last.unwrap_or_else(|| self.last_without_records());
        let is_whole = last >= self.known_durable.max(self.covers);
        if is_whole || self.broken.is(Mutation::DurableThroughIgnored) {
            self.scan.last = last;
            self.forget_sure();
            for (place, segment) in self.scan.segments.iter().enumerate() {
                let first = self.unsure.iter().find(|(_, unsure, _)| *unsure == place);
                let unsure =
                    first.map(|(.., from)| Leftover { place, from: *from, until: segment.end });
                self.scan.unsure.extend(unsure);
            }
            self.scan.durable_through = self.known_durable;
            return Ok(self.scan);
        }
        let damage_at = self.hole.filter(|hole| hole.has_leftovers() || self.known_durable > last);
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

    /// Segments go only when a checkpoint reflects their records, so one without records begins with
    /// the first segment where there is no checkpoint.
    fn check_beginning(&self) -> Result<(), JournalError> {
        let begins_late =
            self.scan.segments.first().is_some_and(|first| first.number != FIRST_NUMBER);
        if begins_late && self.last.is_none() && self.covers == PersistSeq(0) {
            let file = self.disk.path(&segment::name(FIRST_NUMBER));
            return Err(JournalError::MissingSegment { file });
        }
        Ok(())
    }

    /// The segment in which records go on was there when that was noted, and is the last to go.
    fn check_end(&self) -> Result<(), JournalError> {
        match self.scan.segments.last().filter(|last| last.continues) {
            Some(last) => {
                let file = self.disk.path(&segment::name(last.number + 1));
                Err(JournalError::MissingSegment { file })
            }
            None => Ok(()),
        }
    }

    /// Where a journal without records stands: after those that went with its first segments, or
    /// before one that is missing though the checkpoint says that it was on disk.
    fn last_without_records(&self) -> PersistSeq {
        match (self.scan.segments.first(), self.missing) {
            (Some(first), None) if first.number != FIRST_NUMBER => self.covers,
            (Some(first), Some(missing)) if first.number != FIRST_NUMBER => {
                self.covers.min(PersistSeq(missing.0.saturating_sub(1)))
            }
            (Some(_) | None, _) => PersistSeq(0),
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

/// The number of a journal's first segment.
pub(crate) const FIRST_NUMBER: u64 = 1;

const _: () = assert!(SegmentHeader::LEN.is_multiple_of(FRAME_ALIGN));

#[cfg(test)]
mod tests {
    use kv_core::NodeId;

    use super::*;
    use crate::disk::SimDisk;
    use crate::journal::{Journal, JournalConfig};

    /// Each eight bytes of the value look like the header of a frame as long as half of it.
    #[test]
    fn no_value_of_a_client_makes_the_search_for_frames_long() {
        let identity = StoreIdentity { store: 1, node: NodeId::FIRST, engine: "e".to_owned() };
        let none = PersistSeq(0);
        let value_bytes = 64u32 << 10;
        let words = [1u32.to_le_bytes(), (value_bytes / 2).to_le_bytes()].concat();
        for shift in [0, 4] {
            let disk = SimDisk::new(1);
            let config = JournalConfig::new(identity.clone());
            let config = JournalConfig { segment_bytes: 256 << 10, reserve_bytes: 0, ..config };
            let (mut journal, _) = Journal::recover(disk.clone(), config, none).unwrap();
            let value: Vec<u8> = words.iter().copied().cycle().skip(shift).take(64 << 10).collect();
            journal.append(PersistSeq(1), &value).unwrap();
            journal.write().unwrap();
            disk.kill();
            let look = || scan(&disk, &identity, none, false, Broken::NONE).unwrap();
            let whole = look();
            assert_eq!((whole.records, whole.leftovers.len()), (1, 0));
            disk.damage(&segment::name(1), |bytes| bytes[SegmentHeader::LEN + 8] ^= 1);
            let torn = look();
            assert_eq!((torn.records, torn.leftovers.len()), (0, 1));
            let bound = u64::from(value_bytes);
            assert!(torn.checked_bytes <= bound, "{} bytes were checked", torn.checked_bytes);
        }
    }
}
