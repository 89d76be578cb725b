//! Servers that cannot serve yet: requests wait for them, and go to others.

use std::time::Duration;

use crate::fake::{self, FakeConnection, FakeServer, config, event, found, get, put, written};
use kv_client::{Client, ClientError, Event, LostReason};
use kv_core::{Done, NotDone, Operation, Outcome, RequestOptions, Waiting};
use tokio::task::JoinHandle;

const JOINING: NotDone = NotDone::Waiting(Waiting::Joining);

/// How a request ends that the server refuses each time it is sent.
async fn while_refused(
    asking: JoinHandle<Result<Done, ClientError>>,
    connection: &mut FakeConnection,
    operation: &Operation,
    reason: NotDone,
) -> Result<Done, ClientError> {
    let refuse = async {
        loop {
            let id = connection.expect(operation).await;
            connection.answer(id, Outcome::NotDone(reason.clone())).await;
        }
    };
    tokio::select! {
        ended = asking => ended.unwrap(),
        () = refuse => panic!("unreachable"),
    }
}

#[tokio::test]
async fn a_request_that_comes_too_early_is_sent_again_and_served() {
    let one = FakeServer::start(1).await;
    let client = Client::start(config([one.entry()], 1)).0;
    let writing = tokio::spawn(async move { client.execute(put("x", "1"), options()).await });
    let mut connection = one.accept().await;
    for _ in 0..5 {
        let id = connection.expect(&put("x", "1")).await;
        connection.answer(id, Outcome::NotDone(JOINING)).await;
    }
    let id = connection.expect(&put("x", "1")).await;
    connection.answer(id, written()).await;
    assert_eq!(Outcome::Done(writing.await.unwrap().unwrap()), written());
}

#[tokio::test]
async fn a_request_that_is_never_served_ends_with_what_the_server_said() {
    let one = FakeServer::start(1).await;
    let client = Client::start(config([one.entry()], 1)).0;
    let timeout = Duration::from_millis(300);
    let options = RequestOptions::default().with_timeout(timeout);
    let reading = tokio::spawn({
        let client = client.clone();
        async move { client.execute(get("x"), options).await }
    });
    let mut connection = one.accept().await;
    let outcome = while_refused(reading, &mut connection, &get("x"), JOINING).await;
    assert_eq!(outcome, Err(ClientError::NotDone(JOINING)));
}

#[tokio::test]
async fn a_refusal_that_no_waiting_helps_is_told_at_once() {
    let one = FakeServer::start(1).await;
    let client = Client::start(config([one.entry()], 1)).0;
    for reason in
        [NotDone::Waiting(Waiting::LostMemory { node: one.node }), NotDone::Overloaded { limit: 1 }]
    {
        let client = client.clone();
        let asking = tokio::spawn(async move { client.execute(get("x"), options()).await });
        let mut connection = one.accept().await;
        let id = connection.expect(&get("x")).await;
        connection.answer(id, Outcome::NotDone(reason.clone())).await;
        assert_eq!(asking.await.unwrap(), Err(ClientError::NotDone(reason)));
        drop(connection);
    }
}

#[tokio::test]
async fn a_client_leaves_a_server_that_does_not_serve_and_writes_once() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let (client, mut events) = Client::start(config([one.entry(), two.entry()], 1));
    let writing = tokio::spawn({
        let client = client.clone();
        async move { client.execute(put("x", "1"), options()).await }
    });
    let mut cut_off = one.accept().await;
    let reason = NotDone::Waiting(Waiting::Sequencer { node: two.node });
    while let Some(request) = cut_off.next_request().await {
        cut_off.answer(request.id, Outcome::NotDone(reason.clone())).await;
    }
    let mut serving = two.accept().await;
    let id = serving.expect(&put("x", "1")).await;
    serving.answer(id, written()).await;
    assert_eq!(Outcome::Done(writing.await.unwrap().unwrap()), written());
    let left = event(&mut events, |event| match event {
        Event::Lost { server, why } => Some((server, why)),
        _ => None,
    });
    assert_eq!(left.await, (one.node, LostReason::NotServing { reason }));
    assert_eq!(client.server(), Some(two.node));
}

#[tokio::test]
async fn a_server_is_kept_that_lacks_servers_for_this_request_alone() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let client = Client::start(config([one.entry(), two.entry()], 1)).0;
    let bounded = RequestOptions::default().with_timeout(Duration::from_millis(900));
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.execute(get("all"), bounded).await }
    });
    let mut connection = one.accept().await;
    let reason = NotDone::Unavailable { reachable: 2, needed: 3 };
    let outcome = while_refused(asking, &mut connection, &get("all"), reason.clone()).await;
    assert_eq!(outcome, Err(ClientError::NotDone(reason)));
    assert_eq!(client.server(), Some(one.node));
}

#[tokio::test]
async fn one_request_that_cannot_be_served_holds_up_no_others_and_keeps_the_server() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let client = Client::start(config([one.entry(), two.entry()], 1)).0;
    let timeout = Duration::from_millis(900);
    let bounded = RequestOptions::default().with_timeout(timeout);
    let all = tokio::spawn({
        let client = client.clone();
        async move { client.execute(get("all"), bounded).await }
    });
    let mut connection = one.accept().await;
    let reason = NotDone::Unavailable { reachable: 2, needed: 3 };
    let serve = async {
        loop {
            let request = connection.request().await;
            let kv_proto::RequestBody::Execute { op, .. } = request.body else {
                continue;
            };
            let is_served = op == get("some");
            let refused = Outcome::NotDone(reason.clone());
            connection.answer(request.id, if is_served { found("1") } else { refused }).await;
        }
    };
    let others = async {
        while !all.is_finished() {
            let done = client.execute(get("some"), options()).await.unwrap();
            assert_eq!(Outcome::Done(done), found("1"));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = serve => panic!("unreachable"),
        () = others => {}
    }
    assert_eq!(all.await.unwrap(), Err(ClientError::NotDone(reason)));
    assert_eq!(client.server(), Some(one.node));
}

#[tokio::test]
async fn a_request_made_before_the_servers_listen_is_served_once_they_do() {
    let early = fake::DeadServer::new(1);
    let entry = early.entry();
    let client = Client::start(config([entry.clone()], 1)).0;
    let asking = tokio::spawn(async move { client.execute(get("x"), options()).await });
    // It has been tried in vain by then, or has not: both must do.
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(early);
    let late = FakeServer::start_at(1, &entry.1).await;
    let mut connection = late.accept().await;
    let id = connection.expect(&get("x")).await;
    connection.answer(id, found("1")).await;
    assert!(!matches!(asking.await.unwrap(), Err(ClientError::Unavailable { .. })));
}

fn options() -> RequestOptions {
    RequestOptions::default().with_timeout(fake::SOON)
}
