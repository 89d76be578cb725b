use kv_core::{Key, Operation, Value};

use super::*;
use crate::log::entry::EntryHeader;
use crate::log::epoch::Epoch;

const BOUNDS: PageBounds = PageBounds { entries_max: 9, bytes_max: 99 };

fn append(replica: &mut Replica, number: u64, operation: &Operation) {
    let last = replica.log().last();
    let header = EntryHeader {
        index: last.index.next(),
        epoch: Epoch::default(),
        log_time_ms: last.log_time_ms,
        operations_before: last.operations,
        operations: 1,
        previous_hash: last.hash,
    };
    let origin =
        Origin { server: NodeId::FIRST, incarnation: Incarnation(1), number, settled_below: 1 };
    let logged = Logged { identity: None, operation: operation.clone() };
    replica.append(Entry::new(header, &[(origin, logged.to_bytes())]));
}

fn persist(replica: &mut Replica) {
    replica.note_durable(replica.asked());
}

fn put() -> Operation {
    Operation::put(Key::new("k").unwrap(), Value::new("v").unwrap())
}

fn deliver(replica: &mut Replica) -> Vec<Delivered> {
    let applying = Applying { bounds: BOUNDS, wall_ms: 0, broken: Broken::default() };
    let mut all = Vec::new();
    while replica.deliver_next(applying, |delivered| all.push(delivered)) {}
    all
}

#[test]
fn an_entry_is_applied_once_it_is_committed() {
    let mut replica = Replica::empty();
    append(&mut replica, 1, &put());
    append(&mut replica, 2, &put());
    persist(&mut replica);
    assert_eq!(deliver(&mut replica), []);
    replica.note_commit(LogIndex(1));
    assert_eq!(deliver(&mut replica).len(), 1);
    // This server's own disk may be full.
    append(&mut replica, 3, &put());
    replica.note_commit(LogIndex(3));
    assert_eq!(deliver(&mut replica).len(), 2);
    assert_eq!((replica.durable(), replica.undelivered_bytes()), (LogIndex(2), 0));
    replica.check_invariants();
}

#[test]
fn a_request_that_is_in_the_log_twice_has_one_effect() {
    let mut replica = Replica::empty();
    let increment =
        Operation::of(kv_core::Command::Increment { key: Key::new("n").unwrap(), by: 1 });
    append(&mut replica, 1, &increment);
    append(&mut replica, 1, &increment);
    replica.note_commit(LogIndex(2));
    persist(&mut replica);
    let delivered = deliver(&mut replica);
    assert!(matches!(delivered[0].outcome, Some(Outcome::Done(_))));
    assert_eq!(delivered[1].outcome, None);
    assert_eq!(replica.duplicates(), 1);
}

#[test]
fn what_is_not_committed_can_be_replaced() {
    let mut replica = Replica::empty();
    for number in 1..=4 {
        append(&mut replica, number, &put());
    }
    persist(&mut replica);
    replica.note_commit(LogIndex(2));
    deliver(&mut replica);
    replica.truncate(LogIndex(2));
    assert_eq!((replica.durable(), replica.undelivered_bytes()), (LogIndex(2), 0));
    append(&mut replica, 9, &put());
    replica.check_invariants();
    replica.note_commit(LogIndex(3));
    assert_eq!(deliver(&mut replica).first().map(|given| given.origin.number), Some(9));
}

#[test]
fn a_record_from_before_a_cut_says_nothing_of_what_came_after() {
    let mut replica = Replica::empty();
    append(&mut replica, 1, &put());
    append(&mut replica, 2, &put());
    let before = replica.asked();
    replica.truncate(LogIndex(0));
    append(&mut replica, 1, &put());
    append(&mut replica, 2, &put());
    replica.note_durable(before);
    assert_eq!(replica.durable(), LogIndex(0));
    persist(&mut replica);
    assert_eq!(replica.durable(), LogIndex(2));
}

#[test]
#[should_panic(expected = "index >= self.commit")]
fn what_is_committed_is_not_replaced() {
    let mut replica = Replica::empty();
    append(&mut replica, 1, &put());
    replica.note_commit(LogIndex(1));
    replica.truncate(LogIndex(0));
}

#[test]
fn an_operation_that_cannot_be_read_has_a_number_and_no_effect() {
    let mut replica = Replica::empty();
    append(&mut replica, 1, &put());
    let last = replica.log().last();
    let header = EntryHeader {
        index: last.index.next(),
        epoch: last.epoch,
        log_time_ms: last.log_time_ms,
        operations_before: last.operations,
        operations: 1,
        previous_hash: last.hash,
    };
    let origin =
        Origin { server: NodeId::FIRST, incarnation: Incarnation(1), number: 2, settled_below: 1 };
    replica.append(Entry::new(header, &[(origin, bytes::Bytes::from_static(b"?"))]));
    append(&mut replica, 3, &put());
    replica.note_commit(LogIndex(3));
    persist(&mut replica);
    let outcomes: Vec<bool> =
        deliver(&mut replica).iter().map(|given| given.outcome.is_some()).collect();
    assert_eq!(outcomes, [true, false, true]);
    assert_eq!((replica.unreadable(), replica.applied().operations), (1, 3));
}

#[test]
fn only_applied_entries_are_trimmed() {
    let mut replica = Replica::empty();
    for number in 1..=4 {
        append(&mut replica, number, &put());
    }
    replica.note_commit(LogIndex(3));
    persist(&mut replica);
    deliver(&mut replica);
    let each = replica.log().size_bytes() / 4;
    replica.trim(2 * each, 9);
    assert_eq!(replica.log().base().index, LogIndex(1));
    replica.trim(each, 0);
    assert_eq!(replica.log().base().index, LogIndex(3));
    assert_eq!(replica.log().len(), 1);
    replica.check_invariants();
}
