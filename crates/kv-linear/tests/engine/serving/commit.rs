//! What the sequencer commits, and when.

use kv_core::{ConsistencyEngine, Counter, Role};
use kv_linear::{Ack, Body, Entry, Epoch, LogIndex, Promise, Record};

use crate::stand::log::{done, extend, log, put, record, tail};
use crate::stand::{
    MS, Send, Server, TIMEOUT, Write, ack, cluster, disk, epoch, heartbeat, incarnation, node,
    sent_to, written,
};

fn base() -> Vec<Entry> {
    log(&[(epoch(0, 1), ""), (epoch(0, 1), "a"), (epoch(0, 1), "b")])
}

fn commit(server: &Server) -> u64 {
    server.positions().committed.unwrap()
}

/// A sequencer whose fifth entry is not on its own disk yet.
fn sequencing(write: u16) -> Server {
    let mut sequencer = Server::sequencer_of(&cluster(5, write, 3), &base());
    let epoch = sequencer.epoch();
    for peer in 2..=5 {
        sequencer.hears(peer, ack(epoch, 4));
    }
    assert_eq!(sequencer.request(1, put("c")), []);
    let effects = sequencer.timeout();
    assert!(matches!(written(&effects).as_slice(), [Record::Entries { .. }]), "{effects:?}");
    assert_eq!(sequencer.log()[..3], [5, 4, 4]);
    sequencer
}

#[test]
fn an_entry_of_an_earlier_epoch_is_committed_only_with_the_opening_entry() {
    let mut sequencer = Server::sequencer(&base());
    let epoch = sequencer.epoch();
    for peer in [2, 3] {
        sequencer.hears(peer, ack(epoch, 3));
        assert_eq!(commit(&sequencer), 0);
    }
    sequencer.hears(3, ack(epoch, 4));
    assert_eq!(sequencer.log(), [4, 4, 4, 4]);
}

#[test]
fn the_entries_that_a_winner_took_over_are_committed_with_its_opening_entry() {
    let mut server = Server::member(2, epoch(0, 1), &base());
    server.timeout_after(TIMEOUT * 2);
    let own = Epoch { round: 1, owner: node(2), incarnation: server.incarnation };
    server.hears(3, Body::PreVoteOk { epoch: own, may_promise: true });
    server.persist_all();
    let promise = Promise { epoch: own, known: Vec::new(), tail: tail(&base(), 0) };
    server.hears(3, Body::Promise(promise));
    server.persist_all();
    assert_eq!(server.role(), Role::Sequencer);
    // Server 1 follows now, and has all that there was.
    server.hears(1, ack(own, 3));
    server.hears(3, ack(own, 3));
    assert_eq!(commit(&server), 0);
    server.hears(1, ack(own, 4));
    assert_eq!(commit(&server), 4);
}

#[test]
fn the_sequencers_own_disk_is_needed_whoever_else_holds_an_entry() {
    let mut sequencer = sequencing(3);
    let epoch = sequencer.epoch();
    for peer in 2..=5 {
        assert_eq!(sequencer.hears(peer, ack(epoch, 5)), []);
    }
    assert_eq!(commit(&sequencer), 4);
    assert_eq!(sequencer.persist_all(), [done(1, 3)]);
    assert_eq!(sequencer.log(), [5, 5, 5, 5]);
}

#[test]
fn so_many_servers_must_hold_an_entry_as_w_says() {
    for (write, needed) in [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)] {
        let mut sequencer = sequencing(write);
        let epoch = sequencer.epoch();
        sequencer.persist_all();
        for peer in 2..2 + needed {
            assert_eq!(commit(&sequencer), 4, "W = {write}");
            // A copy of an acknowledgement is no second one.
            sequencer.hears(peer, ack(epoch, 5));
            sequencer.hears(peer, ack(epoch, 5));
        }
        assert_eq!(commit(&sequencer), 5, "W = {write}");
    }
}

#[test]
fn acknowledgements_of_an_earlier_epoch_do_not_count() {
    let mut sequencer = Server::sequencer(&base());
    let former = epoch(0, 1);
    assert!(former < sequencer.epoch());
    for peer in [2, 3] {
        assert_eq!(sequencer.hears(peer, ack(former, 4)), []);
    }
    assert_eq!(commit(&sequencer), 0);
    assert_eq!(sequencer.counter(Counter::StrayMessages), 2);
}

#[test]
fn an_acknowledgement_counts_once_its_senders_incarnation_is_on_disk() {
    let mut sequencer = Server::sequencer(&base());
    let epoch = sequencer.epoch();
    let renewed = incarnation(2, 2);
    let noted = [Write(Record::Known { peer: node(2), incarnation: renewed })];
    assert_eq!(sequencer.hears_in(2, renewed, ack(epoch, 4)), noted);
    assert_eq!(sequencer.hears_in(2, renewed, ack(epoch, 4)), []);
    assert_eq!(commit(&sequencer), 0);
    sequencer.persist_all();
    assert_eq!(commit(&sequencer), 4);
}

#[test]
fn what_a_former_process_acknowledged_is_forgotten_with_it() {
    let mut sequencer = sequencing(2);
    let epoch = sequencer.epoch();
    sequencer.hears(2, ack(epoch, 5));
    let renewed = incarnation(2, 2);
    sequencer.hears_in(2, renewed, ack(epoch, 0));
    sequencer.persist_all();
    assert_eq!(sequencer.log()[..3], [5, 5, 4]);
    // Nothing of the former one counts any more, and it is told so.
    let over = [Send(2, Body::Outdated { highest: renewed })];
    assert_eq!(sequencer.hears(2, ack(epoch, 5)), over);
    assert_eq!(commit(&sequencer), 4);
    sequencer.hears_in(2, renewed, ack(epoch, 5));
    assert_eq!(commit(&sequencer), 5);
}

#[test]
fn a_server_that_recovers_is_not_counted() {
    let mut sequencer = Server::sequencer(&base());
    let epoch = sequencer.epoch();
    let acked = |recovering| Body::Ack(Ack { epoch, durable: LogIndex(4), round: 0, recovering });
    sequencer.hears(2, acked(true));
    assert_eq!(commit(&sequencer), 0);
    sequencer.hears(2, acked(false));
    assert_eq!(commit(&sequencer), 4);
}

#[test]
fn an_acknowledgement_that_is_late_takes_nothing_back() {
    let mut sequencer = sequencing(3);
    let epoch = sequencer.epoch();
    sequencer.persist_all();
    sequencer.hears(2, ack(epoch, 5));
    sequencer.hears(2, ack(epoch, 4));
    sequencer.hears(3, ack(epoch, 5));
    assert_eq!(commit(&sequencer), 5);
}

#[test]
fn a_commit_is_told_at_once() {
    let mut sequencer = sequencing(2);
    let epoch = sequencer.epoch();
    sequencer.persist_all();
    sequencer.timeout();
    sequencer.hears(2, ack(epoch, 5));
    assert_eq!(sequencer.engine.next_deadline(), Some(sequencer.now.mono));
    let effects = sequencer.timeout();
    for peer in 2..=5 {
        let sent = sent_to(&effects, peer);
        assert!(sent.iter().any(|body| matches!(body, Body::Prepare(p) if p.commit.0 == 5)));
    }
}

#[test]
fn what_waits_goes_into_one_entry_and_each_operation_has_its_own_number() {
    let mut sequencer = Server::settled_sequencer(&base());
    for id in 1..=3 {
        assert_eq!(sequencer.request(id, put("c")), []);
    }
    let effects = sequencer.timeout();
    let records = written(&effects);
    let [Record::Entries { entries, .. }] = records.as_slice() else { panic!("{records:?}") };
    let header = *entries[0].header();
    assert_eq!((entries.len(), header.operations, header.operations_before), (1, 3, 2));
    assert_eq!(header.epoch, sequencer.epoch());
    sequencer.hears(2, ack(sequencer.epoch(), 5));
    let answers = [done(1, 3), done(2, 4), done(3, 5)];
    assert_eq!(sequencer.persist_all(), answers);
}

#[test]
fn an_entry_is_written_and_sent_at_once() {
    let mut sequencer = Server::settled_sequencer(&base());
    sequencer.request(1, put("c"));
    let effects = sequencer.timeout();
    let is_sent = |peer| {
        sent_to(&effects, peer)
            .iter()
            .any(|body| matches!(body, Body::Prepare(p) if p.entries.len() == 1 && p.last.0 == 5))
    };
    assert_eq!(written(&effects).len(), 1);
    assert!(is_sent(2) && is_sent(3));
}

#[test]
fn log_time_never_falls_when_the_clock_does() {
    let mut sequencer = Server::settled_sequencer(&base());
    sequencer.now.wall = MS * 10;
    sequencer.request(1, put("c"));
    let effects = sequencer.timeout();
    let records = written(&effects);
    let [Record::Entries { entries, .. }] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(entries[0].header().log_time_ms, 5000);
}

#[test]
fn nothing_is_sequenced_before_the_opening_entry_is_on_disk() {
    let config = cluster(3, 2, 2);
    let mut sequencer = Server::recover(1, &config, disk(1, &config, epoch(0, 1), &base()));
    sequencer.peer_up(2);
    sequencer.peer_up(3);
    sequencer.request(1, put("c"));
    assert_eq!(sequencer.timeout_after(MS), []);
    sequencer.persist_all();
    assert_eq!(written(&sequencer.timeout()).len(), 1);
}

#[test]
fn no_more_than_the_window_is_open() {
    let config = cluster(3, 2, 2);
    let limits =
        kv_core::Limits { window_entries_max: 2, message_bytes_max: 1, ..Default::default() };
    let records = disk(1, &config, epoch(0, 1), &base());
    let mut sequencer = Server::recover_with(1, &config, limits, records);
    sequencer.peer_up(2);
    sequencer.peer_up(3);
    sequencer.persist_all();
    let epoch = sequencer.epoch();
    sequencer.hears(2, ack(epoch, 4));
    for id in 1..=5 {
        sequencer.request(id, put("c"));
    }
    sequencer.timeout();
    assert_eq!(sequencer.log()[0], 6);
    sequencer.persist_all();
    sequencer.hears(2, ack(epoch, 5));
    sequencer.timeout();
    assert_eq!(sequencer.log()[0], 7);
    assert_eq!(sequencer.counter(Counter::Queued), 2);
}

#[test]
fn a_follower_commits_what_it_is_told_of() {
    let mut follower = Server::follower(&base()[..1]);
    let longer = extend(&base()[..1], &[(epoch(0, 1), "a")]);
    let Body::Prepare(shown) = heartbeat(epoch(0, 1), &longer, 2) else { panic!() };
    assert_eq!(
        follower.fed(epoch(0, 1), &longer, 1, 1),
        [Write(record(epoch(0, 1), 0, &longer, 1))]
    );
    assert_eq!(follower.persist_all(), [Send(1, ack(epoch(0, 1), longer.len()))]);
    assert_eq!(follower.log(), [2, 2, 1, 1]);
    follower.told(Body::Prepare(shown));
    assert_eq!(follower.log(), [2, 2, 2, 2]);
}
