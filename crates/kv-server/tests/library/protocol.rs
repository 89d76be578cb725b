//! What a server says to programs that speak its protocol, and to those that do not.

use crate::in_process::{
    WAIT_MAX, address, config, execute, get, node, put, sockets, start, value,
};
use bytes::{BufMut, BytesMut};
use futures_util::{SinkExt, StreamExt};
use kv_core::{ClusterConfig, GroupId, Incarnation, Key, Outcome, Quorum, RequestOptions, Wire};
use kv_proto::{
    Frame, FrameCodec, Hello, HelloReply, Liveness, PROTOCOL_VERSION, Refusal, RefusalCode,
    Request, RequestBody, Response, ResponseBody, Role, ServerToClient, put_alive, put_message,
};
use kv_server::{Consistency, Server};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::codec::Framed;

type Connection = Framed<TcpStream, FrameCodec>;

async fn dial(server: &Server) -> Connection {
    let stream = TcpStream::connect(address(server)).await.unwrap();
    Framed::new(stream, FrameCodec::new(GroupId(0)))
}

async fn next(connection: &mut Connection) -> Option<Frame> {
    let next = timeout(WAIT_MAX, connection.next()).await.expect("the server answers");
    next.transpose().unwrap()
}

async fn client_of(server: &Server) -> Connection {
    let mut connection = dial(server).await;
    let hello = Hello { cluster: "kv".to_owned(), role: Role::Client };
    connection.send(hello).await.unwrap();
    let reply = HelloReply::from_frame(next(&mut connection).await.unwrap()).unwrap();
    assert!(matches!(reply, HelloReply::Welcome(_)), "{reply:?}");
    connection.codec_mut().lift_limit();
    connection
}

async fn refusal(connection: &mut Connection) -> Refusal {
    match next_answer(connection).await {
        ServerToClient::Refusal(refusal) => {
            assert_eq!(next(connection).await, None, "the connection is closed after a refusal");
            assert_eq!(refusal.message.lines().count(), 1, "{refusal}");
            refusal
        }
        other => panic!("not refused: {other:?}"),
    }
}

async fn response(connection: &mut Connection) -> Response {
    match next_answer(connection).await {
        ServerToClient::Response(response) => response,
        other => panic!("not answered: {other:?}"),
    }
}

/// What the server says next of requests; it may tell of its sequencer in between.
async fn next_answer(connection: &mut Connection) -> ServerToClient {
    loop {
        let frame = next(connection).await.expect("an answer or a refusal");
        let message = ServerToClient::from_frame(frame).unwrap();
        if !matches!(message, ServerToClient::State(_)) {
            return message;
        }
    }
}

fn request(id: u64, op: kv_core::Operation) -> Request {
    let body = RequestBody::Execute { op, options: RequestOptions::default() };
    Request { id, body }
}

async fn still_serves(server: &Server) {
    assert!(matches!(execute(server, put("alive", "1")).await, Outcome::Done(_)));
    assert_eq!(value(execute(server, get("alive")).await).as_deref(), Some("1"));
}

#[tokio::test]
async fn a_connection_carries_many_requests_at_once() {
    let servers = start(3, Consistency::Eventual, 2).await;
    let mut connection = client_of(&servers[1]).await;
    for id in 0..500 {
        connection.feed(request(id, put(&format!("k{id}"), "v"))).await.unwrap();
    }
    SinkExt::<Request>::flush(&mut connection).await.unwrap();
    let mut answered = Vec::new();
    for _ in 0..500 {
        match response(&mut connection).await {
            Response { id, body: ResponseBody::Outcome(Outcome::Done(_)) } => answered.push(id),
            other => panic!("{other:?}"),
        }
    }
    answered.sort_unstable();
    assert_eq!(answered, (0..500).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_oversized_key_is_refused_by_itself_and_the_connection_goes_on() {
    let servers = start(1, Consistency::Eventual, 1).await;
    let mut connection = client_of(&servers[0]).await;
    // A get of a key that no `Key` can be: one byte too long.
    let mut body = BytesMut::new();
    (9u64, 0u8, 0u8).encode(&mut body);
    (0u32, 1u32, 0u8).encode(&mut body);
    vec![0u8; Key::LEN_MAX + 1].encode(&mut body);
    RequestOptions::default().encode(&mut body);
    send_with_kind(&mut connection, REQUEST_KIND, &body).await;
    match response(&mut connection).await {
        Response { id: 9, body: ResponseBody::Malformed(why) } => {
            assert_eq!(why, "key of 65537 is over the limit of 65536: send a smaller one");
        }
        other => panic!("{other:?}"),
    }
    connection.send(request(10, put("x", "1"))).await.unwrap();
    assert!(matches!(
        response(&mut connection).await,
        Response { id: 10, body: ResponseBody::Outcome(Outcome::Done(_)) }
    ));
}

#[tokio::test]
async fn garbage_and_a_gigabyte_are_refused_and_the_server_lives() {
    let servers = start(1, Consistency::Eventual, 1).await;
    for (bytes, what) in [
        (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], "frame of"),
        (&[0, 0, 0, 0x40, 1, 2, 3], "frame of 1073741824 bytes is over the limit"),
        (&[20, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], "checksum"),
    ] {
        let mut connection = dial(&servers[0]).await;
        connection.get_mut().write_all(bytes).await.unwrap();
        let refusal = refusal(&mut connection).await;
        assert_eq!(refusal.code, RefusalCode::Malformed);
        assert!(refusal.message.contains(what), "{refusal}");
        // The same in the middle of a client's connection.
        let mut connection = client_of(&servers[0]).await;
        connection.get_mut().write_all(bytes).await.unwrap();
        assert_eq!(self::refusal(&mut connection).await.code, RefusalCode::Malformed);
    }
    still_serves(&servers[0]).await;
}

#[tokio::test]
async fn clients_and_servers_of_another_protocol_version_are_told_to_use_one_release() {
    let servers = start(2, Consistency::Linearizable, 2).await;
    let client = Hello { cluster: "kv".to_owned(), role: Role::Client };
    for hello in [client, hello_of_server_2(Quorum::Count(2))] {
        for (theirs, expected) in [
            (1, "version 9, not 1: use programs of one release (upgrade that program)"),
            (10, "version 9, not 10: use programs of one release (upgrade this server)"),
        ] {
            let mut frame = BytesMut::new();
            put_message(GroupId(0), &hello, &mut frame).unwrap();
            frame[4] = theirs;
            let checksum = crc32c::crc32c(&frame[..14]);
            frame[14..18].copy_from_slice(&checksum.to_le_bytes());
            let mut connection = dial(&servers[0]).await;
            connection.get_mut().write_all(&frame).await.unwrap();
            let refusal = refusal(&mut connection).await;
            assert_eq!(refusal.code, RefusalCode::Version);
            assert_eq!(refusal.message, format!("this server speaks protocol {expected}"));
        }
    }
    still_serves(&servers[0]).await;
}

#[tokio::test]
async fn a_server_with_other_quorums_is_refused_with_both_sides_named() {
    let servers = start(2, Consistency::Linearizable, 2).await;
    let mut connection = dial(&servers[0]).await;
    connection.send(hello_of_server_2(Quorum::Count(1))).await.unwrap();
    let refusal = refusal(&mut connection).await;
    assert_eq!(refusal.code, RefusalCode::Configuration);
    assert!(refusal.message.contains("N=2 W=1 R=1"), "{refusal}");
    assert!(refusal.message.contains("N=2 W=2 R=2"), "{refusal}");
    still_serves(&servers[0]).await;
}

#[tokio::test]
async fn a_server_that_sends_a_request_is_disconnected() {
    let mut servers = start(2, Consistency::Linearizable, 1).await;
    servers.pop().unwrap().stop().await.unwrap();
    let mut connection = dial(&servers[0]).await;
    connection.send(hello_of_server_2(Quorum::Count(1))).await.unwrap();
    let reply = HelloReply::from_frame(next(&mut connection).await.unwrap()).unwrap();
    assert!(matches!(reply, HelloReply::Welcome(_)), "{reply:?}");
    connection.send(request(1, get("x"))).await.unwrap();
    assert_eq!(next(&mut connection).await, None);
    still_serves(&servers[0]).await;
}

#[tokio::test]
async fn a_second_server_with_the_id_of_one_that_is_connected_is_refused_by_name() {
    let mut servers = start(2, Consistency::Linearizable, 1).await;
    let mut connection = dial(&servers[0]).await;
    connection.send(hello_of_server_2(Quorum::Count(1))).await.unwrap();
    let refusal = refusal(&mut connection).await;
    assert_eq!(refusal.code, RefusalCode::Node);
    assert_eq!(
        refusal.message,
        "server 2 is connected to server 1 already: two servers were started with the id 2; stop \
         one of them"
    );
    // Once the first has gone, there is one again.
    servers.pop().unwrap().stop().await.unwrap();
    let mut connection = dial(&servers[0]).await;
    connection.send(hello_of_server_2(Quorum::Count(1))).await.unwrap();
    let reply = HelloReply::from_frame(next(&mut connection).await.unwrap()).unwrap();
    assert!(matches!(reply, HelloReply::Welcome(_)), "{reply:?}");
}

/// A peer shows that it lives up to two intervals after its last frame.
#[tokio::test]
async fn a_server_that_is_silent_for_two_signs_of_life_and_goes_on_is_still_connected() {
    let (mut sockets, list) = sockets(2).await;
    let config = config(1, Consistency::Linearizable, 1, &list);
    let server = Server::start_on(sockets.remove(0), config).await.unwrap();
    let mut first = dial(&server).await;
    first.send(hello_of_server_2(Quorum::Count(1))).await.unwrap();
    let reply = HelloReply::from_frame(next(&mut first).await.unwrap()).unwrap();
    assert!(matches!(reply, HelloReply::Welcome(_)), "{reply:?}");
    let mut second = dial(&server).await;
    second.send(hello_of_server_2(Quorum::Count(1))).await.unwrap();
    sleep(Liveness::PEERS.interval * 3).await;
    let mut sign = BytesMut::new();
    put_alive(GroupId(0), &mut sign);
    first.get_mut().write_all(&sign).await.unwrap();
    assert_eq!(refusal(&mut second).await.code, RefusalCode::Node);
}

/// The hello of the second linearizable server of two.
fn hello_of_server_2(quorum: Quorum) -> Hello {
    let config = ClusterConfig::new([1, 2].map(node), quorum, quorum).unwrap();
    let engine = Consistency::Linearizable.engine_name().to_owned();
    let role = Role::Server { node: node(2), incarnation: Incarnation::UNKNOWN, engine, config };
    Hello { cluster: "kv".to_owned(), role }
}

async fn send_with_kind(connection: &mut Connection, kind: u8, body: &[u8]) {
    let mut frame = BytesMut::new();
    frame.put_u32_le(u32::try_from(body.len() + 14).unwrap());
    frame.put_u8(PROTOCOL_VERSION);
    frame.put_u8(kind);
    frame.put_u32_le(0);
    frame.put_u32_le(crc32c::crc32c(body));
    frame.put_u32_le(crc32c::crc32c(&frame));
    frame.put_slice(body);
    connection.get_mut().write_all(&frame).await.unwrap();
}

const REQUEST_KIND: u8 = 4;
