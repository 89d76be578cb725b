//! Servers whose connections stand and that say nothing any more, or are not who they were.

use std::time::{Duration, Instant};

use crate::fake::{FakeServer, SOON, config, event, found, get};
use kv_client::{Client, ClientConfig, ClientError, DialError, Event, LostReason};
use kv_core::{ClusterId, Outcome, RequestOptions};

#[tokio::test]
async fn an_idle_client_notices_that_its_server_is_gone_and_goes_on() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let (client, mut events) = Client::start(config([one.entry(), two.entry()], 1));
    let _silent = one.accept().await;
    let lost = event(&mut events, |event| match event {
        Event::Lost { server, why } => Some((server, why)),
        _ => None,
    });
    let (server, why) = lost.await;
    assert_eq!(server, one.node);
    assert!(matches!(why, LostReason::Silent { .. }), "{why}");
    let _connection = two.accept().await;
    drop(client);
}

#[tokio::test]
async fn a_read_at_a_server_that_falls_silent_goes_on_to_another_within_its_time() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    // As a person has it who sets nothing.
    let defaults = ClientConfig::default();
    let times = config([one.entry(), two.entry()], 1).with_timeout(defaults.timeout);
    let (client, _) = Client::start(times);
    let mut silent = one.accept().await;
    let began = Instant::now();
    let options = RequestOptions::default().with_timeout(defaults.timeout);
    let reading = tokio::spawn({
        let client = client.clone();
        async move { client.execute(get("x"), options).await }
    });
    silent.expect(&get("x")).await;
    let mut serving = two.accept().await;
    let id = serving.expect(&get("x")).await;
    serving.answer(id, found("v")).await;
    assert_eq!(Outcome::Done(reading.await.unwrap().unwrap()), found("v"));
    assert!(began.elapsed() < defaults.timeout, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_client_shows_that_it_lives() {
    let one = FakeServer::start(1).await;
    let (client, _) = Client::start(config([one.entry()], 1));
    let connection = one.accept().await;
    let stream = connection.framed.into_inner();
    let bytes = async {
        let mut bytes = Vec::new();
        while bytes.len() < 18 {
            stream.readable().await.unwrap();
            // A wake-up for nothing is tried again.
            let _ = stream.try_read_buf(&mut bytes);
        }
        bytes
    };
    let bytes = tokio::time::timeout(SOON, bytes).await.expect("it shows nothing");
    let mut alive = bytes::BytesMut::new();
    kv_proto::put_alive(kv_core::GroupId(0), &mut alive);
    assert_eq!(bytes, alive);
    drop(client);
}

#[tokio::test]
async fn a_session_does_not_go_on_with_another_store() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    for (theirs, engine) in [(Some(ClusterId(8)), "fake"), (None, "other")] {
        let times = config([one.entry(), two.entry()], 1).with_timeout(Duration::from_millis(500));
        let (client, mut events) = Client::start(times);
        let (mut connection, _) = one.accept_hello().await;
        let mut welcome = one.welcome();
        welcome.cluster_id = Some(ClusterId(7));
        connection.send(welcome).await;
        event(&mut events, |event| matches!(event, Event::Connected { .. }).then_some(())).await;
        drop(connection);
        let serve_another_store = async {
            loop {
                let (mut connection, _) = two.accept_hello().await;
                let mut welcome = two.welcome();
                (welcome.cluster_id, welcome.engine) = (theirs, engine.to_owned());
                connection.send(welcome).await;
                // The client closes it without a request.
                assert_eq!(connection.next_request().await, None);
            }
        };
        let refuse = async {
            loop {
                drop(one.accept_silently().await);
            }
        };
        let options = RequestOptions::default().with_timeout(Duration::from_millis(500));
        let error = tokio::select! {
            result = client.execute(get("x"), options) => result.unwrap_err(),
            () = serve_another_store => panic!("unreachable"),
            () = refuse => panic!("unreachable"),
        };
        let ClientError::Unavailable { failures, .. } = error else {
            panic!("{error}");
        };
        let other = failures.into_iter().find(|failure| failure.server == two.node).unwrap().error;
        let expected = match theirs {
            Some(theirs) => DialError::OtherCluster { ours: ClusterId(7), theirs },
            None => DialError::OtherEngine { ours: "fake".to_owned(), theirs: engine.to_owned() },
        };
        assert_eq!(other, expected);
    }
}
