//! What a request is told when its time is up.

use std::time::Duration;

use crate::fake::{self, DeadServer, FakeServer, config, found, get, key, missing, put};
use kv_client::{Certainty, Client, ClientError};
use kv_core::RequestOptions;
use kv_proto::RequestBody;

fn within(millis: u64) -> RequestOptions {
    RequestOptions::default().with_timeout(Duration::from_millis(millis))
}

/// A client with little grace, connected to a server that will not answer `unanswered`.
async fn connected(server: &FakeServer) -> (Client, fake::FakeConnection) {
    let impatient = config([server.entry()], 1).with_grace(Duration::from_millis(20));
    let (client, connection) = tokio::join!(Client::connect(impatient), server.accept());
    (client.unwrap(), connection)
}

#[tokio::test]
async fn without_a_server_nothing_was_done() {
    let (one, three) = (DeadServer::new(1), DeadServer::new(3));
    let client = Client::start(config([one.entry(), three.entry()], 3)).0;
    let error = client.execute(put("a", "1"), within(50)).await.unwrap_err();
    assert_eq!(error.certainty(), Certainty::NotDone);
    assert_eq!(
        error.to_string(),
        "unavailable: none of the servers 1,3 answers (server 3: connection refused); nothing was done, \
         so try again"
    );
}

#[tokio::test]
async fn a_write_without_an_answer_is_unknown_and_cancelled() {
    let server = FakeServer::start(1).await;
    let (client, mut connection) = connected(&server).await;
    let script = async {
        let id = connection.expect(&put("a", "1")).await;
        let cancel = connection.next_request().await;
        (id, cancel)
    };
    let (result, (id, cancel)) = tokio::join!(client.execute(put("a", "1"), within(300)), script);
    let error = result.unwrap_err();
    assert!(
        matches!(error, ClientError::NoAnswer { server: at, .. } if at == server.node),
        "{error:?}"
    );
    assert_eq!(error.certainty(), Certainty::Unknown);
    // A server that says nothing at all is left, and may be left before it hears of the cancel.
    if let Some(cancel) = cancel {
        assert_eq!((cancel.id, cancel.body), (id, RequestBody::Cancel));
    }
}

#[tokio::test]
async fn a_read_without_an_answer_has_timed_out_and_the_connection_that_lives_is_kept() {
    let server = FakeServer::start(1).await;
    let (client, mut connection) = connected(&server).await;
    let script = async {
        let slow = connection.expect(&get("slow")).await;
        let quick = connection.expect(&get("quick")).await;
        connection.answer(quick, missing()).await;
        let cancel = connection.request().await;
        assert_eq!((cancel.id, cancel.body), (slow, RequestBody::Cancel));
        let next = connection.expect(&get("next")).await;
        connection.answer(next, found("1")).await;
    };
    let calls = async {
        let slow = client.execute(get("slow"), within(300));
        let quick = client.get(key("quick"));
        let (slow, quick) = tokio::join!(slow, quick);
        let error = slow.unwrap_err();
        assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
        assert_eq!(error.certainty(), Certainty::NotDone);
        assert_eq!(quick.unwrap().found, None);
        client.get(key("next")).await.unwrap();
    };
    tokio::join!(script, calls);
}

#[tokio::test]
async fn the_server_is_told_the_time_that_is_left() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let client = Client::start(config([one.entry(), two.entry()], 1)).0;
    let script = async {
        let mut connection = one.accept().await;
        let first = timeout_of(connection.request().await.body);
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(connection);
        let mut connection = two.accept().await;
        let request = connection.request().await;
        connection.answer(request.id, found("1")).await;
        (connection, first, timeout_of(request.body))
    };
    let call = client.execute(get("a"), within(10_000));
    let (result, (_connection, first, second)) = tokio::join!(call, script);
    result.unwrap();
    assert!(first <= Duration::from_secs(10), "{first:?}");
    assert!(second + Duration::from_millis(20) <= first, "{first:?} {second:?}");
}

fn timeout_of(body: RequestBody) -> Duration {
    match body {
        RequestBody::Execute { options, .. } => options.timeout,
        RequestBody::Status | RequestBody::Cancel | RequestBody::Snapshot => {
            panic!("not an operation")
        }
    }
}

#[tokio::test]
async fn a_read_whose_server_was_lost_keeps_its_own_time() {
    let one = FakeServer::start(1).await;
    let (client, mut connection) = connected(&one).await;
    let script = async {
        connection.expect(&get("a")).await;
        drop(connection);
        // It is dialled again and never answers the hello.
        one.accept_silently().await
    };
    let begin = std::time::Instant::now();
    let (result, _silent) = tokio::join!(client.execute(get("a"), within(300)), script);
    assert!(begin.elapsed() < Duration::from_secs(10), "its time was made longer");
    assert!(matches!(result, Err(ClientError::Unavailable { .. })), "{result:?}");
}

#[tokio::test]
async fn an_endless_time_is_no_panic() {
    let server = FakeServer::start(1).await;
    let (client, mut connection) = connected(&server).await;
    let endless = RequestOptions::default().with_timeout(Duration::MAX);
    let script = async {
        let id = connection.expect(&get("a")).await;
        connection.answer(id, found("1")).await;
    };
    let (result, ()) = tokio::join!(client.execute(get("a"), endless), script);
    result.unwrap();
}
