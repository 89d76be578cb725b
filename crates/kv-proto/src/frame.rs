//! The frame around every message, whatever the message is.
//!
//! ```text
//! length      u32   of all that follows, at most 32 MiB; 4 KiB in a handshake
//! version     u8    of the protocol
//! kind        u8    of the message
//! group       u32   which group of the server is meant; 0 until there are several
//! checksum    u32   CRC-32C of the message
//! header      u32   CRC-32C of the 14 bytes above
//! message     ...
//! ```
//! All numbers are little endian. The header has a checksum of its own, so that a length that was
//! damaged, or read out of step, is noticed before the bytes that it announces are waited for.
//!
//! A refusal has the same form in every version of the protocol, so that older and newer programs can
//! show it; versions 1 and 2 had this form for all frames:
//!
//! ```text
//! length      u32   of all that follows, at most 4 KiB
//! version     u8    of the protocol
//! kind        u8    3
//! group       u32   not looked at
//! checksum    u32   CRC-32C of version, kind, group and message
//! message     ...
//! ```

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kv_core::{DecodeError, GroupId, Wire};

/// The version of the protocol that this crate speaks. Programs of different versions refuse each
/// other, so it is raised with every change to the byte form of a message.
pub const PROTOCOL_VERSION: u8 = 3;

/// The greatest length of a frame, in bytes, without the length itself.
pub const FRAME_LEN_MAX: usize = 32 << 20;

/// The greatest length of a frame while it is not known who is at the other end.
pub const HANDSHAKE_FRAME_LEN_MAX: usize = 4 << 10;

/// A frame of this kind is read whatever its version and group are: it says why a connection ends.
pub(crate) const KIND_OF_ALL_VERSIONS: u8 = 3;

/// A frame of this kind has no message: its sender lives. The decoder passes over it.
const ALIVE: u8 = 8;

/// A message that is sent in frames of its own kind.
pub trait FrameMessage: Wire {
    /// Tells its frames from others.
    const KIND: u8;

    /// The greatest length of its frames.
    const FRAME_LEN_MAX: usize = FRAME_LEN_MAX;
}

/// A frame that arrived undamaged, for a group that is served here. What its kind means is up to
/// whoever reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The group that it is for.
    pub group: GroupId,
    /// The kind of message.
    pub kind: u8,
    /// The message: a slice of the buffer that the frame was read into.
    pub payload: Bytes,
}

/// Takes frames out of the bytes that were read from a connection.
#[derive(Clone, Debug)]
pub struct FrameDecoder {
    group: GroupId,
    len_max: usize,
}

impl FrameDecoder {
    /// A decoder for one group, which refuses frames for others. It takes no more than
    /// [`HANDSHAKE_FRAME_LEN_MAX`] until that limit is lifted.
    #[must_use]
    pub const fn new(group: GroupId) -> Self {
        Self { group, len_max: HANDSHAKE_FRAME_LEN_MAX }
    }

    /// The handshake is done: frames may have up to [`FRAME_LEN_MAX`] bytes.
    pub const fn lift_limit(&mut self) {
        self.len_max = FRAME_LEN_MAX;
    }

    /// Takes the next frame from the front of `wire`; `None` if it is not complete. Frames that only
    /// say that their sender lives are passed over. The frame's payload is not copied. Memory is
    /// reserved for a short frame only: for a long one `wire` grows with what arrives, whatever
    /// length the other side announces.
    ///
    /// # Errors
    /// [`FrameError`] if the bytes are no frame for this group; nothing after it can be read.
    pub fn decode(&self, wire: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        while let Some(frame) = self.decode_any(wire)? {
            if frame.kind != ALIVE {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// The length in bytes of the frame at the front of `wire`, once its header has come and is
    /// sound.
    #[must_use]
    pub fn announced_len(&self, wire: &[u8]) -> Option<usize> {
        let header = Header::read(wire.first_chunk()?);
        self.form_of(&header).ok().map(|_| LENGTH_LEN.saturating_add(header.len()))
    }

    fn decode_any(&self, wire: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(length) = wire.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) else {
            return Ok(None);
        };
        let len = len_of(length);
        if len > self.len_max {
            return Err(FrameError::TooLarge { size: u64::from(length), limit: self.len_max });
        }
        if LENGTH_LEN + len < HEADER_LEN {
            let needed = HEADER_LEN - LENGTH_LEN;
            return Err(DecodeError::Truncated { needed, left: len }.into());
        }
        let Some(header) = wire.first_chunk().map(Header::read) else {
            return Ok(None);
        };
        let form = self.form_of(&header)?;
        let left = (LENGTH_LEN + len).saturating_sub(wire.len());
        if left > 0 {
            wire.reserve(left.min(RESERVED_LEN_MAX));
            return Ok(None);
        }
        let frame = wire.split_to(LENGTH_LEN + len).freeze();
        self.open(&header, form, frame).map(Some)
    }

    /// The form of a frame, by its header alone.
    fn form_of(&self, header: &Header) -> Result<Form, FrameError> {
        let in_handshake = self.len_max <= HANDSHAKE_FRAME_LEN_MAX;
        let may_be_other = header.kind == KIND_OF_ALL_VERSIONS
            || (in_handshake && header.version != PROTOCOL_VERSION);
        if header.is_sound {
            Ok(Form::Current)
        } else if may_be_other && header.len() <= HANDSHAKE_FRAME_LEN_MAX {
            Ok(Form::OfAllVersions)
        } else {
            Err(FrameError::Checksum)
        }
    }

    fn open(&self, header: &Header, form: Form, mut frame: Bytes) -> Result<Frame, FrameError> {
        let &Header { version, kind, group, .. } = header;
        let computed = match form {
            Form::Current => {
                frame.advance(HEADER_LEN);
                crc32c::crc32c(&frame)
            }
            Form::OfAllVersions => {
                frame.advance(HEADER_LEN_OF_ALL_VERSIONS);
                checksum_of_all_versions(version, kind, group, &frame)
            }
        };
        if computed != header.checksum {
            return Err(FrameError::Checksum);
        }
        if kind != KIND_OF_ALL_VERSIONS {
            if version != PROTOCOL_VERSION {
                return Err(FrameError::Version { theirs: version });
            }
            if group != self.group {
                return Err(FrameError::Group { theirs: group });
            }
        }
        Ok(Frame { group, kind, payload: frame })
    }
}

/// What stands before a message.
#[derive(Clone, Copy, Debug)]
struct Header {
    length: u32,
    version: u8,
    kind: u8,
    group: GroupId,
    checksum: u32,
    /// The header's own checksum is right.
    is_sound: bool,
}

/// How the bytes of a frame are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Current,
    OfAllVersions,
}

impl Header {
    fn read(bytes: &[u8; HEADER_LEN]) -> Self {
        let (mut fields, head) = (&bytes[..], bytes.first_chunk::<HEAD_LEN>());
        Self {
            length: fields.get_u32_le(),
            version: fields.get_u8(),
            kind: fields.get_u8(),
            group: GroupId(fields.get_u32_le()),
            checksum: fields.get_u32_le(),
            is_sound: head.map(|head| crc32c::crc32c(head)) == Some(fields.get_u32_le()),
        }
    }

    fn len(&self) -> usize {
        len_of(self.length)
    }
}

/// Appends a message in its frame to what will be written to a connection.
///
/// # Errors
/// [`MessageTooLarge`] if the frame would be over its limit; nothing is appended then.
pub fn put_message<M: FrameMessage>(
    group: GroupId,
    message: &M,
    wire: &mut BytesMut,
) -> Result<(), MessageTooLarge> {
    put_frame(wire, M::KIND, group, M::FRAME_LEN_MAX, message)
}

/// A message does not fit into a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {size} bytes is over the limit of {limit}: send less at once")]
pub struct MessageTooLarge {
    /// The length that the frame would have, in bytes.
    pub size: u64,
    /// The limit for messages of this kind: [`FRAME_LEN_MAX`], or [`HANDSHAKE_FRAME_LEN_MAX`].
    pub limit: usize,
}

/// Why what was read from a connection cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The frame is over the limit: its sender speaks another protocol, or sends too much.
    #[error(
        "a frame of {size} bytes is over the limit of {limit}: send less at once, and \
        check that the program at the other end speaks this protocol"
    )]
    TooLarge {
        /// Its length in bytes.
        size: u64,
        /// The limit: [`FRAME_LEN_MAX`], or [`HANDSHAKE_FRAME_LEN_MAX`] in a handshake.
        limit: usize,
    },
    /// The frame is of another protocol version.
    #[error(
        "the other side speaks protocol version {theirs}, this one {PROTOCOL_VERSION}: use \
        programs of one release"
    )]
    Version {
        /// The other side's.
        theirs: u8,
    },
    /// The frame was damaged on its way.
    #[error("a frame's checksum is wrong: it was damaged on its way, or is not of this protocol")]
    Checksum,
    /// The frame is for a group that is not here.
    #[error("a frame is for group {theirs}, which is not served here")]
    Group {
        /// The group it is for.
        theirs: GroupId,
    },
    /// The message is of a kind that the other side does not send at this point.
    #[error("{expected}, not a message of kind {kind}: use programs of one release")]
    UnexpectedKind {
        /// Its kind.
        kind: u8,
        /// What may come here.
        expected: &'static str,
    },
    /// The message is not well formed.
    #[error("a message is not well formed: {0}")]
    Decode(#[from] DecodeError),
}

/// Appends a frame that says no more than that its sender lives.
pub fn put_alive(group: GroupId, wire: &mut BytesMut) {
    let mut header = [0; HEADER_LEN];
    write_header(&mut header, ALIVE, group, &[]);
    wire.put_slice(&header);
}

pub(crate) fn put_frame(
    wire: &mut BytesMut,
    kind: u8,
    group: GroupId,
    limit: usize,
    message: &impl Wire,
) -> Result<(), MessageTooLarge> {
    let of_all_versions = kind == KIND_OF_ALL_VERSIONS;
    let header_len = if of_all_versions { HEADER_LEN_OF_ALL_VERSIONS } else { HEADER_LEN };
    let start = wire.len();
    wire.put_bytes(0, header_len);
    message.encode(wire);
    let size = wire.len() - start - LENGTH_LEN;
    if size > limit {
        wire.truncate(start);
        return Err(MessageTooLarge { size: u64::try_from(size).unwrap_or(u64::MAX), limit });
    }
    let frame = wire.get_mut(start..).unwrap_or_default();
    if let Some((header, body)) = frame.split_at_mut_checked(header_len) {
        write_header(header, kind, group, body);
    }
    Ok(())
}

/// Writes the header of a frame, whose length is that of its form.
fn write_header(header: &mut [u8], kind: u8, group: GroupId, body: &[u8]) {
    let len = (header.len() + body.len()).saturating_sub(LENGTH_LEN);
    let checksum = if kind == KIND_OF_ALL_VERSIONS {
        checksum_of_all_versions(PROTOCOL_VERSION, kind, group, body)
    } else {
        crc32c::crc32c(body)
    };
    if let Some((head, mut rest)) = header.split_at_mut_checked(HEAD_LEN) {
        let mut fields = &mut *head;
        fields.put_u32_le(u32::try_from(len).unwrap_or(u32::MAX));
        fields.put_u8(PROTOCOL_VERSION);
        fields.put_u8(kind);
        fields.put_u32_le(group.0);
        fields.put_u32_le(checksum);
        if !rest.is_empty() {
            rest.put_u32_le(crc32c::crc32c(head));
        }
    }
}

fn checksum_of_all_versions(version: u8, kind: u8, group: GroupId, body: &[u8]) -> u32 {
    let mut head = [0; 6];
    let mut fields = &mut head[..];
    fields.put_u8(version);
    fields.put_u8(kind);
    fields.put_u32_le(group.0);
    crc32c::crc32c_append(crc32c::crc32c(&head), body)
}

fn len_of(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

const LENGTH_LEN: usize = 4;

/// The part of a header that its own checksum covers.
const HEAD_LEN: usize = 14;

const HEADER_LEN: usize = HEAD_LEN + 4;

const HEADER_LEN_OF_ALL_VERSIONS: usize = HEAD_LEN;

/// Memory is reserved at once for the rest of a frame up to this length.
const RESERVED_LEN_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::handshake::{Hello, Refusal, RefusalCode, Role};
    use crate::message::HelloReply;
    use crate::request::{Request, RequestBody};

    fn frame_of(message: &impl FrameMessage) -> BytesMut {
        let mut wire = BytesMut::new();
        put_message(GroupId(0), message, &mut wire).unwrap();
        wire
    }

    fn decoder() -> FrameDecoder {
        FrameDecoder::new(GroupId(0))
    }

    fn decode(mut wire: BytesMut) -> Result<Option<Frame>, FrameError> {
        decoder().decode(&mut wire)
    }

    fn hello() -> Hello {
        Hello { cluster: "kv".to_owned(), role: Role::Client }
    }

    #[test]
    fn golden_bytes_of_a_hello() {
        let expected: &[u8] = &[
            21, 0, 0, 0, // length
            3, 1, 0, 0, 0, 0, // version, kind, group
            0x33, 0x33, 0xf0, 0x49, // checksum
            0x31, 0x16, 0x65, 0xd3, // the header's checksum
            2, 0, 0, 0, b'k', b'v', 0, // message
        ];
        assert_eq!(&frame_of(&hello())[..], expected);
    }

    #[test]
    fn a_hello_of_version_1_is_of_another_version_not_damaged() {
        let hello: &[u8] = &[
            17, 0, 0, 0, // length
            1, 1, 0, 0, 0, 0, // version, kind, group
            0xef, 0x10, 0x36, 0x4f, // checksum
            2, 0, 0, 0, b'k', b'v', 0, // message
        ];
        let error = decode(BytesMut::from(hello)).unwrap_err();
        let expected = "the other side speaks protocol version 1, this one 3: use programs of one \
                        release";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_frame_in_pieces_is_one_message() {
        let whole = frame_of(&hello());
        let mut wire = BytesMut::new();
        for (place, byte) in whole.iter().enumerate() {
            wire.put_u8(*byte);
            let frame = decoder().decode(&mut wire).unwrap();
            let message = frame.map(|frame| Hello::from_frame(frame).unwrap());
            assert_eq!(message, (place + 1 == whole.len()).then(hello));
        }
    }

    #[test]
    fn a_frame_is_a_slice_of_what_was_read() {
        let mut wire = frame_of(&hello());
        let start = wire.as_ptr();
        let frame = decoder().decode(&mut wire).unwrap().unwrap();
        assert_eq!(frame.payload.as_ptr(), start.wrapping_add(HEADER_LEN));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let whole = frame_of(&hello());
        for bit in 32..whole.len() * 8 {
            let mut wire = whole.clone();
            wire[bit / 8] ^= 1 << (bit % 8);
            let decoded = decode(wire);
            // A hello that looks like one of another version, or like a refusal, has the older form.
            assert!(matches!(decoded, Err(FrameError::Checksum)), "bit {bit}: {decoded:?}");
        }
    }

    #[test]
    fn a_wrong_length_is_noticed_before_what_it_announces_is_waited_for() {
        let whole = frame_of(&Request { id: 1, body: RequestBody::Status });
        let mut decoder = decoder();
        decoder.lift_limit();
        for bit in 0..32 {
            let mut wire = whole.clone();
            wire[bit / 8] ^= 1 << (bit % 8);
            let decoded = decoder.decode(&mut wire);
            assert!(decoded.is_err(), "bit {bit}: {decoded:?}");
        }
        // Read from the middle of a frame on, with whole frames behind it.
        let frames = [&whole[..], &whole[..], &whole[..]].concat();
        for start in 1..whole.len() {
            let mut wire = BytesMut::from(&frames[start..]);
            let decoded = decoder.decode(&mut wire);
            assert!(decoded.is_err(), "from byte {start}: {decoded:?}");
        }
    }

    #[test]
    fn a_frame_that_only_shows_life_is_passed_over() {
        let mut wire = BytesMut::new();
        put_alive(GroupId(0), &mut wire);
        put_alive(GroupId(0), &mut wire);
        let alive = wire.clone();
        wire.extend_from_slice(&frame_of(&hello()));
        wire.extend_from_slice(&alive);
        let frame = decoder().decode(&mut wire).unwrap().unwrap();
        assert_eq!(Hello::from_frame(frame).unwrap(), hello());
        assert_eq!(decoder().decode(&mut wire).unwrap(), None);
        assert!(wire.is_empty());
        for bit in 0..alive.len() * 8 {
            let mut wire = alive.clone();
            wire[bit / 8] ^= 1 << (bit % 8);
            let decoded = decode(wire);
            assert!(!matches!(decoded, Ok(Some(_))), "bit {bit}: {decoded:?}");
        }
    }

    #[test]
    fn golden_bytes_of_a_refusal_have_the_form_of_all_versions() {
        let expected: &[u8] = &[
            17, 0, 0, 0, // length
            3, 3, 0, 0, 0, 0, // version, kind, group
            0x0b, 0xc0, 0x42, 0xe3, // checksum
            5, 2, 0, 0, 0, b'n', b'o', // message
        ];
        let refusal = Refusal::new(RefusalCode::Full, "no");
        assert_eq!(&frame_of(&refusal)[..], expected);
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_the_frame_is_read() {
        let mut wire = BytesMut::new();
        wire.put_u32_le(1 << 30);
        assert!(matches!(decode(wire), Err(FrameError::TooLarge { size: 0x4000_0000, .. })));
        let http = BytesMut::from(&b"GET / HTTP/1.1\r\n\r\n"[..]);
        assert!(matches!(decode(http), Err(FrameError::TooLarge { size: 0x2054_4547, .. })));
    }

    /// Appends the header of a request of this length, and nothing of the request.
    fn announce(len: usize, wire: &mut BytesMut) {
        let mut header = [0; HEADER_LEN];
        write_header(&mut header, Request::KIND, GroupId(0), &[]);
        header[..4].copy_from_slice(&u32::try_from(len).unwrap().to_le_bytes());
        let sum = crc32c::crc32c(&header[..HEAD_LEN]);
        header[HEAD_LEN..].copy_from_slice(&sum.to_le_bytes());
        wire.put_slice(&header);
    }

    #[test]
    fn a_stranger_cannot_announce_more_than_a_handshake_needs() {
        let decode_announced = |len: usize, decoder: &FrameDecoder| {
            let mut wire = BytesMut::new();
            announce(len, &mut wire);
            decoder.decode(&mut wire).map(|frame| (frame, wire.capacity()))
        };
        let mut decoder = decoder();
        let (frame, capacity) = decode_announced(HANDSHAKE_FRAME_LEN_MAX, &decoder).unwrap();
        assert_eq!(frame, None);
        assert!(capacity <= 2 * HANDSHAKE_FRAME_LEN_MAX, "{capacity}");
        for len in [HANDSHAKE_FRAME_LEN_MAX + 1, FRAME_LEN_MAX] {
            let error = decode_announced(len, &decoder).unwrap_err();
            assert!(matches!(error, FrameError::TooLarge { limit: HANDSHAKE_FRAME_LEN_MAX, .. }));
        }
        decoder.lift_limit();
        assert!(decode_announced(FRAME_LEN_MAX, &decoder).is_ok());
        let error = decode_announced(FRAME_LEN_MAX + 1, &decoder).unwrap_err();
        assert!(matches!(error, FrameError::TooLarge { limit: FRAME_LEN_MAX, .. }));
    }

    #[test]
    fn memory_grows_with_what_arrives_not_with_what_is_announced() {
        let mut decoder = decoder();
        decoder.lift_limit();
        let mut wire = BytesMut::new();
        announce(FRAME_LEN_MAX, &mut wire);
        let part = vec![0; 16 << 10];
        while wire.len() < FRAME_LEN_MAX / 2 {
            assert_eq!(decoder.decode(&mut wire).unwrap(), None);
            let (len, capacity) = (wire.len(), wire.capacity());
            assert!(capacity <= 2 * (len + RESERVED_LEN_MAX), "{capacity} for {len}");
            wire.put_slice(&part);
        }
    }

    #[test]
    fn a_hello_that_the_other_side_would_not_take_is_not_sent() {
        let cluster = "k".repeat(HANDSHAKE_FRAME_LEN_MAX);
        let mut wire = BytesMut::new();
        let sent = put_message(GroupId(0), &Hello { cluster, role: Role::Client }, &mut wire);
        assert!(matches!(sent, Err(MessageTooLarge { limit: HANDSHAKE_FRAME_LEN_MAX, .. })));
        assert!(wire.is_empty());
    }

    fn with_version(message: &impl FrameMessage, version: u8) -> BytesMut {
        let mut wire = frame_of(message);
        wire[4] = version;
        let kind = wire[5];
        if kind == KIND_OF_ALL_VERSIONS {
            let body = &wire[HEADER_LEN_OF_ALL_VERSIONS..];
            let crc = checksum_of_all_versions(version, kind, GroupId(0), body);
            wire[10..14].copy_from_slice(&crc.to_le_bytes());
        } else {
            let crc = crc32c::crc32c(&wire[..HEAD_LEN]);
            wire[14..18].copy_from_slice(&crc.to_le_bytes());
        }
        wire
    }

    #[test]
    fn another_version_is_told_apart_from_damage_but_its_refusal_is_readable() {
        let other = decode(with_version(&hello(), 9));
        assert!(matches!(other, Err(FrameError::Version { theirs: 9 })));
        let refusal = Refusal::of_version(9);
        let frame = decode(with_version(&refusal, 9)).unwrap().unwrap();
        assert_eq!(HelloReply::from_frame(frame).unwrap(), HelloReply::Refusal(refusal));
    }

    #[test]
    fn another_group_is_refused() {
        let mut wire = BytesMut::new();
        put_message(GroupId(3), &hello(), &mut wire).unwrap();
        assert!(matches!(decode(wire), Err(FrameError::Group { theirs: GroupId(3) })));
    }

    #[test]
    fn a_frame_too_large_to_send_appends_nothing() {
        let mut wire = BytesMut::from(&b"before"[..]);
        let message = Bytes::from(vec![0; FRAME_LEN_MAX]);
        let result = put_frame(&mut wire, 6, GroupId(0), FRAME_LEN_MAX, &message);
        assert!(matches!(result, Err(MessageTooLarge { limit: FRAME_LEN_MAX, .. })));
        assert_eq!(&wire[..], b"before");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            announced in 0..110_u32,
            is_sound in any::<bool>(),
        ) {
            let mut wire = BytesMut::from(&announced.to_le_bytes()[..]);
            wire.extend_from_slice(&bytes);
            // One that is right gets beyond the checksum.
            if is_sound && let Some((header, message)) = wire.split_at_mut_checked(HEADER_LEN) {
                header[4] = PROTOCOL_VERSION;
                let len = usize::try_from(announced).unwrap().saturating_sub(14).min(message.len());
                header[10..14].copy_from_slice(&crc32c::crc32c(&message[..len]).to_le_bytes());
                let sum = crc32c::crc32c(&header[..HEAD_LEN]);
                header[14..].copy_from_slice(&sum.to_le_bytes());
            }
            while let Ok(Some(_)) = decoder().decode(&mut wire) {}
        }
    }
}
