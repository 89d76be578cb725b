//! Keys that last for a time, and how log time goes on while nobody writes.

use kv_core::{Command, ConsistencyEngine, Key, Operation, Value};
use kv_linear::{Entry, LogIndex, Record};

use crate::stand::log::put;
use crate::stand::{MS, Server, ack, epoch, written};

fn put_for(time_ms: u32) -> Operation {
    let (key, value) = (Key::new("k").unwrap(), Value::new("v").unwrap());
    Operation::of(Command::Put { key, value, time_to_live: Some(MS * time_ms) })
}

/// The sequencer's clock goes on, and its deadlines come.
fn wait(sequencer: &mut Server, time_ms: u32) -> Vec<Record> {
    let mut all = Vec::new();
    for _ in 0..time_ms {
        sequencer.now.wall += MS;
        sequencer.now.mono += MS;
        if sequencer.engine.next_deadline().is_some_and(|at| at <= sequencer.now.mono) {
            all.extend(written(&sequencer.timeout()));
        }
    }
    all
}

/// Commits all that the sequencer has.
fn commit(sequencer: &mut Server) {
    sequencer.persist_all();
    let last = usize::try_from(sequencer.log()[0]).unwrap();
    let epoch = sequencer.epoch();
    sequencer.hears(2, ack(epoch, last));
    sequencer.timeout();
    assert_eq!(sequencer.log()[2..], [sequencer.log()[0]; 2]);
}

fn keys(sequencer: &Server) -> u64 {
    sequencer.positions().keys.unwrap()
}

/// The entries that it has made.
fn log(sequencer: &Server) -> Vec<Entry> {
    let entries = sequencer.records.iter().flat_map(|record| match record {
        Record::Opened { entry } => vec![entry.clone()],
        Record::Entries { entries, .. } => entries.clone(),
        _ => Vec::new(),
    });
    entries.collect()
}

fn sequencer_with(operation: Operation) -> Server {
    let mut sequencer = Server::settled_sequencer(&[]);
    sequencer.request(1, operation);
    sequencer.timeout();
    commit(&mut sequencer);
    assert_eq!(keys(&sequencer), 1);
    sequencer
}

#[test]
fn an_idle_sequencer_lets_log_time_go_on_once_a_deadline_has_passed() {
    let mut sequencer = sequencer_with(put_for(200));
    assert_eq!(wait(&mut sequencer, 199), []);
    let ticks = wait(&mut sequencer, 51);
    let [Record::Entries { entries, .. }] = ticks.as_slice() else { panic!("{ticks:?}") };
    let [tick] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!((tick.header().operations, tick.index()), (0, LogIndex(3)));
    assert!(tick.header().log_time_ms >= 5_200);
    // It is there until the entry is committed, and there is one entry only.
    assert_eq!(wait(&mut sequencer, 500), []);
    assert_eq!(keys(&sequencer), 1);
    commit(&mut sequencer);
    assert_eq!(keys(&sequencer), 0);
    assert_eq!(wait(&mut sequencer, 500), []);
}

#[test]
fn a_write_lets_log_time_go_on_by_itself() {
    let mut sequencer = sequencer_with(put_for(200));
    assert_eq!(wait(&mut sequencer, 199), []);
    sequencer.now.wall += MS;
    sequencer.request(2, put("a"));
    sequencer.timeout();
    assert_eq!(wait(&mut sequencer, 100), []);
    commit(&mut sequencer);
    assert_eq!((keys(&sequencer), sequencer.log()[0]), (1, 3));
}

#[test]
fn a_clock_that_is_set_back_expires_nothing_and_one_that_is_set_ahead_does() {
    let mut sequencer = sequencer_with(put_for(200));
    sequencer.now.wall -= MS * 4_000;
    assert_eq!(wait(&mut sequencer, 1_000), []);
    sequencer.now.wall += MS * 60_000;
    assert_eq!(wait(&mut sequencer, 50).len(), 1);
}

#[test]
fn no_entry_is_made_while_it_could_not_be_committed_or_written() {
    let mut sequencer = sequencer_with(put_for(200));
    for peer in [2, 3] {
        sequencer.peer_down(peer);
    }
    assert_eq!(wait(&mut sequencer, 1_000), []);
    sequencer.peer_up(2);
    let epoch = sequencer.epoch();
    sequencer.hears(2, ack(epoch, 2));
    assert_eq!(wait(&mut sequencer, 100).len(), 1);
}

#[test]
fn a_follower_removes_the_key_with_the_entry_that_says_so_whatever_its_clock_shows() {
    let mut sequencer = sequencer_with(put_for(200));
    wait(&mut sequencer, 300);
    commit(&mut sequencer);
    let (spoken, log) = (sequencer.epoch(), log(&sequencer));
    let mut follower = Server::member(2, epoch(0, 1), &[]);
    follower.peers.insert(1, sequencer.incarnation);
    follower.now.wall = MS * 900_000_000;
    follower.fed(spoken, &log[..2], 0, 0);
    follower.persist_all();
    follower.fed(spoken, &log[..2], 2, 2);
    assert_eq!(keys(&follower), 1);
    follower.fed(spoken, &log, 2, 2);
    follower.persist_all();
    assert_eq!(keys(&follower), 1);
    follower.fed(spoken, &log, 3, 3);
    assert_eq!(keys(&follower), 0);
}
