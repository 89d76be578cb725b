//! Frames as bytes, whole, in parts and damaged.

use proptest::prelude::*;

use super::header::HEAD_LEN;
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
        9, 1, 0, 0, 0, 0, // version, kind, group
        0x33, 0x33, 0xf0, 0x49, // checksum
        0x84, 0x7c, 0xff, 0x06, // the header's checksum
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
    let expected = "the other side speaks protocol version 1, this one 9: use programs of one \
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
        9, 3, 0, 0, 0, 0, // version, kind, group
        0x18, 0x05, 0x9b, 0x01, // checksum
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
    const LATER: u8 = PROTOCOL_VERSION + 1;
    let other = decode(with_version(&hello(), LATER));
    assert!(matches!(other, Err(FrameError::Version { theirs: LATER })));
    let refusal = Refusal::of_version(LATER);
    let frame = decode(with_version(&refusal, LATER)).unwrap().unwrap();
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
