//! What a client tells servers of what it has seen.

use crate::fake::{FakeConnection, FakeServer, config, done, get, key, put, value};
use kv_client::Client;
use kv_core::{
    CommandResult, HybridTime, Incarnation, NodeId, Operation, Outcome, Version, Versioned,
};
use kv_proto::RequestBody;

fn stamp(millis: u64) -> Version {
    let time = HybridTime::from_millis(millis);
    Version::Stamp { time, origin: NodeId::FIRST, incarnation: Incarnation(1) }
}

fn with_version(result: CommandResult, version: Option<Version>) -> Outcome {
    let Outcome::Done(done) = done(result) else {
        unreachable!("it was done");
    };
    Outcome::Done(kv_core::Done { version, ..done })
}

/// Answers the next request, which asks for this, and says what its client had seen.
async fn answer(
    connection: &mut FakeConnection,
    expected: &Operation,
    result: CommandResult,
    version: Option<Version>,
) -> Option<Version> {
    let request = connection.request().await;
    let RequestBody::Execute { op, options } = request.body else {
        panic!("not an operation: {request:?}");
    };
    assert_eq!(op, *expected);
    connection.answer(request.id, with_version(result, version)).await;
    options.seen
}

#[tokio::test]
async fn what_was_seen_of_a_key_is_said_to_the_next_server_too() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let client = Client::start(config([one.entry(), two.entry()], 1)).0;
    let newer = || {
        let found = Versioned { value: value("2"), version: stamp(7) };
        CommandResult::Value(Some(found))
    };
    let script = async {
        let mut one = one.accept().await;
        let written = CommandResult::Written;
        assert_eq!(answer(&mut one, &put("a", "1"), written, Some(stamp(5))).await, None);
        let missing = CommandResult::Value(None);
        assert_eq!(answer(&mut one, &get("b"), missing.clone(), None).await, None);
        drop(one);
        let mut two = two.accept().await;
        assert_eq!(answer(&mut two, &get("a"), newer(), None).await, Some(stamp(5)));
        let delete = Operation::delete(key("a"));
        let written = CommandResult::Written;
        assert_eq!(answer(&mut two, &delete, written, Some(stamp(9))).await, Some(stamp(7)));
        assert_eq!(answer(&mut two, &get("a"), missing, Some(stamp(9))).await, Some(stamp(9)));
        two
    };
    let calls = async {
        client.put(key("a"), value("1")).await.unwrap();
        client.get(key("b")).await.unwrap();
        client.get(key("a")).await.unwrap();
        client.delete(key("a")).await.unwrap();
        client.get(key("a")).await.unwrap();
    };
    tokio::join!(script, calls);
}

#[tokio::test]
async fn a_client_without_the_guarantees_says_nothing() {
    let one = FakeServer::start(1).await;
    let forgetful = config([one.entry()], 1).with_session_guarantees(false);
    let client = Client::start(forgetful).0;
    let script = async {
        let mut one = one.accept().await;
        let written = CommandResult::Written;
        assert_eq!(answer(&mut one, &put("a", "1"), written, Some(stamp(5))).await, None);
        let missing = CommandResult::Value(None);
        assert_eq!(answer(&mut one, &get("a"), missing, None).await, None);
        one
    };
    let calls = async {
        client.put(key("a"), value("1")).await.unwrap();
        client.get(key("a")).await.unwrap();
    };
    tokio::join!(script, calls);
}
