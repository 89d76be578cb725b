//! When a server asks to become the sequencer, who agrees, and who wins.

use std::time::Duration;

use kv_core::{ConsistencyEngine, Counter, HaltReason};
use kv_linear::{Body, Epoch, Promise, Record};

use crate::stand::log::{extend, known, log, tail};
use crate::stand::{
    Given, Halt, MS, Send, Server, TIMEOUT, Write, ack, cluster, epoch, heartbeat, incarnation,
    node, sent_to, written,
};

/// The epoch that a server asks for.
fn own(server: &Server, round: u32) -> Epoch {
    Epoch { round, owner: node(server.number), incarnation: server.incarnation }
}

fn granted(epoch: Epoch, may_promise: bool) -> Body {
    Body::PreVoteOk { epoch, may_promise }
}

fn promise(epoch: Epoch, log: &[kv_linear::Entry]) -> Body {
    Body::Promise(Promise { epoch, known: known(&[]), tail: tail(log, 0) })
}

/// The opening entry that was written, if one was.
fn opened(effects: &[Given]) -> Option<Epoch> {
    written(effects).iter().find_map(|record| match record {
        Record::Opened { entry } => Some(entry.header().epoch),
        _ => None,
    })
}

fn peers(effects: &[Given]) -> Vec<u16> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Send(to, Body::PreVote { .. } | Body::EpochRequest { .. }) => Some(*to),
        _ => None,
    });
    sent.collect()
}

/// Server 2 of five with W = R = 3, which has asked for pre-votes.
fn asking_of_five() -> (Server, Epoch) {
    asking_of(3)
}

fn asking_of(quorum: u16) -> (Server, Epoch) {
    let base = log(&[(epoch(0, 1), ""), (epoch(0, 1), "a")]);
    let mut server = Server::member_of(&cluster(5, quorum, quorum), 2, epoch(0, 1), &base);
    let asked = server.timeout_after(TIMEOUT * 2);
    let epoch = own(&server, 1);
    assert_eq!(asked, [1, 3, 4, 5].map(|peer| Send(peer, Body::PreVote { epoch })));
    (server, epoch)
}

/// Server 2 of five, which has promised its own epoch, on disk, and asked for promises.
fn candidate_of_five() -> (Server, Epoch) {
    let (mut server, epoch) = asking_of_five();
    server.hears(3, granted(epoch, true));
    server.hears(4, granted(epoch, true));
    assert_eq!(server.persist_all(), []);
    (server, epoch)
}

#[test]
fn a_follower_asks_for_pre_votes_first_and_promises_nothing_by_that() {
    let mut server = Server::follower(&log(&[(epoch(0, 1), "")]));
    assert_eq!(server.timeout_after(TIMEOUT - MS), []);
    let asked = server.timeout_after(TIMEOUT + MS);
    let epoch = own(&server, 1);
    assert_eq!(asked, [1, 3].map(|peer| Send(peer, Body::PreVote { epoch })));
    assert_eq!(server.counter(Counter::Elections), 0);
}

#[test]
fn promises_are_asked_for_once_so_many_miss_the_sequencer_as_it_takes() {
    let (mut server, epoch) = asking_of_five();
    assert_eq!(server.hears(3, granted(epoch, true)), []);
    assert_eq!(server.hears(3, granted(epoch, true)), []);
    let effects = server.hears(4, granted(epoch, true));
    let expected = [1, 3, 4, 5].map(|peer| Send(peer, Body::EpochRequest { epoch }));
    assert_eq!(effects.first(), Some(&Write(Record::Promised { epoch })));
    assert_eq!(effects.get(1..), Some(&expected[..]));
    assert_eq!(server.counter(Counter::Elections), 1);
}

#[test]
fn pre_votes_are_counted_up_to_the_quorum_that_works_even_where_fewer_promises_are_needed() {
    let (mut server, epoch) = asking_of(4);
    assert_eq!(server.hears(3, granted(epoch, true)), []);
    assert_eq!(server.hears(4, granted(epoch, true)), []);
    assert_eq!(peers(&server.hears(5, granted(epoch, true))), [1, 3, 4, 5]);
}

#[test]
fn those_that_may_not_promise_are_not_counted_for_the_promises() {
    let (mut server, epoch) = asking_of_five();
    assert_eq!(server.hears(3, granted(epoch, false)), []);
    assert_eq!(server.hears(4, granted(epoch, false)), []);
    assert_eq!(server.hears(5, granted(epoch, true)), []);
    assert_eq!(peers(&server.hears(1, granted(epoch, true))), [1, 3, 4, 5]);
}

#[test]
fn a_pre_vote_for_another_epoch_does_not_count() {
    let (mut server, epoch) = asking_of_five();
    server.hears(3, granted(epoch, true));
    assert_eq!(server.hears(4, granted(Epoch { round: 2, ..epoch }, true)), []);
    assert_eq!(server.hears(4, granted(crate::stand::epoch(1, 2), true)), []);
}

#[test]
fn a_pre_vote_is_granted_when_the_sequencer_was_silent_or_its_connection_has_closed() {
    let base = log(&[(epoch(0, 1), "")]);
    let asked = Body::PreVote { epoch: epoch(1, 3) };
    let granted = [Send(3, granted(epoch(1, 3), true))];
    let mut follower = Server::follower(&base);
    follower.now.mono += TIMEOUT - MS;
    assert_eq!(follower.hears(3, asked.clone()), []);
    follower.now.mono += MS;
    assert_eq!(follower.hears(3, asked.clone()), granted);
    let mut follower = Server::follower(&base);
    follower.peer_down(1);
    assert_eq!(follower.hears(3, asked.clone()), granted);
    // The sequencer asks itself: it has no use for its epoch.
    let mut follower = Server::follower(&base);
    let itself = Body::PreVote { epoch: epoch(1, 1) };
    let granted = Body::PreVoteOk { epoch: epoch(1, 1), may_promise: true };
    assert_eq!(follower.told(itself), [Send(1, granted)]);
    assert_eq!(follower.positions().epoch_round, Some(0));
}

#[test]
fn a_pre_vote_for_an_epoch_that_is_not_above_the_promise_is_rejected() {
    let mut server = Server::member(2, epoch(4, 1), &[]);
    for asked in [epoch(3, 3), epoch(4, 1), epoch(0, 3)] {
        let rejected = [Send(3, Body::Reject { promised: epoch(4, 1) })];
        assert_eq!(server.hears(3, Body::PreVote { epoch: asked }), rejected);
    }
}

#[test]
fn nobody_asks_for_the_epoch_of_another_server_or_process() {
    let mut server = Server::member(2, epoch(0, 1), &[]);
    let former = Epoch { incarnation: incarnation(3, 0), ..epoch(1, 3) };
    let later = Epoch { incarnation: incarnation(3, 2), ..epoch(1, 3) };
    for asked in [epoch(1, 1), former, later] {
        assert_eq!(server.hears(3, Body::PreVote { epoch: asked }), []);
        assert_eq!(server.hears(3, Body::EpochRequest { epoch: asked }), []);
    }
}

#[test]
fn a_sequencer_at_work_denies_pre_votes_and_a_quiet_one_grants_them() {
    let mut sequencer = Server::sequencer(&log(&[(epoch(0, 1), "")]));
    let asked = Body::PreVote { epoch: epoch(1, 3) };
    assert_eq!(sequencer.hears(3, asked.clone()), []);
    let promised = sequencer.epoch();
    let late = Body::PreVote { epoch: epoch(0, 1) };
    assert_eq!(sequencer.hears(3, late), [Send(3, Body::Reject { promised })]);
    // With W = 3 it hears too few when only one of its peers speaks.
    let mut sequencer =
        Server::sequencer_of(&cluster(3, 3, 2), &log(&[(epoch(0, 1), ""), (epoch(0, 1), "a")]));
    sequencer.now.mono += TIMEOUT;
    assert_eq!(sequencer.hears(3, asked), [Send(3, granted(epoch(1, 3), true))]);
}

#[test]
fn the_probes_of_a_quiet_sequencer_put_off_nobody() {
    let mut sequencer = Server::sequencer(&log(&[(epoch(0, 1), "")]));
    let probes = |effects: &[Given]| {
        sent_to(effects, 2).iter().all(|body| matches!(body, Body::Prepare(p) if p.probe))
    };
    assert!(!probes(&sequencer.timeout_after(TIMEOUT - MS)));
    let quiet = sequencer.timeout_after(TIMEOUT);
    assert!(!sent_to(&quiet, 2).is_empty() && probes(&quiet));
    // Any message ends that.
    sequencer.hears(3, ack(sequencer.epoch(), 2));
    assert!(!probes(&sequencer.timeout_after(MS * 100)));

    let base = log(&[(epoch(0, 1), "")]);
    for (probe, asks) in [(true, true), (false, false)] {
        let mut follower = Server::follower(&base);
        follower.now.mono += TIMEOUT - MS;
        let Body::Prepare(shown) = heartbeat(epoch(0, 1), &base, 0) else { panic!() };
        follower.told(Body::Prepare(kv_linear::Prepare { probe, ..shown }));
        follower.now.mono += MS;
        let answer = follower.hears(3, Body::PreVote { epoch: epoch(1, 3) });
        assert_eq!(!answer.is_empty(), asks);
    }
}

#[test]
fn when_the_sequencers_connection_closes_the_next_higher_id_asks_at_once_and_the_others_later() {
    let base = log(&[(epoch(0, 1), "")]);
    for (number, wait) in [(2, Duration::ZERO), (3, MS * 25)] {
        let mut server = Server::member(number, epoch(0, 1), &base);
        server.told(heartbeat(epoch(0, 1), &base, 0));
        server.timeout();
        server.peer_down(1);
        let due = server.engine.next_deadline().unwrap();
        assert_eq!(due - server.now.mono, wait);
        assert_eq!(peers(&server.timeout_after(wait)), [5 - number]);
    }
    // Another connection than the sequencer's says nothing.
    let mut server = Server::follower(&base);
    server.peer_down(3);
    assert_eq!(server.timeout(), []);
}

#[test]
fn an_epoch_is_opened_with_promises_and_the_own_one_on_disk() {
    let base = log(&[(epoch(0, 1), ""), (epoch(0, 1), "a")]);
    let (mut server, epoch) = candidate_of_five();
    assert_eq!(server.hears(3, promise(epoch, &base)), []);
    assert_eq!(server.hears(3, promise(epoch, &base)), []);
    assert_eq!(server.hears(4, promise(Epoch { round: 2, ..epoch }, &base)), []);
    let effects = server.hears(4, promise(epoch, &base));
    let Some(Record::Opened { entry }) = written(&effects).first().cloned() else { panic!() };
    assert_eq!((entry.index().0, entry.header().epoch), (3, epoch));
    assert_eq!(entry.header().previous_hash, base.last().unwrap().hash());
    assert_eq!(entry.header().operations, 0);
    assert_eq!(server.counter(Counter::EpochsOpened), 1);
}

#[test]
fn an_epoch_is_not_opened_before_the_own_promise_is_on_disk() {
    let base = log(&[(epoch(0, 1), ""), (epoch(0, 1), "a")]);
    let (mut server, epoch) = asking_of_five();
    server.hears(3, granted(epoch, true));
    server.hears(4, granted(epoch, true));
    for peer in [3, 4, 5] {
        assert_eq!(server.hears(peer, promise(epoch, &base)), []);
    }
    assert_eq!(opened(&server.persist_all()), Some(epoch));
}

#[test]
fn a_promise_counts_once_its_senders_incarnation_is_on_disk() {
    let base = log(&[(epoch(0, 1), ""), (epoch(0, 1), "a")]);
    let (mut server, epoch) = candidate_of_five();
    server.hears(3, promise(epoch, &base));
    let renewed = incarnation(4, 2);
    let noted = [Write(Record::Known { peer: node(4), incarnation: renewed })];
    assert_eq!(server.hears_in(4, renewed, promise(epoch, &base)), noted);
    assert_eq!(opened(&server.persist_all()), Some(epoch));
}

#[test]
fn a_promise_of_a_process_that_another_server_knows_to_be_over_does_not_count() {
    let base = log(&[(epoch(0, 1), ""), (epoch(0, 1), "a")]);
    let (mut server, epoch) = candidate_of_five();
    assert_eq!(server.hears(3, promise(epoch, &base)), []);
    let renewed = incarnation(3, 2);
    let told = Promise { epoch, known: vec![(node(3), renewed)], tail: tail(&base, 0) };
    let noted = [Write(Record::Known { peer: node(3), incarnation: renewed })];
    assert_eq!(server.hears(4, Body::Promise(told)), noted);
    assert_eq!(server.persist_all(), []);
    assert_eq!(opened(&server.hears(5, promise(epoch, &base))), Some(epoch));
}

#[test]
fn of_two_equal_logs_that_end_differently_neither_is_taken() {
    let base = log(&[(epoch(0, 1), ""), (epoch(0, 1), "a")]);
    let other = log(&[(epoch(0, 1), ""), (epoch(0, 1), "b")]);
    let (mut server, epoch) = candidate_of_five();
    server.hears(3, promise(epoch, &base));
    let reason = HaltReason::LogsDiffer { peer: node(4), index: 2 };
    assert_eq!(server.hears(4, promise(epoch, &other)), [Halt(reason)]);
    assert!(server.is_halted());
}

#[test]
fn the_own_log_is_kept_where_it_is_the_best_whatever_the_length_of_the_others() {
    let base = log(&[(epoch(0, 1), ""), (epoch(0, 1), "a")]);
    let longer = extend(&base, &[(epoch(0, 1), "b"), (epoch(0, 1), "c")]);
    let own_log = extend(&base, &[(epoch(2, 3), "")]);
    let mut server = Server::member(2, epoch(2, 3), &own_log);
    server.timeout_after(TIMEOUT * 2);
    let epoch = own(&server, 3);
    server.hears(1, granted(epoch, true));
    server.persist_all();
    assert_eq!(opened(&server.hears(1, promise(epoch, &longer))), Some(epoch));
}

#[test]
fn a_rejected_candidate_takes_no_promise_any_more_and_asks_above_the_later_one_next_time() {
    let base = log(&[(epoch(0, 1), ""), (epoch(0, 1), "a")]);
    let (mut server, epoch) = candidate_of_five();
    let later = crate::stand::epoch(6, 4);
    let promised = [Write(Record::Promised { epoch: later })];
    assert_eq!(server.hears(3, Body::Reject { promised: later }), promised);
    assert_eq!(server.hears(3, promise(epoch, &base)), []);
    assert_eq!(server.hears(5, promise(epoch, &base)), []);
    server.persist_all();
    let asked = server.timeout_after(TIMEOUT * 2);
    assert_eq!(sent_to(&asked, 3), [Body::PreVote { epoch: own(&server, 7) }]);
    // A rejection that is late changes nothing.
    assert_eq!(server.hears(3, Body::Reject { promised: later }), []);
}

#[test]
fn of_two_candidates_of_one_round_the_higher_id_goes_on() {
    let base = log(&[(epoch(0, 1), ""), (epoch(0, 1), "a")]);
    let (mut server, lower) = candidate_of_five();
    let higher = epoch(1, 3);
    let requested = server.hears(3, Body::EpochRequest { epoch: higher });
    assert_eq!(requested, [Write(Record::Promised { epoch: higher })]);
    let promised = Promise { epoch: higher, known: known(&[1, 3, 4, 5]), tail: tail(&base, 0) };
    assert_eq!(server.persist_all(), [Send(3, Body::Promise(promised))]);
    assert_eq!(server.hears(4, promise(lower, &base)), []);
    assert_eq!(server.hears(5, promise(lower, &base)), []);

    let (mut server, higher) = candidate_of_five();
    let rejected = [Send(1, Body::Reject { promised: higher })];
    assert_eq!(server.hears(1, Body::EpochRequest { epoch: epoch(1, 1) }), rejected);
    server.hears(3, promise(higher, &base));
    assert_eq!(opened(&server.hears(4, promise(higher, &base))), Some(higher));
}

#[test]
fn those_that_have_not_answered_are_asked_again() {
    let (mut server, epoch) = asking_of_five();
    server.hears(3, granted(epoch, true));
    assert_eq!(peers(&server.timeout_after(MS * 100)), [1, 4, 5]);
    server.hears(4, granted(epoch, true));
    server.persist_all();
    server.hears(3, promise(epoch, &[]));
    assert_eq!(peers(&server.timeout_after(MS * 99)), Vec::<u16>::new());
    assert_eq!(peers(&server.timeout_after(MS)), [1, 4, 5]);
}

#[test]
fn a_candidate_that_hears_a_sequencer_follows_it() {
    let base = log(&[(epoch(0, 1), ""), (epoch(0, 1), "a")]);
    let (mut server, epoch) = asking_of_five();
    server.hears(3, granted(epoch, true));
    server.told(heartbeat(crate::stand::epoch(0, 1), &base, 0));
    assert_eq!(server.hears(4, granted(epoch, true)), []);
    assert_eq!(server.counter(Counter::Elections), 0);
}
