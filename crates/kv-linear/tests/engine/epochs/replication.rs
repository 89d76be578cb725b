//! What the sequencer sends to its followers, and when it sends it again.

use kv_core::{ClusterId, ConsistencyEngine, Counter, Limits, NotDone, Outcome, Value, Waiting};
use kv_linear::{Body, Entry, Message, Prepare};

use crate::stand::log::{count, done, extend, log, put, tail};
use crate::stand::{
    CLUSTER, Given, MS, Reply, Send, Server, ack, cluster, disk, epoch, first, heartbeat, node,
    sent_to,
};

fn base() -> Vec<Entry> {
    log(&[(epoch(0, 1), ""), (epoch(0, 1), "a"), (epoch(0, 1), "b")])
}

fn prepares(effects: &[Given], peer: u16) -> Vec<Prepare> {
    let sent = sent_to(effects, peer).into_iter();
    let prepares = sent.filter_map(|body| match body {
        Body::Prepare(prepare) => Some(prepare),
        _ => None,
    });
    prepares.filter(|prepare| !prepare.entries.is_empty()).collect()
}

fn nack(server: &Server, log: &[Entry], commit: usize) -> Body {
    Body::Nack { epoch: server.epoch(), tail: tail(log, commit) }
}

#[test]
fn after_a_nack_the_entries_go_out_from_where_the_two_logs_agree() {
    let other = extend(&base()[..2], &[(epoch(1, 2), "")]);
    let cases = [(base()[..1].to_vec(), 1), (base(), 3), (other, 2), (Vec::new(), 0)];
    for (theirs, agreed) in cases {
        let mut sequencer = Server::sequencer(&base());
        assert_eq!(sequencer.hears(2, nack(&sequencer, &theirs, 0)), []);
        let sent = prepares(&sequencer.timeout(), 2);
        let [prepare] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!(prepare.previous.0, agreed);
        assert_eq!(count(prepare.entries.len()), 4 - agreed);
        assert_eq!(prepare.receiver, first(2));
    }
}

#[test]
fn entries_are_sent_again_with_growing_waits_until_they_are_acknowledged() {
    let mut sequencer = Server::settled_sequencer(&base());
    let epoch = sequencer.epoch();
    sequencer.request(1, put("c"));
    sequencer.timeout();
    sequencer.hears(3, ack(epoch, 5));
    let mut resent_at = Vec::new();
    for ms in 1..=800 {
        let effects = sequencer.timeout_after(MS);
        assert!(prepares(&effects, 3).is_empty());
        if !prepares(&effects, 2).is_empty() {
            resent_at.push(ms);
        }
    }
    assert_eq!(resent_at, [100, 300, 700]);
    sequencer.hears(2, ack(epoch, 5));
    assert_eq!(sequencer.counter(Counter::Resends), 3);
    for _ in 0..30 {
        assert!(prepares(&sequencer.timeout_after(MS * 100), 2).is_empty());
    }
}

#[test]
fn a_large_write_that_is_still_arriving_is_not_sent_again() {
    let mut sequencer = Server::settled_sequencer(&base());
    let epoch = sequencer.epoch();
    sequencer.request(1, put(&"x".repeat(Value::LEN_MAX)));
    let effects = sequencer.timeout();
    assert_eq!((prepares(&effects, 2).len(), prepares(&effects, 3).len()), (1, 1));
    sequencer.persist_all();
    for _ in 0..15 {
        assert!(prepares(&sequencer.timeout_after(MS * 100), 2).is_empty());
    }
    assert_eq!(sequencer.hears(2, ack(epoch, 5)), [done(1, 3)]);
}

#[test]
fn a_connection_that_is_new_begins_with_what_is_not_acknowledged() {
    let mut sequencer = Server::settled_sequencer(&base());
    sequencer.request(1, put("c"));
    sequencer.timeout();
    sequencer.peer_down(2);
    assert!(prepares(&sequencer.timeout_after(MS * 500), 2).is_empty());
    sequencer.peer_up(2);
    let sent = prepares(&sequencer.timeout(), 2);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].previous.0, 4);
}

#[test]
fn a_follower_that_needs_what_is_not_kept_any_more_is_sent_a_snapshot_once_in_a_while() {
    let config = cluster(3, 2, 2);
    let limits = Limits { log_entries_max: 1, ..Limits::default() };
    let records = disk(1, &config, epoch(0, 1), &base());
    let mut sequencer = Server::recover_with(1, &config, limits, records);
    sequencer.peer_up(2);
    sequencer.peer_up(3);
    sequencer.persist_all();
    let epoch = sequencer.epoch();
    sequencer.hears(3, ack(epoch, 4));
    assert_eq!(sequencer.counter(Counter::LogEntries), 1);
    sequencer.hears(2, nack(&sequencer, &[], 0));
    let begun = |effects: Vec<Given>| effects.contains(&Given::BeginSnapshot(2));
    assert!(begun(sequencer.timeout()));
    assert!(!begun(sequencer.timeout_after(MS * 1999)));
    assert!(begun(sequencer.timeout_after(MS)));
    assert_eq!(sequencer.counter(Counter::CheckpointsSent), 2);
}

#[test]
fn a_message_of_another_configuration_or_cluster_is_refused() {
    let base = base();
    let mut follower = Server::follower(&base);
    let shown = |cluster, configuration, body: Body| Message {
        cluster: Some(cluster),
        configuration,
        incarnation: first(1),
        body,
    };
    let body = heartbeat(epoch(0, 1), &base, 3);
    let own = follower.config.hash();
    let refused = [Send(1, Body::Refused)];
    let other = shown(CLUSTER, cluster(3, 3, 2).hash(), body.clone());
    assert_eq!(follower.message(1, other), refused);
    let theirs = ClusterId(78);
    assert_eq!(follower.message(1, shown(theirs, own, body.clone())), refused);
    // A refusal is never refused, or two servers would never stop.
    assert_eq!(follower.message(1, shown(theirs, own, Body::Refused)), []);
    assert_eq!(follower.log()[2], 0);
    assert_eq!(follower.counter(Counter::RefusedMessages), 3);
    follower.told(body);
    assert_eq!(follower.log()[2], 3);
    let status = follower.engine.status();
    assert_eq!(status.waiting, None);
    let mut joining = Server::recover(2, &cluster(3, 2, 2), Vec::new());
    joining.peer_up(1);
    let other = shown(CLUSTER, cluster(3, 3, 2).hash(), Body::Recover);
    assert_eq!(joining.message(1, other), refused);
    let waiting = Waiting::OtherConfiguration { node: node(1) };
    let answer = Outcome::NotDone(NotDone::Waiting(waiting));
    assert_eq!(joining.request(1, put("a")), [Reply(1, answer)]);
}
