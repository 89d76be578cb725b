//! What those cost who take a server's time and give it nothing to do.

use std::time::{Duration, Instant};

use crate::in_process::{
    WAIT_MAX, address, config, execute, get, node, put, ready, sockets, start,
};
use crate::proxy::{Mood, Proxy};
use bytes::BytesMut;
use futures_util::{SinkExt, StreamExt};
use kv_core::{GroupId, Key, Operation, Outcome, Quorum, RequestOptions, Value};
use kv_proto::{
    FRAME_LEN_MAX, FrameCodec, Hello, HelloReply, Request, RequestBody, Response, ResponseBody,
    Role, ServerList, ServerToClient, put_message,
};
use kv_server::{Consistency, OpLogConfig, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
async fn those_who_say_nothing_hold_up_neither_clients_nor_servers() {
    let (mut listening, list) = sockets(2).await;
    let second = config(2, Consistency::Eventual, 2, &list);
    let second_socket = listening.pop().unwrap();
    let first = config(1, Consistency::Eventual, 2, &list);
    let first = Server::start_on(listening.pop().unwrap(), first).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..2 * STRANGERS_MAX {
        silent.push(TcpStream::connect(address(&first)).await.unwrap());
    }
    let began = Instant::now();
    client_of(&first).await;
    let second = Server::start_on(second_socket, second).await.unwrap();
    for server in [&first, &second] {
        ready(server).await;
    }
    // The silent ones are let go of by themselves after five seconds.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    // The oldest made room for those behind them.
    let mut end = [0; 1];
    assert_eq!(silent[0].read(&mut end).await.unwrap(), 0);
}

#[tokio::test]
async fn large_frames_that_are_never_finished_take_a_bounded_share_of_memory() {
    let servers = start(1, Consistency::Eventual, 1).await;
    let length = u32::try_from(FRAME_LEN_MAX).unwrap();
    let mut header = BytesMut::new();
    let request = Request { id: 1, body: RequestBody::Status };
    put_message(GroupId(0), &request, &mut header).unwrap();
    header.truncate(18);
    header[..4].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32c::crc32c(&header[..14]);
    header[14..].copy_from_slice(&checksum.to_le_bytes());

    // Each announces 32 MiB and has the rest wait: eight of them find room.
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut client = client_of(&servers[0]).await.into_inner();
        client.write_all(&header).await.unwrap();
        client.set_nodelay(true).unwrap();
        clients.push(client);
    }
    let part = vec![0; 1 << 20];
    let mut taken = Vec::new();
    for client in &mut clients {
        let mut sent = 0;
        // Far more than the system's own buffers hold.
        while sent < FRAME_LEN_MAX / 2 {
            let write = client.write_all(&part);
            if tokio::time::timeout(Duration::from_millis(200), write).await.is_err() {
                break;
            }
            sent += part.len();
        }
        taken.push(sent == FRAME_LEN_MAX / 2);
    }
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 8, "{taken:?}");
    // Small requests of others go on meanwhile, and large ones once those are closed that stand still.
    assert!(matches!(execute_from(&servers[0], get("x")).await, Outcome::Done(_)));
    let large = Value::new(vec![b'v'; Value::LEN_MAX]).unwrap();
    let put = Operation::put(Key::new("large").unwrap(), large);
    assert!(matches!(execute_from(&servers[0], put).await, Outcome::Done(_)));
}

/// Does something as a client with a connection.
async fn execute_from(server: &Server, op: Operation) -> Outcome {
    let mut connection = client_of(server).await;
    connection.codec_mut().lift_limit();
    let body = RequestBody::Execute { op, options: RequestOptions::default() };
    let answer = async {
        connection.send(Request { id: 1, body }).await.unwrap();
        loop {
            let frame = connection.next().await.unwrap().unwrap();
            match ServerToClient::from_frame(frame).unwrap() {
                ServerToClient::State(_) => {}
                answer => return answer,
            }
        }
    };
    match tokio::time::timeout(WAIT_MAX, answer).await.expect("an answer") {
        ServerToClient::Response(Response { body: ResponseBody::Outcome(outcome), .. }) => outcome,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_keep_a_server_from_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let (mut listening, list) = sockets(1).await;
    let mut config = config(1, Consistency::Linearizable, 1, &list);
    config.op_log = Some(OpLogConfig::new(folder.path(), 1 << 20));
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

#[tokio::test]
async fn a_full_session_takes_what_cancels_its_requests() {
    let (mut listening, list) = sockets(2).await;
    let second = config(2, Consistency::Eventual, 1, &list);
    let second = Server::start_on(listening.pop().unwrap(), second).await.unwrap();
    let own = list.address(node(1)).unwrap().to_owned();
    let proxy = Proxy::start(list.address(node(2)).unwrap().to_owned()).await;
    let by_proxy = ServerList::new([(node(1), own), (node(2), proxy.address())]).unwrap();
    let mut first = config(1, Consistency::Eventual, 1, &by_proxy);
    first.in_flight_max = 2;
    let first = Server::start_on(listening.pop().unwrap(), first).await.unwrap();
    ready(&first).await;
    ready(&second).await;
    proxy.set(Mood::Hold);
    let mut connection = client_of(&first).await;
    let both =
        RequestOptions::default().with_timeout(10 * WAIT_MAX).with_write_quorum(Quorum::Count(2));
    for id in 1..=2 {
        let body = RequestBody::Execute { op: put("k", "v"), options: both.clone() };
        connection.send(Request { id, body }).await.unwrap();
    }
    // One more than there is room for, behind what makes it.
    for id in 1..=2 {
        connection.send(Request { id, body: RequestBody::Cancel }).await.unwrap();
    }
    connection.send(Request { id: 3, body: RequestBody::Status }).await.unwrap();
    let answered = async {
        loop {
            // It may be told first that the server has changed.
            let frame = connection.next().await.unwrap().unwrap();
            if let ServerToClient::Response(response) = ServerToClient::from_frame(frame).unwrap() {
                return response;
            }
        }
    };
    let Response { id, body } = tokio::time::timeout(WAIT_MAX, answered).await.expect("an answer");
    assert!(id == 3 && matches!(body, ResponseBody::Status(_)), "{id}: {body:?}");
}
