//! Same seed, same trace; and the faults of a cluster are what they say.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers may panic")]

use std::time::Duration;

use kv_core::{Key, NodeId, Operation, Outcome, RequestOptions, Value};
use kv_sim::{Cluster, DiskConfig, Fate, NetworkConfig, RequestState, Restart, SimConfig};

use super::one_copy::{Message, OneCopy};

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

fn put(name: &str, value: &str) -> Operation {
    Operation::put(key(name), Value::new(value.to_owned()).unwrap())
}

fn lossy(seed: u64) -> Cluster<OneCopy> {
    let config = SimConfig::new(3, 1, 1, seed).unwrap();
    let config = config.with_network(NetworkConfig::lossy());
    Cluster::new(config.with_disk(DiskConfig::slow())).unwrap()
}

/// A run with some of everything; its trace's hash.
fn run(seed: u64) -> u64 {
    let mut cluster = lossy(seed);
    cluster.keep_trace(10);
    for round in 0..30 {
        for number in 1..=3 {
            let op = put(&format!("k{}", round % 4), &format!("v{round}-{number}"));
            cluster.submit(node(number), op, RequestOptions::default());
        }
        match round {
            5 => cluster.crash(node(1)),
            7 => cluster.restart(node(1), Restart::Intact).unwrap(),
            12 => cluster.partition(&[node(2)]),
            15 => cluster.heal(),
            20 => cluster.restart(node(3), Restart::Wiped).unwrap(),
            _ => {}
        }
        cluster.run_for(Duration::from_millis(100)).unwrap();
    }
    assert_eq!(cluster.trace_lines().count(), 10);
    cluster.trace_hash()
}

#[test]
fn one_seed_gives_one_trace_and_another_seed_another() {
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn an_acknowledged_write_outlives_a_crash_of_its_server() {
    let mut cluster = lossy(1);
    cluster.run_for(Duration::from_secs(1)).unwrap();
    let done = cluster.execute(node(2), put("k", "v")).unwrap();
    assert!(matches!(done, Some(Outcome::Done(_))), "{done:?}");
    cluster.restart(node(1), Restart::Intact).unwrap();
    cluster.run_for(Duration::from_secs(1)).unwrap();
    let read = cluster.execute(node(3), Operation::get(key("k"))).unwrap();
    let read = format!("{read:?}");
    assert!(read.contains("value: b\"v\""), "{read}");
}

#[test]
fn what_waits_at_a_crash_is_lost_and_what_comes_after_it_is_refused() {
    let mut cluster = Cluster::<OneCopy>::new(SimConfig::new(1, 1, 1, 1).unwrap()).unwrap();
    cluster.hold_disk(node(1));
    let lost = cluster.submit(node(1), put("k", "1"), RequestOptions::default());
    cluster.run_for(Duration::from_secs(1)).unwrap();
    assert!(cluster.outcome(lost).is_none());
    cluster.crash(node(1));
    let refused = cluster.submit(node(1), put("k", "2"), RequestOptions::default());
    let state = |id| cluster.request(id).unwrap().state.clone();
    let at = Duration::from_secs(1);
    assert_eq!(state(lost), RequestState::Lost { at });
    assert_eq!(state(refused), RequestState::Refused);
}

#[test]
fn a_held_disk_acknowledges_once_it_is_released() {
    let mut cluster = Cluster::<OneCopy>::new(SimConfig::new(1, 1, 1, 1).unwrap()).unwrap();
    cluster.hold_disk(node(1));
    let id = cluster.submit(node(1), put("k", "1"), RequestOptions::default());
    cluster.run_for(Duration::from_secs(1)).unwrap();
    assert!(cluster.outcome(id).is_none());
    cluster.release_disk(node(1));
    cluster.run_for(Duration::ZERO).unwrap();
    assert!(matches!(cluster.outcome(id), Some(Outcome::Done(_))));
}

#[test]
fn a_captured_message_can_be_delivered_later_and_again() {
    let mut cluster = Cluster::<OneCopy>::new(SimConfig::new(2, 1, 1, 1).unwrap()).unwrap();
    cluster.run_for(Duration::from_millis(10)).unwrap();
    cluster.intercept(|_, _, message| match message {
        Message::Ask { .. } => Fate::Take,
        Message::Answer { .. } => Fate::Pass,
    });
    let id = cluster.submit(node(2), put("k", "1"), RequestOptions::default());
    cluster.run_for(Duration::from_millis(10)).unwrap();
    assert!(cluster.outcome(id).is_none());
    assert_eq!(cluster.captured().len(), 1);
    let ask = cluster.captured()[0].clone();
    for _ in 0..2 {
        assert!(cluster.inject(ask.from, ask.to, ask.message.clone()));
        cluster.run_for(Duration::from_millis(10)).unwrap();
    }
    assert!(matches!(cluster.outcome(id), Some(Outcome::Done(_))));
    let positions = cluster.status(node(1)).unwrap().positions;
    assert_eq!(positions.applied, Some(1), "it took effect once");
}

#[test]
fn a_paused_server_does_nothing_until_it_is_resumed() {
    let mut cluster = Cluster::<OneCopy>::new(SimConfig::new(1, 1, 1, 1).unwrap()).unwrap();
    cluster.pause(node(1));
    let id = cluster.submit(node(1), put("k", "1"), RequestOptions::default());
    cluster.run_for(Duration::from_secs(1)).unwrap();
    assert!(cluster.outcome(id).is_none());
    cluster.resume(node(1));
    cluster.run_for(Duration::ZERO).unwrap();
    assert!(matches!(cluster.outcome(id), Some(Outcome::Done(_))));
}
