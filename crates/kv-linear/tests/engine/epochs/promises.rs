//! When a server promises an epoch, and what it says with that.

use kv_core::Role;
use kv_linear::{Body, Epoch, Promise, Record};

use crate::stand::log::{extend, known, log, record, tail};
use crate::stand::{
    Given, MS, Send, Server, TIMEOUT, Write, ack, cluster, disk, epoch, heartbeat, incarnation,
    node, prepare, sent_to,
};

fn request(epoch: Epoch) -> Body {
    Body::EpochRequest { epoch }
}

fn promise(server: &Server, epoch: Epoch, tail: kv_linear::Tail) -> Given {
    let others: Vec<u16> = (1..=3).filter(|peer| *peer != server.number).collect();
    Send(epoch.owner.number(), Body::Promise(Promise { epoch, known: known(&others), tail }))
}

#[test]
fn a_promise_is_sent_once_it_is_on_disk_and_so_is_the_log_that_it_reports() {
    let base = log(&[(epoch(0, 1), "")]);
    let longer = extend(&base, &[(epoch(0, 1), "a")]);
    let mut server = Server::follower(&base);
    server.told(prepare(epoch(0, 1), &longer, 1, 0));
    let entries = server.records.len();
    let asked = server.hears(3, request(epoch(1, 3)));
    assert_eq!(asked, [Write(Record::Promised { epoch: epoch(1, 3) })]);
    assert_eq!(server.persist_up_to(entries), []);
    let expected = [promise(&server, epoch(1, 3), tail(&longer, 0))];
    assert_eq!(server.persist_all(), expected);
}

#[test]
fn a_promise_that_is_on_disk_is_not_repeated_while_the_log_is_on_its_way_there() {
    let base = log(&[(epoch(0, 1), "")]);
    let mut server = Server::follower(&base);
    server.hears(3, request(epoch(1, 3)));
    server.persist_all();
    let longer = extend(&base, &[(epoch(1, 3), "")]);
    server.hears(3, prepare(epoch(1, 3), &longer, 1, 0));
    assert_eq!(server.hears(3, request(epoch(1, 3))), []);
    server.persist_all();
    let expected = [promise(&server, epoch(1, 3), tail(&longer, 0))];
    assert_eq!(server.hears(3, request(epoch(1, 3))), expected);
}

#[test]
fn who_asks_again_is_promised_again_and_nothing_is_written() {
    let base = log(&[(epoch(0, 1), ""), (epoch(0, 1), "a")]);
    let mut server = Server::follower(&base);
    server.told(heartbeat(epoch(0, 1), &base, 1));
    server.hears(3, request(epoch(1, 3)));
    let expected = [promise(&server, epoch(1, 3), tail(&base, 1))];
    assert_eq!(server.persist_all(), expected);
    assert_eq!(server.hears(3, request(epoch(1, 3))), expected);
}

#[test]
fn a_promise_says_which_epochs_the_log_has_after_its_commit() {
    let base = log(&[
        (epoch(0, 1), ""),
        (epoch(0, 1), "a"),
        (epoch(1, 2), ""),
        (epoch(3, 1), ""),
        (epoch(3, 1), "b"),
    ]);
    let records = {
        let mut records = disk(2, &cluster(3, 2, 2), epoch(3, 1), &base);
        records.pop();
        records.extend([record(epoch(3, 1), 2, &base, 0)]);
        records
    };
    let mut server = Server::recover(2, &cluster(3, 2, 2), records);
    server.peer_up(3);
    server.persist_all();
    server.hears(3, request(epoch(4, 3)));
    let said = tail(&base, 2);
    assert_eq!(said.runs.len(), 2);
    assert_eq!(server.persist_all(), [promise(&server, epoch(4, 3), said)]);
}

#[test]
fn nothing_of_an_epoch_below_the_promise_is_taken() {
    let base = log(&[(epoch(0, 1), ""), (epoch(0, 1), "a")]);
    let longer = extend(&base, &[(epoch(0, 1), "b")]);
    let mut server = Server::follower(&base);
    server.hears(3, request(epoch(2, 3)));
    let rejected = |to| [Send(to, Body::Reject { promised: epoch(2, 3) })];
    // As soon as it is promised, on disk or not.
    for _ in 0..2 {
        assert_eq!(server.told(prepare(epoch(0, 1), &longer, 2, 0)), rejected(1));
        assert_eq!(server.told(heartbeat(epoch(1, 1), &base, 0)), rejected(1));
        assert_eq!(server.told(request(epoch(1, 1))), rejected(1));
        server.persist_all();
    }
    assert_eq!(server.log()[0], 2);
}

#[test]
fn a_promise_is_given_only_to_the_owner_of_the_epoch_in_its_present_process() {
    let mut server = Server::follower(&log(&[(epoch(0, 1), "")]));
    let former = Epoch { incarnation: incarnation(3, 0), ..epoch(1, 3) };
    for asked in [epoch(1, 1), former] {
        assert_eq!(server.hears(3, request(asked)), []);
    }
    let later = Epoch { incarnation: incarnation(3, 2), ..epoch(1, 3) };
    let effects = server.hears_in(3, incarnation(3, 2), request(later));
    assert!(effects.contains(&Write(Record::Promised { epoch: later })), "{effects:?}");
    let known = Record::Known { peer: node(3), incarnation: incarnation(3, 2) };
    assert_eq!(effects.first(), Some(&Write(known)));
}

#[test]
fn a_server_that_recovers_promises_nothing_and_says_so_in_its_pre_votes() {
    let config = cluster(3, 2, 2);
    let mut records = disk(2, &config, epoch(0, 1), &[]);
    records.push(Record::Renewed { incarnation: incarnation(2, 4), recovering: true });
    let mut server = Server::recover(2, &config, records);
    server.peer_up(3);
    server.persist_all();
    assert_eq!(server.hears(3, request(epoch(1, 3))), []);
    assert_eq!(server.persist_all(), []);
    let granted = Body::PreVoteOk { epoch: epoch(1, 3), may_promise: false };
    let asked = server.hears(3, Body::PreVote { epoch: epoch(1, 3) });
    assert_eq!(asked, [Send(3, granted)]);
    // It raises no round either, and does not stand.
    assert_eq!(server.hears(3, Body::Reject { promised: epoch(5, 1) }), []);
    let effects = server.timeout_after(TIMEOUT * 2);
    assert!(sent_to(&effects, 3).iter().all(|body| *body == Body::Recover), "{effects:?}");
}

#[test]
fn a_sequencer_that_is_asked_for_a_later_epoch_stops_and_promises_it() {
    let mut sequencer = Server::sequencer(&log(&[(epoch(0, 1), "")]));
    let owner_is_over = Epoch { incarnation: incarnation(3, 0), ..epoch(1, 3) };
    assert_eq!(sequencer.hears(3, request(owner_is_over)), []);
    assert_eq!(sequencer.role(), Role::Sequencer);
    let asked = sequencer.hears(3, request(epoch(1, 3)));
    assert_eq!(asked, [Write(Record::Promised { epoch: epoch(1, 3) })]);
    assert_eq!(sequencer.role(), Role::Follower);
    let effects = sequencer.persist_all();
    let [Send(3, Body::Promise(promise))] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((promise.epoch, promise.tail.last.0), (epoch(1, 3), 2));
}

#[test]
fn a_sequencer_rejects_candidates_and_sequencers_of_earlier_epochs() {
    let base = log(&[(epoch(0, 1), "")]);
    let mut server = Server::member(2, epoch(0, 1), &base);
    server.timeout_after(TIMEOUT * 2);
    let own = Epoch { round: 1, owner: node(2), incarnation: server.incarnation };
    server.hears(3, Body::PreVoteOk { epoch: own, may_promise: true });
    server.persist_all();
    let promised = Promise { epoch: own, known: known(&[1]), tail: tail(&base, 0) };
    server.hears(3, Body::Promise(promised));
    assert_eq!(server.role(), Role::Sequencer);
    let rejected = [Send(1, Body::Reject { promised: own })];
    assert_eq!(server.told(request(epoch(1, 1))), rejected);
    assert_eq!(server.told(prepare(epoch(0, 1), &base, 0, 1)), rejected);
}

#[test]
fn a_heartbeat_of_a_later_epoch_is_a_promise_that_is_written_by_itself() {
    let base = log(&[(epoch(0, 1), "")]);
    let mut server = Server::follower(&base);
    let effects = server.hears(3, heartbeat(epoch(1, 3), &base, 1));
    assert_eq!(effects, [Write(Record::Promised { epoch: epoch(1, 3) })]);
    server.now.mono += MS * 500;
    assert_eq!(server.hears(3, heartbeat(epoch(1, 3), &base, 1)), []);
    assert_eq!(server.persist_all().last(), Some(&Send(3, ack(epoch(1, 3), 1))));
}
