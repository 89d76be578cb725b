//! Servers that start on an older copy of their disk, and how that comes out.

use kv_core::{
    ConsistencyEngine, Counter, EngineConfig, HaltReason, Incarnation, PersistSeq, Role,
};
use kv_linear::{Body, Entry, Epoch, LinearEngine, LogIndex, Promise, Record, RecoverOk};

use crate::stand::log::{extend, log, tail};
use crate::stand::{
    Given, Halt, Send, Server, Write, ack, cluster, disk, epoch, first, heartbeat, incarnation,
    node,
};

fn base() -> Vec<Entry> {
    log(&[(epoch(0, 1), ""), (epoch(0, 1), "a")])
}

fn outdated(highest: Incarnation) -> Body {
    Body::Outdated { highest }
}

fn set_back() -> [Given; 1] {
    [Halt(HaltReason::SetBack { peer: node(2) })]
}

/// The incarnation in which a server recovers from now on.
fn recovers_in(effects: &[Given]) -> Incarnation {
    match effects {
        [Write(Record::Renewed { incarnation, recovering: true })] => *incarnation,
        other => panic!("{other:?}"),
    }
}

/// A follower that lost its data and has recovered in this process.
fn recovered() -> Server {
    let config = cluster(3, 2, 2);
    let mut records = disk(2, &config, Epoch::default(), &[]);
    records.push(Record::Renewed { incarnation: incarnation(2, 4), recovering: true });
    let mut server = Server::recover(2, &config, records);
    server.peer_up(1);
    server.peer_up(3);
    server.persist_all();
    for (peer, sequenced) in [(1, Some(LogIndex(2))), (3, None)] {
        let (receiver, promised) = (server.incarnation, epoch(0, 1));
        let (recovering, known) = (false, Vec::new());
        let answer = RecoverOk { receiver, promised, recovering, sequenced, known };
        server.hears(peer, Body::RecoverOk(answer));
    }
    server.fed(epoch(0, 1), &base(), 0, 0);
    server.persist_all();
    server.persist_all();
    assert_eq!(server.role(), Role::Follower);
    server
}

/// A sequencer that no other server can replace: W = 1 makes V = N.
fn irreplaceable() -> Server {
    Server::sequencer_of(&cluster(3, 1, 3), &base())
}

#[test]
fn a_process_whose_number_another_one_had_is_told_so_and_counts_for_nothing() {
    let mut sequencer = Server::sequencer(&base());
    let present = incarnation(2, 5);
    sequencer.hears_in(2, present, Body::Recover);
    sequencer.persist_all();
    let older = incarnation(2, 4);
    // One of the same number that was met later is as much another process.
    let twin = Incarnation(present.0 + 1);
    for body in [ack(sequencer.epoch(), 3), Body::PreVote { epoch: epoch(1, 2) }, Body::Recover] {
        for other in [older, twin] {
            let told = [Send(2, outdated(present))];
            assert_eq!(sequencer.hears_in(2, other, body.clone()), told);
        }
    }
    assert_eq!(sequencer.log()[2], 0);
    assert_eq!(sequencer.counter(Counter::StrayMessages), 6);
    let mut follower = Server::follower(&base());
    let told = [Send(3, outdated(first(3)))];
    let older = incarnation(3, 0);
    assert_eq!(follower.hears_in(3, older, heartbeat(epoch(0, 1), &base(), 0)), told);
}

#[test]
fn a_follower_on_an_older_disk_recovers_behind_the_highest_incarnation() {
    let mut follower = Server::follower(&base());
    let highest = incarnation(2, 9);
    let renewed = recovers_in(&follower.told(outdated(highest)));
    assert_eq!(renewed.counter(), 10);
    assert_eq!(follower.told(heartbeat(epoch(0, 1), &base(), 0)), []);
    let effects = follower.persist_all();
    for peer in [1, 3] {
        assert!(effects.contains(&Send(peer, Body::Recover)), "{effects:?}");
    }
    assert_eq!(follower.role(), Role::Joining);
    assert_eq!(follower.hears(3, Body::EpochRequest { epoch: epoch(1, 3) }), []);
}

#[test]
fn a_server_that_has_recovered_outdoes_a_former_process_that_was_not_known_then() {
    let mut server = recovered();
    let lost = Incarnation(server.incarnation.0 ^ 1);
    let effects = server.told(outdated(lost));
    let [Write(Record::Renewed { incarnation, recovering: false })] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    assert_eq!(incarnation.counter(), lost.counter() + 1);
    assert_eq!(server.role(), Role::Follower);
    // It says nothing in either before the disk has the new one.
    assert_eq!(server.told(heartbeat(epoch(0, 1), &base(), 0)), []);
    assert_ne!(server.persist_all(), []);
    // Another process on its disk has recovered nothing itself.
    let mut server = server.restart();
    server.peer_up(1);
    server.persist_all();
    let later = Incarnation(server.incarnation.0 + (1 << 32));
    recovers_in(&server.told(outdated(later)));
}

#[test]
fn a_sequencer_that_has_recovered_outdoes_a_former_process_in_the_same_round() {
    let mut server = recovered();
    let promised = epoch(0, 1);
    let won = Epoch { round: 1, owner: node(2), incarnation: server.incarnation };
    server.told(Body::Lead { epoch: promised });
    server.persist_all();
    for peer in [1, 3] {
        let promise = Promise { epoch: won, known: Vec::new(), tail: tail(&base(), 0) };
        server.hears(peer, Body::Promise(promise));
    }
    assert_eq!(server.role(), Role::Sequencer);
    server.persist_all();
    let lost = Incarnation(server.incarnation.0 + (4 << 32));
    server.hears(3, outdated(lost));
    let opened = server.engine.sequences().unwrap();
    assert_eq!((opened.round, opened.owner), (won.round, won.owner));
    assert_eq!(opened.incarnation.counter(), lost.counter() + 1);
}

#[test]
fn a_follower_on_an_older_disk_recovers_even_where_nobody_could_replace_the_sequencer() {
    let mut follower = Server::member_of(&cluster(3, 1, 3), 2, epoch(0, 1), &base());
    recovers_in(&follower.told(outdated(incarnation(2, 9))));
}

#[test]
fn what_was_said_of_a_former_process_is_late() {
    let mut follower = Server::follower(&base());
    let own = follower.incarnation;
    for highest in [own, first(2), incarnation(2, 0)] {
        assert_eq!(follower.told(outdated(highest)), []);
    }
    let twin = Incarnation(own.0 ^ 1);
    assert!(recovers_in(&follower.told(outdated(twin))).counter() > own.counter());
}

#[test]
fn a_sequencer_on_an_older_disk_recovers_where_the_others_can_choose_another() {
    let mut sequencer = Server::sequencer(&base());
    let renewed = recovers_in(&sequencer.hears(2, outdated(incarnation(1, 9))));
    assert_eq!(renewed.counter(), 10);
    sequencer.persist_all();
    assert_eq!(sequencer.role(), Role::Joining);
    // It does not open its round anew either, also not after a restart.
    let mut sequencer = sequencer.restart();
    recovers_in(&sequencer.peer_up(2));
    assert_eq!(sequencer.role(), Role::Joining);
}

#[test]
fn a_sequencer_on_an_older_disk_stops_for_good_where_nobody_can_replace_it() {
    let mut sequencer = irreplaceable();
    let effects = sequencer.hears(2, outdated(incarnation(1, 9)));
    let refuted = Write(Record::Refuted { peer: node(2) });
    assert_eq!(effects, [[refuted].as_slice(), &set_back()].concat());
    assert!(sequencer.is_halted());
    // The disk came to have it: the driver writes what was asked for before it ends.
    sequencer.persisted = sequencer.records.len();
    for _ in 0..2 {
        let mut again = sequencer.restart();
        assert_eq!(again.peer_up(2), set_back());
        assert!(again.is_halted());
    }
    let checkpoint = sequencer.restart().checkpoint();
    assert_eq!(checkpoint.covers, PersistSeq(u64::try_from(sequencer.persisted).unwrap()));
    let config = EngineConfig::seeded(node(1), cluster(3, 1, 3), 9);
    let engine = LinearEngine::recover(config, Some(checkpoint), []).unwrap();
    let mut again = Server { engine, ..sequencer.restart() };
    assert_eq!(again.peer_up(2), set_back());
}

/// Another process has opened the same epoch on another copy of the disk.
#[test]
fn a_sequencer_stops_if_a_follower_holds_more_of_its_epoch_than_it_has_sequenced() {
    let mut sequencer = Server::sequencer(&base());
    let epoch = sequencer.epoch();
    assert_eq!(sequencer.hears(2, ack(epoch, 3)), []);
    assert_eq!(sequencer.hears(2, ack(epoch, 4)), set_back());
    assert!(sequencer.is_halted());
}

#[test]
fn a_sequencer_recovers_if_it_lacks_what_a_follower_knows_to_be_committed() {
    let longer = extend(&base(), &[(epoch(0, 1), "b"), (epoch(0, 1), "c")]);
    let other = log(&[(epoch(0, 1), ""), (epoch(0, 1), "x")]);
    let nack = |epoch: Epoch, log: &[Entry], commit| Body::Nack { epoch, tail: tail(log, commit) };
    let cases = [
        (&longer, 2, false),
        // It has an entry of its own there.
        (&longer, 3, true),
        (&longer, 4, true),
        (&other, 1, false),
        (&other, 2, true),
    ];
    for (theirs, commit, recovers) in cases {
        let mut sequencer = Server::sequencer(&base());
        let effects = sequencer.hears(2, nack(sequencer.epoch(), theirs, commit));
        let renews =
            matches!(effects.as_slice(), [Write(Record::Renewed { recovering: true, .. })]);
        assert_eq!(renews, recovers, "{commit}: {effects:?}");
    }
    let mut sequencer = Server::sequencer(&base());
    assert_eq!(sequencer.hears(2, nack(epoch(0, 1), &longer, 4)), []);
}
