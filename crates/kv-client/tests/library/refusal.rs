//! Servers that do not take the client.

use std::time::Duration;

use crate::fake::{DeadServer, FakeServer, config, event};
use kv_client::{Certainty, Client, ClientError, Event};
use kv_proto::{CLUSTER_NAME_LEN_MAX, Refusal, RefusalCode, Role};

fn other_cluster() -> Refusal {
    Refusal::new(RefusalCode::Cluster, "this is cluster kv, not blue")
}

#[tokio::test]
async fn the_client_says_who_it_is() {
    let one = FakeServer::start(1).await;
    let blue = config([one.entry()], 1).with_cluster("blue".to_owned());
    let _client = Client::start(blue);
    let (_, hello) = one.accept_hello().await;
    assert_eq!(hello.cluster, "blue");
    assert_eq!(hello.role, Role::Client);
}

#[tokio::test]
async fn a_refusal_is_skipped_and_told_once() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let (client, mut events) = Client::start(config([one.entry(), two.entry()], 1));
    one.refuse(other_cluster()).await;
    let _connection = two.accept().await;
    let (server, refusal) = event(&mut events, |event| match event {
        Event::Refused { server, refusal } => Some((server, refusal)),
        _ => None,
    })
    .await;
    assert_eq!((server, refusal), (one.node, other_cluster()));
    let connected = event(&mut events, |event| match event {
        Event::Connected { server, .. } => Some(server),
        _ => None,
    });
    assert_eq!(connected.await, two.node);
    assert_eq!(client.server(), Some(two.node));
}

#[tokio::test]
async fn a_refusal_is_the_answer_at_once_if_no_server_is_left() {
    let one = FakeServer::start(1).await;
    let two = DeadServer::new(2);
    let connect = Client::connect(config([one.entry(), two.entry()], 1));
    let (client, ()) = tokio::join!(connect, one.refuse(other_cluster()));
    let error = client.unwrap_err();
    assert_eq!(error, ClientError::Refused { server: one.node, refusal: other_cluster() });
    assert_eq!(error.certainty(), Certainty::NotDone);
    assert_eq!(error.to_string(), "server 1 refuses this client: this is cluster kv, not blue");
}

#[tokio::test]
async fn a_full_server_may_have_room_later() {
    let one = FakeServer::start(1).await;
    let connect = Client::connect(config([one.entry()], 1));
    let script = async {
        one.refuse(Refusal::new(RefusalCode::Full, "full")).await;
        one.accept().await
    };
    let (client, _connection) = tokio::join!(connect, script);
    assert_eq!(client.unwrap().server(), Some(one.node));
}

#[tokio::test]
async fn a_full_server_is_what_is_told_when_time_is_up() {
    let one = FakeServer::start(1).await;
    let hasty = config([one.entry()], 1).with_timeout(Duration::from_millis(200));
    let refuse = async {
        loop {
            one.refuse(Refusal::new(RefusalCode::Full, "full")).await;
        }
    };
    let client = tokio::select! {
        client = Client::connect(hasty) => client,
        () = refuse => unreachable!("it refuses for ever"),
    };
    assert!(matches!(client, Err(ClientError::Refused { .. })), "{client:?}");
}

#[tokio::test]
async fn the_name_of_a_cluster_that_no_hello_can_hold_is_told_and_not_sent() {
    let one = FakeServer::start(1).await;
    let cluster = "x".repeat(CLUSTER_NAME_LEN_MAX + 1);
    let long = config([one.entry()], 1).with_cluster(cluster);
    // At once: to wait for another server is no use.
    let connect = tokio::time::timeout(Duration::from_secs(10), Client::connect(long));
    let error = connect.await.expect("it does not wait").unwrap_err();
    assert!(error.to_string().contains("name"), "{error}");
    assert_eq!(error.certainty(), Certainty::NotDone);
}
