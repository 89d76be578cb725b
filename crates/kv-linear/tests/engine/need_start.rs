//! What the sequencer does with a NeedStart: a follower of an earlier epoch says what it holds.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what went wrong by panicking"
)]

use kv_core::{
    ConsistencyEngine, Counter, Effect, EngineConfig, Incarnation, Input, Operation, PersistSeq,
};
use kv_linear::{
    Body, Entry, Epoch, LinearEngine, LogIndex, Message, NeedStart, Record, StartEpoch,
};

use super::stand::{
    self, Given, MS, Server, extended, first_incarnation, founded, generation, log, node, peer_up,
    put,
};

fn need(log_epoch: Epoch, last: u64, staged: u64) -> NeedStart {
    let epoch = generation(1);
    let commit = LogIndex::ZERO;
    NeedStart { epoch, log_epoch, last: LogIndex(last), commit, staged: LogIndex(staged) }
}

fn told(sequencer: &mut Server, need: NeedStart) -> Vec<Given> {
    let message = sequencer.of(first_incarnation(21), Body::NeedStart(need));
    let effects = sequencer.message(2, message);
    assert_eq!(effects, []);
    sequencer.timeout()
}

/// The parts of a starting log among what is sent.
fn parts(effects: &[Given]) -> Vec<StartEpoch> {
    let parts = effects.iter().filter_map(|effect| match effect {
        Effect::Send { to, message: Message { body: Body::StartEpoch(part), .. } } => {
            assert_eq!((*to, part.receiver), (node(2), first_incarnation(21)));
            Some(part.clone())
        }
        _ => None,
    });
    parts.collect()
}

fn part(log: &[Entry], base: u64, entries: std::ops::Range<usize>) -> StartEpoch {
    let hash = |index: u64| match usize::try_from(index).unwrap() {
        0 => 0,
        place => log.get(place - 1).unwrap().hash(),
    };
    StartEpoch {
        epoch: generation(1),
        receiver: first_incarnation(21),
        base: LogIndex(base),
        base_hash: hash(base),
        previous: LogIndex(u64::try_from(entries.start).unwrap()),
        entries: log.get(entries).unwrap().to_vec(),
        start: LogIndex(u64::try_from(log.len()).unwrap()),
        commit: LogIndex::ZERO,
    }
}

#[test]
fn the_logs_agree_up_to_the_last_place_of_the_followers_epoch() {
    let log = log(&[put("a"), put("b"), put("c")]);
    // What the follower has, and from where on its log is replaced.
    for (last, base) in [(0, 0), (1, 1), (3, 3), (5, 3)] {
        let mut sequencer = Server::restarted(log.clone());
        let effects = told(&mut sequencer, need(generation(0), last, 0));
        let from = usize::try_from(base).unwrap();
        assert_eq!(parts(&effects), [part(&log, base, from..3)], "{last}");
    }
}

#[test]
fn entries_of_epochs_that_the_follower_missed_come_after_the_base() {
    let mut log = log(&[put("a"), put("b")]);
    log = extended(&log, generation(1), &put("c"));
    let mut sequencer = Server::recover(1, founded(&log));
    sequencer.cluster = Some(stand::CLUSTER);
    let opened = sequencer.step(peer_up(2));
    assert!(matches!(
        opened.first(),
        Some(Effect::Persist { record: Record::Opened { epoch }, .. }) if *epoch == generation(2)
    ));
    sequencer.step(peer_up(3));
    sequencer.persisted(5);
    sequencer.timeout();
    // It had a third entry of the first epoch, which nobody else had.
    let need = NeedStart { epoch: generation(2), ..need(generation(0), 3, 0) };
    let expected = StartEpoch { epoch: generation(2), ..part(&log, 2, 2..3) };
    assert_eq!(parts(&told(&mut sequencer, need)), [expected]);
}

#[test]
fn it_is_sent_again_with_growing_waits_until_it_is_acknowledged() {
    let log = log(&[put("a")]);
    let mut sequencer = Server::restarted(log.clone());
    assert_eq!(parts(&told(&mut sequencer, need(generation(0), 0, 0))).len(), 1);
    let mut sent_at = Vec::new();
    for ms in 1..=800 {
        if !parts(&sequencer.timeout_after(MS)).is_empty() {
            sent_at.push(ms);
        }
    }
    assert_eq!(sent_at, [100, 300, 700]);
    // The same once more is no reason to send at once.
    assert_eq!(parts(&told(&mut sequencer, need(generation(0), 0, 0))), []);
    let ack = Body::Ack { epoch: generation(1), durable: LogIndex(1) };
    let message = sequencer.of(first_incarnation(21), ack);
    sequencer.message(2, message);
    let sent: Vec<_> = (0..3000).flat_map(|_| parts(&sequencer.timeout_after(MS))).collect();
    assert_eq!(sent, []);
    // What was asked before the acknowledgement comes late.
    let strays = sequencer.counter(Counter::StrayMessages);
    assert_eq!(parts(&told(&mut sequencer, need(generation(0), 0, 0))), []);
    assert_eq!(sequencer.counter(Counter::StrayMessages), strays + 1);
}

#[test]
fn a_long_starting_log_comes_in_parts_of_a_messages_size_and_few_at_a_time() {
    let large = put(&"x".repeat(600_000));
    let operations: Vec<Operation> = (0..20).map(|_| large.clone()).collect();
    let log = log(&operations);
    let mut sequencer = Server::restarted(log.clone());
    let effects = told(&mut sequencer, need(generation(0), 2, 0));
    let sent = parts(&effects);
    let places: Vec<u64> = sent.iter().map(|part| part.previous.0).collect();
    assert!(sent.iter().all(|part| part.entries.len() == 1 && part.base == LogIndex(2)));
    assert_eq!(places, (2..16).collect::<Vec<_>>());
    // Each part that came makes room for others.
    let sent = parts(&told(&mut sequencer, need(generation(0), 2, 5)));
    assert_eq!(sent.iter().map(|part| part.previous.0).collect::<Vec<_>>(), [16, 17, 18]);
    // Nothing is sent beyond the starting log, whatever the follower says that it has.
    assert_eq!(parts(&told(&mut sequencer, need(generation(0), 2, 99))), []);
}

#[test]
fn until_a_follower_is_in_the_epoch_it_gets_no_entries_of_it() {
    let mut sequencer = Server::restarted(log(&[put("a")]));
    sequencer.request(1, put("b"));
    let entries = |effects: &[Given]| {
        let loaded = effects.iter().filter(|effect| {
            matches!(effect, Effect::Send { message: Message { body: Body::Prepare(p), .. }, .. }
                if !p.entries.is_empty())
        });
        loaded.count()
    };
    assert_eq!(entries(&sequencer.timeout()), 0);
    let started = told(&mut sequencer, need(generation(0), 1, 0));
    assert_eq!((entries(&started), parts(&started).len()), (0, 1));
    // The entry that was placed since is none of the starting log's.
    assert_eq!(parts(&started).first().unwrap().start, LogIndex(1));
    let ack = Body::Ack { epoch: generation(1), durable: LogIndex(1) };
    let message = sequencer.of(first_incarnation(21), ack);
    sequencer.message(2, message);
    assert_eq!(entries(&sequencer.timeout()), 1);
}

#[test]
fn a_follower_that_lacks_what_is_trimmed_gets_a_checkpoint() {
    let entries = log(&[put("a"), put("b"), put("c")]);
    let founded = founded(&[]).swap_remove(0);
    let records: [Record; 2] = [founded, Record::Entries { commit: LogIndex(3), entries }];
    let mut config = EngineConfig::new(node(1), stand::configuration(2), 9);
    config.limits.log_bytes_max = 100;
    let mut sequencer = Server::recover(1, vec![]);
    let records = (1..).map(PersistSeq).zip(records);
    sequencer.engine = LinearEngine::recover(config, None, records).unwrap();
    sequencer.cluster = Some(stand::CLUSTER);
    sequencer.step(peer_up(2));
    sequencer.persisted(4);
    sequencer.timeout();
    assert_eq!(sequencer.counter(Counter::LogEntries), 1);
    let effects = told(&mut sequencer, need(generation(0), 1, 0));
    assert_eq!(effects, [Effect::BeginSnapshot { to: node(2) }]);
    // Not at once again.
    assert_eq!(told(&mut sequencer, need(generation(0), 1, 0)), []);
}

#[test]
fn a_new_incarnation_is_written_down_before_it_gets_anything() {
    let mut sequencer = Server::restarted(log(&[put("a")]));
    let incarnation = Incarnation::following(first_incarnation(21), 5);
    let message = sequencer.of(incarnation, Body::NeedStart(need(generation(0), 0, 0)));
    let record = Record::PeerIncarnation { peer: node(2), incarnation };
    let written = [Effect::Persist { seq: PersistSeq(5), record }];
    assert_eq!(sequencer.message(2, message.clone()), written);
    assert_eq!(sequencer.message(2, message), []);
    assert_eq!(sequencer.timeout(), []);
    sequencer.persisted(5);
    let effects = sequencer.timeout();
    assert!(
        matches!(effects.as_slice(), [Effect::Send { message: Message {
            body: Body::StartEpoch(part), .. }, .. }] if part.receiver == incarnation),
        "{effects:?}"
    );
}

#[test]
fn a_former_incarnation_is_told_which_one_counts() {
    let mut sequencer = Server::restarted(log(&[put("a")]));
    let message = sequencer.of(Incarnation(1), Body::NeedStart(need(generation(0), 0, 0)));
    let effects = sequencer.message(2, message);
    assert!(
        matches!(effects.as_slice(), [Effect::Send { message: Message {
            body: Body::Prepare(prepare), .. }, .. }] if prepare.receiver == first_incarnation(21)),
        "{effects:?}"
    );
}

#[test]
fn what_is_of_another_epoch_or_makes_no_sense_is_stray() {
    let mut sequencer = Server::restarted(log(&[put("a")]));
    let good = need(generation(0), 0, 0);
    let cases = [
        (2, NeedStart { epoch: generation(0), ..good }),
        (2, NeedStart { log_epoch: generation(1), ..good }),
        (9, good),
    ];
    for (count, (from, need)) in (1..).zip(cases) {
        let message = sequencer.of(first_incarnation(21), Body::NeedStart(need));
        assert_eq!(sequencer.message(from, message), []);
        assert_eq!(sequencer.counter(Counter::StrayMessages), count);
    }
    assert_eq!(parts(&sequencer.timeout()), []);
    // Followers do not ask each other.
    let mut follower = Server::follower(vec![]);
    let message = follower.of(first_incarnation(31), Body::NeedStart(good));
    assert_eq!(follower.message(3, message), []);
}

#[test]
fn what_was_on_its_way_when_the_connection_broke_goes_out_again() {
    let mut sequencer = Server::restarted(log(&[put("a")]));
    told(&mut sequencer, need(generation(0), 0, 0));
    sequencer.step(Input::PeerDown { peer: node(2) });
    assert_eq!(parts(&sequencer.timeout_after(MS * 200)), []);
    sequencer.step(peer_up(2));
    assert_eq!(parts(&sequencer.timeout()).len(), 1);
}
