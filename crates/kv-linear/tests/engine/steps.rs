//! Step tables: a state, an input, and exactly what follows from it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what went wrong by panicking"
)]

use kv_core::{
    ClusterId, ConsistencyEngine, Counter, Effect, EngineConfig, HaltReason, Incarnation, Input,
    NotDone, Outcome, PersistSeq, RecoverError, RequestId, RequestOptions, Unknown, Value, Waiting,
    Wire,
};
use kv_linear::{Body, Entry, Epoch, Forward, LinearEngine, LogIndex, Message, Record};

use super::stand::{
    CLUSTER, EPOCH, Given, MS, SEQUENCER, Server, ack, configuration, empty, first_incarnation,
    generation, get, log, log_of, node, peer_up, persist, prepare, put, reply, written,
};

#[test]
fn a_follower_acknowledges_entries_once_they_are_on_disk() {
    let mut follower = Server::follower(vec![]);
    let entries = log(&[put("a"), put("b")]);
    let incarnation = follower.incarnation;
    assert_eq!(follower.told(prepare(incarnation, &entries, 0, 2)), [persist(4, 0, &entries)]);
    let expected = [follower.send(1, ack(2))];
    assert_eq!(follower.persisted(4), expected);
    assert_eq!(follower.persisted(4), []);
}

#[test]
fn several_records_on_disk_at_once_make_one_acknowledgement() {
    let mut follower = Server::follower(vec![]);
    let entries = log(&[put("a"), put("b")]);
    let incarnation = follower.incarnation;
    follower.told(prepare(incarnation, &entries[..1], 0, 1));
    follower.told(prepare(incarnation, &entries[1..], 0, 2));
    assert_eq!(follower.persisted(5), [follower.send(1, ack(2))]);
}

#[test]
fn entries_that_come_again_are_acknowledged_again_and_not_written() {
    let entries = log(&[put("a"), put("b")]);
    let mut follower = Server::follower(entries.clone());
    let incarnation = follower.incarnation;
    assert_eq!(follower.told(prepare(incarnation, &entries, 0, 2)), [follower.send(1, ack(2))]);
}

#[test]
fn an_entry_beyond_a_gap_is_held_back_and_the_gap_reported_once_in_a_while() {
    let entries = log(&[put("a"), put("b"), put("c")]);
    let mut follower = Server::follower(vec![]);
    let incarnation = follower.incarnation;
    let nack = [follower.send(1, Body::Nack { epoch: EPOCH, last: LogIndex(0) })];
    assert_eq!(follower.told(prepare(incarnation, &entries[2..], 0, 3)), nack);
    assert_eq!(follower.told(prepare(incarnation, &entries[1..2], 0, 2)), []);
    follower.now.mono += MS * 50;
    assert_eq!(follower.told(prepare(incarnation, &entries[1..2], 0, 2)), nack);
    // The gap closes: everything held back follows at once.
    assert_eq!(follower.told(prepare(incarnation, &entries[..1], 0, 1)), [persist(4, 0, &entries)]);
}

#[test]
fn a_heartbeat_shows_a_lost_tail_and_an_idle_one_is_not_answered() {
    let entries = log(&[put("a")]);
    let mut follower = Server::follower(entries.clone());
    let incarnation = follower.incarnation;
    assert_eq!(follower.told(prepare(incarnation, &[], 0, 1)), []);
    let nack = Body::Nack { epoch: EPOCH, last: LogIndex(1) };
    assert_eq!(follower.told(prepare(incarnation, &[], 0, 2)), [follower.send(1, nack)]);
}

#[test]
fn a_follower_shows_its_incarnation_until_the_sequencer_counts_it() {
    let mut follower = Server::follower(vec![]);
    let shown = [follower.send(1, ack(0))];
    assert_eq!(follower.told(prepare(Incarnation::UNKNOWN, &[], 0, 0)), shown);
    assert_eq!(follower.told(prepare(SEQUENCER, &[], 0, 0)), shown);
    assert_eq!(follower.told(prepare(follower.incarnation, &[], 0, 0)), []);
}

#[test]
fn a_follower_whose_incarnation_is_taken_for_over_begins_another() {
    let mut follower = Server::follower(vec![]);
    let counted = Incarnation::following(follower.incarnation, 5);
    let effects = follower.told(prepare(counted, &[], 0, 0));
    let [Effect::Persist { seq: PersistSeq(4), record: Record::Renewed { incarnation } }] =
        effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    assert!(*incarnation > counted);
    follower.incarnation = *incarnation;
    assert_eq!(follower.persisted(4), [follower.send(1, ack(0))]);
}

#[test]
fn another_entry_in_the_same_place_halts_the_follower() {
    let halt = |index| Effect::Halt { reason: HaltReason::LogsDiffer { peer: node(1), index } };
    let ours = log(&[put("a"), put("b")]);
    let theirs = log(&[put("a"), put("x"), put("c")]);
    let receiver = Incarnation::UNKNOWN;
    let cases = [(&theirs[1..2], 2), (&theirs[2..], 2), (&log(&[put("y")])[..], 1)];
    for (entries, index) in cases {
        let mut follower = Server::follower(ours.clone());
        let expected = halt(index);
        assert_eq!(follower.told(prepare(receiver, entries, 0, 2)), [expected]);
        assert_eq!(follower.timeout(), []);
        assert_eq!(follower.engine.next_deadline(), None);
    }
}

#[test]
fn a_follower_commits_no_further_than_its_own_log_and_disk() {
    let mut follower = Server::follower(vec![]);
    let entries = log(&[put("a"), put("b")]);
    let incarnation = follower.incarnation;
    follower.told(prepare(incarnation, &entries[..1], 9, 1));
    assert_eq!((follower.positions().committed, follower.positions().applied), (Some(1), Some(0)));
    follower.persisted(4);
    assert_eq!((follower.positions().committed, follower.positions().applied), (Some(1), Some(1)));
}

#[test]
fn a_request_is_forwarded_in_a_batch_and_answered_when_it_is_applied() {
    let mut follower = Server::follower(vec![]);
    assert_eq!(follower.request(1, put("a")), []);
    assert_eq!(follower.request(2, put("b")), []);
    assert_eq!(follower.engine.next_deadline(), Some(follower.now.mono));
    let requests = vec![(1, put("a").to_bytes()), (2, put("b").to_bytes())];
    let forward = Forward { epoch: EPOCH, settled_below: 1, requests };
    assert_eq!(follower.timeout(), [follower.send(1, Body::Forward(forward))]);
    let entries = log_of((node(2), follower.incarnation), &[put("a"), put("b")]);
    let incarnation = follower.incarnation;
    assert_eq!(follower.told(prepare(incarnation, &entries, 1, 2)), [persist(4, 0, &entries)]);
    assert_eq!(follower.persisted(4), [written(1, 1), follower.send(1, ack(2))]);
    assert_eq!(follower.told(prepare(incarnation, &[], 2, 2)), [written(2, 2)]);
}

#[test]
fn a_request_that_is_not_applied_in_time_is_unknown_or_timed_out() {
    let mut follower = Server::follower(vec![]);
    follower.request(1, put("a"));
    follower.request(2, get());
    follower.timeout();
    let resent = follower.timeout_after(MS * 499);
    assert!(matches!(resent.as_slice(), [Effect::Send { .. }]), "{resent:?}");
    let unknown = Outcome::Unknown(Unknown { version: None, acks: 0, needed: 2 });
    let timed_out = Outcome::NotDone(NotDone::TimedOut { answered: 0, needed: 2 });
    assert_eq!(follower.timeout_after(MS), [reply(1, unknown), reply(2, timed_out)]);
    assert_eq!(follower.counter(Counter::Requests), 0);
}

#[test]
fn what_was_never_sent_is_refused_when_the_sequencer_goes() {
    let mut follower = Server::follower(vec![]);
    follower.request(1, put("a"));
    let down = Input::PeerDown { peer: node(1) };
    let waiting = NotDone::Waiting(Waiting::Sequencer { node: node(1) });
    assert_eq!(follower.step(down.clone()), [reply(1, Outcome::NotDone(waiting))]);
    follower.step(peer_up(1));
    follower.request(2, put("a"));
    follower.timeout();
    assert_eq!(follower.step(down), []);
    assert_eq!(follower.counter(Counter::Requests), 1);
}

#[test]
fn a_refusal_of_another_incarnation_is_not_ours() {
    let mut follower = Server::follower(vec![]);
    follower.request(1, put("a"));
    follower.timeout();
    let reason = NotDone::Overloaded { limit: 3 };
    let refuse = |receiver, epoch| {
        let requests = vec![(1, NotDone::Overloaded { limit: 3 })];
        Body::Refuse { epoch, receiver, requests }
    };
    let incarnation = follower.incarnation;
    assert_eq!(follower.told(refuse(Incarnation(1 << 32), EPOCH)), []);
    assert_eq!(follower.told(refuse(incarnation, Epoch { round: 1, ..EPOCH })), []);
    let expected = [reply(1, Outcome::NotDone(reason))];
    assert_eq!(follower.told(refuse(incarnation, EPOCH)), expected);
    assert_eq!(follower.told(refuse(incarnation, EPOCH)), []);
}

#[test]
fn only_the_sequencers_word_counts() {
    let mut follower = Server::follower(vec![]);
    let entries = log(&[put("a")]);
    let body = prepare(follower.incarnation, &entries, 1, 1);
    assert_eq!(follower.message(3, follower.of(SEQUENCER, body.clone())), []);
    assert_eq!(follower.message(9, follower.of(SEQUENCER, body)), []);
    assert_eq!(follower.positions().last, Some(0));
    assert_eq!(follower.counter(Counter::StrayMessages), 2);
}

#[test]
fn a_message_of_another_configuration_or_cluster_is_refused() {
    let mut follower = Server::follower(vec![]);
    let body = prepare(follower.incarnation, &log(&[put("a")]), 1, 1);
    let mut other = follower.of(SEQUENCER, body.clone());
    other.configuration = configuration(3).hash();
    assert_eq!(follower.message(1, other), [follower.send(1, Body::Refused)]);
    let node1 = node(1);
    let waiting = |follower: &Server| follower.engine.status().waiting;
    assert_eq!(waiting(&follower), Some(Waiting::OtherConfiguration { node: node1 }));
    let mut other = follower.of(SEQUENCER, body.clone());
    other.cluster = Some(ClusterId(78));
    assert_eq!(follower.message(1, other.clone()), [follower.send(1, Body::Refused)]);
    let theirs = ClusterId(78);
    let expected = Waiting::OtherCluster { node: node1, ours: CLUSTER, theirs };
    assert_eq!(waiting(&follower), Some(expected));
    let refused = [reply(1, Outcome::NotDone(NotDone::Waiting(expected)))];
    assert_eq!(follower.request(1, put("a")), refused);
    // A refusal is never refused, or two servers would never stop.
    other.body = Body::Refused;
    assert_eq!(follower.message(1, other), []);
    assert_eq!(follower.positions().last, Some(0));
    follower.told(body);
    assert_eq!(waiting(&follower), None);
}

#[test]
fn a_hello_of_the_sequencers_own_incarnation_is_only_late() {
    let joined = |sequencer| Record::Joined {
        cluster: CLUSTER,
        configuration: configuration(2),
        incarnation: Incarnation(1 << 32),
        sequencer,
    };
    for (nonce, lost) in [(5, false), (6, true)] {
        let mut follower = Server::recover(2, vec![joined(first_incarnation(5))]);
        follower.step(peer_up(1));
        follower.persisted(2);
        follower.message(1, empty(Body::Hello { nonce }));
        let expected = lost.then_some(Waiting::LostMemory { node: node(1) });
        assert_eq!(follower.engine.status().waiting, expected);
    }
}

#[test]
fn the_sequencer_writes_and_sends_in_parallel_and_commits_with_a_quorum() {
    let mut sequencer = Server::sequencer();
    assert_eq!(sequencer.request(1, put("a")), []);
    let effects = sequencer.timeout();
    let [Effect::Persist { record: Record::Entries { entries, .. }, .. }, sends @ ..] =
        effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    let to = |to, nonce: u32| sequencer.send(to, prepare(first_incarnation(nonce), entries, 0, 1));
    assert_eq!(sends, [to(2, 21), to(3, 31)]);
    assert_eq!(entries.first().unwrap().header().log_time_ms, 5000);
    // Its own disk is mandatory, whoever else holds the entry.
    for (from, nonce) in [(2, 21), (3, 31)] {
        let message = sequencer.of(first_incarnation(nonce), ack(1));
        assert_eq!(sequencer.message(from, message), []);
    }
    assert_eq!(sequencer.persisted(2), [written(1, 1)]);
    // The commit is told at once.
    assert_eq!(sequencer.engine.next_deadline(), Some(sequencer.now.mono));
    let commits = sequencer.timeout();
    let told = commits.iter().filter(|effect| {
        matches!(effect, Effect::Send { message: Message { body: Body::Prepare(prepare), .. }, .. }
            if prepare.commit == LogIndex(1) && prepare.entries.is_empty())
    });
    assert_eq!((commits.len(), told.count()), (2, 2));
}

#[test]
fn the_sequencers_own_disk_alone_commits_nothing() {
    let mut sequencer = Server::sequencer();
    sequencer.request(1, put("a"));
    sequencer.timeout();
    assert_eq!(sequencer.persisted(2), []);
    // Neither a former incarnation counts, nor less.
    let messages = [(Incarnation(1), 1), (first_incarnation(21), 0)];
    for (incarnation, durable) in messages {
        assert_eq!(sequencer.message(2, sequencer.of(incarnation, ack(durable))), []);
    }
    let message = sequencer.of(first_incarnation(21), ack(1));
    assert_eq!(sequencer.message(2, message), [written(1, 1)]);
}

#[test]
fn a_new_incarnation_counts_once_it_is_on_the_sequencers_disk() {
    let mut sequencer = Server::sequencer();
    sequencer.request(1, put("a"));
    sequencer.timeout();
    sequencer.persisted(2);
    let incarnation = Incarnation::following(first_incarnation(21), 22);
    let effects = sequencer.message(2, sequencer.of(incarnation, ack(1)));
    let record = Record::PeerIncarnation { peer: node(2), incarnation };
    assert_eq!(effects, [Effect::Persist { seq: PersistSeq(3), record }]);
    // Said again before it is on disk: it is being written already.
    assert_eq!(sequencer.message(2, sequencer.of(incarnation, ack(1))), []);
    assert_eq!(sequencer.persisted(3), [written(1, 1)]);
    // The former incarnation is over.
    sequencer.request(2, put("b"));
    sequencer.timeout();
    sequencer.persisted(4);
    assert_eq!(sequencer.message(2, sequencer.of(first_incarnation(21), ack(2))), []);
}

#[test]
fn entries_are_sent_again_with_growing_waits_and_at_once_after_a_nack() {
    let mut sequencer = Server::sequencer();
    sequencer.request(1, put("a"));
    sequencer.timeout();
    let message = sequencer.of(first_incarnation(31), ack(1));
    sequencer.message(3, message);
    let resent = |effects: &[Given]| {
        let to_2 = effects.iter().filter(|effect| {
            matches!(effect, Effect::Send { to, message: Message { body: Body::Prepare(p), .. } }
                if *to == node(2) && p.entries.len() == 1)
        });
        to_2.count()
    };
    let mut resent_at = Vec::new();
    for ms in 1..=800 {
        if resent(&sequencer.timeout_after(MS)) == 1 {
            resent_at.push(ms);
        }
    }
    assert_eq!(resent_at, [100, 300, 700]);
    let nack = Body::Nack { epoch: EPOCH, last: LogIndex(0) };
    sequencer.message(2, sequencer.of(first_incarnation(21), nack));
    assert_eq!(resent(&sequencer.timeout()), 1);
}

#[test]
fn with_too_few_servers_a_request_is_refused_before_it_has_a_place() {
    let mut sequencer = Server::sequencer();
    sequencer.request(1, put("a"));
    sequencer.step(Input::PeerDown { peer: node(2) });
    sequencer.step(Input::PeerDown { peer: node(3) });
    let unavailable = Outcome::NotDone(NotDone::Unavailable { reachable: 1, needed: 2 });
    assert_eq!(sequencer.request(2, put("b")), [reply(2, unavailable.clone())]);
    // The first one waited in the queue.
    assert_eq!(sequencer.timeout(), [reply(1, unavailable)]);
    assert_eq!(sequencer.positions().last, Some(0));
}

#[test]
fn a_cancelled_request_gets_no_place_and_no_answer() {
    let mut sequencer = Server::sequencer();
    sequencer.request(1, put("a"));
    assert_eq!(sequencer.step(Input::Cancel { id: RequestId(1) }), []);
    assert_eq!(sequencer.timeout(), []);
    assert_eq!(sequencer.positions().last, Some(0));
}

#[test]
fn a_join_is_answered_with_the_highest_incarnation_known() {
    let mut sequencer = Server::sequencer();
    let join = || empty(Body::Join { nonce: 44, asked: 0 });
    let welcome = |highest| Body::Welcome { nonce: 44, highest };
    assert_eq!(sequencer.message(2, join()), [sequencer.send(2, welcome(first_incarnation(21)))]);
    let incarnation = Incarnation::following(first_incarnation(21), 22);
    sequencer.message(2, sequencer.of(incarnation, ack(0)));
    assert_eq!(sequencer.message(2, join()), [sequencer.send(2, welcome(incarnation))]);
}

#[test]
fn a_journal_of_another_configuration_or_with_a_hole_is_refused() {
    let recover = |records: Vec<(u64, Record)>| {
        let config = EngineConfig::new(node(2), configuration(2), 9);
        let records = records.into_iter().map(|(seq, record)| (PersistSeq(seq), record));
        LinearEngine::recover(config, None, records).map(|_| ())
    };
    let joined = |configuration| Record::Joined {
        cluster: CLUSTER,
        configuration,
        incarnation: Incarnation(1 << 32),
        sequencer: SEQUENCER,
    };
    let chain = log(&[put("a"), put("b")]);
    let entries =
        |entries: &[Entry]| Record::Entries { commit: LogIndex::ZERO, entries: entries.to_vec() };
    let at = |seq| Err(RecoverError::Record { seq: PersistSeq(seq) });
    let good = || (1, joined(configuration(2)));
    assert_eq!(recover(vec![good(), (2, entries(&chain))]), Ok(()));
    assert_eq!(recover(vec![(1, joined(configuration(3)))]), Err(RecoverError::OtherConfiguration));
    assert_eq!(recover(vec![good(), (3, entries(&chain))]), at(3));
    assert_eq!(recover(vec![good(), (2, entries(&chain[1..]))]), at(2));
    assert_eq!(recover(vec![(1, Record::Renewed { incarnation: SEQUENCER })]), at(1));
    let other = entries(&log(&[put("x")]));
    assert_eq!(recover(vec![good(), (2, entries(&chain)), (3, other)]), at(3));
}

#[test]
fn what_was_held_back_is_written_in_records_of_a_messages_size() {
    let mut follower = Server::follower(vec![]);
    let large = "x".repeat(600_000);
    let entries = log(&[put("a"), put(&large), put(&large), put("b")]);
    let incarnation = follower.incarnation;
    follower.told(prepare(incarnation, &entries[1..], 0, 4));
    let expected = [persist(4, 0, &entries[..2]), persist(5, 0, &entries[2..])];
    assert_eq!(follower.told(prepare(incarnation, &entries[..1], 0, 1)), expected);
    assert_eq!(follower.persisted(5), [follower.send(1, ack(4))]);
}

#[test]
fn an_offer_to_a_former_incarnation_is_not_taken() {
    let mut joining = Server::recover(2, vec![]);
    let effects = joining.step(peer_up(1));
    let [Effect::Send { message: Message { body: Body::Join { nonce, asked: 0 }, .. }, .. }] =
        effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    let nonce = *nonce;
    joining.cluster = Some(CLUSTER);
    let mut welcome = |nonce| {
        let body = Body::Welcome { nonce, highest: Incarnation::following(SEQUENCER, 1) };
        joining.told(body)
    };
    let effects = welcome(nonce.wrapping_add(1));
    assert_eq!(effects, []);
    let effects = welcome(nonce);
    let [Effect::Persist { record: Record::Joined { cluster, incarnation, .. }, .. }] =
        effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    assert_eq!((*cluster, incarnation.counter()), (CLUSTER, 3));
}

#[test]
fn a_server_that_says_unasked_that_it_is_empty_is_asked() {
    let mut founding = Server::recover(1, vec![]);
    let asked = founding.step(peer_up(2));
    founding.step(Input::PeerDown { peer: node(3) });
    // It may be late: since then the server may have got a log.
    assert_eq!(founding.message(2, empty(Body::Join { nonce: 21, asked: 0 })), asked);
    assert_eq!(founding.engine.status().waiting, Some(Waiting::Servers { more: 1 }));
}

#[test]
fn the_sequencer_counts_who_holds_a_write_whose_time_is_up() {
    let unknown = |acks| Outcome::Unknown(Unknown { version: None, acks, needed: 2 });
    // Whether its own disk has the write, and how many followers.
    for (own, followers, acks) in [(false, 0, 0), (true, 0, 1), (false, 1, 1), (false, 2, 2)] {
        let mut sequencer = Server::sequencer();
        sequencer.request(1, put("a"));
        sequencer.timeout();
        if own {
            assert_eq!(sequencer.persisted(2), []);
        }
        for (from, nonce) in [(2, 21), (3, 31)].into_iter().take(followers) {
            let message = sequencer.of(first_incarnation(nonce), ack(1));
            assert_eq!(sequencer.message(from, message), []);
        }
        let effects = sequencer.timeout_after(MS * 500);
        assert_eq!(effects.first(), Some(&reply(1, unknown(acks))));
    }
}

#[test]
fn nobody_holds_what_waited_in_the_queue_until_its_time_was_up() {
    let mut sequencer = Server::sequencer();
    sequencer.request(1, put("a"));
    let timed_out = Outcome::NotDone(NotDone::TimedOut { answered: 0, needed: 2 });
    let effects = sequencer.timeout_after(MS * 500);
    assert_eq!(effects.first(), Some(&reply(1, timed_out)));
    assert_eq!(sequencer.positions().last, Some(0));
}

/// How many messages carry operations or entries.
fn loads(effects: &[Given]) -> usize {
    let loaded = effects.iter().filter(|effect| match effect {
        Effect::Send { message: Message { body: Body::Prepare(prepare), .. }, .. } => {
            !prepare.entries.is_empty()
        }
        Effect::Send { message: Message { body: Body::Forward(_), .. }, .. } => true,
        _ => false,
    });
    loaded.count()
}

#[test]
fn a_large_write_that_is_still_arriving_is_not_sent_again() {
    let large = put(&"x".repeat(Value::LEN_MAX));
    let mut sequencer = Server::sequencer();
    sequencer.step(Input::Request {
        id: RequestId(1),
        op: large.clone(),
        options: RequestOptions { timeout: MS * 9000, ..RequestOptions::default() },
    });
    assert_eq!(loads(&sequencer.timeout()), 2);
    sequencer.persisted(2);
    let sent_again = |server: &mut Server, ms| -> usize {
        (0..ms).map(|_| loads(&server.timeout_after(MS))).sum()
    };
    assert_eq!(sent_again(&mut sequencer, 1500), 0);
    let message = sequencer.of(first_incarnation(21), ack(1));
    assert_eq!(sequencer.message(2, message), [written(1, 1)]);
    let message = sequencer.of(first_incarnation(31), ack(1));
    sequencer.message(3, message);
    assert_eq!(sent_again(&mut sequencer, 3000), 0);
    assert_eq!(sequencer.counter(Counter::Resends), 0);

    // It takes 1.5 s to the sequencer and as long back.
    let mut follower = Server::follower(vec![]);
    follower.step(Input::Request {
        id: RequestId(1),
        op: large.clone(),
        options: RequestOptions { timeout: MS * 9000, ..RequestOptions::default() },
    });
    assert_eq!(loads(&follower.timeout()), 1);
    assert_eq!(sent_again(&mut follower, 3000), 0);
    let incarnation = follower.incarnation;
    let entries = log_of((node(2), incarnation), &[large]);
    follower.told(prepare(incarnation, &entries, 1, 1));
    assert!(follower.persisted(4).contains(&written(1, 1)));
}

#[test]
fn after_a_restart_the_sequencer_says_nothing_until_its_new_epoch_is_on_disk() {
    let entries = log(&[put("a")]);
    let mut sequencer = Server::restarting(entries);
    assert_eq!(sequencer.timeout_after(MS * 300), []);
    assert_eq!(sequencer.persisted(3), []);
    assert_eq!(sequencer.timeout_after(MS * 300), []);
    assert_eq!(sequencer.persisted(4), []);
    let effects = sequencer.timeout();
    let shown = |effect: &Given| match effect {
        Effect::Send { to, message: Message { body: Body::Prepare(prepare), .. } } => {
            assert_eq!(prepare.epoch, generation(1));
            assert_eq!((prepare.receiver, prepare.entries.len()), (Incarnation::UNKNOWN, 0));
            to.number()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(effects.iter().map(shown).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn nothing_is_committed_by_acknowledgements_of_an_earlier_epoch() {
    let entries = log(&[put("a")]);
    let mut sequencer = Server::restarted(entries.clone());
    sequencer.brings_into_its_epoch(2, &entries);
    for (epoch, commit) in [(generation(0), 0), (generation(1), 1)] {
        let ack = Body::Ack { epoch, durable: LogIndex(1) };
        sequencer.message(2, sequencer.of(first_incarnation(21), ack));
        assert_eq!(sequencer.positions().committed, Some(commit));
    }
}

#[test]
fn a_request_with_a_place_in_the_starting_log_is_not_refused() {
    let entries = log_of((node(2), first_incarnation(21)), &[put("a")]);
    let mut sequencer = Server::restarted(entries);
    sequencer.step(Input::PeerDown { peer: node(2) });
    sequencer.step(Input::PeerDown { peer: node(3) });
    let forward = |epoch, number| {
        let requests = vec![(number, put("a").to_bytes())];
        Body::Forward(kv_linear::Forward { epoch, settled_below: 1, requests })
    };
    let mut told = |epoch, number| {
        sequencer.message(2, sequencer.of(first_incarnation(21), forward(epoch, number)))
    };
    assert_eq!(told(generation(0), 2), []);
    assert_eq!(told(generation(1), 1), []);
    let reason = NotDone::Unavailable { reachable: 1, needed: 2 };
    let requests = vec![(2, reason)];
    let refuse = Body::Refuse { epoch: generation(1), receiver: first_incarnation(21), requests };
    let expected = told(generation(1), 2);
    assert_eq!(expected, [sequencer.send(2, refuse)]);
}

#[test]
fn a_sequencer_that_has_used_up_its_generations_says_so() {
    let founded = Record::Founded {
        cluster: CLUSTER,
        configuration: configuration(2),
        incarnation: SEQUENCER,
        members: Vec::new(),
    };
    let opened = |generation| Record::Opened { epoch: Epoch { generation, ..EPOCH } };
    for (last, used_up) in [(u16::MAX - 1, false), (u16::MAX, true)] {
        let mut sequencer = Server::recover(1, vec![founded.clone(), opened(last)]);
        let effects = sequencer.timeout();
        let waiting = used_up.then_some(Waiting::RestartsUsedUp { node: node(1) });
        assert_eq!(effects.is_empty(), used_up, "{effects:?}");
        assert_eq!(sequencer.engine.status().waiting.filter(|_| used_up), waiting);
    }
}

#[test]
fn a_checkpoint_never_forgets_who_the_server_is() {
    let mut follower = Server::follower(log(&[put("a")]));
    let incarnation = follower.incarnation;
    // Another incarnation is on its way to the disk.
    follower.told(prepare(Incarnation::following(incarnation, 5), &[], 0, 0));
    let checkpoint = follower.snapshot();
    assert_eq!(checkpoint.covers, PersistSeq(3));
    let config = EngineConfig::new(node(2), configuration(2), 9);
    let engine = LinearEngine::recover(config, Some(checkpoint), []).unwrap();
    assert_eq!(engine.status().incarnation, incarnation);
    assert_eq!(engine.log_hash(LogIndex(1)), follower.engine.log_hash(LogIndex(1)));
}
