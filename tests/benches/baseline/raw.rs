//! A closed loop of puts that takes as little of the processor as can be, so that the servers are
//! what is measured: one thread, answers are counted and not read, and a connection writes as many
//! requests at once as answers came.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use kv_core::{GroupId, Key, Operation, RequestOptions, Value};
use kv_proto::{FrameCodec, Hello, Message, Request, RequestBody, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::codec::Encoder;

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
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut wire, mut received) = (BytesMut::new(), BytesMut::new());
    let hello = Hello { cluster: "kv".to_owned(), role: Role::Client };
    FrameCodec::new(GROUP).encode(Message::Hello(hello), &mut wire).unwrap();
    stream.write_all(&wire).await.unwrap();
    while take_frames(&mut received) == 0 {
        assert!(stream.read_buf(&mut received).await.unwrap() > 0, "the server closed");
    }
    let (mut place, mut done, mut due) = (number * 7919, 0, in_flight);
    let until = counted_from + DURATION;
    loop {
        wire.clear();
        for _ in 0..due {
            place = (place + 1) % KEYS;
            put(place, &mut wire);
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

/// Encodes a put; nobody looks whose the answer is, so all have one id.
fn put(place: usize, wire: &mut BytesMut) {
    let key = Key::new(format!("key{place:06}")).unwrap();
    let value = Value::new(vec![b'v'; VALUE_BYTES]).unwrap();
    let op = Operation::put(key, value);
    let body = RequestBody::Execute { op, options: RequestOptions::default() };
    let request = Message::Request(Request { id: 1, body });
    FrameCodec::new(GROUP).encode(request, wire).unwrap();
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
const GROUP: GroupId = GroupId(0);
