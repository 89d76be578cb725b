//! A get at its coordinator.

use std::time::Duration;

use crate::stand::{
    self, Stand, TestEffect, found, incarnation, key, node, persist, refused, theirs, time, write,
};
use kv_core::{ConsistencyEngine, Counter, Input, NotDone, Operation, RequestId, Waiting};
use kv_eventual::{Answer, Hello, Part, Query, ReadId, Record, Report, Write};

/// Puts a get and returns the number of its query.
fn ask(stand: &mut Stand, name: &str) -> ReadId {
    assert_eq!(stand.get(name), []);
    query_of(stand.flush())
}

fn query_of(effects: Vec<TestEffect>) -> ReadId {
    let sent = stand::sends(effects);
    let parts = sent.into_iter().flat_map(|(_, message)| message.parts);
    let mut reads = parts.filter_map(|part| {
        let Part::Query(query) = part else {
            return None;
        };
        Some(query.read)
    });
    reads.next().unwrap()
}

fn answer(read: ReadId, name: &str, write: Option<&Write>) -> Part {
    Part::Answer(Answer {
        read,
        key: key(name),
        entry: write.map(|write| write.entry.clone()),
        counts: true,
    })
}

#[test]
fn with_r_of_one_it_is_answered_from_here_at_once() {
    let mut stand = Stand::serving(3, 1, 1);
    assert_eq!(stand.get("x"), [found(1, None, 1)]);
    assert_eq!(stand.flush(), []);
}

#[test]
fn a_local_read_shows_only_what_is_on_disk() {
    let mut stand = Stand::serving(3, 1, 1);
    let write = stand.own(1, 0, "x", Some("1"));
    stand.put("x", "1");
    assert_eq!(stand.get("x"), [found(2, None, 1)]);
    stand.sync();
    assert_eq!(stand.get("x"), [found(3, Some(&write), 1)]);
}

#[test]
fn all_peers_are_asked_and_the_greatest_of_r_answers_wins() {
    let mut stand = Stand::serving(3, 1, 3);
    assert_eq!(stand.get("x"), []);
    let effects = stand.flush();
    let read = query_of(effects.clone());
    let query = Part::Query(Query { read, key: key("x") });
    let to = |to| stand.message(to, vec![query.clone()]);
    assert_eq!(effects, [to(2), to(3)]);
    let old = theirs(1, time(1, 0), "x", "old");
    let new = write((3, incarnation(1, 3)), 1, time(2, 0), "x", Some("new"));
    assert_eq!(stand.receive(node(3), answer(read, "x", Some(&new))), []);
    assert_eq!(
        stand.receive(node(2), answer(read, "x", Some(&old))),
        [found(1, Some(&new), 3), persist(3, Record::Write(new.clone()))]
    );
    assert_eq!(stand.flush(), [stand.message(2, vec![Part::Repair(new.clone())])]);
    stand.sync();
    assert_eq!(stand.counter(Counter::RepairsApplied), 1);
    assert_eq!(stand.counter(Counter::RepairsSent), 1);
}

#[test]
fn a_tombstone_wins_over_an_older_value_and_shows_as_missing() {
    let mut stand = Stand::serving(2, 1, 2);
    let old = theirs(1, time(0, 0), "x", "old");
    stand.receive(node(2), Part::Write(old));
    stand.sync_and_flush();
    let read = ask(&mut stand, "x");
    let deleted = write((2, incarnation(1, 2)), 2, time(1, 0), "x", None);
    assert_eq!(
        stand.receive(node(2), answer(read, "x", Some(&deleted))),
        [found(1, Some(&deleted), 2), persist(4, Record::Write(deleted))]
    );
}

#[test]
fn the_same_server_counts_once() {
    let mut stand = Stand::serving(3, 1, 3);
    let read = ask(&mut stand, "x");
    assert_eq!(stand.receive(node(2), answer(read, "x", None)), []);
    assert_eq!(stand.receive(node(2), answer(read, "x", None)), []);
    assert_eq!(stand.receive(node(3), answer(read, "x", None)), [found(1, None, 3)]);
    assert_eq!(stand.engine.next_deadline(), None);
}

#[test]
fn a_late_answer_that_is_behind_is_repaired_and_one_ahead_is_taken_over() {
    let mut stand = Stand::serving(4, 1, 2);
    let middle = theirs(1, time(5, 0), "x", "middle");
    stand.receive(node(2), Part::Write(middle.clone()));
    stand.sync_and_flush();
    let read = ask(&mut stand, "x");
    assert_eq!(
        stand.receive(node(2), answer(read, "x", Some(&middle))),
        [found(1, Some(&middle), 2)]
    );
    assert_eq!(stand.receive(node(3), answer(read, "x", None)), []);
    assert_eq!(stand.flush(), [stand.message(3, vec![Part::Repair(middle)])]);
    let newer = write((4, incarnation(1, 4)), 1, time(6, 0), "x", Some("newer"));
    assert_eq!(
        stand.receive(node(4), answer(read, "x", Some(&newer))),
        [persist(4, Record::Write(newer))]
    );
}

#[test]
fn too_few_reachable_servers_make_it_unavailable_at_once() {
    let mut stand = Stand::serving(3, 1, 3);
    stand.down(node(2));
    let reason = NotDone::Unavailable { reachable: 2, needed: 3 };
    assert_eq!(stand.get("x"), [refused(1, reason)]);
}

#[test]
fn a_read_that_loses_its_quorum_is_unavailable_at_once() {
    let mut stand = Stand::serving(4, 1, 3);
    let read = ask(&mut stand, "x");
    assert_eq!(stand.receive(node(2), answer(read, "x", None)), []);
    // Server 2 has answered, so its loss takes nothing away.
    assert_eq!(stand.down(node(2)), []);
    assert_eq!(stand.down(node(3)), []);
    let reason = NotDone::Unavailable { reachable: 1, needed: 3 };
    assert_eq!(stand.down(node(4)), [refused(1, reason)]);
    assert_eq!(stand.engine.next_deadline(), None);
}

/// Server 1, which began empty and knows server 2 but has not pulled from it, reads.
fn reads_before_it_counts(nodes: u16, w: u16) -> Stand {
    let mut stand = Stand::unborn(nodes, w, 1);
    stand.flush();
    stand.up(node(2));
    stand.welcomed(node(2));
    for peer in 3..=nodes {
        stand.down(node(peer));
    }
    stand.sync();
    let report = Report { members: vec![node(2)], ..Report::default() };
    let hello = Hello { run: 5, sent: Duration::ZERO, report: Box::new(report) };
    stand.receive_as(node(2), incarnation(1, 2), Part::Hello(hello));
    stand.sync_and_flush();
    assert_eq!(stand.get("x"), []);
    stand
}

/// With W = 1 it counts once it holds all that can be reached.
#[test]
fn a_read_is_answered_from_here_once_the_peer_that_was_to_be_pulled_from_is_gone() {
    let mut stand = reads_before_it_counts(2, 1);
    assert_eq!(stand.down(node(2)), [found(1, None, 1)]);
    assert_eq!(stand.get("x"), [found(2, None, 1)]);
}

#[test]
fn a_read_that_only_a_joining_server_could_answer_is_refused_for_that() {
    let mut stand = reads_before_it_counts(3, 2);
    let reason = || NotDone::Waiting(Waiting::Joining);
    assert_eq!(stand.down(node(2)), [refused(1, reason())]);
    assert_eq!(stand.get("x"), [refused(2, reason())]);
}

#[test]
fn servers_that_do_not_answer_are_asked_again_until_the_timeout() {
    let mut stand = Stand::serving(3, 1, 3);
    let read = ask(&mut stand, "x");
    stand.receive(node(2), answer(read, "x", None));
    let query = Part::Query(Query { read, key: key("x") });
    assert_eq!(stand.wait_ms(100), [stand.message(3, vec![query.clone()])]);
    assert_eq!(stand.wait_ms(199), []);
    assert_eq!(stand.wait_ms(1), [stand.message(3, vec![query])]);
    let reason = NotDone::TimedOut { answered: 2, needed: 3 };
    assert_eq!(stand.wait_ms(4_700), [refused(1, reason)]);
    assert_eq!(stand.engine.next_deadline(), None);
}

#[test]
fn an_answer_about_another_key_is_bad() {
    let mut stand = Stand::serving(2, 1, 2);
    let read = ask(&mut stand, "x");
    assert_eq!(stand.receive(node(2), answer(read, "y", None)), []);
    assert_eq!(stand.counter(Counter::BadMessages), 1);
    assert_eq!(stand.receive(node(2), answer(read, "x", None)), [found(1, None, 2)]);
}

#[test]
fn after_a_cancel_there_is_no_reply() {
    let mut stand = Stand::serving(2, 1, 2);
    let read = ask(&mut stand, "x");
    stand.step(Input::Cancel { id: RequestId(1) });
    assert_eq!(stand.receive(node(2), answer(read, "x", None)), []);
}

#[test]
fn pending_reads_are_bounded_and_local_ones_are_never_pending() {
    let mut config = stand::config(2, 1, 2);
    config.limits.requests_max = 1;
    let mut stand = Stand::serving_with(config);
    assert_eq!(stand.get("x"), []);
    let reason = NotDone::Overloaded { limit: 1 };
    assert_eq!(stand.get("x"), [refused(2, reason)]);
    let options = kv_core::RequestOptions::default().with_read_quorum(kv_core::Quorum::Count(1));
    assert_eq!(stand.request_with(Operation::get(key("x")), options), [found(3, None, 1)]);
}
