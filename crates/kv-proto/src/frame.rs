//! The frame around every message.
//!
//! ```text
//! length      u32   of all that follows, at most 32 MiB
//! version     u8    of the protocol
//! kind        u8    of the message
//! group       u32   which group of the server is meant; 0 until there are several
//! checksum    u32   CRC-32C of version, kind, group and message
//! message     ...
//! ```
//! All numbers are little endian.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kv_core::driver::SnapshotFrame;
use kv_core::{DecodeError, GroupId, Wire};
use tokio_util::codec::length_delimited::LengthDelimitedCodecError;
use tokio_util::codec::{Decoder, Encoder, LengthDelimitedCodec};

use crate::handshake::Refusal;
use crate::message::{Message, Response};

/// The version of the protocol that this crate speaks.
pub const PROTOCOL_VERSION: u8 = 1;

/// The greatest length of a frame, in bytes, without the length itself.
pub const FRAME_LEN_MAX: usize = 32 << 20;

/// Turns messages into frames and back.
#[derive(Debug)]
pub struct FrameCodec {
    group: GroupId,
    lengths: LengthDelimitedCodec,
}

impl FrameCodec {
    /// A codec for one group: it frames messages for that group and refuses others.
    #[must_use]
    pub fn new(group: GroupId) -> Self {
        let lengths = LengthDelimitedCodec::builder()
            .little_endian()
            .length_field_length(LENGTH_LEN)
            .max_frame_length(FRAME_LEN_MAX)
            .new_codec();
        Self { group, lengths }
    }
}

impl Decoder for FrameCodec {
    type Item = Message;
    type Error = FrameError;

    fn decode(&mut self, wire: &mut BytesMut) -> Result<Option<Message>, FrameError> {
        let announced = wire.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let frame = self.lengths.decode(wire).map_err(|error| {
            if error.get_ref().is_some_and(|inner| inner.is::<LengthDelimitedCodecError>()) {
                FrameError::TooLarge { size: u64::from(announced.unwrap_or(u32::MAX)) }
            } else {
                FrameError::Io(error)
            }
        })?;
        frame.map(|frame| decode_frame(self.group, frame.freeze())).transpose()
    }
}

impl Encoder<Message> for FrameCodec {
    type Error = FrameError;

    fn encode(&mut self, message: Message, wire: &mut BytesMut) -> Result<(), FrameError> {
        match &message {
            Message::Hello(hello) => put_frame(wire, HELLO, self.group, hello),
            Message::Welcome(welcome) => put_frame(wire, WELCOME, self.group, welcome),
            Message::Refusal(refusal) => put_frame(wire, REFUSAL, self.group, refusal),
            Message::Request(request) => put_frame(wire, REQUEST, self.group, request),
            Message::Response(response) => put_frame(wire, RESPONSE, self.group, response),
            Message::Peer(bytes) => put_frame(wire, PEER, self.group, &Raw(bytes)),
            Message::Snapshot(frame) => put_frame(wire, SNAPSHOT, self.group, frame),
            Message::MalformedRequest { error, .. } => Err(FrameError::Decode(*error)),
        }
    }
}

/// Appends a frame with an engine's message to what will be written to a peer.
///
/// # Errors
/// [`FrameError::TooLarge`] if the frame would be; nothing is appended then.
pub fn put_peer_frame(
    group: GroupId,
    message: &impl Wire,
    wire: &mut BytesMut,
) -> Result<(), FrameError> {
    put_frame(wire, PEER, group, message)
}

/// Appends a frame with a part of a snapshot, or the answer to one, to what will be written to a peer.
///
/// # Errors
/// [`FrameError::TooLarge`] if the frame would be; nothing is appended then.
pub fn put_snapshot_frame(
    group: GroupId,
    frame: &SnapshotFrame,
    wire: &mut BytesMut,
) -> Result<(), FrameError> {
    put_frame(wire, SNAPSHOT, group, frame)
}

/// Appends a frame with an answer to what will be written to a client.
///
/// # Errors
/// [`FrameError::TooLarge`] if the frame would be; nothing is appended then.
pub fn put_response(
    group: GroupId,
    response: &Response,
    wire: &mut BytesMut,
) -> Result<(), FrameError> {
    put_frame(wire, RESPONSE, group, response)
}

/// Appends a frame that ends a connection.
///
/// # Errors
/// [`FrameError::TooLarge`] if the frame would be; nothing is appended then.
pub fn put_refusal(
    group: GroupId,
    refusal: &Refusal,
    wire: &mut BytesMut,
) -> Result<(), FrameError> {
    put_frame(wire, REFUSAL, group, refusal)
}

/// Why bytes are no frame, or a message makes none.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The frame is over [`FRAME_LEN_MAX`]: its sender speaks something else, or sends too much.
    #[error(
        "a frame of {size} bytes is over the limit of {FRAME_LEN_MAX}: send less at once, and \
        check that the program at the other end speaks this protocol"
    )]
    TooLarge {
        /// Its length in bytes.
        size: u64,
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
    /// The message is not well formed.
    #[error("a message is not well formed: {0}")]
    Decode(#[from] DecodeError),
}

struct Raw<'a>(&'a Bytes);

impl Wire for Raw<'_> {
    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(self.0);
    }

    fn decode(_: &mut Bytes) -> Result<Self, DecodeError> {
        Err(DecodeError::Invalid { what: "borrowed bytes" })
    }
}

fn put_frame(
    wire: &mut BytesMut,
    kind: u8,
    group: GroupId,
    message: &impl Wire,
) -> Result<(), FrameError> {
    let start = wire.len();
    wire.put_bytes(0, LENGTH_LEN + HEADER_LEN);
    message.encode(wire);
    let size = wire.len() - start - LENGTH_LEN;
    let length = u32::try_from(size).unwrap_or(u32::MAX);
    if size > FRAME_LEN_MAX {
        wire.truncate(start);
        return Err(FrameError::TooLarge { size: u64::from(length) });
    }
    let frame = wire.get_mut(start..).unwrap_or_default();
    if let Some((mut header, body)) = frame.split_at_mut_checked(LENGTH_LEN + HEADER_LEN) {
        header.put_u32_le(length);
        header.put_u8(PROTOCOL_VERSION);
        header.put_u8(kind);
        header.put_u32_le(group.0);
        header.put_u32_le(checksum(PROTOCOL_VERSION, kind, group, body));
    }
    Ok(())
}

fn decode_frame(ours: GroupId, mut frame: Bytes) -> Result<Message, FrameError> {
    if frame.len() < HEADER_LEN {
        return Err(DecodeError::Truncated { needed: HEADER_LEN, left: frame.len() }.into());
    }
    let (version, kind) = (frame.get_u8(), frame.get_u8());
    let (group, expected) = (GroupId(frame.get_u32_le()), frame.get_u32_le());
    if checksum(version, kind, group, &frame) != expected {
        return Err(FrameError::Checksum);
    }
    if kind == REFUSAL {
        return Ok(Message::Refusal(Wire::decode(&mut frame)?));
    }
    if version != PROTOCOL_VERSION {
        return Err(FrameError::Version { theirs: version });
    }
    if group != ours {
        return Err(FrameError::Group { theirs: group });
    }
    Ok(match kind {
        HELLO => Message::Hello(Wire::from_bytes(frame)?),
        WELCOME => Message::Welcome(Wire::from_bytes(frame)?),
        REQUEST => decode_request(frame)?,
        RESPONSE => Message::Response(Wire::from_bytes(frame)?),
        PEER => Message::Peer(frame),
        SNAPSHOT => Message::Snapshot(Wire::from_bytes(frame)?),
        tag => {
            return Err(DecodeError::UnknownTag { what: "message", tag }.into());
        }
    })
}

/// A request whose id can be read is answered, whatever is wrong with the rest.
fn decode_request(frame: Bytes) -> Result<Message, DecodeError> {
    let id = u64::decode(&mut frame.clone())?;
    Ok(match Wire::from_bytes(frame) {
        Ok(request) => Message::Request(request),
        Err(error) => Message::MalformedRequest { id, error },
    })
}

fn checksum(version: u8, kind: u8, group: GroupId, body: &[u8]) -> u32 {
    let mut head = [0; 6];
    let mut fields = &mut head[..];
    fields.put_u8(version);
    fields.put_u8(kind);
    fields.put_u32_le(group.0);
    crc32c::crc32c_append(crc32c::crc32c(&head), body)
}

const LENGTH_LEN: usize = 4;
const HEADER_LEN: usize = 10;

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const REFUSAL: u8 = 3;
const REQUEST: u8 = 4;
const RESPONSE: u8 = 5;
const PEER: u8 = 6;
const SNAPSHOT: u8 = 7;

#[cfg(test)]
mod tests {
    use kv_core::{Key, Operation, RequestOptions, Value};
    use proptest::prelude::*;

    use super::*;
    use crate::handshake::{Hello, Role};
    use crate::message::{Request, RequestBody};

    fn frame_of(message: Message) -> BytesMut {
        let mut wire = BytesMut::new();
        FrameCodec::new(GroupId(0)).encode(message, &mut wire).unwrap();
        wire
    }

    fn decode(mut wire: BytesMut) -> Result<Option<Message>, FrameError> {
        FrameCodec::new(GroupId(0)).decode(&mut wire)
    }

    fn hello() -> Message {
        Message::Hello(Hello { cluster: "kv".to_owned(), role: Role::Client })
    }

    #[test]
    fn golden_bytes_of_a_hello() {
        let expected: &[u8] = &[
            17, 0, 0, 0, // length
            1, 1, 0, 0, 0, 0, // version, kind, group
            0xef, 0x10, 0x36, 0x4f, // checksum
            2, 0, 0, 0, b'k', b'v', 0, // message
        ];
        assert_eq!(&frame_of(hello())[..], expected);
    }

    #[test]
    fn a_frame_in_pieces_is_one_message() {
        let whole = frame_of(hello());
        let mut codec = FrameCodec::new(GroupId(0));
        let mut wire = BytesMut::new();
        for (place, byte) in whole.iter().enumerate() {
            wire.put_u8(*byte);
            let expected = (place + 1 == whole.len()).then(hello);
            assert_eq!(codec.decode(&mut wire).unwrap(), expected);
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let whole = frame_of(hello());
        for bit in 32..whole.len() * 8 {
            let mut wire = whole.clone();
            wire[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode(wire), Err(FrameError::Checksum)), "bit {bit}");
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_the_frame_is_read() {
        let mut wire = BytesMut::new();
        wire.put_u32_le(1 << 30);
        assert!(matches!(decode(wire), Err(FrameError::TooLarge { size: 0x4000_0000 })));
        let http = BytesMut::from(&b"GET / HTTP/1.1\r\n\r\n"[..]);
        assert!(matches!(decode(http), Err(FrameError::TooLarge { size: 0x2054_4547 })));
    }

    fn with_version(message: Message, version: u8) -> BytesMut {
        let mut wire = frame_of(message);
        let kind = wire[5];
        let crc = checksum(version, kind, GroupId(0), &wire[LENGTH_LEN + HEADER_LEN..]);
        wire[4] = version;
        wire[10..14].copy_from_slice(&crc.to_le_bytes());
        wire
    }

    #[test]
    fn another_version_is_told_apart_from_damage_but_its_refusal_is_readable() {
        assert!(matches!(decode(with_version(hello(), 2)), Err(FrameError::Version { theirs: 2 })));
        let refusal = Message::Refusal(Refusal::of_version(2));
        assert_eq!(decode(with_version(refusal.clone(), 9)).unwrap(), Some(refusal));
    }

    #[test]
    fn another_group_is_refused() {
        let mut wire = BytesMut::new();
        FrameCodec::new(GroupId(3)).encode(hello(), &mut wire).unwrap();
        assert!(matches!(decode(wire), Err(FrameError::Group { theirs: GroupId(3) })));
    }

    #[test]
    fn an_illegal_request_keeps_its_id_and_the_connection() {
        let body = RequestBody::Execute {
            op: Operation::put(Key::new("k").unwrap(), Value::default()),
            options: RequestOptions::default(),
        };
        let mut payload = BytesMut::from(&Request { id: 77, body }.to_bytes()[..]);
        payload.put_u8(0);
        let mut wire = BytesMut::new();
        put_frame(&mut wire, REQUEST, GroupId(0), &Raw(&payload.freeze())).unwrap();
        let error = DecodeError::Trailing { left: 1 };
        assert_eq!(decode(wire).unwrap(), Some(Message::MalformedRequest { id: 77, error }));
    }

    #[test]
    fn a_frame_too_large_to_send_appends_nothing() {
        let mut wire = BytesMut::from(&b"before"[..]);
        let message = Message::Peer(Bytes::from(vec![0; FRAME_LEN_MAX]));
        let result = FrameCodec::new(GroupId(0)).encode(message, &mut wire);
        assert!(matches!(result, Err(FrameError::TooLarge { .. })));
        assert_eq!(&wire[..], b"before");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut wire = BytesMut::from(&bytes[..]);
            let mut codec = FrameCodec::new(GroupId(0));
            while let Ok(Some(_)) = codec.decode(&mut wire) {}
        }

        #[test]
        fn arbitrary_messages_of_every_kind_never_panic(
            kind in 0u8..10,
            body in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut wire = BytesMut::new();
            put_frame(&mut wire, kind, GroupId(0), &Raw(&Bytes::from(body))).unwrap();
            let _ = decode(wire);
        }
    }
}
