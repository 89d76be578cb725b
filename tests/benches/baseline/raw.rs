//! A closed loop of puts that takes as little of the processor as can be, so that the servers are
//! what is measured: one thread, answers are counted and not read, and a connection writes as many
//! requests at once as answers came.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use kv_core::{GroupId, Key, Operation, RequestOptions, Value};
use kv_proto::{FrameMessage, Hello, PROTOCOL_VERSION, Request, RequestBody, Role, put_message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Keeps so many puts in flight on a connection to each of the addresses, for `warm_up` and then
/// [`DURATION`]; how many were done in the latter.
pub(crate) async fn run(addresses: Vec<SocketAddrV4>, in_flight: usize, warm_up: Duration) -> u64 {
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let counted_from = Instant::now() + warm_up;
            let workers: Vec<_> = addresses
                .into_iter()
                .enumerate()
                .map(|(number, to)| tokio::spawn(put_until(to, number, in_flight, counted_from)))
                .collect();
            let mut puts = 0;
            for worker in workers {
                puts += worker.await.unwrap();
            }
            puts
        })
    })
    .await
    .unwrap()
}

async fn put_until(
    to: SocketAddrV4,
    number: usize,
    in_flight: usize,
    counted_from: Instant,
) -> u64 {
    let (mut stream, version) = match connect_as(to, PROTOCOL_VERSION).await {
        (stream, PROTOCOL_VERSION) => (stream, PROTOCOL_VERSION),
        (_, theirs) => connect_as(to, theirs).await,
    };
    let (mut wire, mut received) = (BytesMut::new(), BytesMut::new());
    let (mut place, mut done, mut due) = (number * 7919, 0, in_flight);
    let until = counted_from + DURATION;
    loop {
        wire.clear();
        for _ in 0..due {
            place = (place + 1) % KEYS;
            put(version, place, &mut wire);
        }
        stream.write_all(&wire).await.unwrap();
        assert!(stream.read_buf(&mut received).await.unwrap() > 0, "the server closed");
        due = take_frames(&mut received, is_done);
        let now = Instant::now();
        if now >= until {
            return done;
        }
        if now >= counted_from {
            done += u64::try_from(due).unwrap();
        }
    }
}

/// Connects as a client that speaks this version of the protocol; gives the version that the server
/// answers in.
async fn connect_as(to: SocketAddrV4, version: u8) -> (TcpStream, u8) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut wire, mut received) = (BytesMut::new(), BytesMut::new());
    let hello = Hello { cluster: "kv".to_owned(), role: Role::Client };
    put_frame(version, &hello, &mut wire);
    stream.write_all(&wire).await.unwrap();
    let mut theirs = None;
    while take_frames(&mut received, |frame| theirs = Some((frame[VERSION_AT], frame[KIND_AT])))
        == 0
    {
        assert!(stream.read_buf(&mut received).await.unwrap() > 0, "the server closed");
    }
    let (theirs, kind) = theirs.expect("a frame came");
    assert!(theirs != version || kind == WELCOME, "the server refuses");
    (stream, theirs)
}

/// The version of the protocol that the server at an address speaks.
pub(crate) async fn version_of(address: SocketAddrV4) -> u8 {
    connect_as(address, PROTOCOL_VERSION).await.1
}

/// Encodes a put; nobody looks whose the answer is, so all have one id.
fn put(version: u8, place: usize, wire: &mut BytesMut) {
    let key = Key::new(format!("key{place:06}")).unwrap();
    let value = Value::new(vec![b'v'; VALUE_BYTES]).unwrap();
    let op = Operation::put(key, value);
    let body = RequestBody::Execute { op, options: RequestOptions::default() };
    put_frame(version, &Request { id: 1, body }, wire);
}

/// Encodes a message in a frame of this version: what is sent here has the same form in all.
fn put_frame(version: u8, message: &impl FrameMessage, wire: &mut BytesMut) {
    let begin = wire.len();
    put_message(GroupId(0), message, wire).unwrap();
    if version != PROTOCOL_VERSION {
        let frame = &mut wire[begin..];
        frame[VERSION_AT] = version;
        let sum = crc32c::crc32c(&frame[VERSION_AT..CHECKSUM_AT]);
        let sum = crc32c::crc32c_append(sum, &frame[MESSAGE_AT..]);
        frame[CHECKSUM_AT..MESSAGE_AT].copy_from_slice(&sum.to_le_bytes());
    }
}

/// A put is done: an answer with its id of 8 bytes, then the first outcome of the first kind.
fn is_done(frame: &[u8]) {
    let tags = frame.get(MESSAGE_AT + 8..MESSAGE_AT + 10);
    assert!(frame[KIND_AT] == RESPONSE && tags == Some(&[0, 0]), "a put is not done: {frame:?}");
}

/// Takes the whole frames out of what came, and looks at each; how many they were.
fn take_frames(received: &mut BytesMut, mut look: impl FnMut(&[u8])) -> usize {
    let mut count = 0;
    while let Some(len) = received.first_chunk().map(|len| u32::from_le_bytes(*len)) {
        let len = usize::try_from(len).unwrap() + 4;
        if received.len() < len {
            break;
        }
        look(&received[..len]);
        received.advance(len);
        count += 1;
    }
    count
}

pub(crate) const DURATION: Duration = Duration::from_secs(3);
const KEYS: usize = 10_000;
const VALUE_BYTES: usize = 16;

/// Where these stand in a frame.
const VERSION_AT: usize = 4;
const CHECKSUM_AT: usize = 10;
const KIND_AT: usize = 5;
const MESSAGE_AT: usize = 14;

/// The kinds of frames that a server sends.
const WELCOME: u8 = 2;
const RESPONSE: u8 = 5;
