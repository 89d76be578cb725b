//! What a follower does with a StartEpoch: a part of the starting log of its sequencer's epoch.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what went wrong by panicking"
)]

use kv_core::{
    ConsistencyEngine, Counter, Effect, EngineConfig, HaltReason, Incarnation, Input, PersistSeq,
    Wire,
};
use kv_linear::{
    Body, Entry, Epoch, Forward, LinearEngine, LogIndex, NeedStart, Record, StartEpoch,
};

use super::stand::{
    self, Given, MS, Server, ack, configuration, extended, first_incarnation, generation,
    heartbeat, log, node, prepare, put,
};

/// A part of a starting log that ends with `log`.
fn part(receiver: Incarnation, log: &[Entry], base: u64, entries: std::ops::Range<usize>) -> Body {
    Body::StartEpoch(StartEpoch {
        epoch: generation(1),
        receiver,
        base: LogIndex(base),
        base_hash: usize::try_from(base)
            .unwrap()
            .checked_sub(1)
            .map_or(0, |at| log.get(at).unwrap().hash()),
        previous: LogIndex(u64::try_from(entries.start).unwrap()),
        entries: log.get(entries).unwrap().to_vec(),
        start: LogIndex(u64::try_from(log.len()).unwrap()),
        commit: LogIndex::ZERO,
    })
}

fn need(follower: &Server, last: u64, staged: u64) -> Given {
    let need = NeedStart {
        epoch: generation(1),
        log_epoch: generation(0),
        last: LogIndex(last),
        commit: LogIndex::ZERO,
        staged: LogIndex(staged),
    };
    follower.send(1, Body::NeedStart(need))
}

fn acked(follower: &Server, durable: u64) -> Given {
    follower.send(1, Body::Ack { epoch: generation(1), durable: LogIndex(durable) })
}

fn started(seq: u64, base: u64, base_hash: u64, parts: u32) -> Given {
    let record = Record::Started { epoch: generation(1), base: LogIndex(base), base_hash, parts };
    Effect::Persist { seq: PersistSeq(seq), record }
}

fn staged(seq: u64, part: u32, entries: &[Entry]) -> Given {
    let record = Record::StagedLog { part, entries: entries.to_vec() };
    Effect::Persist { seq: PersistSeq(seq), record }
}

#[test]
fn a_follower_that_hears_of_a_new_epoch_asks_for_its_starting_log() {
    let mut follower = Server::follower(log(&[put("a"), put("b")]));
    let told = heartbeat(generation(1), Incarnation::UNKNOWN);
    assert_eq!(follower.told(told.clone()), [need(&follower, 2, 0)]);
    // Not at each heartbeat, and what is committed in the new epoch may be other entries.
    let Body::Prepare(committed) = told.clone() else { panic!("{told:?}") };
    let committed = kv_linear::Prepare { commit: LogIndex(2), ..committed };
    assert_eq!(follower.told(Body::Prepare(committed)), []);
    assert_eq!(follower.positions().committed, Some(0));
    follower.now.mono += MS * 50;
    assert_eq!(follower.told(told), [need(&follower, 2, 0)]);
    // The earlier epoch is over.
    let incarnation = follower.incarnation;
    let more = log(&[put("a"), put("b"), put("c")]);
    assert_eq!(follower.told(prepare(incarnation, &more[2..], 3, 3)), []);
    assert_eq!((follower.positions().last, follower.positions().committed), (Some(2), Some(0)));
}

#[test]
fn pending_requests_go_out_again_in_the_new_epoch() {
    let mut follower = Server::follower(vec![]);
    follower.request(1, put("a"));
    follower.timeout();
    follower.told(heartbeat(generation(1), Incarnation::UNKNOWN));
    let requests = vec![(1, put("a").to_bytes())];
    let forward = Forward { epoch: generation(1), settled_below: 1, requests };
    assert_eq!(follower.timeout(), [follower.send(1, Body::Forward(forward))]);
    // A refusal of the former epoch says nothing of this copy.
    let refuse = |epoch| {
        let requests = vec![(1, kv_core::NotDone::Overloaded { limit: 3 })];
        Body::Refuse { epoch, receiver: follower.incarnation, requests }
    };
    let (old, new) = (refuse(generation(0)), refuse(generation(1)));
    assert_eq!(follower.told(old), []);
    assert_eq!(follower.told(new).len(), 1);
}

#[test]
fn the_switch_is_one_record_and_acknowledged_once_it_is_on_disk() {
    // What the follower has beyond the base was never committed, and goes.
    let ours = log(&[put("a"), put("b"), put("junk")]);
    let theirs = extended(&ours[..2], generation(0), &put("c"));
    let mut follower = Server::follower(ours.clone());
    let incarnation = follower.incarnation;
    let effects = follower.told(part(incarnation, &theirs, 2, 2..3));
    let expected = [staged(4, 0, &theirs[2..]), started(5, 2, theirs[1].hash(), 1)];
    assert_eq!(effects, expected);
    assert_eq!(follower.persisted(4), []);
    assert_eq!(follower.engine.log_hash(LogIndex(3)), Some(ours[2].hash()));
    assert_eq!(follower.positions().epoch_generation, Some(0));
    let expected = [acked(&follower, 3)];
    assert_eq!(follower.persisted(5), expected);
    assert_eq!(follower.engine.log_hash(LogIndex(3)), Some(theirs[2].hash()));
    assert_eq!(follower.positions().epoch_generation, Some(1));
}

#[test]
fn a_log_that_ends_with_the_base_is_only_switched() {
    for (ours, base) in [(vec!["a"], 1), (vec!["a", "junk"], 1), (vec![], 0)] {
        let ours = log(&ours.into_iter().map(put).collect::<Vec<_>>());
        let theirs = &ours[..base];
        let mut follower = Server::follower(ours.clone());
        let incarnation = follower.incarnation;
        let hash = theirs.last().map_or(0, Entry::hash);
        let base = u64::try_from(base).unwrap();
        let effects = follower.told(part(incarnation, theirs, base, theirs.len()..theirs.len()));
        assert_eq!(effects, [started(4, base, hash, 0)]);
        let expected = [acked(&follower, base)];
        assert_eq!(follower.persisted(4), expected);
        assert_eq!(follower.positions().last, Some(base));
    }
}

#[test]
fn parts_are_staged_in_order_and_each_is_asked_for_once() {
    let theirs = log(&[put("a"), put("b"), put("c"), put("d")]);
    let mut follower = Server::follower(theirs[..1].to_vec());
    let incarnation = follower.incarnation;
    // It comes too early: what it follows is not there.
    assert_eq!(follower.told(part(incarnation, &theirs, 1, 2..3)), [need(&follower, 1, 1)]);
    let expected = [staged(4, 0, &theirs[1..2]), need(&follower, 1, 2)];
    assert_eq!(follower.told(part(incarnation, &theirs, 1, 1..2)), expected);
    // A second copy is not written again.
    assert_eq!(follower.told(part(incarnation, &theirs, 1, 1..2)), [need(&follower, 1, 2)]);
    // Nor what a longer part repeats.
    let expected = [staged(5, 1, &theirs[2..3]), need(&follower, 1, 3)];
    assert_eq!(follower.told(part(incarnation, &theirs, 1, 1..3)), expected);
    let expected = [staged(6, 2, &theirs[3..]), started(7, 1, theirs[0].hash(), 3)];
    assert_eq!(follower.told(part(incarnation, &theirs, 1, 3..4)), expected);
    // Until the switch is on disk nothing else is taken, and nothing is asked for.
    assert_eq!(follower.told(part(incarnation, &theirs, 1, 3..4)), []);
    assert_eq!(follower.told(heartbeat(generation(1), Incarnation::UNKNOWN)), []);
    let expected = [acked(&follower, 4)];
    assert_eq!(follower.persisted(7), expected);
    // A late part is answered with what is there.
    let expected = [acked(&follower, 4)];
    assert_eq!(follower.told(part(incarnation, &theirs, 1, 3..4)), expected);
}

#[test]
fn a_crash_before_the_switch_leaves_the_old_log_and_epoch() {
    let theirs = log(&[put("a"), put("b")]);
    let joined = Record::Joined {
        cluster: stand::CLUSTER,
        configuration: configuration(2),
        incarnation: Incarnation(1 << 32),
        sequencer: stand::SEQUENCER,
    };
    let ours = log(&[put("a"), put("junk")]);
    let records = vec![
        joined,
        Record::Entries { commit: LogIndex::ZERO, entries: ours.clone() },
        Record::StagedLog { part: 0, entries: theirs[1..].to_vec() },
        Record::Started {
            epoch: generation(1),
            base: LogIndex(1),
            base_hash: ours[0].hash(),
            parts: 1,
        },
    ];
    for (len, last, generation) in [(3, &ours[1], 0), (4, &theirs[1], 1)] {
        let follower = Server::recover(2, records[..len].to_vec());
        assert_eq!(follower.engine.log_hash(LogIndex(2)), Some(last.hash()));
        assert_eq!(follower.positions().epoch_generation, Some(generation));
    }
    // A switch to what is not there, or to another log, is not taken.
    let recover = |records: Vec<Record>| {
        let config = EngineConfig::new(node(2), configuration(2), 9);
        let records = (1..).map(PersistSeq).zip(records);
        LinearEngine::recover(config, None, records).map(|_| ())
    };
    let mut lacking = records.clone();
    lacking.remove(2);
    assert!(recover(lacking).is_err());
    let mut other = records;
    let Some(Record::Started { base_hash, .. }) = other.last_mut() else { panic!("{other:?}") };
    *base_hash += 1;
    assert!(recover(other).is_err());
}

#[test]
fn a_checkpoint_that_comes_again_is_answered_with_what_is_there() {
    let theirs = log(&[put("a"), put("b")]);
    let mut sequencer = Server::restarted(theirs.clone());
    sequencer.brings_into_its_epoch(3, &theirs);
    let ack = Body::Ack { epoch: generation(1), durable: LogIndex(2) };
    let of_third = sequencer.of(first_incarnation(31), ack);
    sequencer.message(3, of_third);
    let checkpoint = sequencer.snapshot();
    let items: Vec<_> = checkpoint.items.collect();
    let installed = |snapshot| {
        let (metadata, items) = (checkpoint.metadata.clone(), items.clone());
        let part = kv_core::SnapshotPart { snapshot, number: 0, metadata, items, is_last: true };
        Input::SnapshotPart { from: node(1), part }
    };
    let mut follower = Server::follower(theirs[..1].to_vec());
    let parts = follower.step(installed(1));
    let last = parts.last().unwrap();
    assert!(matches!(last, Effect::Persist { record: Record::Installed { .. }, .. }), "{last:?}");
    let expected = [acked(&follower, 2)];
    assert_eq!(follower.persisted(5), expected);
    // The acknowledgement was lost, so the sequencer sends what it thinks is needed.
    let refused = Effect::EndSnapshot { peer: node(1) };
    assert_eq!(follower.step(installed(2)), [expected[0].clone(), refused]);
}

#[test]
fn a_checkpoint_taken_meanwhile_covers_nothing_that_the_switch_needs() {
    let theirs = log(&[put("a"), put("b"), put("c")]);
    let mut follower = Server::follower(theirs[..1].to_vec());
    let incarnation = follower.incarnation;
    follower.told(part(incarnation, &theirs, 1, 1..2));
    follower.persisted(4);
    assert_eq!(follower.snapshot().covers, PersistSeq(3));
    follower.told(part(incarnation, &theirs, 1, 2..3));
    follower.persisted(5);
    let checkpoint = follower.snapshot();
    assert_eq!(checkpoint.covers, PersistSeq(3));
    let records = vec![
        (PersistSeq(4), Record::StagedLog { part: 0, entries: theirs[1..2].to_vec() }),
        (PersistSeq(5), Record::StagedLog { part: 1, entries: theirs[2..].to_vec() }),
        (
            PersistSeq(6),
            Record::Started {
                epoch: generation(1),
                base: LogIndex(1),
                base_hash: theirs[0].hash(),
                parts: 2,
            },
        ),
    ];
    let config = EngineConfig::new(node(2), configuration(2), 9);
    let engine = LinearEngine::recover(config, Some(checkpoint), records).unwrap();
    assert_eq!(engine.log_hash(LogIndex(3)), Some(theirs[2].hash()));
    follower.persisted(6);
    assert_eq!(follower.snapshot().covers, PersistSeq(6));
}

#[test]
fn another_log_up_to_the_base_halts_the_follower() {
    let halt = |index| [Effect::Halt { reason: HaltReason::LogsDiffer { peer: node(1), index } }];
    let ours = log(&[put("a"), put("b")]);
    let theirs = log(&[put("a"), put("x"), put("y")]);
    let mut follower = Server::follower(ours.clone());
    let incarnation = follower.incarnation;
    assert_eq!(follower.told(part(incarnation, &theirs, 2, 2..3)), halt(2));
    // Nor is anything taken back that is committed.
    let mut follower = Server::follower(ours.clone());
    let incarnation = follower.incarnation;
    follower.told(prepare(incarnation, &[], 2, 2));
    assert_eq!(follower.positions().committed, Some(2));
    assert_eq!(follower.told(part(incarnation, &theirs, 1, 1..3)), halt(2));
}

#[test]
fn what_is_for_another_incarnation_or_from_an_earlier_epoch_or_makes_no_sense_changes_nothing() {
    let theirs = log(&[put("a"), put("b")]);
    let mut follower = Server::follower(theirs[..1].to_vec());
    let incarnation = follower.incarnation;
    assert_eq!(follower.told(part(Incarnation(1), &theirs, 1, 1..2)), []);
    let body = part(incarnation, &theirs, 1, 1..2);
    assert_eq!(follower.message(3, follower.of(stand::SEQUENCER, body.clone())), []);
    let Body::StartEpoch(good) = body else { panic!("{body:?}") };
    let broken = |part: StartEpoch| Body::StartEpoch(part);
    let owner = Epoch { owner: node(3), ..generation(1) };
    assert_eq!(follower.told(broken(StartEpoch { epoch: owner, ..good.clone() })), []);
    let early = StartEpoch { start: LogIndex(0), ..good.clone() };
    assert_eq!(follower.told(broken(early)), []);
    // Beyond its log, and a chain with a gap.
    let far = StartEpoch { base: LogIndex(9), start: LogIndex(10), ..good.clone() };
    assert_eq!(follower.told(broken(far)), [need(&follower, 1, 0)]);
    let other = log(&[put("x"), put("y")]);
    let apart = StartEpoch { entries: other[1..].to_vec(), ..good.clone() };
    assert_eq!(follower.told(broken(apart)), [need(&follower, 1, 1)]);
    let later = extended(&theirs[..1], generation(2), &put("z"));
    let later = StartEpoch { entries: later[1..].to_vec(), ..good };
    assert_eq!(follower.told(broken(later)), [need(&follower, 1, 1)]);
    assert_eq!(follower.counter(Counter::Malformed), 2);
    // A later epoch ends this one.
    follower.told(heartbeat(generation(2), Incarnation::UNKNOWN));
    assert_eq!(follower.told(part(incarnation, &theirs, 1, 1..2)), []);
    assert_eq!(follower.positions().last, Some(1));
}

#[test]
fn a_new_epoch_that_is_heard_during_the_switch_comes_after_it() {
    let theirs = log(&[put("a")]);
    let mut follower = Server::follower(vec![]);
    let incarnation = follower.incarnation;
    follower.told(part(incarnation, &theirs, 0, 0..1));
    assert_eq!(follower.told(heartbeat(generation(2), Incarnation::UNKNOWN)), []);
    let need = NeedStart {
        epoch: generation(2),
        log_epoch: generation(1),
        last: LogIndex(1),
        commit: LogIndex::ZERO,
        staged: LogIndex(0),
    };
    let expected = [follower.send(1, Body::NeedStart(need))];
    assert_eq!(follower.persisted(5), expected);
}

#[test]
fn in_the_new_epoch_entries_follow_its_starting_log() {
    let theirs = log(&[put("a")]);
    let mut follower = Server::follower(theirs.clone());
    let incarnation = follower.incarnation;
    follower.told(part(incarnation, &theirs, 1, 1..1));
    follower.persisted(4);
    let longer = extended(&theirs, generation(1), &put("b"));
    let Body::Prepare(prepare) = prepare(incarnation, &longer[1..], 2, 2) else {
        panic!("no prepare")
    };
    let prepare = kv_linear::Prepare { epoch: generation(1), ..prepare };
    let effects = follower.told(Body::Prepare(prepare));
    assert_eq!(effects, [stand::persist(5, 0, &longer[1..])]);
    let expected = [acked(&follower, 2)];
    assert_eq!(follower.persisted(5), expected);
    // The old epoch is over for good.
    assert_eq!(follower.told(ack(1)), []);
    assert_eq!(follower.positions().applied, Some(2));
}
