//! What a finding shows of the calls that no order explains, and of the faults between them.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::time::Duration;

use kv_core::{Key, NodeId, Operation, RequestOptions, Value};
use kv_sim::Injection;
use kv_sim::scenario::{Act, Ease, Scenario, Trial};

use super::one_copy::{self, Mutation, OneCopy, broken_by};

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn key() -> Key {
    Key::new("k").unwrap()
}

fn ask(client: u64, server: u16, op: Operation) -> Act {
    let options = RequestOptions::default();
    Act::Ask { client, server: node(server), op, options, names: Vec::new() }
}

/// A put, a crash of the server that holds the only copy, and a read; other faults are over before the
/// one, or begin after the other.
fn a_crash_between_a_put_and_a_get() -> Scenario {
    let wait = |seconds| Act::Wait { time: Duration::from_secs(seconds) };
    let begin = |fault, injection| Act::Begin { fault, injection };
    let put = Operation::put(key(), Value::new("green").unwrap());
    let acts = vec![
        begin(1, Injection::Pause { node: node(3) }),
        wait(1),
        Act::End { fault: 1 },
        wait(1),
        ask(1, 2, put),
        wait(1),
        begin(2, Injection::Crash { node: node(1) }),
        wait(1),
        Act::End { fault: 2 },
        wait(1),
        ask(2, 3, Operation::get(key())),
        wait(1),
        begin(3, Injection::Pause { node: node(3) }),
        wait(1),
    ];
    let (eased, late_cancels) = (Ease::ALL.to_vec(), Vec::new());
    Scenario { plan: 1, nodes: 3, write: 1, read: 1, seed: 1, eased, acts, late_cancels }
}

#[test]
fn a_finding_shows_the_faults_between_its_calls() {
    let declaration = one_copy::declaration();
    let trial = Trial::<OneCopy>::new(&declaration);
    let scenario = a_crash_between_a_put_and_a_get();
    assert_eq!(scenario.run(&trial), Ok(()));
    let failure = broken_by(Mutation::ForgetsARecord, || scenario.run(&trial)).unwrap_err();
    let expected =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/simulator/histories/forgotten_record.txt");
    let expected = std::fs::read_to_string(expected).unwrap();
    assert_eq!(failure.to_string(), expected, "{failure}");
}
