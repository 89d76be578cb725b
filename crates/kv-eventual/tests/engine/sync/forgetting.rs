//! How deletes are forgotten once every server has them.

use std::time::Duration;

use crate::stand::{self, Stand, TestEffect, config, incarnation, key, node, time};
use kv_core::{ConsistencyEngine, Effect, Operation, PersistSeq};
use kv_eventual::{
    Batch, Cut, EventualEngine, Part, Pull, PullBegin, Record, Report, Vector, WriteId, WriteSeq,
};

fn removed(effects: &[TestEffect]) -> Vec<usize> {
    let removed = |effect: &TestEffect| match effect {
        Effect::Persist { record: Record::Removed { records, .. }, .. } => Some(records.len()),
        _ => None,
    };
    effects.iter().filter_map(removed).collect()
}

fn parts(effects: Vec<TestEffect>) -> Vec<Part> {
    let parts = |effect: TestEffect| match effect {
        Effect::Send { message, .. } => message.parts,
        _ => Vec::new(),
    };
    effects.into_iter().flat_map(parts).collect()
}

/// Server 2 holds all that this one has written, and writes nothing.
fn in_step(stand: &Stand, deletes: u64) -> Report {
    let theirs = incarnation(1, 2);
    let mut vector = Vector::default();
    for seq in 1..=deletes {
        let incarnation = stand.incarnation();
        vector.insert(WriteId { origin: node(1), incarnation, seq: WriteSeq(seq) });
    }
    vector.insert(WriteId { origin: node(2), incarnation: theirs, seq: WriteSeq(1) });
    let cut = Cut { incarnation: theirs, seq: WriteSeq(1), time: time(100_000, 0) };
    Report { vector, counts: true, is_whole: true, cut, ..Report::default() }
}

/// One round in which each server pulls from the other.
fn exchange(stand: &mut Stand, report: &Report) -> Vec<TestEffect> {
    let begin = PullBegin { report: report.clone(), wants_all: false };
    let pull = Pull { transfer: 1, number: 0, instance: 0, begin: Some(Box::new(begin)) };
    stand.receive_now(node(2), Part::Pull(pull));
    stand.sync_and_flush();
    stand.down(node(2));
    stand.up(node(2));
    let pull = parts(stand.flush()).into_iter().find_map(|part| match part {
        Part::Pull(pull) => Some(pull),
        _ => None,
    });
    let Pull { transfer, number, .. } = pull.unwrap();
    let end = Some(Box::new(report.clone()));
    let batch = Batch { transfer, number, instance: 1, writes: Vec::new(), end };
    let mut effects = stand.receive_now(node(2), Part::Batch(batch));
    effects.extend(stand.sync());
    effects
}

/// As many as there are, one record after the other, and not so many in each turn of the servers.
#[test]
fn deletes_that_may_be_forgotten_are_forgotten_without_a_pause() {
    let mut stand = Stand::serving(2, 1, 1);
    stand.receive_as(node(2), incarnation(1, 2), Part::Ack(stand.own(1, 0, "k", None).entry.id()));
    let deletes = 12_000;
    for n in 0..deletes {
        stand.request(Operation::delete(key(&format!("k{n}"))));
        stand.sync_and_flush();
    }
    let report = in_step(&stand, deletes);
    for _ in 0..3 {
        assert_eq!(removed(&exchange(&mut stand, &report)), Vec::<usize>::new());
        stand.wait_ms(1_000);
    }
    stand.wait_ms(10_000);
    assert_eq!(removed(&exchange(&mut stand, &report)), [5_000, 5_000]);
    assert_eq!(removed(&stand.sync()), [2_000]);
    assert_eq!(removed(&stand.sync()), Vec::<usize>::new());
    assert_eq!(stand.positions().tombstones, Some(0));
}

#[test]
fn a_cluster_of_one_server_forgets_deletes_and_former_incarnations_too() {
    let mut config = config(1, 1, 1);
    config.timing.anti_entropy = Duration::from_secs(1);
    let deletes = (1..=2).map(|seq| {
        let name = format!("k{seq}");
        Record::Write(stand::write((1, incarnation(1, 1)), seq, time(seq, 0), &name, None))
    });
    let own = Record::Incarnation {
        node: node(1),
        incarnation: incarnation(1, 1),
        cluster: config.cluster.clone(),
    };
    let all = (1..)
        .map(PersistSeq)
        .zip([own, Record::ClockBound { below: time(9, 0) }].into_iter().chain(deletes));
    let mut stand = Stand::of(EventualEngine::recover(config, None, all).unwrap(), 4);
    stand.flush();
    stand.sync();
    for _ in 0..20 {
        stand.wait_ms(1_200);
        stand.sync();
    }
    let at = stand.positions();
    assert_eq!((at.tombstones, at.open_incarnations, at.keys), (Some(0), Some(0), Some(0)));
    assert_eq!(stand.engine.next_deadline(), None);
}
