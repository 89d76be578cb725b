//! What a server does that comes back with its disk.

use kv_core::{ClusterConfig, ConsistencyEngine, EngineConfig, PersistSeq, RecoverError, Role};
use kv_linear::{Body, Entry, Epoch, LinearEngine, Record};

use crate::stand::log::{extend, log, next_entry, record};
use crate::stand::{
    Given, MS, Send, Server, TIMEOUT, Write, ack, cluster, disk, epoch, first, heartbeat,
    incarnation, node, sent_to, written,
};

fn base() -> Vec<Entry> {
    log(&[(epoch(0, 1), ""), (epoch(0, 1), "a")])
}

fn opening(effects: &[Given]) -> Entry {
    match written(effects).as_slice() {
        [Record::Opened { entry }] => entry.clone(),
        other => panic!("{other:?}"),
    }
}

/// Server 1 at its first step after it was recovered from these records.
fn started(records: Vec<Record>) -> (Server, Vec<Given>) {
    let mut server = Server::recover(1, &cluster(3, 2, 2), records);
    let effects = server.peer_up(2);
    server.peer_up(3);
    (server, effects)
}

#[test]
fn a_sequencer_opens_its_round_anew_in_another_incarnation_with_one_record() {
    let (server, effects) = started(disk(1, &cluster(3, 2, 2), epoch(0, 1), &base()));
    let entry = opening(&effects);
    let opened = entry.header().epoch;
    assert_eq!((opened.round, opened.owner), (0, node(1)));
    assert_eq!(opened.incarnation.counter(), 2);
    assert_eq!((entry.index().0, entry.header().previous_hash), (3, base()[1].hash()));
    assert_eq!(server.role(), Role::Sequencer);
}

#[test]
fn a_restarted_sequencer_says_nothing_until_its_epoch_is_on_disk() {
    let (mut server, _) = started(disk(1, &cluster(3, 2, 2), epoch(0, 1), &base()));
    assert_eq!(server.timeout_after(MS * 300), []);
    assert_eq!(server.hears(2, ack(epoch(0, 1), 2)), []);
    assert_eq!(server.hears(3, Body::PreVote { epoch: epoch(0, 1) }), []);
    assert_eq!(server.persist_all(), []);
    let effects = server.timeout();
    for peer in [2, 3] {
        let sent = sent_to(&effects, peer);
        let is_own = |body: &Body| matches!(body, Body::Prepare(p) if p.epoch == server.epoch());
        assert!(!sent.is_empty() && sent.iter().all(is_own), "{sent:?}");
    }
}

#[test]
fn after_two_crashes_the_opening_entry_of_an_earlier_process_is_enough() {
    let records = disk(1, &cluster(3, 2, 2), epoch(0, 1), &base());
    // The first one crashes before its record is on disk, the second one after.
    let (first_try, _) = started(records);
    let mut second = first_try.restart();
    let entry = opening(&second.peer_up(2));
    assert_eq!((entry.index().0, entry.header().epoch.incarnation.counter()), (3, 2));
    second.persist_all();
    let mut third = second.restart();
    let entry = opening(&third.peer_up(2));
    assert_eq!((entry.index().0, entry.header().epoch.incarnation.counter()), (4, 3));
    assert_eq!(entry.header().epoch.round, 0);
}

#[test]
fn no_two_processes_speak_in_one_epoch() {
    let records = disk(1, &cluster(3, 2, 2), epoch(0, 1), &base());
    let (mut server, _) = started(records);
    let mut epochs = vec![epoch(0, 1)];
    for _ in 0..4 {
        server.persist_all();
        epochs.push(server.epoch());
        server = server.restart();
        server.peer_up(2);
    }
    assert!(epochs.windows(2).all(|pair| pair[0] < pair[1]), "{epochs:?}");
}

#[test]
fn a_server_that_only_asked_for_its_epoch_does_not_open_it_at_its_restart() {
    for asked in [epoch(1, 1), Epoch { incarnation: incarnation(1, 5), ..epoch(0, 1) }] {
        let mut records = disk(1, &cluster(3, 2, 2), epoch(0, 2), &[]);
        let others = log(&[(epoch(0, 2), ""), (epoch(0, 2), "a")]);
        let asked = Epoch { round: asked.round + 1, ..asked };
        records.push(record(epoch(0, 2), 2, &others, 0));
        records.push(Record::Promised { epoch: asked });
        let (mut server, effects) = started(records);
        assert!(matches!(effects.as_slice(), [Write(Record::Renewed { recovering: false, .. })]));
        assert_eq!(server.role(), Role::Follower);
        server.persist_all();
        let effects = server.timeout_after(TIMEOUT * 2);
        let round = asked.round + 1;
        let epoch = Epoch { round, owner: node(1), incarnation: server.incarnation };
        assert_eq!(effects, [2, 3].map(|peer| Send(peer, Body::PreVote { epoch })));
    }
}

#[test]
fn a_sequencer_that_promised_another_does_not_open_its_round_anew() {
    let mut records = disk(1, &cluster(3, 2, 2), epoch(0, 1), &base());
    records.push(Record::Promised { epoch: epoch(1, 3) });
    let (server, effects) = started(records);
    assert!(matches!(effects.as_slice(), [Write(Record::Renewed { recovering: false, .. })]));
    assert_eq!(server.role(), Role::Follower);
}

#[test]
fn a_sequencer_that_recovers_does_not_open_its_round_anew() {
    let mut records = disk(1, &cluster(3, 2, 2), epoch(0, 1), &base());
    records.push(Record::Renewed { incarnation: incarnation(1, 3), recovering: true });
    let (server, effects) = started(records);
    assert!(matches!(effects.as_slice(), [Write(Record::Renewed { recovering: true, .. })]));
    assert_eq!(server.role(), Role::Joining);
}

#[test]
fn a_follower_says_nothing_before_its_incarnation_is_on_disk_and_goes_on_where_its_disk_says() {
    let config = cluster(3, 2, 2);
    let mut server = Server::recover(2, &config, disk(2, &config, epoch(0, 1), &base()));
    let [Write(Record::Renewed { incarnation, recovering: false })] = server.peer_up(1)[..] else {
        panic!()
    };
    assert!(incarnation > first(2));
    assert_eq!(server.told(heartbeat(epoch(0, 1), &base(), 0)), []);
    assert_eq!(server.told(Body::EpochRequest { epoch: epoch(0, 1) }), []);
    let said = server.persist_all();
    assert!(!said.is_empty());
    assert!(said.iter().all(|effect| *effect == Send(1, ack(epoch(0, 1), 2))), "{said:?}");
    let longer = extend(&base(), &[(epoch(0, 1), "b")]);
    let taken = server.fed(epoch(0, 1), &longer, 2, 0);
    assert_eq!(taken, [Write(record(epoch(0, 1), 0, &longer, 2))]);
}

#[test]
fn what_was_promised_before_a_restart_binds_after_it() {
    let mut server = Server::follower(&base());
    server.hears(3, Body::EpochRequest { epoch: epoch(4, 3) });
    server.persist_all();
    let mut server = server.restart();
    server.peer_up(1);
    server.persist_all();
    let rejected = [Send(1, Body::Reject { promised: epoch(4, 3) })];
    assert_eq!(server.told(heartbeat(epoch(0, 1), &base(), 0)), rejected);
}

#[test]
fn a_server_that_won_and_crashed_before_its_opening_entry_was_on_disk_is_a_follower() {
    let mut server = Server::member(2, epoch(0, 1), &base());
    server.timeout_after(TIMEOUT * 2);
    let own = Epoch { round: 1, owner: node(2), incarnation: server.incarnation };
    server.hears(3, Body::PreVoteOk { epoch: own, may_promise: true });
    server.persist_all();
    let tail = crate::stand::log::tail(&base(), 0);
    let promise = kv_linear::Promise { epoch: own, known: Vec::new(), tail };
    server.hears(3, Body::Promise(promise));
    assert_eq!(server.role(), Role::Sequencer);
    let mut before = server.restart();
    assert!(matches!(before.peer_up(3).as_slice(), [Write(Record::Renewed { .. })]));
    server.persist_all();
    let mut after = server.restart();
    assert_eq!(opening(&after.peer_up(3)).header().epoch.round, 1);
}

#[test]
fn a_checkpoint_never_forgets_who_the_server_is() {
    let mut follower = Server::follower(&base());
    let promised = follower.records.len();
    follower.hears(3, Body::EpochRequest { epoch: epoch(1, 3) });
    let checkpoint = follower.checkpoint();
    assert_eq!(checkpoint.covers, PersistSeq(u64::try_from(promised).unwrap()));
    let config = EngineConfig::seeded(node(2), cluster(3, 2, 2), 9);
    let recovered = LinearEngine::recover(config, Some(checkpoint), []).unwrap();
    assert_eq!(recovered.status().incarnation, follower.incarnation);
    assert_eq!(recovered.log_hash(base()[1].index()), Some(base()[1].hash()));
}

#[test]
fn a_journal_of_another_configuration_or_with_a_hole_is_refused() {
    let config = cluster(3, 2, 2);
    let recover = |records: Vec<(u64, Record)>| {
        let config = EngineConfig::seeded(node(2), cluster(3, 2, 2), 9);
        let records = records.into_iter().map(|(seq, record)| (PersistSeq(seq), record));
        LinearEngine::recover(config, None, records).map(|_| ())
    };
    let at = |seq| Err(RecoverError::Record { seq: PersistSeq(seq) });
    let identity = |config: &ClusterConfig| (1, disk(2, config, epoch(0, 1), &[]).remove(0));
    let entries = |from| record(epoch(0, 1), 0, &base(), from);
    assert_eq!(recover(vec![identity(&config), (2, entries(0))]), Ok(()));
    let other = recover(vec![identity(&cluster(3, 3, 2))]);
    assert_eq!(other, Err(RecoverError::OtherConfiguration));
    assert_eq!(recover(vec![identity(&config), (3, entries(0))]), at(3));
    assert_eq!(recover(vec![identity(&config), (2, entries(1))]), at(2));
    let renewed = Record::Renewed { incarnation: first(2), recovering: false };
    assert_eq!(recover(vec![(1, renewed)]), at(1));
    assert_eq!(recover(vec![(1, Record::Recovered)]), at(1));
    let stray = Record::Opened { entry: next_entry(&base(), epoch(1, 2), &[]) };
    assert_eq!(recover(vec![identity(&config), (2, stray)]), at(2));
}
