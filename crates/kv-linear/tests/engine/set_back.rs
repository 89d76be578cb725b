//! A sequencer that starts on an older copy of its disk, and what followers tell it.

use kv_core::{ConsistencyEngine, Counter, Effect, HaltReason, PersistSeq};
use kv_linear::{Body, Epoch, Forward, LogIndex, Message, NeedStart, Record};

use super::stand::{
    CLUSTER, Given, MS, Server, extended, first_incarnation, founded, generation, heartbeat, log,
    node, peer_up, put,
};

fn told(sequencer: &mut Server, body: Body) -> Vec<Given> {
    let message = sequencer.of(first_incarnation(21), body);
    sequencer.message(2, message)
}

fn ack(epoch: Epoch, durable: u64) -> Body {
    Body::Ack { epoch, durable: LogIndex(durable) }
}

fn nack(epoch: Epoch, last: u64) -> Body {
    Body::Nack { epoch, last: LogIndex(last) }
}

fn forward(epoch: Epoch) -> Body {
    Body::Forward(Forward { epoch, settled_below: 0, requests: Vec::new() })
}

fn need(epoch: Epoch, commit: u64) -> NeedStart {
    NeedStart {
        epoch,
        log_epoch: generation(0),
        last: LogIndex(3),
        commit: LogIndex(commit),
        staged: LogIndex::ZERO,
    }
}

fn is_halted(effects: &[Given]) -> bool {
    matches!(effects, [Effect::Halt { reason: HaltReason::SetBack { peer } }] if *peer == node(2))
}

#[test]
fn it_stops_as_soon_as_a_follower_is_in_an_epoch_that_it_has_forgotten() {
    let later = generation(2);
    let in_it = NeedStart { log_epoch: later, ..need(generation(3), 0) };
    for body in [ack(later, 0), nack(later, 0), Body::NeedStart(in_it)] {
        let mut sequencer = Server::restarted(log(&[put("a")]));
        assert!(is_halted(&told(&mut sequencer, body)));
        assert_eq!(sequencer.timeout(), []);
        assert_eq!(sequencer.engine.next_deadline(), None);
    }
}

/// As the newest directory where an older copy has run meanwhile.
#[test]
fn where_an_epoch_was_only_heard_it_goes_on_behind_it_at_its_next_start() {
    let entries = log(&[put("a"), put("b"), put("c")]);
    let mut sequencer = Server::restarted(entries.clone());
    let heard = Body::NeedStart(need(generation(7), 3));
    let noted =
        Effect::Persist { seq: PersistSeq(5), record: Record::Opened { epoch: generation(7) } };
    let halt = Effect::Halt { reason: HaltReason::EpochUsed { peer: node(2) } };
    assert_eq!(told(&mut sequencer, heard), [noted, halt]);
    let mut records = founded(&entries);
    records.push(Record::Opened { epoch: generation(7) });
    let mut sequencer = Server::recover(1, records);
    let opened = sequencer.step(peer_up(2));
    assert!(matches!(
        opened.first(),
        Some(Effect::Persist { record: Record::Opened { epoch }, .. }) if *epoch == generation(8)
    ));
}

/// The restart after the copy was made had the same generation.
#[test]
fn it_stops_as_soon_as_a_follower_is_in_its_epoch_that_it_did_not_bring_into_it() {
    let epoch = generation(1);
    for body in [ack(epoch, 1), ack(epoch, 0), nack(epoch, 1)] {
        let mut sequencer = Server::restarted(log(&[put("a")]));
        // It may hold as much, but of other entries.
        sequencer.request(1, put("b"));
        sequencer.timeout();
        assert!(is_halted(&told(&mut sequencer, body)));
    }
    let mut sequencer = Server::restarted(log(&[put("a")]));
    sequencer.brings_into_its_epoch(2, &log(&[put("a")]));
    assert_eq!(told(&mut sequencer, ack(epoch, 1)), []);
    assert!(is_halted(&told(&mut sequencer, ack(epoch, 2))), "it never placed a second entry");
}

/// The copy is of the generation that ran last, so that the next one is new to all.
#[test]
fn it_stops_as_soon_as_it_lacks_what_a_follower_knows_to_be_committed() {
    for (commit, halts) in [(0, false), (2, false), (3, true)] {
        let mut sequencer = Server::restarted(log(&[put("a"), put("b")]));
        let effects = told(&mut sequencer, Body::NeedStart(need(generation(1), commit)));
        assert_eq!(is_halted(&effects), halts, "{commit}: {effects:?}");
    }
    // Its own log is longer, by another entry in the third position.
    let longer = extended(&log(&[put("a"), put("b")]), generation(1), &put("c"));
    let mut sequencer = Server::recover(1, founded(&longer));
    sequencer.cluster = Some(CLUSTER);
    sequencer.step(peer_up(2));
    sequencer.persisted(5);
    for epoch in [generation(2), generation(9)] {
        let mut sequencer = sequencer.clone();
        assert!(is_halted(&told(&mut sequencer, Body::NeedStart(need(epoch, 3)))));
    }
}

#[test]
fn what_is_said_without_a_cluster_does_not_stop_it() {
    let mut sequencer = Server::restarted(log(&[put("a")]));
    let message =
        Message { cluster: None, ..sequencer.of(first_incarnation(21), ack(generation(2), 0)) };
    assert_eq!(sequencer.message(2, message), []);
}

#[test]
fn an_epoch_that_another_server_opened_is_none_that_it_has_forgotten() {
    let another = Epoch { round: 1, owner: node(3), generation: 0 };
    let mut sequencer = Server::restarted(log(&[put("a")]));
    for body in
        [ack(another, 2), nack(another, 2), Body::NeedStart(need(another, 3)), forward(another)]
    {
        assert_eq!(told(&mut sequencer, body), []);
    }
    assert_eq!(sequencer.counter(Counter::StrayMessages), 4);
}

#[test]
fn a_follower_shows_a_sequencer_that_is_behind_the_later_epoch_and_not_at_each_message() {
    let mut follower = Server::follower(log(&[put("a")]));
    follower.told(heartbeat(generation(2), follower.incarnation));
    follower.now.mono += MS * 1000;
    let behind = heartbeat(generation(1), follower.incarnation);
    let need = NeedStart {
        epoch: generation(2),
        log_epoch: generation(0),
        last: LogIndex(1),
        commit: LogIndex::ZERO,
        staged: LogIndex::ZERO,
    };
    let shown = [follower.send(1, Body::NeedStart(need))];
    assert_eq!(follower.told(behind.clone()), shown);
    assert_eq!(follower.told(behind.clone()), []);
    follower.now.mono += MS * 1000;
    assert_eq!(follower.told(behind), shown);
}
