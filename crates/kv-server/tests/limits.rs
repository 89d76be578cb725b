//! What those cost who take a server's time and give it nothing to do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod in_process;

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use in_process::{WAIT_MAX, address, config, execute, get, ready, sockets, start};
use kv_core::{GroupId, Key, Operation, Outcome, RequestOptions, Value};
use kv_proto::{FrameCodec, Hello, HelloReply, Request, RequestBody, Role};
use kv_server::{Consistency, OpLogConfig, Server};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;

async fn client_of(server: &Server) -> Framed<TcpStream, FrameCodec> {
    let stream = TcpStream::connect(address(server)).await.unwrap();
    let mut connection = Framed::new(stream, FrameCodec::new(GroupId(0)));
    let hello = Hello { cluster: "kv".to_owned(), role: Role::Client };
    connection.send(hello).await.unwrap();
    let answer = tokio::time::timeout(WAIT_MAX, connection.next()).await.expect("an answer");
    let reply = HelloReply::from_frame(answer.expect("an answer").unwrap()).unwrap();
    assert!(matches!(reply, HelloReply::Welcome(_)), "{reply:?}");
    connection
}

#[tokio::test]
async fn those_who_say_nothing_hold_others_up_only_until_one_of_them_goes() {
    let servers = start(1, Consistency::Eventual, 1).await;
    let mut silent = Vec::new();
    for _ in 0..STRANGERS_MAX {
        silent.push(TcpStream::connect(address(&servers[0])).await.unwrap());
    }
    let mut connecting = Box::pin(client_of(&servers[0]));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut connecting).await;
    assert!(early.is_err(), "it is one connection too many");
    let began = Instant::now();
    drop(silent.pop());
    connecting.await;
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "it did not wait for the others' time to end"
    );
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_keep_a_server_from_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let (mut listening, list) = sockets(1).await;
    let mut config = config(1, Consistency::Linearizable, 1, &list);
    config.op_log = Some(OpLogConfig { folder: folder.path().to_owned(), rotate_bytes: 1 << 20 });
    let server = Server::start_on(listening.pop().unwrap(), config).await.unwrap();
    ready(&server).await;
    let large = Value::new(vec![b'v'; Value::LEN_MAX]).unwrap();
    let put = Operation::put(Key::new("large").unwrap(), large);
    assert!(matches!(execute(&server, put).await, Outcome::Done(_)));

    let mut connection = client_of(&server).await;
    for id in 0..4 {
        let body = RequestBody::Execute { op: get("large"), options: RequestOptions::default() };
        connection.send(Request { id, body }).await.unwrap();
    }
    // The first bytes of an answer mean that the requests have come.
    connection.get_ref().readable().await.unwrap();
    let began = Instant::now();
    server.stop().await.unwrap();
    let elapsed = began.elapsed();
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
}

/// As in the server.
const STRANGERS_MAX: usize = 256;
