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
    let (mut stream, version) = match knock(to, PROTOCOL_VERSION).await {
        (stream, PROTOCOL_VERSION) => (stream, PROTOCOL_VERSION),
        (_, theirs) => knock(to, theirs).await,
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
        due = take_frames(&mut received);
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
async fn knock(to: SocketAddrV4, version: u8) -> (TcpStream, u8) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut wire, mut received) = (BytesMut::new(), BytesMut::new());
    let hello = Hello { cluster: "kv".to_owned(), role: Role::Client };
    put_frame(version, &hello, &mut wire);
    stream.write_all(&wire).await.unwrap();
    let mut theirs = None;
    while take_frames(&mut received) == 0 {
        assert!(stream.read_buf(&mut received).await.unwrap() > 0, "the server closed");
        theirs = theirs.or_else(|| received.get(VERSION_AT).copied());
    }
    (stream, theirs.expect("a frame has a version"))
}

/// The version of the protocol that the server at an address speaks.
pub(crate) async fn version_of(address: SocketAddrV4) -> u8 {
    knock(address, PROTOCOL_VERSION).await.1
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

/// Takes the whole frames out of what came; how many they were.
fn take_frames(received: &mut BytesMut) -> usize {
    let mut count = 0;
    while let Some(len) = received.first_chunk().map(|len| u32::from_le_bytes(*len)) {
        let len = usize::try_from(len).unwrap() + 4;
        if received.len() < len {
            break;
        }
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
const MESSAGE_AT: usize = 14;
