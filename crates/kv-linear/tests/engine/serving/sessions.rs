//! Clients' sessions: whichever server a request is sent to, and however often, it takes effect
//! once.

use kv_core::local::LocalCluster;
use kv_core::{
    Answer, ClusterConfig, Command, CommandResult, ConsistencyEngine, Counter, Done, Key, NodeId,
    NotDone, Operation, Outcome, Quorum, RequestIdentity, RequestOptions, SessionId, Version,
};
use kv_linear::LinearEngine;

use crate::stand::node;

fn cluster() -> LocalCluster<LinearEngine> {
    let config = ClusterConfig::new((1..=3).map(node), Quorum::Majority, Quorum::Majority).unwrap();
    LocalCluster::start(config, 7).unwrap()
}

fn ask(
    local: &mut LocalCluster<LinearEngine>,
    at: NodeId,
    op: Operation,
    identity: Option<RequestIdentity>,
) -> Outcome {
    let options = RequestOptions::default().with_identity(identity);
    let id = local.submit(at, op, options);
    local.deliver_all();
    local.take_reply(id).unwrap()
}

fn increment() -> Operation {
    Operation::of(Command::Increment { key: Key::new("n").unwrap(), by: 1 })
}

fn open(local: &mut LocalCluster<LinearEngine>) -> SessionId {
    match ask(local, node(2), Operation::OpenSession, None) {
        Outcome::Done(Done { answer: Answer::Results(results), version, .. }) => {
            assert_eq!(results, []);
            let Some(Version::Log(number)) = version else { panic!("{version:?}") };
            let counters = local.engine(node(2)).unwrap().status().counters;
            assert!(counters.contains(&(Counter::Sessions, 1)), "{counters:?}");
            SessionId(number)
        }
        other => panic!("{other:?}"),
    }
}

fn number(outcome: &Outcome) -> i64 {
    match outcome {
        Outcome::Done(Done { answer: Answer::Results(results), .. }) => match results.as_slice() {
            [CommandResult::Number(number)] => *number,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_that_is_sent_to_every_server_has_one_effect_and_one_answer() {
    let mut local = cluster();
    let session = open(&mut local);
    let identity = |number| Some(RequestIdentity { session, number, acknowledged_below: 1 });
    for round in 1..=3 {
        let answers =
            [1, 2, 3, 2].map(|at| ask(&mut local, node(at), increment(), identity(round)));
        assert_eq!(number(&answers[0]), i64::try_from(round).unwrap());
        assert!(answers.iter().all(|answer| *answer == answers[0]));
    }
    assert_eq!(number(&ask(&mut local, node(3), increment(), None)), 4);
}

#[test]
fn what_failed_once_fails_again_whatever_the_key_holds_by_then() {
    let mut local = cluster();
    let session = open(&mut local);
    let identity = Some(RequestIdentity { session, number: 1, acknowledged_below: 1 });
    let put = |text: &'static str| {
        Operation::put(Key::new("n").unwrap(), kv_core::Value::new(text).unwrap())
    };
    ask(&mut local, node(1), put("x"), None);
    let refused = Outcome::NotDone(NotDone::NotANumber { index: 0 });
    assert_eq!(ask(&mut local, node(1), increment(), identity), refused);
    ask(&mut local, node(1), put("5"), None);
    assert_eq!(ask(&mut local, node(2), increment(), identity), refused);
}

#[test]
fn a_request_of_a_session_that_nobody_opened_is_not_carried_out() {
    let mut local = cluster();
    let session = open(&mut local);
    let other = SessionId(session.0 + 1);
    let identity = RequestIdentity { session: other, number: 1, acknowledged_below: 1 };
    let expired = Outcome::NotDone(NotDone::SessionExpired);
    assert_eq!(ask(&mut local, node(3), increment(), Some(identity)), expired);
    assert_eq!(number(&ask(&mut local, node(3), increment(), None)), 1);
}

#[test]
fn a_request_that_was_given_up_is_never_carried_out() {
    let mut local = cluster();
    let session = open(&mut local);
    let identity =
        |number, acknowledged_below| Some(RequestIdentity { session, number, acknowledged_below });
    assert_eq!(number(&ask(&mut local, node(1), increment(), identity(2, 2))), 1);
    let late = ask(&mut local, node(2), increment(), identity(1, 1));
    assert!(matches!(late, Outcome::Unknown(_)), "{late:?}");
    assert_eq!(number(&ask(&mut local, node(3), increment(), identity(3, 3))), 2);
}
