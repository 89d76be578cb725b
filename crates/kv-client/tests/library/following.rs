//! The client goes to the server that orders requests, and after it.

use std::time::Duration;

use crate::fake::{
    self, FakeConnection, FakeServer, config, event, found, get, key, put, value, written,
};
use kv_client::{Client, ClientError, Event, LostReason};
use kv_core::{Answer, Dump, NodeId, Operation, Page, RequestOptions, Waiting};
use kv_proto::{ServerState, Welcome};

/// Accepts a client and names the sequencer.
async fn accept(server: &FakeServer, sequencer: Option<NodeId>) -> FakeConnection {
    let (mut connection, _) = server.accept_hello().await;
    connection.send(Welcome { sequencer, ..server.welcome() }).await;
    connection
}

const fn sequencer_is(sequencer: NodeId) -> ServerState {
    ServerState { sequencer: Some(sequencer), waiting: None, cluster_id: None }
}

async fn moved(events: &mut tokio::sync::broadcast::Receiver<Event>) -> (NodeId, NodeId) {
    event(events, |event| match event {
        Event::Moved { from, server, .. } => Some((from, server)),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_client_goes_to_the_sequencer_that_the_handshake_names() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let (client, mut events) = Client::start(config([one.entry(), two.entry()], 1));
    let _first = accept(&one, Some(two.node)).await;
    let mut second = accept(&two, Some(two.node)).await;
    assert_eq!(moved(&mut events).await, (one.node, two.node));
    assert_eq!(client.server(), Some(two.node));
    let script = async {
        let id = second.expect(&get("a")).await;
        second.answer(id, found("1")).await;
    };
    let (read, ()) = tokio::join!(client.get(key("a")), script);
    assert_eq!(read.unwrap().server, two.node);
}

#[tokio::test]
async fn what_is_in_flight_is_answered_before_the_client_goes() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let (client, mut events) = Client::start(config([one.entry(), two.entry()], 1));
    let mut first = accept(&one, Some(one.node)).await;
    let script = async {
        let id = first.expect(&put("a", "1")).await;
        first.send(sequencer_is(two.node)).await;
        let second = accept(&two, Some(two.node)).await;
        first.answer(id, written()).await;
        second
    };
    let (held, mut second) = tokio::join!(client.put(key("a"), value("1")), script);
    assert_eq!(held.unwrap().server, one.node);
    assert_eq!(moved(&mut events).await, (one.node, two.node));
    assert!(first.next().await.is_none(), "the old connection is closed");
    let script = async {
        let id = second.expect(&put("b", "2")).await;
        second.answer(id, written()).await;
    };
    let (next, ()) = tokio::join!(client.put(key("b"), value("2")), script);
    assert_eq!(next.unwrap().server, two.node);
}

#[tokio::test]
async fn a_request_that_takes_long_keeps_the_client_where_it_is() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let client = Client::start(config([one.entry(), two.entry()], 1)).0;
    let mut first = accept(&one, Some(two.node)).await;
    let script = async {
        let long = first.expect(&put("long", "1")).await;
        let _second = accept(&two, Some(two.node)).await;
        let read = async {
            let id = first.expect(&get("a")).await;
            first.answer(id, found("1")).await;
        };
        let (read, ()) = tokio::join!(client.get(key("a")), read);
        assert_eq!(read.unwrap().server, one.node);
        first.answer(long, written()).await;
    };
    let (long, ()) = tokio::join!(client.put(key("long"), value("1")), script);
    assert_eq!(long.unwrap().server, one.node);
}

#[tokio::test]
async fn a_server_that_does_not_know_itself_as_the_sequencer_is_not_gone_to() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let client = Client::start(config([one.entry(), two.entry()], 1)).0;
    let mut first = accept(&one, Some(two.node)).await;
    // What it says first has changed by the time of the next attempt.
    let mut refused = accept(&two, Some(one.node)).await;
    assert!(refused.next().await.is_none(), "the client closes it");
    let script = async {
        let id = first.expect(&get("a")).await;
        first.answer(id, found("1")).await;
    };
    let (read, ()) = tokio::join!(client.get(key("a")), script);
    assert_eq!(read.unwrap().server, one.node);
    let _second = accept(&two, Some(two.node)).await;
    assert!(first.next().await.is_none(), "the second attempt succeeds");
}

#[tokio::test]
async fn a_client_that_is_to_stay_stays() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let staying = config([one.entry(), two.entry()], 1).with_follow_sequencer(false);
    let client = Client::start(staying).0;
    let mut first = accept(&one, Some(two.node)).await;
    for _ in 0..3 {
        first.send(sequencer_is(two.node)).await;
        let script = async {
            let id = first.expect(&get("a")).await;
            first.answer(id, found("1")).await;
        };
        let (read, ()) = tokio::join!(client.get(key("a")), script);
        assert_eq!(read.unwrap().server, one.node);
    }
    let come = tokio::time::timeout(Duration::from_millis(50), two.accept_silently());
    assert!(come.await.is_err(), "it has dialled the sequencer");
}

#[tokio::test]
async fn a_dump_is_of_one_server_to_its_end() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let (client, mut events) = Client::start(config([one.entry(), two.entry()], 1));
    let mut first = accept(&one, Some(one.node)).await;
    let mut pages = client.dump_pages(RequestOptions::default());
    let page = |entries, next| fake::answered(Answer::Page(Page { entries, next }));
    let entry = || {
        let versioned = kv_core::Versioned { value: value("1"), version: kv_core::Version::Log(1) };
        vec![(key("a"), versioned)]
    };
    let script = async {
        let id = first.request().await.id;
        first.answer(id, page(entry(), Some(key("a")))).await;
        first.send(sequencer_is(two.node)).await;
    };
    let (some, ()) = tokio::join!(pages.next(), script);
    assert_eq!(some.unwrap().unwrap().len(), 1);
    let script = async {
        let request = first.request().await;
        let after = Operation::Dump(Dump { after: Some(key("a")), limit: 1000 });
        assert!(matches!(request.body, kv_proto::RequestBody::Execute { op, .. } if op == after));
        first.answer(request.id, page(vec![], None)).await;
    };
    let (rest, ()) = tokio::join!(pages.next(), script);
    assert_eq!(rest.unwrap(), Some(vec![]));
    drop(pages);
    let _second = accept(&two, Some(two.node)).await;
    assert_eq!(moved(&mut events).await, (one.node, two.node));
}

#[tokio::test]
async fn a_client_whose_sequencer_is_lost_is_served_by_another_and_follows_the_next() {
    let (one, two, three) =
        (FakeServer::start(1).await, FakeServer::start(2).await, FakeServer::start(3).await);
    let servers = [one.entry(), two.entry(), three.entry()];
    let (client, mut events) = Client::start(config(servers, 1));
    drop(accept(&one, Some(one.node)).await);
    let mut second = accept(&two, None).await;
    let script = async {
        let id = second.expect(&get("a")).await;
        second.answer(id, found("1")).await;
        second.send(sequencer_is(three.node)).await;
        accept(&three, Some(three.node)).await
    };
    let (read, _third) = tokio::join!(client.get(key("a")), script);
    assert_eq!(read.unwrap().server, two.node);
    assert_eq!(moved(&mut events).await, (two.node, three.node));
}

#[tokio::test]
async fn a_server_that_says_that_it_does_not_serve_is_left_with_what_it_has() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let client = Client::start(config([one.entry(), two.entry()], 1)).0;
    let mut first = accept(&one, Some(one.node)).await;
    let script = async {
        first.expect(&put("a", "1")).await;
        first.expect(&get("a")).await;
        let waiting = Some(Waiting::Servers { more: 1 });
        first.send(ServerState { sequencer: Some(one.node), waiting, cluster_id: None }).await;
        let mut second = accept(&two, Some(two.node)).await;
        let id = second.expect(&get("a")).await;
        second.answer(id, found("1")).await;
        second
    };
    let (write, read, _second) =
        tokio::join!(client.put(key("a"), value("1")), client.get(key("a")), script);
    assert!(matches!(write, Err(ClientError::Lost { .. })), "{write:?}");
    assert_eq!(read.unwrap().server, two.node);
}

#[tokio::test]
async fn a_server_that_serves_again_in_time_is_not_left() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let client = Client::start(config([one.entry(), two.entry()], 1)).0;
    let mut first = accept(&one, Some(one.node)).await;
    let script = async {
        let id = first.expect(&put("a", "1")).await;
        let waiting = Some(Waiting::Servers { more: 1 });
        first.send(ServerState { sequencer: Some(one.node), waiting, cluster_id: None }).await;
        first.send(sequencer_is(one.node)).await;
        let come = tokio::time::timeout(Duration::from_millis(700), two.accept_silently());
        assert!(come.await.is_err(), "it has left");
        first.answer(id, written()).await;
    };
    let (write, ()) = tokio::join!(client.put(key("a"), value("1")), script);
    assert_eq!(write.unwrap().server, one.node);
}

#[tokio::test]
async fn a_server_that_loses_the_sequencer_is_left_with_what_it_has() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let (client, mut events) = Client::start(config([one.entry(), two.entry()], 1));
    let mut first = accept(&one, None).await;
    let script = async {
        first.expect(&get("a")).await;
        let waiting = Some(Waiting::Sequencer { node: two.node });
        first.send(ServerState { sequencer: None, waiting, cluster_id: None }).await;
        let mut second = accept(&two, Some(two.node)).await;
        let id = second.expect(&get("a")).await;
        second.answer(id, found("1")).await;
        second
    };
    let (read, _second) = tokio::join!(client.get(key("a")), script);
    assert_eq!(read.unwrap().server, two.node);
    let why = event(&mut events, |event| match event {
        Event::Lost { why, .. } => Some(why),
        _ => None,
    });
    assert!(matches!(why.await, LostReason::NotServing { .. }));
}

#[tokio::test]
async fn an_idle_client_asks_the_server_that_did_not_serve_before_it_leaves() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let client = Client::start(config([one.entry(), two.entry()], 1)).0;
    let mut first = accept(&one, Some(one.node)).await;
    let waiting = Some(Waiting::Servers { more: 1 });
    first.send(ServerState { sequencer: Some(one.node), waiting, cluster_id: None }).await;
    // Longer than a client stays that asks for something.
    let come = tokio::time::timeout(Duration::from_millis(700), two.accept_silently());
    assert!(come.await.is_err(), "it has left");
    let script = async {
        let id = first.expect(&get("a")).await;
        first.answer(id, found("1")).await;
    };
    let (read, ()) = tokio::join!(client.get(key("a")), script);
    assert_eq!(read.unwrap().server, one.node);
}

#[tokio::test]
async fn a_client_returns_to_the_sequencer_of_which_the_next_server_knows_nothing() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let (_client, mut events) = Client::start(config([one.entry(), two.entry()], 1));
    drop(accept(&one, Some(one.node)).await);
    let _second = accept(&two, None).await;
    let _first = accept(&one, Some(one.node)).await;
    assert_eq!(moved(&mut events).await, (two.node, one.node));
}

#[tokio::test]
async fn an_idle_client_stays_with_a_server_that_does_not_serve() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let client = Client::start(config([one.entry(), two.entry()], 1)).0;
    let mut first = accept(&one, Some(one.node)).await;
    let waiting = Some(Waiting::Servers { more: 1 });
    first.send(ServerState { sequencer: Some(one.node), waiting, cluster_id: None }).await;
    let come = tokio::time::timeout(Duration::from_millis(700), two.accept_silently());
    assert!(come.await.is_err(), "it has left");
    assert_eq!(client.server(), Some(one.node));
}
