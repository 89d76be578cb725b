//! A server is lost: what is repeated, what is not, and where the client goes.

use std::time::Duration;

use crate::fake::{
    self, DeadServer, FakeServer, config, event, found, get, key, put, value, written,
};
use kv_client::{Certainty, Client, ClientError, Event, LostReason};
use kv_core::RequestOptions;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_read_goes_to_the_next_server_and_a_sent_write_does_not() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let client = Client::start(config([one.entry(), two.entry()], 2)).0;
    let script = async {
        let mut connection = two.accept().await;
        connection.expect(&get("a")).await;
        connection.expect(&put("b", "1")).await;
        drop(connection);
        let mut connection = one.accept().await;
        let id = connection.expect(&get("a")).await;
        connection.answer(id, found("1")).await;
        // Had the write been repeated, it would come before this.
        let id = connection.expect(&get("later")).await;
        connection.answer(id, found("2")).await;
        connection
    };
    let calls = async {
        let (read, write) = tokio::join!(client.get(key("a")), client.put(key("b"), value("1")));
        assert_eq!(read.unwrap().server, one.node);
        let error = write.unwrap_err();
        assert_eq!(error, ClientError::Lost { server: two.node, why: LostReason::Closed });
        assert_eq!(error.certainty(), Certainty::Unknown);
        client.get(key("later")).await.unwrap();
        assert_eq!(client.server(), Some(one.node));
    };
    tokio::join!(script, calls);
}

#[tokio::test]
async fn a_write_that_was_not_sent_goes_to_the_next_server() {
    let one = FakeServer::start(1).await;
    let two = FakeServer::start(2).await.with_in_flight_max(1);
    let client = Client::start(config([one.entry(), two.entry()], 2)).0;
    let script = async {
        let mut connection = two.accept().await;
        connection.expect(&put("sent", "1")).await;
        drop(connection);
        let mut connection = one.accept().await;
        let id = connection.expect(&put("waits", "1")).await;
        connection.answer(id, written()).await;
        connection
    };
    let calls = async {
        let sent = client.put(key("sent"), value("1"));
        let waits = client.put(key("waits"), value("1"));
        let (sent, waits) = tokio::join!(sent, waits);
        assert!(matches!(sent, Err(ClientError::Lost { .. })), "{sent:?}");
        assert_eq!(waits.unwrap().server, one.node);
    };
    tokio::join!(script, calls);
}

#[tokio::test]
async fn a_write_whose_frame_was_not_written_to_its_end_is_sent_again() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let client = Client::start(config([one.entry(), two.entry()], 2)).0;
    // Larger than what the sockets of a connection buffer.
    let large = "x".repeat(kv_core::Value::LEN_MAX);
    let script = async {
        let connection = two.accept().await;
        connection.framed.get_ref().readable().await.unwrap();
        drop(connection);
        let mut connection = one.accept().await;
        let id = connection.expect(&put("a", &large)).await;
        connection.answer(id, written()).await;
        connection
    };
    let (result, _connection) = tokio::join!(client.put(key("a"), value(&large)), script);
    assert_eq!(result.unwrap().server, one.node);
}

#[tokio::test]
async fn events_tell_of_the_loss_and_of_the_next_server() {
    let (one, three) = (FakeServer::start(1).await, FakeServer::start(3).await);
    let two = DeadServer::new(2);
    let servers = [one.entry(), two.entry(), three.entry()];
    let (client, mut events) = Client::start(config(servers, 1));
    let connection = one.accept().await;
    let first = event(&mut events, |event| match event {
        Event::Connected { server, skipped, .. } => Some((server, skipped)),
        _ => None,
    });
    assert_eq!(first.await, (one.node, vec![]));
    assert_eq!(client.server(), Some(one.node));
    drop(connection);
    let _connection = three.accept().await;
    let lost = event(&mut events, |event| match event {
        Event::Lost { server, why } => Some((server, why)),
        _ => None,
    });
    assert_eq!(lost.await, (one.node, LostReason::Closed));
    let second = event(&mut events, |event| match event {
        Event::Connected { server, skipped, .. } => Some((server, skipped)),
        _ => None,
    });
    let (server, skipped) = second.await;
    assert_eq!(server, three.node);
    let skipped: Vec<_> = skipped.iter().map(|failure| failure.server).collect();
    assert_eq!(skipped, [fake::node(2)]);
}

#[tokio::test]
async fn a_server_that_sends_garbage_is_left() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let (client, mut events) = Client::start(config([one.entry(), two.entry()], 1));
    let script = async {
        let mut connection = one.accept().await;
        connection.expect(&get("a")).await;
        let garbage = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        let stream = connection.framed.get_mut();
        stream.write_all(garbage).await.unwrap();
        let mut next = two.accept().await;
        let id = next.expect(&get("a")).await;
        next.answer(id, found("1")).await;
        (connection, next)
    };
    let (read, _connections) = tokio::join!(client.get(key("a")), script);
    assert_eq!(read.unwrap().server, two.node);
    let why = event(&mut events, |event| match event {
        Event::Lost { why, .. } => Some(why),
        _ => None,
    });
    assert!(matches!(why.await, LostReason::Garbage { .. }));
}

#[tokio::test]
async fn a_server_that_hangs_is_left_after_a_request_in_vain() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let impatient = config([one.entry(), two.entry()], 1).with_grace(Duration::from_millis(20));
    let (client, mut hanging) = tokio::join!(Client::connect(impatient), one.accept());
    let client = client.unwrap();
    let options = RequestOptions::default().with_timeout(Duration::from_millis(300));
    let operation = get("a");
    let call = client.execute(operation.clone(), options);
    let (first, _) = tokio::join!(call, hanging.expect(&operation));
    assert!(matches!(first, Err(ClientError::TimedOut { .. })), "{first:?}");
    let script = async {
        let mut connection = two.accept().await;
        let id = connection.expect(&get("b")).await;
        connection.answer(id, found("1")).await;
        connection
    };
    let (second, _connection) = tokio::join!(client.get(key("b")), script);
    assert_eq!(second.unwrap().server, two.node);
}

#[tokio::test]
async fn a_server_that_does_not_answer_the_handshake_is_skipped() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let impatient =
        config([one.entry(), two.entry()], 1).with_dial_timeout(Duration::from_millis(50));
    let connect = Client::connect(impatient);
    let script = async {
        let silent = one.accept_silently().await;
        (silent, two.accept().await)
    };
    let (client, _connections) = tokio::join!(connect, script);
    assert_eq!(client.unwrap().server(), Some(two.node));
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_again() {
    let one = FakeServer::start(1).await;
    let two = DeadServer::new(2);
    let client = Client::start(config([one.entry(), two.entry()], 2)).0;
    let script = async {
        drop(one.accept().await);
        drop(one.accept().await);
        let mut connection = one.accept().await;
        let id = connection.expect(&get("a")).await;
        connection.answer(id, found("1")).await;
        connection
    };
    let (read, _connection) = tokio::join!(client.get(key("a")), script);
    assert_eq!(read.unwrap().found.unwrap().value, value("1"));
}

#[tokio::test]
async fn another_server_at_the_address_is_a_mistake_in_the_list() {
    let two = FakeServer::start(2).await;
    let (_, address) = two.entry();
    let (_client, mut events) = Client::start(config([(fake::node(1), address)], 1));
    let _connection = two.accept().await;
    let failures = event(&mut events, |event| match event {
        Event::NoneAnswers { failures } => Some(failures),
        _ => None,
    });
    assert_eq!(
        failures.await[0].to_string(),
        "server 1: server 2 answers there: correct the list of servers"
    );
}
