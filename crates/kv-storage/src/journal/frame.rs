//! A record in the journal's byte form.
//!
//! ```text
//!  0  checksum         u32  CRC-32C of all that follows, continued from the segment's own
//!  4  length           u32  bytes of the record
//!  8  kind             u8   1 a record, 2 a mark, 3 a mark that the next segment goes on
//!  9  header checksum  u24  the low bits of the CRC-32C of the length, the kind and all fields
//!                           below it, continued from the segment's own
//! 12  group            u32
//! 16  sequence         u64
//! 24  durable through  u64
//! 32  the record, then zeros up to a multiple of 8
//! ```
//!
//! The header's checksum bounds the time that it takes to look for frames among bytes that are none.
//! A client chooses a record's bytes and could have each of them look like the header of a long
//! frame, whose checksum is long work; but not under the segment's own checksum, which it does not
//! know.

use std::ops::Range;

use bytes::{BufMut, BytesMut};
use kv_core::{GroupId, PersistSeq, Wire};

/// What stands before a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    pub(crate) group: GroupId,
    /// The record's place; of a mark, the last record before it.
    pub(crate) seq: PersistSeq,
    /// The last record that was known to be on disk when this was written.
    pub(crate) durable_through: PersistSeq,
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// It holds a record.
    Record,
    /// It only says what is on disk. The next record takes its place.
    Mark,
    /// A mark that also says that records go on in the next segment, which was there when this was
    /// written: without it, records may be missing.
    Continuation,
}

/// A frame that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) header: FrameHeader,
    pub(crate) record: &'a [u8],
    /// Bytes of the whole frame.
    pub(crate) size: usize,
}

impl FrameHeader {
    /// Appends the frame of a record.
    pub(crate) fn encode(self, seed: u32, record: &impl Wire, out: &mut BytesMut) {
        let start = out.len();
        out.put_bytes(0, HEADER_LEN);
        record.encode(out);
        let len = out.len() - start - HEADER_LEN;
        out.put_bytes(0, padding(len));
        self.seal(seed, len, out.get_mut(start..).unwrap_or_default());
    }

    /// The frame of a mark.
    pub(crate) fn encode_mark(self, seed: u32) -> BytesMut {
        let mut out = BytesMut::zeroed(HEADER_LEN);
        self.seal(seed, 0, &mut out);
        out
    }

    fn seal(self, seed: u32, len: usize, frame: &mut [u8]) {
        let (head, _) = frame.split_at_mut(HEADER_LEN);
        let (_, mut fields) = head.split_at_mut(CHECKSUM_LEN);
        // A record that long is refused before it is written: no segment has room for it.
        fields.put_u32_le(u32::try_from(len).unwrap_or(u32::MAX));
        fields.put_u8(self.kind.tag());
        fields.put_bytes(0, HEADER_CHECKSUM.len());
        fields.put_u32_le(self.group.0);
        fields.put_u64_le(self.seq.0);
        fields.put_u64_le(self.durable_through.0);
        let checksum = header_checksum(seed, head);
        if let (Some(place), Some(checksum)) = (head.get_mut(HEADER_CHECKSUM), checksum) {
            place.copy_from_slice(&checksum);
        }
        let (mut checksum, sealed) = frame.split_at_mut(CHECKSUM_LEN);
        checksum.put_u32_le(crc32c::crc32c_append(seed, sealed));
    }
}

impl<'a> Frame<'a> {
    /// Reads the frame at the front of `bytes`; `None` if there is no whole one.
    pub(crate) fn decode(seed: u32, bytes: &'a [u8]) -> Option<Self> {
        Self::decode_counting(seed, bytes, &mut 0)
    }

    /// The same, counting the bytes of frames whose checksum was computed.
    pub(crate) fn decode_counting(
        seed: u32,
        bytes: &'a [u8],
        checked_bytes: &mut u64,
    ) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
        let checksum = number_at(head, 0)?;
        let len = usize::try_from(number_at(head, 4)?).ok()?;
        let kind = FrameKind::of_tag(*head.get(8)?)?;
        if head.get(HEADER_CHECKSUM)? != header_checksum(seed, head)? {
            return None;
        }
        let record = rest.get(..len)?;
        let size = HEADER_LEN + len + padding(len);
        let sealed = bytes.get(CHECKSUM_LEN..size)?;
        *checked_bytes += u64::try_from(size).unwrap_or(u64::MAX);
        if crc32c::crc32c_append(seed, sealed) != checksum {
            return None;
        }
        let header = FrameHeader {
            kind,
            group: GroupId(number_at(head, 12)?),
            seq: PersistSeq(long_at(head, 16)?),
            durable_through: PersistSeq(long_at(head, 24)?),
        };
        Some(Self { header, record, size })
    }
}

impl FrameKind {
    const fn tag(self) -> u8 {
        match self {
            Self::Record => 1,
            Self::Mark => 2,
            Self::Continuation => 3,
        }
    }

    const fn of_tag(tag: u8) -> Option<Self> {
        match tag {
            1 => Some(Self::Record),
            2 => Some(Self::Mark),
            3 => Some(Self::Continuation),
            _ => None,
        }
    }
}

fn header_checksum(seed: u32, head: &[u8]) -> Option<[u8; 3]> {
    let before = crc32c::crc32c_append(seed, head.get(CHECKSUM_LEN..HEADER_CHECKSUM.start)?);
    let checksum = crc32c::crc32c_append(before, head.get(HEADER_CHECKSUM.end..HEADER_LEN)?);
    checksum.to_le_bytes().first_chunk().copied()
}

fn number_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn long_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

const fn padding(len: usize) -> usize {
    len.next_multiple_of(FRAME_ALIGN) - len
}

/// Bytes before the record.
pub(crate) const HEADER_LEN: usize = 32;

/// Frames begin at multiples of this many bytes.
pub(crate) const FRAME_ALIGN: usize = 8;

const CHECKSUM_LEN: usize = 4;

/// Where the header's own checksum stands.
const HEADER_CHECKSUM: Range<usize> = 9..12;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const SEED: u32 = 0x1234_5678;

    const HEADER: FrameHeader = FrameHeader {
        kind: FrameKind::Record,
        group: GroupId(0),
        seq: PersistSeq(5),
        durable_through: PersistSeq(3),
    };

    fn framed() -> Bytes {
        let mut out = BytesMut::new();
        HEADER.encode(SEED, &0x0102u16, &mut out);
        out.freeze()
    }

    #[test]
    fn golden_bytes() {
        let fields: &[u8] =
            &[2, 0, 0, 0, 1, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
        let [a, b, c, _] = crc32c::crc32c_append(SEED, fields).to_le_bytes();
        let body: &[u8] = &[
            2, 0, 0, 0, 1, a, b, c, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2,
            1, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(&framed()[4..], body);
        assert_eq!(framed()[..4], crc32c::crc32c_append(SEED, body).to_le_bytes());
    }

    #[test]
    fn a_frame_is_read_back_whatever_follows() {
        let mut bytes = framed().to_vec();
        bytes.extend_from_slice(b"more");
        let frame = Frame::decode(SEED, &bytes);
        assert_eq!(frame, Some(Frame { header: HEADER, record: &[2, 1], size: 40 }));
        let mark = FrameHeader { kind: FrameKind::Mark, ..HEADER }.encode_mark(SEED);
        assert_eq!(mark.len(), HEADER_LEN);
        assert_eq!(Frame::decode(SEED, &mark).map(|f| f.header.kind), Some(FrameKind::Mark));
    }

    #[test]
    fn no_flipped_bit_no_missing_byte_and_no_other_segment_goes_unseen() {
        let bytes = framed();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Frame::decode(SEED, &flipped), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(Frame::decode(SEED, &bytes[..len]), None, "{len} bytes");
        }
        assert_eq!(Frame::decode(SEED + 1, &bytes), None);
        assert_eq!(Frame::decode(SEED, &[0; 64]), None);
    }
}
