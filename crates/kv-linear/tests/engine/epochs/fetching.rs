//! How the winner of an election gets the best log.

use kv_core::{Counter, Incarnation, Input, Limits, SnapshotPart};
use kv_linear::{Body, Entry, Epoch, LogIndex, Promise, Record};

use crate::stand::log::{count, end, extend, log, record, tail};
use crate::stand::{
    Given, MS, Send, Server, TIMEOUT, Write, cluster, disk, epoch, heartbeat, node, written,
};

const OLD: u32 = 0;

fn base() -> Vec<Entry> {
    log(&[(epoch(OLD, 1), ""), (epoch(OLD, 1), "a")])
}

/// Server 2, whose own promise is on disk, with the promise of server 3, which knows so much of its
/// log to be committed; and what follows from that.
fn promised(own: &[Entry], theirs: &[Entry], commit: usize) -> (Server, Epoch, Vec<Given>) {
    let promised = own.iter().chain(theirs).map(|entry| entry.header().epoch).max().unwrap();
    let mut server = Server::member(2, promised, own);
    server.timeout_after(TIMEOUT * 2);
    let round = promised.round + 1;
    let epoch = Epoch { round, owner: node(2), incarnation: server.incarnation };
    server.hears(3, Body::PreVoteOk { epoch, may_promise: true });
    assert_eq!(server.persist_all(), []);
    let promise = Promise { epoch, known: Vec::new(), tail: tail(theirs, commit) };
    let effects = server.hears(3, Body::Promise(promise));
    (server, epoch, effects)
}

fn fetch(epoch: Epoch, log: &[Entry], previous: usize) -> Body {
    let (previous, previous_hash) = end(&log[..previous]);
    Body::Fetch { epoch, previous, previous_hash }
}

fn fetched(epoch: Epoch, log: &[Entry], from: usize, to: usize) -> Body {
    let (previous, previous_hash) = end(&log[..from]);
    Body::Fetched { epoch, previous, previous_hash, entries: log[from..to].to_vec() }
}

fn opens(effects: &[Given]) -> Option<LogIndex> {
    written(effects).iter().find_map(|record| match record {
        Record::Opened { entry } => Some(entry.index()),
        _ => None,
    })
}

#[test]
fn what_is_missing_is_fetched_from_where_the_logs_agree_and_replaces_the_own_tail() {
    let own = extend(&base(), &[(epoch(OLD, 1), "x"), (epoch(OLD, 1), "y")]);
    let theirs = extend(&base(), &[(epoch(1, 3), ""), (epoch(1, 3), "b")]);
    let (mut server, epoch, effects) = promised(&own, &theirs, 0);
    assert_eq!(effects, [Send(3, fetch(epoch, &theirs, 2))]);
    let taken = server.hears(3, fetched(epoch, &theirs, 2, 4));
    assert_eq!(taken, [Write(record(epoch, 0, &theirs, 2))]);
    // The epoch is opened once all of that is on disk.
    assert_eq!(server.timeout_after(MS), []);
    assert_eq!(opens(&server.persist_all()), Some(LogIndex(5)));
    assert!(theirs.iter().all(|entry| server.has(entry)));
}

#[test]
fn a_log_comes_in_parts_and_what_comes_twice_is_asked_for_once() {
    let theirs = extend(&base(), &[(epoch(1, 3), ""), (epoch(1, 3), "b"), (epoch(1, 3), "c")]);
    let (mut server, epoch, _) = promised(&base(), &theirs, 0);
    let first = fetched(epoch, &theirs, 2, 3);
    let next = fetch(epoch, &theirs, 3);
    assert_eq!(server.hears(3, first.clone()).last(), Some(&Send(3, next)));
    for _ in 0..3 {
        assert_eq!(server.hears(3, first.clone()), []);
    }
    let second = fetched(epoch, &theirs, 3, 5);
    let rest = Record::Entries {
        promised: epoch,
        commit: LogIndex(0),
        previous: LogIndex(3),
        entries: theirs[3..].to_vec(),
    };
    assert_eq!(server.hears(3, second.clone()), [Write(rest)]);
    assert_eq!(server.hears(3, second), []);
    assert_eq!(opens(&server.persist_all()), Some(LogIndex(6)));
}

#[test]
fn a_fetch_that_is_not_answered_is_sent_again() {
    let theirs = extend(&base(), &[(epoch(1, 3), "")]);
    let (mut server, epoch, _) = promised(&base(), &theirs, 0);
    let again = [Send(3, fetch(epoch, &theirs, 2))];
    assert_eq!(server.timeout_after(MS * 99), []);
    assert_eq!(server.timeout_after(MS), again);
    assert_eq!(server.timeout_after(MS * 100), again);
}

#[test]
fn only_the_chosen_log_is_taken_and_no_more_of_it_than_was_promised() {
    let theirs = extend(&base(), &[(epoch(1, 3), ""), (epoch(1, 3), "b")]);
    let beyond = extend(&theirs, &[(epoch(1, 3), "c")]);
    let (mut server, epoch, _) = promised(&base(), &theirs, 0);
    let other = Epoch { round: epoch.round + 1, ..epoch };
    assert_eq!(server.told(fetched(epoch, &theirs, 2, 4)), []);
    assert_eq!(server.hears(3, fetched(other, &theirs, 2, 4)), []);
    assert_eq!(server.hears(3, fetched(epoch, &theirs, 3, 4)), []);
    assert_eq!(server.hears(3, fetched(epoch, &theirs, 2, 2)), []);
    let taken = server.hears(3, fetched(epoch, &beyond, 2, 5));
    assert_eq!(taken, [Write(record(epoch, 0, &theirs, 2))]);
    assert_eq!(opens(&server.persist_all()), Some(LogIndex(5)));
}

#[test]
fn a_winner_that_is_behind_the_others_commit_fetches_from_its_own_commit() {
    let theirs = extend(&base(), &[(epoch(OLD, 1), "b"), (epoch(OLD, 1), "c")]);
    let own = extend(&base(), &[(epoch(OLD, 1), "b")]);
    let (mut server, epoch, effects) = promised(&own, &theirs, 4);
    assert_eq!(effects, [Send(3, fetch(epoch, &own, 0))]);
    // What it has already is only compared.
    let taken = server.hears(3, fetched(epoch, &theirs, 0, 4));
    assert_eq!(taken, [Write(record(epoch, 0, &theirs, 3))]);
    assert_eq!(opens(&server.persist_all()), Some(LogIndex(5)));
}

#[test]
fn a_later_entry_outweighs_a_longer_log() {
    let own = extend(&base(), &[(epoch(OLD, 1), "x"), (epoch(OLD, 1), "y"), (epoch(OLD, 1), "z")]);
    let theirs = extend(&base(), &[(epoch(1, 3), "")]);
    let (mut server, epoch, effects) = promised(&own, &theirs, 0);
    assert_eq!(effects, [Send(3, fetch(epoch, &theirs, 2))]);
    server.hears(3, fetched(epoch, &theirs, 2, 3));
    assert_eq!(opens(&server.persist_all()), Some(LogIndex(4)));
    assert!(theirs.iter().all(|entry| server.has(entry)));
}

#[test]
fn after_a_crash_in_the_middle_the_log_is_a_beginning_of_the_better_one() {
    let own = extend(&base(), &[(epoch(OLD, 1), "x"), (epoch(OLD, 1), "y")]);
    let theirs = extend(&base(), &[(epoch(1, 3), ""), (epoch(1, 3), "b"), (epoch(1, 3), "c")]);
    let (mut server, epoch, _) = promised(&own, &theirs, 0);
    server.hears(3, fetched(epoch, &theirs, 2, 4));
    let asked = server.persist_all();
    assert_eq!(asked, []);
    let mut server = server.restart();
    assert!(theirs[..4].iter().all(|entry| server.has(entry)));
    // It has not opened the epoch, and does not go on in it.
    assert!(matches!(server.peer_up(3).as_slice(), [Write(Record::Renewed { .. })]));
    assert_eq!(server.log()[0], 4);
}

#[test]
fn a_holder_gives_what_follows_to_the_owner_of_the_epoch_that_it_has_promised() {
    let mut holder = Server::follower(&base());
    holder.hears(3, Body::EpochRequest { epoch: epoch(1, 3) });
    holder.persist_all();
    let answer = [Send(3, fetched(epoch(1, 3), &base(), 1, 2))];
    assert_eq!(holder.hears(3, fetch(epoch(1, 3), &base(), 1)), answer);
    let other = log(&[(epoch(0, 1), "")]);
    let mut differing = fetch(epoch(1, 3), &other, 1);
    if let Body::Fetch { previous_hash, .. } = &mut differing {
        *previous_hash ^= 1;
    }
    assert_eq!(holder.hears(3, differing), []);
    assert_eq!(holder.told(fetch(epoch(1, 3), &base(), 1)), []);
    // It has promised a later one meanwhile.
    holder.told(Body::EpochRequest { epoch: epoch(2, 1) });
    assert_eq!(holder.hears(3, fetch(epoch(1, 3), &base(), 1)), []);
}

/// Server 3, which keeps only the last entries of a log that it knows to be committed, and has
/// promised an epoch to server 2.
fn trimmed_holder(log: &[Entry], epoch: Epoch, peer: Incarnation) -> Server {
    let limits = Limits { log_entries_max: 1, ..Limits::default() };
    let config = cluster(3, 2, 2);
    let records = disk(3, &config, log.last().unwrap().header().epoch, log);
    let mut holder = Server::recover_with(3, &config, limits, records);
    holder.peers.insert(2, peer);
    holder.peer_up(2);
    holder.peer_up(1);
    holder.persist_all();
    let sequencer = log.last().unwrap().header().epoch;
    holder.told(heartbeat(sequencer, log, count(log.len())));
    holder.hears(2, Body::EpochRequest { epoch });
    holder.persist_all();
    holder
}

#[test]
fn a_log_that_is_not_kept_any_more_comes_as_a_snapshot_and_the_rest_behind_it() {
    let texts = ["", "a", "b", "c", "d"];
    let theirs = log(&texts.map(|text| (epoch(OLD, 1), text)));
    let (mut server, epoch, effects) = promised(&base(), &theirs, 5);
    let asked = fetch(epoch, &base(), 0);
    assert_eq!(effects, [Send(3, asked.clone())]);
    let mut holder = trimmed_holder(&theirs, epoch, server.incarnation);
    assert_eq!(holder.hears(2, asked), [Given::BeginSnapshot(2)]);
    let part = holder.snapshot();
    let staged = server.step(Input::SnapshotPart { from: node(3), part });
    let [Write(Record::Staged { part: 0, .. }), Write(Record::Installed { promised, .. })] =
        staged.as_slice()
    else {
        panic!("{staged:?}")
    };
    assert_eq!(*promised, epoch);
    assert_eq!(server.log()[0], 2);
    assert_eq!(opens(&server.persist_all()), Some(LogIndex(6)));
    assert_eq!(server.counter(Counter::CheckpointsInstalled), 1);
    assert!(server.has(&theirs[4]));
}

#[test]
fn a_snapshot_of_another_server_or_epoch_or_without_anything_new_is_ended() {
    let theirs = log(&["", "a", "b", "c", "d"].map(|text| (epoch(OLD, 1), text)));
    let (mut server, epoch, _) = promised(&base(), &theirs, 5);
    let mut holder = trimmed_holder(&theirs, epoch, server.incarnation);
    let part = holder.snapshot();
    let mut take =
        |from, part: SnapshotPart| server.step(Input::SnapshotPart { from: node(from), part });
    assert_eq!(take(1, part.clone()), [Given::EndSnapshot(1)]);
    let late = SnapshotPart { number: 1, ..part.clone() };
    assert_eq!(take(3, late), [Given::EndSnapshot(3)]);
    let garbage = SnapshotPart { metadata: vec![1, 2, 3].into(), ..part };
    assert_eq!(take(3, garbage), [Given::EndSnapshot(3)]);
    // That of a server with another promise.
    let other = Epoch { round: epoch.round + 1, ..epoch };
    let mut elsewhere = trimmed_holder(&theirs, other, server.incarnation);
    let part = elsewhere.snapshot();
    let effects = server.step(Input::SnapshotPart { from: node(3), part });
    assert_eq!(effects, [Given::EndSnapshot(3)]);
}
