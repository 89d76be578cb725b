//! Where clients' requests go, and how they are answered.

use kv_core::{
    Answer, CommandResult, ConsistencyEngine, Counter, Done, Input, Level, NotDone, Operation,
    Outcome, RequestId, RequestOptions, Role, Served, Unknown, Value, Version, Versioned, Waiting,
};
use kv_linear::{Body, Entry, Epoch, Forward, Promise, Record};

use crate::stand::log::{done, extend, get, log, logged, next_entry, origin, put, tail};
use crate::stand::{
    Given, MS, Reply, Send, Server, TIMEOUT, ack, cluster, epoch, first, heartbeat, node, sent_to,
    written,
};

pub fn base() -> Vec<Entry> {
    log(&[(epoch(0, 1), ""), (epoch(0, 1), "a")])
}

pub(super) fn forward(epoch: Epoch, requests: &[(u64, Operation)]) -> Body {
    let requests = requests.iter().map(|(number, op)| (*number, logged(op))).collect();
    Body::Forward(Forward { epoch, settled_below: 1, requests })
}

/// The requests of the entries that are written.
pub(super) fn sequenced(effects: &[Given]) -> Vec<u64> {
    let records = written(effects);
    let entries = records.iter().flat_map(|record| match record {
        Record::Entries { entries, .. } => entries.clone(),
        _ => Vec::new(),
    });
    entries.flat_map(|entry| entry.operations()).map(|(origin, _)| origin.number).collect()
}

#[test]
fn requests_are_forwarded_together_and_answered_when_they_are_applied() {
    let mut follower = Server::follower(&base());
    follower.timeout();
    assert_eq!(follower.request(1, put("a")), []);
    assert_eq!(follower.request(2, put("b")), []);
    assert_eq!(follower.engine.next_deadline(), Some(follower.now.mono));
    let requests = [(1, put("a")), (2, put("b"))];
    assert_eq!(follower.timeout(), [Send(1, forward(epoch(0, 1), &requests))]);
    let own = |number| origin(2, follower.incarnation, number);
    let batch = [(own(1), put("a")), (own(2), put("b"))];
    let mut longer = base();
    longer.push(next_entry(&longer, epoch(0, 1), &batch));
    // W servers have it on disk, whether this one has or not.
    assert_eq!(follower.fed(epoch(0, 1), &longer, 2, 3)[1..], [done(1, 2), done(2, 3)]);
    assert_eq!(follower.persist_all(), [Send(1, ack(epoch(0, 1), 3))]);
}

#[test]
fn a_request_is_forwarded_anew_in_a_later_epoch_under_its_number() {
    let mut follower = Server::follower(&base());
    follower.request(1, put("a"));
    assert_eq!(follower.timeout(), [Send(1, forward(epoch(0, 1), &[(1, put("a"))]))]);
    follower.hears(3, heartbeat(epoch(1, 3), &base(), 0));
    follower.persist_all();
    assert_eq!(follower.timeout(), [Send(3, forward(epoch(1, 3), &[(1, put("a"))]))]);
    // A refusal of the former sequencer says nothing of that copy.
    let reason = NotDone::Overloaded { limit: 3 };
    let receiver = follower.incarnation;
    let refuse = |epoch, receiver| Body::Refuse {
        epoch,
        receiver,
        requests: vec![(1, NotDone::Overloaded { limit: 3 })],
    };
    assert_eq!(follower.told(refuse(epoch(0, 1), receiver)), []);
    assert_eq!(follower.hears(3, refuse(epoch(1, 3), first(2))), []);
    let refused = [Reply(1, Outcome::NotDone(reason))];
    assert_eq!(follower.hears(3, refuse(epoch(1, 3), receiver)), refused);
    assert_eq!(follower.hears(3, refuse(epoch(1, 3), receiver)), []);
}

#[test]
fn reads_and_writes_wait_through_a_failover_and_clients_are_told_who_leads() {
    let mut follower = Server::follower(&base());
    follower.timeout();
    assert_eq!(follower.engine.sequencer(), Some(node(1)));
    follower.request(1, put("a"));
    follower.request(2, get());
    follower.timeout();
    follower.peer_down(1);
    assert_eq!(follower.engine.sequencer(), None);
    assert_eq!(follower.request(3, put("b")), []);
    assert_eq!(follower.request(4, get()), []);
    let replies = |effects: &[Given]| {
        effects.iter().filter(|effect| matches!(effect, Given::Reply(..))).count()
    };
    assert_eq!(replies(&follower.timeout()), 0);
    let next = epoch(1, 3);
    follower.hears(3, heartbeat(next, &base(), 0));
    assert_eq!(follower.engine.sequencer(), Some(node(3)));
    follower.persist_all();
    let expected = [forward(next, &[(1, put("a")), (2, put("b"))])];
    let sent = sent_to(&follower.timeout(), 3);
    assert_eq!(sent[..1], expected);
    assert!(matches!(sent[1..], [Body::ReadIndex { epoch, .. }] if epoch == next));
}

#[test]
fn requests_wait_while_a_sequencer_may_be_chosen_soon() {
    let mut server = Server::member(2, epoch(0, 1), &base());
    assert_eq!(server.request(1, put("a")), []);
    assert_eq!(server.timeout(), []);
    server.told(heartbeat(epoch(0, 1), &base(), 0));
    assert_eq!(server.timeout(), [Send(1, forward(epoch(0, 1), &[(1, put("a"))]))]);
}

#[test]
fn what_was_never_sent_is_refused_where_nobody_can_take_the_sequencers_place() {
    let mut server = Server::member_of(&cluster(3, 1, 3), 2, epoch(0, 1), &base());
    server.told(heartbeat(epoch(0, 1), &base(), 0));
    server.timeout();
    server.request(1, put("a"));
    let refused = Outcome::NotDone(NotDone::Waiting(Waiting::Sequencer { node: node(1) }));
    assert_eq!(server.peer_down(1), [Reply(1, refused.clone())]);
    assert_eq!(server.request(2, put("a")), [Reply(2, refused)]);
    // What was sent may be in the log.
    server.peer_up(1);
    server.told(heartbeat(epoch(0, 1), &base(), 0));
    server.request(3, put("a"));
    server.timeout();
    assert_eq!(server.peer_down(1), []);
    assert_eq!(server.counter(Counter::Requests), 1);
}

#[test]
fn a_request_that_is_not_applied_in_time_is_unknown_if_it_may_be_in_the_log() {
    let mut follower = Server::follower(&base());
    let options = || RequestOptions::default().with_timeout(MS * 500);
    let ask = |id, op, server: &mut Server| {
        server.step(Input::Request { id: RequestId(id), op, options: options() })
    };
    ask(1, put("a"), &mut follower);
    ask(2, get(), &mut follower);
    follower.timeout();
    // Without a sequencer the third one goes nowhere.
    follower.peer_down(1);
    ask(3, put("b"), &mut follower);
    let unknown = Outcome::Unknown(Unknown { version: None, acks: 0, needed: 2 });
    let timed_out = || Outcome::NotDone(NotDone::TimedOut { answered: 0, needed: 2 });
    follower.now.mono += MS * 499;
    let early = follower.timeout();
    assert!(early.iter().all(|effect| !matches!(effect, Reply(..))), "{early:?}");
    let answers: Vec<_> = follower
        .timeout_after(MS)
        .into_iter()
        .filter(|effect| matches!(effect, Reply(..)))
        .collect();
    assert_eq!(answers, [Reply(2, timed_out()), Reply(1, unknown), Reply(3, timed_out())]);
}

#[test]
fn a_forward_gets_one_position_however_often_it_comes() {
    let mut sequencer = Server::settled_sequencer(&base());
    let epoch = sequencer.epoch();
    let twice = forward(epoch, &[(1, put("a")), (2, put("b")), (1, put("a"))]);
    assert_eq!(sequencer.hears(2, twice.clone()), []);
    assert_eq!(sequencer.hears(2, twice.clone()), []);
    assert_eq!(sequenced(&sequencer.timeout()), [1, 2]);
    assert_eq!(sequencer.hears(2, twice), []);
    assert_eq!(sequenced(&sequencer.timeout()), Vec::<u64>::new());
}

#[test]
fn only_the_sequencer_that_is_meant_takes_a_forward_and_only_of_a_present_process() {
    let mut sequencer = Server::settled_sequencer(&base());
    let own = sequencer.epoch();
    for other in [epoch(0, 1), Epoch { round: 1, ..own }] {
        sequencer.hears(2, forward(other, &[(1, put("a"))]));
    }
    let renewed = crate::stand::incarnation(2, 2);
    sequencer.hears_in(2, renewed, forward(own, &[(1, put("a"))]));
    assert_eq!(sequenced(&sequencer.timeout()), Vec::<u64>::new());
    // It comes again, and the new process is on disk.
    sequencer.persist_all();
    sequencer.hears_in(2, renewed, forward(own, &[(1, put("a"))]));
    assert_eq!(sequenced(&sequencer.timeout()), [1]);
}

#[test]
fn a_sequencer_that_is_replaced_forwards_what_its_clients_wait_for() {
    let mut sequencer = Server::settled_sequencer(&base());
    sequencer.request(1, put("a"));
    assert_eq!(sequenced(&sequencer.timeout()), [1]);
    sequencer.request(2, put("b"));
    sequencer.hears(3, Body::EpochRequest { epoch: epoch(1, 3) });
    sequencer.persist_all();
    assert_eq!(sequencer.role(), Role::Follower);
    let theirs = extend(&base(), &[(epoch(1, 3), "")]);
    sequencer.hears(3, heartbeat(epoch(1, 3), &theirs[..2], 0));
    let both = [(1, put("a")), (2, put("b"))];
    assert_eq!(sent_to(&sequencer.timeout(), 3), [forward(epoch(1, 3), &both)]);
}

/// Server 2 as the sequencer of round 1, whose opening entry comes after this log.
pub fn winner(mut server: Server, log: &[Entry]) -> (Server, Epoch) {
    server.timeout_after(TIMEOUT * 2);
    let own = Epoch { round: 1, owner: node(2), incarnation: server.incarnation };
    server.hears(3, Body::PreVoteOk { epoch: own, may_promise: true });
    server.persist_all();
    let promise = Promise { epoch: own, known: Vec::new(), tail: tail(log, 0) };
    server.hears(3, Body::Promise(promise));
    assert_eq!(server.role(), Role::Sequencer);
    server.persist_all();
    (server, own)
}

#[test]
fn a_winner_places_what_its_clients_wait_for_unless_the_log_has_it() {
    let mut follower = Server::follower(&base());
    follower.request(1, put("a"));
    follower.timeout();
    let mut longer = base();
    longer.push(next_entry(
        &longer,
        epoch(0, 1),
        &[(origin(2, follower.incarnation, 1), put("a"))],
    ));
    follower.fed(epoch(0, 1), &longer, 2, 0);
    follower.persist_all();
    follower.request(2, put("b"));
    follower.timeout();
    let (mut winner, own) = winner(follower, &longer);
    assert_eq!(sequenced(&winner.timeout()), [2]);
    assert_eq!(winner.hears(3, ack(own, 4)), [done(1, 2)]);
    winner.persist_all();
    assert_eq!(winner.hears(3, ack(own, 5)), [done(2, 3)]);
}

#[test]
fn a_winner_does_not_place_again_what_others_had_in_the_log() {
    let mut longer = base();
    longer.push(next_entry(&longer, epoch(0, 1), &[(origin(3, first(3), 2), put("b"))]));
    let (mut winner, own) = winner(Server::member(2, epoch(0, 1), &longer), &longer);
    winner.hears(3, forward(own, &[(1, put("a")), (2, put("b")), (3, put("c"))]));
    // Number 1 is that of the base log.
    assert_eq!(sequenced(&winner.timeout()), [1, 3]);
}

#[test]
fn a_cancelled_request_gets_no_position_and_no_answer() {
    let mut sequencer = Server::settled_sequencer(&base());
    sequencer.request(1, put("a"));
    assert_eq!(sequencer.step(Input::Cancel { id: RequestId(1) }), []);
    assert_eq!(written(&sequencer.timeout()), []);
    assert_eq!(sequencer.log()[0], 3);
}

#[test]
fn the_sequencer_counts_who_holds_a_write_whose_time_is_up() {
    let unknown = |acks| Outcome::Unknown(Unknown { version: None, acks, needed: 2 });
    for (own, followers, acks) in [(false, 0, 0), (true, 0, 1), (false, 1, 1), (false, 2, 2)] {
        let mut sequencer = Server::settled_sequencer(&base());
        let epoch = sequencer.epoch();
        sequencer.request(1, put("a"));
        sequencer.timeout();
        if own {
            assert_eq!(sequencer.persist_all(), []);
        }
        for peer in 2..2 + followers {
            assert_eq!(sequencer.hears(peer, ack(epoch, 4)), []);
        }
        let effects = sequencer.timeout_after(MS * 60_000);
        assert_eq!(effects.first(), Some(&Reply(1, unknown(acks))));
    }
    let mut sequencer = Server::settled_sequencer(&base());
    sequencer.request(1, put("a"));
    let timed_out = Outcome::NotDone(NotDone::TimedOut { answered: 0, needed: 2 });
    let effects = sequencer.timeout_after(MS * 60_000);
    assert_eq!(effects.first(), Some(&Reply(1, timed_out)));
}

#[test]
fn a_large_request_that_is_still_arriving_is_not_sent_again() {
    let mut follower = Server::follower(&base());
    let large = put(&"x".repeat(Value::LEN_MAX));
    follower.request(1, large.clone());
    let sent = |effects: Vec<Given>| {
        effects.iter().filter(|effect| matches!(effect, Send(_, Body::Forward(_)))).count()
    };
    assert_eq!(sent(follower.timeout()), 1);
    let mut again = 0;
    for _ in 0..30 {
        follower.told(heartbeat(epoch(0, 1), &base(), 0));
        again += sent(follower.timeout_after(MS * 100));
    }
    assert_eq!(again, 0);
}

/// The textbook way to read.
#[test]
fn a_read_that_asks_for_a_position_in_the_log_takes_one() {
    let read = || {
        let options = RequestOptions::default().with_level(Level::Sequenced);
        Input::Request { id: RequestId(1), op: get(), options }
    };
    let mut sequencer = Server::settled_sequencer(&base());
    assert_eq!(sequencer.step(read()), []);
    assert_eq!(sequenced(&sequencer.timeout()), [1]);
    let mut follower = Server::follower(&base());
    follower.timeout();
    follower.step(read());
    assert_eq!(follower.timeout(), [Send(1, forward(epoch(0, 1), &[(1, get())]))]);
    let own = origin(2, follower.incarnation, 1);
    let mut longer = base();
    longer.push(next_entry(&longer, epoch(0, 1), &[(own, get())]));
    let effects = follower.fed(epoch(0, 1), &longer, 2, 3);
    let found = Versioned { value: Value::new("a").unwrap(), version: Version::Log(1) };
    let answered = Outcome::Done(Done {
        answer: Answer::Results(vec![CommandResult::Value(Some(found))]),
        version: Some(Version::Log(2)),
        served: Served::Linearizable,
    });
    assert!(effects.contains(&Reply(1, answered)), "{effects:?}");
}
