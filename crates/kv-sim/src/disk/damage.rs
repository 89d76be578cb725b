//! Where damage must be noticed: a reading of the journal's byte form of its own, so that the
//! journal is not asked what it has to notice.

use kv_storage::{Disk, SimDisk};

/// A bit of a segment's header, or of a record that a later frame knows to be on disk: the file,
/// and the bit in it; `choice` decides which. `None` if there is none.
pub(crate) fn choose(disk: &SimDisk, choice: u64) -> Option<(String, u64)> {
    let mut records = Vec::new();
    let mut ranges = Vec::new();
    let mut known_durable = 0;
    for name in disk.list().ok()? {
        if !name.ends_with(SEGMENT_SUFFIX) {
            continue;
        }
        let bytes = disk.read(&name).ok()?;
        ranges.push((name.clone(), 0, HEADER_LEN));
        let seed = number_at(&bytes, HEADER_LEN - 4)?;
        let mut offset = HEADER_LEN;
        while let Some(frame) = Frame::at(&bytes, offset, seed) {
            known_durable = known_durable.max(frame.durable_through);
            if frame.kind != RECORD {
                break;
            }
            records.push((frame.seq, (name.clone(), offset, frame.len)));
            offset += frame.len;
        }
    }
    ranges.extend(records.into_iter().filter(|(seq, _)| *seq <= known_durable).map(|(_, at)| at));
    let place = usize::try_from(choice >> 32).unwrap_or(0).checked_rem(ranges.len())?;
    let (name, offset, len) = ranges.get(place)?.clone();
    let bits = u64::try_from(len * 8).ok()?;
    let from = u64::try_from(offset * 8).ok()?;
    Some((name, from + (choice & 0xffff_ffff) % bits))
}

/// A whole frame.
struct Frame {
    kind: u8,
    seq: u64,
    durable_through: u64,
    len: usize,
}

impl Frame {
    fn at(bytes: &[u8], offset: usize, seed: u32) -> Option<Self> {
        let record_len = usize::try_from(number_at(bytes, offset + 4)?).ok()?;
        let len = (FRAME_HEADER_LEN + record_len).next_multiple_of(8);
        let sealed = bytes.get(offset + 4..offset + len)?;
        let is_whole = crc32c::crc32c_append(seed, sealed) == number_at(bytes, offset)?;
        let frame = Self {
            kind: *bytes.get(offset + 8)?,
            seq: long_at(bytes, offset + 16)?,
            durable_through: long_at(bytes, offset + 24)?,
            len,
        };
        is_whole.then_some(frame)
    }
}

fn number_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn long_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

const SEGMENT_SUFFIX: &str = ".segment";

/// Bytes of a segment's header; the last four of them are its checksum, from which those of its
/// frames go on.
const HEADER_LEN: usize = 128;

const FRAME_HEADER_LEN: usize = 32;

const RECORD: u8 = 1;
