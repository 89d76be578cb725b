//! How a follower takes entries, and what it says of them.

use kv_core::{ConsistencyEngine, Counter, HaltReason, Input, Limits, Shortage, ViewScope};
use kv_linear::{Ack, Body, Entry, Epoch, Record};

use crate::stand::log::{extend, log, record, tail};
use crate::stand::{
    Given, Halt, MS, Send, Server, Write, ack, cluster, disk, epoch, heartbeat, node, prepare,
    sent_to,
};

const OLD: Epoch = Epoch {
    round: 0,
    owner: kv_core::NodeId::FIRST,
    incarnation: kv_core::Incarnation((1 << 32) | 11),
};

fn old(texts: &[&str]) -> Vec<Entry> {
    let entries: Vec<_> = texts.iter().map(|text| (OLD, *text)).collect();
    log(&entries)
}

fn nack(epoch: Epoch, log: &[Entry], commit: usize) -> Given {
    Send(epoch.owner.number(), Body::Nack { epoch, tail: tail(log, commit) })
}

/// What is acknowledged or reported as missing.
fn answers(effects: Vec<Given>) -> Vec<Given> {
    let is_answer = |effect: &Given| matches!(effect, Send(_, Body::Ack(_) | Body::Nack { .. }));
    effects.into_iter().filter(is_answer).collect()
}

#[test]
fn entries_are_acknowledged_once_they_are_on_disk_and_again_when_they_come_again() {
    let log = old(&["", "a", "b"]);
    let mut follower = Server::follower(&log[..1]);
    assert_eq!(follower.fed(OLD, &log, 1, 0), [Write(record(OLD, 0, &log, 1))]);
    assert_eq!(follower.fed(OLD, &log, 1, 0), []);
    assert_eq!(follower.persist_all(), [Send(1, ack(OLD, 3))]);
    assert_eq!(follower.fed(OLD, &log, 1, 0), [Send(1, ack(OLD, 3))]);
}

/// Nothing of it is acknowledged, which would end what may be in flight to it.
#[test]
fn a_follower_with_a_full_disk_asks_for_more_while_its_memory_takes_it() {
    let log = old(&["", "a", "b", "c"]);
    let config = cluster(3, 2, 2);
    let two_bytes: usize = log[1..3].iter().map(Entry::size_bytes).sum();
    let limits = Limits { log_bytes_max: two_bytes, ..Limits::default() };
    let records = disk(2, &config, OLD, &log[..1]);
    let mut follower = Server::recover_with(2, &config, limits, records);
    follower.peer_up(1);
    follower.persist_all();
    follower.fed(OLD, &log[..1], 1, 1);
    follower.step(Input::DiskShort { shortage: Shortage::Space });
    assert_eq!(answers(follower.fed(OLD, &log[..2], 1, 2)), [nack(OLD, &log[..2], 2)]);
    // It has what is committed, whatever its disk has.
    assert_eq!(follower.log(), [2, 1, 2, 2]);
    follower.now.mono += MS * 500;
    let beyond = answers(follower.fed(OLD, &log[..3], 2, 3));
    assert!(!beyond.iter().any(|sent| matches!(sent, Send(_, Body::Nack { .. }))), "{beyond:?}");
    follower.step(Input::DiskRoom);
    assert_eq!(answers(follower.persist_all()), [Send(1, ack(OLD, 3))]);
}

#[test]
fn several_records_on_disk_at_once_make_one_acknowledgement() {
    let log = old(&["", "a", "b"]);
    let mut follower = Server::follower(&log[..1]);
    follower.fed(OLD, &log[..2], 1, 0);
    follower.fed(OLD, &log, 2, 0);
    assert_eq!(follower.persist_all(), [Send(1, ack(OLD, 3))]);
}

#[test]
fn a_tail_that_differs_is_replaced_at_the_first_difference_in_one_record() {
    let log = old(&["", "a", "b", "c"]);
    let new = extend(&log[..2], &[(epoch(1, 3), ""), (epoch(1, 3), "d")]);
    let mut follower = Server::follower(&log);
    let taken = follower.fed(epoch(1, 3), &new, 1, 0);
    assert_eq!(taken, [Write(record(epoch(1, 3), 0, &new, 2))]);
    assert_eq!(follower.log(), [4, 2, 0, 0]);
    assert_eq!(answers(follower.persist_all()), [Send(3, ack(epoch(1, 3), 4))]);
    for server in [&follower, &follower.restart()] {
        assert!(new.iter().all(|entry| server.has(entry)));
        assert_eq!(server.log()[..2], [4, 4]);
    }
}

#[test]
fn a_tail_that_was_not_compared_is_not_acknowledged_and_not_cut_off() {
    let log = old(&["", "a", "b", "c"]);
    let mut follower = Server::follower(&log);
    follower.fed(epoch(1, 3), &log[..2], 2, 0);
    assert_eq!(answers(follower.persist_all()), [Send(3, ack(epoch(1, 3), 2))]);
    assert_eq!(follower.log()[..2], [4, 4]);
    // The next entry shows that the rest is the sequencer's too.
    let repeated = follower.fed(epoch(1, 3), &log[..3], 2, 0);
    assert_eq!(repeated, [Send(3, ack(epoch(1, 3), 3))]);
}

#[test]
fn what_is_known_to_be_committed_is_never_replaced() {
    let log = old(&["", "a", "b"]);
    let new = extend(&log[..1], &[(epoch(1, 3), ""), (epoch(1, 3), "d")]);
    for from in [1, 2] {
        let mut follower = Server::follower(&log);
        follower.fed(OLD, &log, 3, 2);
        assert_eq!(follower.log()[2], 2);
        // The sequencer learns what it lacks, and what to do about its disk is its own matter.
        let told = follower.fed(epoch(1, 3), &new, from, 0);
        let nack = Body::Nack { epoch: epoch(1, 3), tail: tail(&log, 2) };
        let promised = Write(Record::Promised { epoch: epoch(1, 3) });
        assert_eq!(told, [Send(3, nack), promised]);
        assert_eq!(follower.log()[..3], [3, 3, 2]);
    }
    // Beyond it, a tail may be.
    let mut follower = Server::follower(&log);
    follower.fed(OLD, &log, 3, 1);
    assert!(matches!(follower.fed(epoch(1, 3), &new, 1, 0).as_slice(), [Write(_)]));
}

#[test]
fn two_entries_of_one_epoch_at_one_place_halt_the_follower() {
    let (log, other) = (old(&["", "a", "b"]), old(&["", "a", "c"]));
    let mut follower = Server::follower(&log);
    let halt = Halt(HaltReason::LogsDiffer { peer: node(1), index: 3 });
    assert_eq!(follower.fed(OLD, &other, 2, 0), [halt]);
}

#[test]
fn an_entry_beyond_a_gap_is_held_back_and_the_gap_reported_once_in_a_while() {
    let log = old(&["", "a", "b", "c"]);
    let mut follower = Server::follower(&log[..1]);
    let held = Send(1, ack(OLD, 1));
    let gap = [held.clone(), nack(OLD, &log[..1], 0)];
    assert_eq!(follower.fed(OLD, &log, 3, 0), gap);
    assert_eq!(follower.fed(OLD, &log[..3], 2, 0), std::slice::from_ref(&held));
    follower.now.mono += MS * 49;
    assert_eq!(follower.fed(OLD, &log[..3], 2, 0), [held]);
    follower.now.mono += MS;
    assert_eq!(follower.fed(OLD, &log[..3], 2, 0), gap);
    assert_eq!(follower.counter(Counter::HeldBack), 2);
    assert_eq!(follower.log()[0], 1);
    // The gap closes: all that was held back follows at once.
    let expected = [Write(record(OLD, 0, &log[..2], 1)), Write(record(OLD, 0, &log, 2))];
    assert_eq!(follower.fed(OLD, &log[..2], 1, 0), expected);
    assert_eq!(follower.persist_all(), [Send(1, ack(OLD, 4))]);
}

#[test]
fn what_was_held_back_is_written_in_records_of_a_messages_size() {
    let large = "x".repeat(600_000);
    let log = old(&["", "a", &large, &large, "b"]);
    let mut follower = Server::follower(&log[..1]);
    follower.fed(OLD, &log, 2, 0);
    let expected = [
        Write(record(OLD, 0, &log[..2], 1)),
        Write(record(OLD, 0, &log[..3], 2)),
        Write(record(OLD, 0, &log, 3)),
    ];
    assert_eq!(follower.fed(OLD, &log[..2], 1, 0), expected);
}

#[test]
fn entries_held_back_in_an_earlier_epoch_are_forgotten() {
    let log = old(&["", "a", "b"]);
    let mut follower = Server::follower(&log[..1]);
    follower.fed(OLD, &log, 2, 0);
    assert_eq!(follower.counter(Counter::HeldBack), 1);
    let taken = follower.fed(epoch(1, 3), &log[..2], 1, 0);
    assert_eq!(taken, [Write(record(epoch(1, 3), 0, &log[..2], 1))]);
    assert_eq!(follower.counter(Counter::HeldBack), 0);
}

#[test]
fn no_more_is_held_back_than_there_is_room_for() {
    let log = old(&["", "a", "b", "c", "d"]);
    let config = cluster(3, 2, 2);
    let limits = Limits { hold_back_entries_max: 2, ..Limits::default() };
    let mut follower = Server::recover_with(2, &config, limits, disk(2, &config, OLD, &log[..1]));
    follower.peer_up(1);
    follower.persist_all();
    follower.fed(OLD, &log, 2, 0);
    assert_eq!(follower.counter(Counter::HeldBack), 2);
    assert_eq!(follower.counter(Counter::Dropped), 1);
    follower.fed(OLD, &log[..2], 1, 0);
    assert_eq!(follower.log()[0], 4);
}

#[test]
fn a_heartbeat_shows_a_lost_tail() {
    let log = old(&["", "a", "b"]);
    let mut follower = Server::follower(&log[..2]);
    let Body::Prepare(shown) = heartbeat(OLD, &log[..2], 0) else { panic!() };
    let last = log[2].index();
    let effects = follower.told(Body::Prepare(kv_linear::Prepare { last, ..shown }));
    assert_eq!(effects, [Send(1, ack(OLD, 2)), nack(OLD, &log[..2], 0)]);
    follower.now.mono += MS * 50;
    assert_eq!(follower.fed(OLD, &log, 3, 0).last(), Some(&nack(OLD, &log[..2], 0)));
}

#[test]
fn a_follower_shows_its_incarnation_until_the_sequencer_counts_it() {
    let log = old(&["", "a"]);
    let mut follower = Server::follower(&log[..1]);
    let shown = [Write(record(OLD, 0, &log, 1)), Send(1, ack(OLD, 1))];
    assert_eq!(follower.told(prepare(OLD, &log, 1, 0)), shown);
    assert_eq!(follower.persist_all(), [Send(1, ack(OLD, 2))]);
}

#[test]
fn nothing_is_acknowledged_in_an_epoch_whose_promise_is_not_on_disk() {
    let log = old(&["", "a"]);
    let mut follower = Server::follower(&log);
    let new = extend(&log, &[(epoch(1, 3), "")]);
    follower.hears(3, prepare(epoch(1, 3), &new, 2, 0));
    assert_eq!(sent_to(&follower.hears(3, heartbeat(epoch(1, 3), &log, 0)), 3), []);
    assert_eq!(answers(follower.persist_all()), [Send(3, ack(epoch(1, 3), 3))]);
}

#[test]
fn a_commit_is_believed_as_far_as_the_log_is_the_sequencers() {
    let log = old(&["", "a", "b", "c"]);
    let mut follower = Server::follower(&log[..1]);
    follower.fed(OLD, &log[..2], 1, 9);
    assert_eq!(follower.log(), [2, 1, 2, 2]);
    // What was not compared may be another entry than the committed one.
    let mut follower = Server::follower(&log);
    follower.fed(epoch(1, 3), &log[..2], 2, 4);
    follower.persist_all();
    assert_eq!(follower.log()[2], 2);
}

#[test]
fn no_commit_that_was_heard_in_an_epoch_comes_to_the_disk_before_the_promise_of_it() {
    let log = old(&["", "a"]);
    let new = extend(&log, &[(epoch(1, 3), "")]);
    let mut follower = Server::follower(&log);
    let taken = follower.fed(epoch(1, 3), &new, 2, 2);
    // The record has no commit that outlives the promise.
    assert_eq!(taken, [Write(record(epoch(1, 3), 0, &new, 2))]);
    assert_eq!(follower.log(), [3, 2, 2, 2]);
    assert_eq!(follower.engine.open_view(ViewScope::Changes), None);
    follower.persist_all();
    assert!(follower.engine.open_view(ViewScope::Changes).is_some());
    let longer = extend(&new, &[(epoch(1, 3), "b")]);
    let taken = follower.fed(epoch(1, 3), &longer, 3, 2);
    assert_eq!(taken, [Write(record(epoch(1, 3), 2, &longer, 3))]);
}

#[test]
fn only_the_owner_of_an_epoch_in_its_present_process_may_send_its_entries() {
    let log = old(&["", "a"]);
    let mut follower = Server::follower(&log[..1]);
    assert_eq!(follower.hears(3, prepare(OLD, &log, 1, 1)), []);
    let former = Epoch { incarnation: crate::stand::incarnation(3, 0), ..epoch(1, 3) };
    assert_eq!(follower.hears(3, prepare(former, &log, 1, 1)), []);
    assert_eq!(follower.hears(9, prepare(OLD, &log, 1, 1)), []);
    assert_eq!(follower.counter(Counter::Malformed), 2);
    assert_eq!(follower.log()[0], 1);
}

#[test]
fn entries_that_do_not_follow_each_other_or_are_of_a_later_epoch_are_not_taken() {
    let log = old(&["", "a", "b", "c"]);
    let mut follower = Server::follower(&log[..1]);
    let Body::Prepare(shown) = prepare(OLD, &log, 1, 0) else { panic!() };
    let with = |entries: Vec<Entry>| Body::Prepare(kv_linear::Prepare { entries, ..shown.clone() });
    let later = extend(&log[..1], &[(epoch(1, 3), "")]);
    let other = old(&["", "x", "y"]);
    follower.told(with(vec![later[1].clone()]));
    assert_eq!(follower.log()[0], 1);
    follower.told(with(vec![log[1].clone(), log[3].clone()]));
    assert_eq!(follower.log()[0], 2);
    follower.told(with(vec![log[1].clone(), other[2].clone()]));
    assert_eq!(follower.log()[0], 2);
    assert_eq!(follower.counter(Counter::Malformed), 3);
}

#[test]
fn what_is_not_kept_any_more_need_not_be_compared() {
    let log = old(&["", "a", "b", "c", "d"]);
    let config = cluster(3, 2, 2);
    let limits = Limits { log_entries_max: 1, ..Limits::default() };
    let mut follower = Server::recover_with(2, &config, limits, disk(2, &config, OLD, &log[..4]));
    follower.peer_up(1);
    follower.persist_all();
    follower.fed(OLD, &log[..4], 4, 4);
    assert_eq!(follower.counter(Counter::LogEntries), 1);
    assert_eq!(follower.fed(OLD, &log, 1, 4), [Write(record(OLD, 4, &log, 4))]);
    assert_eq!(follower.persist_all(), [Send(1, ack(OLD, 5))]);
}

#[test]
fn an_acknowledgement_says_whether_the_server_recovers() {
    let config = cluster(3, 2, 2);
    let log = old(&["", "a"]);
    let mut records = disk(2, &config, OLD, &log);
    let incarnation = crate::stand::incarnation(2, 4);
    records.push(Record::Renewed { incarnation, recovering: true });
    let mut server = Server::recover(2, &config, records);
    server.peer_up(1);
    server.persist_all();
    let last = log[1].index();
    let recovering = Body::Ack(Ack { epoch: OLD, durable: last, round: 0, recovering: true });
    assert_eq!(server.fed(OLD, &log, 2, 0), [Send(1, recovering)]);
}
