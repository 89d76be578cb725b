//! What a server believes of what others say, and what it says of itself.

use std::time::Duration;

use crate::stand::{self, Stand, TestEffect, config, incarnation, node, theirs, time};
use kv_core::{
    ConsistencyEngine, Counter, Effect, HybridTime, Incarnation, Input, Key, PersistSeq,
};
use kv_eventual::{
    Batch, Cut, EventualEngine, Hello, Part, Pull, PullBegin, Record, Report, Vector, Write,
    WriteId, WriteSeq,
};

fn id(origin: u16, incarnation: Incarnation, seq: u64) -> WriteId {
    WriteId { origin: node(origin), incarnation, seq: WriteSeq(seq) }
}

fn vector(ids: impl IntoIterator<Item = WriteId>) -> Vector {
    let mut vector = Vector::default();
    ids.into_iter().for_each(|id| vector.insert(id));
    vector
}

fn whole(vector: Vector) -> Report {
    Report { vector, counts: true, is_whole: true, ..Report::default() }
}

fn records(effects: &[TestEffect]) -> Vec<&Record> {
    let mut records = Vec::new();
    for effect in effects {
        if let Effect::Persist { record, .. } = effect {
            records.push(record);
        }
    }
    records
}

fn parts(effects: Vec<TestEffect>) -> impl Iterator<Item = Part> {
    let sends = effects.into_iter().filter_map(|effect| match effect {
        Effect::Send { message, .. } => Some(message.parts),
        _ => None,
    });
    sends.flatten()
}

fn pulls(effects: Vec<TestEffect>) -> Vec<Pull> {
    let pull = |part| match part {
        Part::Pull(pull) => Some(pull),
        _ => None,
    };
    parts(effects).filter_map(pull).collect()
}

fn batches(effects: Vec<TestEffect>) -> Vec<Batch> {
    let batch = |part| match part {
        Part::Batch(batch) => Some(batch),
        _ => None,
    };
    parts(effects).filter_map(batch).collect()
}

/// The pull that this server begins when a peer comes back.
fn pull_from(stand: &mut Stand, peer: u16) -> Pull {
    stand.down(node(peer));
    stand.up(node(peer));
    pulls(stand.flush()).pop().unwrap()
}

/// Answers a pull.
fn answer(
    stand: &mut Stand,
    peer: u16,
    pull: &Pull,
    writes: Vec<Write>,
    end: Option<Report>,
) -> Vec<TestEffect> {
    let Pull { transfer, number, .. } = *pull;
    let batch = Batch { transfer, number, instance: 1, writes, end: end.map(Box::new) };
    stand.receive(node(peer), Part::Batch(batch))
}

/// What this server asks to be persisted if server 3 sends a write in its first incarnation.
fn takes_a_write_of_the_first_incarnation(stand: &mut Stand) -> bool {
    let first = incarnation(1, 3);
    let write = stand::write((3, first), 5, time(5, 0), "old", Some("v"));
    !records(&stand.receive_as(node(3), first, Part::Write(write))).is_empty()
}

fn of_the_second_incarnation(ms: u64) -> Write {
    stand::write((3, incarnation(2, 3)), 1, time(ms, 0), "new", Some("v"))
}

#[test]
fn a_server_takes_messages_of_an_incarnation_until_it_knows_of_the_next() {
    assert!(takes_a_write_of_the_first_incarnation(&mut Stand::serving(3, 1, 1)));
}

/// Its vector will say that it takes no more of the first one.
#[test]
fn a_vector_that_is_being_joined_fences_incarnations_before_it_is_on_disk() {
    let mut stand = Stand::serving(3, 1, 1);
    let pull = pull_from(&mut stand, 2);
    let end = whole(vector([id(3, incarnation(2, 3), 1)]));
    let effects = answer(&mut stand, 2, &pull, vec![of_the_second_incarnation(1)], Some(end));
    assert!(records(&effects).iter().any(|record| matches!(record, Record::Join(_))));
    assert!(!takes_a_write_of_the_first_incarnation(&mut stand));
}

#[test]
fn a_write_that_is_pulled_fences_incarnations_before_it_is_on_disk() {
    let mut stand = Stand::serving(3, 1, 1);
    let pull = pull_from(&mut stand, 2);
    let effects = answer(&mut stand, 2, &pull, vec![of_the_second_incarnation(1)], None);
    assert_eq!(effects.len(), 1, "{effects:?}");
    assert!(!takes_a_write_of_the_first_incarnation(&mut stand));
}

#[test]
fn a_write_that_is_repaired_fences_incarnations_before_it_is_on_disk() {
    let mut stand = Stand::serving(3, 1, 1);
    let effects = stand.receive(node(2), Part::Repair(of_the_second_incarnation(1)));
    assert_eq!(effects.len(), 1, "{effects:?}");
    assert!(!takes_a_write_of_the_first_incarnation(&mut stand));
}

#[test]
fn a_write_that_is_superseded_fences_incarnations_too() {
    let mut stand = Stand::serving(3, 1, 1);
    stand.put("new", "newer");
    stand.sync_and_flush();
    let pull = pull_from(&mut stand, 2);
    let mut older = of_the_second_incarnation(1);
    older.entry.stamp.time = HybridTime::from_millis(1);
    let effects = answer(&mut stand, 2, &pull, vec![older.clone()], None);
    assert_eq!(records(&effects), [&Record::Superseded(older.entry.id())]);
    stand.sync();
    assert!(!takes_a_write_of_the_first_incarnation(&mut stand));
}

/// What this server keeps of server 2 once that has pulled in its fifth incarnation.
fn kept_of_two(stand: &mut Stand, transfer: u64, vector: Vector) -> Vector {
    let begin = PullBegin { report: whole(vector), wants_all: false };
    let pull = Pull { transfer, number: 0, instance: 0, begin: Some(Box::new(begin)) };
    let effects = stand.receive_as(node(2), incarnation(5, 2), Part::Pull(pull));
    stand.sync_and_flush();
    let kept = records(&effects).into_iter().rev().find_map(|record| match record {
        Record::PeerVector { vector, .. } => Some(vector.clone()),
        _ => None,
    });
    kept.unwrap()
}

/// Seed 1849 of the simulation: what it said stayed believed for good, and no delete was forgotten.
#[test]
fn a_hello_of_a_former_incarnation_that_comes_late_is_not_believed() {
    // It began three incarnations with an empty disk before it met anyone.
    a_late_hello_is_not_believed(incarnation(3, 7), id(2, incarnation(3, 7), 1));
}

/// Seed 1007590: servers 2 and 3 had lost their disks when 2 said so, and then lost them again.
#[test]
fn a_hello_from_before_the_first_incarnation_that_comes_late_is_not_believed() {
    a_late_hello_is_not_believed(Incarnation::UNKNOWN, id(3, incarnation(1, 7), 1));
}

fn a_late_hello_is_not_believed(sender: Incarnation, knows: WriteId) {
    let mut stand = Stand::serving(3, 1, 1);
    let present = vector([id(2, incarnation(5, 2), 1)]);
    assert_eq!(kept_of_two(&mut stand, 1, present.clone()), present);
    let report = Report { vector: vector([knows]), ..Report::default() };
    let hello = Hello { run: 9, sent: Duration::ZERO, report: Box::new(report) };
    stand.receive_as(node(2), sender, Part::Hello(hello));
    assert_eq!(stand::sends(stand.flush()).len(), 1, "it is answered");
    let mut later = present;
    later.insert(id(2, incarnation(5, 2), 2));
    assert_eq!(kept_of_two(&mut stand, 2, later.clone()), later);
}

/// A server that is set back is told so even though it speaks for an incarnation that was.
#[test]
fn a_stale_hello_from_a_disk_that_was_set_back_is_told_of_the_loss() {
    let mut stand = Stand::serving(2, 1, 1);
    let known = vector([id(2, incarnation(4, 2), 7), id(2, incarnation(5, 2), 1)]);
    let begin = PullBegin { report: whole(known), wants_all: false };
    let pull = Pull { transfer: 1, number: 0, instance: 0, begin: Some(Box::new(begin)) };
    stand.receive_as(node(2), incarnation(5, 2), Part::Pull(pull));
    stand.sync_and_flush();
    let older = whole(vector([id(2, incarnation(4, 2), 3)]));
    for _ in 0..2 {
        let hello = Hello { run: 9, sent: Duration::ZERO, report: Box::new(older.clone()) };
        stand.receive_as(node(2), incarnation(4, 2), Part::Hello(hello));
        let sent = stand::sends(stand.flush());
        let parts = &sent[0].1.parts;
        let [Part::Welcome(welcome)] = parts.as_slice() else {
            panic!("{parts:?}");
        };
        assert!(welcome.has_lost);
    }
}

fn absurd() -> Vec<Report> {
    let last = HybridTime::from_millis((1 << 48) - 1);
    vec![
        whole(vector([id(2, Incarnation(u64::MAX), 1)])),
        whole(vector([id(9, incarnation(1, 1), 1)])),
        Report { floor: last, ..whole(Vector::default()) },
        Report { cut: Cut { time: last, ..Cut::default() }, ..whole(Vector::default()) },
        Report {
            cut: Cut { incarnation: Incarnation(u64::MAX), ..Cut::default() },
            ..whole(Vector::default())
        },
    ]
}

#[test]
fn a_report_that_no_server_can_make_is_not_believed_in_any_message() {
    for report in absurd() {
        let mut stand = Stand::serving(3, 1, 1);
        let hello = Hello { run: 9, sent: Duration::ZERO, report: Box::new(report.clone()) };
        assert_eq!(stand.receive(node(2), Part::Hello(hello)), []);
        assert_eq!(stand.flush(), []);
        let begin = PullBegin { report: report.clone(), wants_all: false };
        let pull = Pull { transfer: 1, number: 0, instance: 0, begin: Some(Box::new(begin)) };
        assert_eq!(stand.receive(node(2), Part::Pull(pull)), []);
        assert_eq!(stand.flush(), []);
        let pull = pull_from(&mut stand, 2);
        assert_eq!(answer(&mut stand, 2, &pull, Vec::new(), Some(report)), []);
        assert_eq!(stand.counter(Counter::BadMessages), 3);
    }
}

#[test]
fn an_illegal_record_is_skipped_and_the_vector_that_knows_it_is_not_taken() {
    let mut stand = Stand::serving(3, 1, 1);
    let pulls_before = stand.counter(Counter::Pulls);
    let pull = pull_from(&mut stand, 2);
    let illegal = stand::write((9, incarnation(1, 9)), 1, time(0, 0), "x", Some("v"));
    let legal = stand::theirs(1, time(0, 0), "y", "v");
    let end = whole(vector([legal.entry.id(), id(3, incarnation(1, 3), 4)]));
    let effects = answer(&mut stand, 2, &pull, vec![illegal, legal.clone()], Some(end));
    assert_eq!(records(&effects), [&Record::Write(legal)]);
    assert_eq!(records(&stand.sync()), Vec::<&Record>::new());
    assert_eq!(stand.counter(Counter::BadMessages), 1);
    assert_eq!(stand.counter(Counter::Pulls), pulls_before);
}

/// After a crash its clock begins at the bound on its disk, and its next incarnation may stamp a write
/// just above that.
#[test]
fn a_cut_promises_no_more_than_the_bound_on_disk_does_which_follows() {
    let mut stand = Stand::serving(2, 1, 1);
    let write = stand::theirs(1, time(5_000, 0), "x", "v");
    stand.receive_now(node(2), Part::Write(write));
    stand.sync_and_flush();
    let cut = |pull: &Pull| pull.begin.as_ref().unwrap().report.cut.time;
    let pull = pull_from(&mut stand, 2);
    assert_eq!(cut(&pull), HybridTime::ZERO, "no bound is on disk");
    stand.sync();
    answer(&mut stand, 2, &pull, Vec::new(), Some(whole(Vector::default())));
    stand.sync();
    assert_eq!(cut(&pull_from(&mut stand, 2)), time(5_000, 0));
}

#[test]
fn a_transfer_ends_with_the_connection() {
    let mut config = config(2, 1, 1);
    config.limits.message_bytes_max = 100;
    let mut stand = Stand::serving_with(config);
    for name in ["a", "b", "c"] {
        stand.put(name, &"v".repeat(100));
        stand.sync_and_flush();
    }
    let begin = PullBegin { report: whole(Vector::default()), wants_all: false };
    let begin = || {
        Part::Pull(Pull {
            transfer: 1,
            number: 0,
            instance: 0,
            begin: Some(Box::new(begin.clone())),
        })
    };
    let go_on = |number, instance| Part::Pull(Pull { transfer: 1, number, instance, begin: None });
    stand.receive(node(2), begin());
    let instance = batches(stand.sync_and_flush()).pop().unwrap().instance;
    stand.receive(node(2), go_on(1, instance));
    assert_eq!(batches(stand.sync_and_flush()).pop().unwrap().instance, instance);
    let stale = stand.counter(Counter::StaleMessages);
    stand.down(node(2));
    stand.up(node(2));
    stand.receive(node(2), go_on(2, instance));
    assert_eq!(stand.counter(Counter::StaleMessages), stale + 1);
    // A copy of the first request comes late. What it begins is another transfer, of whose first batch
    // the peer need not have seen anything.
    stand.flush();
    stand.receive(node(2), begin());
    let other = batches(stand.sync_and_flush()).pop().unwrap().instance;
    assert_ne!(other, instance);
    stand.receive(node(2), go_on(1, instance));
    assert_eq!(batches(stand.sync_and_flush()), []);
    assert_eq!(stand.counter(Counter::StaleMessages), stale + 2);
    stand.receive(node(2), go_on(1, other));
    assert_eq!(batches(stand.sync_and_flush()).len(), 1);
}

/// A server takes no batch of another transfer than that of which it has the first one.
#[test]
fn a_batch_of_a_transfer_that_was_begun_again_is_not_taken() {
    let mut stand = Stand::serving(2, 1, 1);
    let pull = pull_from(&mut stand, 2);
    let Pull { transfer, .. } = pull;
    let batch = |number, instance, name, end: Option<Report>| {
        let writes = vec![theirs(u64::from(number) + 1, time(0, 0), name, "v")];
        Part::Batch(Batch { transfer, number, instance, writes, end: end.map(Box::new) })
    };
    stand.receive(node(2), batch(0, 7, "a", None));
    stand.sync_and_flush();
    stand.wait_ms(10);
    let end = || Some(whole(Vector::default()));
    let others = stand.receive(node(2), batch(1, 8, "c", end()));
    assert!(records(&others).is_empty(), "batch 0 was another: {others:?}");
    let effects = stand.receive(node(2), batch(1, 7, "b", end()));
    assert!(!records(&effects).is_empty(), "it is of the same");
}

/// What it holds is of an older copy of its disk, and the peer knows it and holds it no more.
#[test]
fn records_of_an_older_copy_are_removed_some_at_a_time() {
    let held = 12_001;
    let peer = incarnation(1, 2);
    let writes = (1..=held)
        .map(|n| stand::write((2, peer), n, time(n, 0), &format!("k{n:05}"), Some("v")))
        .map(Record::Write);
    let mut stand = set_back(writes);
    let pull = pulls(stand.flush()).pop().unwrap();
    let ids = (1..=held).map(|n| id(2, peer, n));
    let end = Report { floor: time(held, 0), ..whole(vector(ids)) };
    answer(&mut stand, 2, &pull, Vec::new(), Some(end));
    let sizes: Vec<_> = removed(&stand.sync()).into_iter().map(|keys| keys.len()).collect();
    assert_eq!(sizes, [5_000, 5_000, 2_001]);
}

/// Server 1 of two, which lost data and holds this, as it asks server 2 for everything.
fn set_back(writes: impl IntoIterator<Item = Record>) -> Stand {
    let own = Record::Incarnation {
        node: node(1),
        incarnation: incarnation(1, 1),
        cluster: config(2, 1, 1).cluster,
    };
    let all = [own, Record::Standing { counts: false }].into_iter().chain(writes);
    let recovered: Vec<_> = (1..).map(PersistSeq).zip(all).collect();
    let last = recovered.last().unwrap().0;
    let engine = EventualEngine::recover(config(2, 1, 1), None, recovered).unwrap();
    let mut stand = Stand::of(engine, last.0);
    stand.flush();
    stand.sync();
    stand.up(node(2));
    stand
}

/// The keys that are removed, by record.
fn removed(effects: &[TestEffect]) -> Vec<Vec<Key>> {
    let removed = records(effects).into_iter().filter_map(|record| match record {
        Record::Removed { records, .. } => Some(records),
        _ => None,
    });
    let keys = removed.map(|records| records.iter().map(|(key, _)| key.clone()).collect());
    keys.filter(|keys: &Vec<Key>| !keys.is_empty()).collect()
}

/// No delete that is forgotten is later than the floor: the peer lost what is later.
#[test]
fn a_record_that_is_later_than_all_forgotten_deletes_is_not_removed() {
    let peer = incarnation(1, 2);
    let write =
        |n, ms, name: &str| Record::Write(stand::write((2, peer), n, time(ms, 0), name, Some("v")));
    let mut stand = set_back([write(1, 10, "deleted"), write(2, 11, "lost")]);
    let pull = pulls(stand.flush()).pop().unwrap();
    let ids = [id(2, peer, 1), id(2, peer, 2)];
    let end = Report { floor: time(10, 0), ..whole(vector(ids)) };
    answer(&mut stand, 2, &pull, Vec::new(), Some(end));
    assert_eq!(removed(&stand.sync()), [[stand::key("deleted")]]);
}

/// It comes from a server that is set back too: while all is pulled from one that has forgotten the
/// delete, or when that has been pulled and is not on disk.
#[test]
fn a_deleted_record_that_is_repaired_while_a_server_catches_up_is_removed() {
    let peer = incarnation(1, 2);
    let deleted = || stand::write((2, peer), 1, time(10, 0), "deleted", Some("v"));
    let end = || Report { floor: time(10, 0), ..whole(vector([id(2, peer, 1)])) };
    let mut stand = set_back([]);
    let pull = pulls(stand.flush()).pop().unwrap();
    stand.receive(node(2), Part::Repair(deleted()));
    stand.sync();
    answer(&mut stand, 2, &pull, Vec::new(), Some(end()));
    assert_eq!(removed(&stand.sync()), [[stand::key("deleted")]]);
    let mut stand = set_back([]);
    let pull = pulls(stand.flush()).pop().unwrap();
    let joined = answer(&mut stand, 2, &pull, Vec::new(), Some(end()));
    stand.receive(node(2), Part::Repair(deleted()));
    let effects = stand.step(Input::Persisted { up_to: last_asked(&joined) });
    assert_eq!(removed(&effects), [[stand::key("deleted")]]);
}

/// With R = 1 a server that counts answers by itself.
#[test]
fn what_is_about_to_be_removed_is_not_shown() {
    let peer = incarnation(1, 2);
    let write =
        |n, name: &str| Record::Write(stand::write((2, peer), n, time(10, 0), name, Some("v")));
    let mut stand = set_back([write(1, "deleted")]);
    let sent = stand.flush();
    for part in parts(sent.clone()) {
        if let Part::Hello(hello) = part {
            stand.receive_now(node(2), Part::Welcome(stand::welcome(&hello)));
        }
    }
    let pull = pulls(sent).pop().unwrap();
    let end = Report { floor: time(10, 0), ..whole(vector([id(2, peer, 1)])) };
    let joined = answer(&mut stand, 2, &pull, Vec::new(), Some(end));
    let effects = stand.step(Input::Persisted { up_to: last_asked(&joined) });
    assert_eq!(removed(&effects), [[stand::key("deleted")]]);
    let asked = stand.get("deleted");
    assert!(replies(&asked).is_empty(), "{asked:?}");
    stand.step(Input::Persisted { up_to: last_asked(&effects) });
    assert_eq!(replies(&stand.get("deleted")).len(), 1);
}

/// The last record that is to be persisted.
fn last_asked(effects: &[TestEffect]) -> PersistSeq {
    let asked = effects.iter().filter_map(|effect| match effect {
        Effect::Persist { seq, .. } => Some(*seq),
        _ => None,
    });
    asked.max().unwrap()
}

fn replies(effects: &[TestEffect]) -> Vec<&TestEffect> {
    effects.iter().filter(|effect| matches!(effect, Effect::Reply { .. })).collect()
}

/// The highest numbers of a set with too many gaps are forgotten, though this server holds what they
/// name.
#[test]
fn an_incarnation_with_too_many_gaps_is_not_taken_for_complete() {
    for (gaps, is_complete) in [(1_000, true), (2_000, false)] {
        let former = (1..=gaps).map(|n| id(2, incarnation(1, 2), 2 * n));
        let known = vector(former.clone().chain([id(2, incarnation(2, 2), 1)]));
        let own = Record::Incarnation {
            node: node(1),
            incarnation: incarnation(1, 1),
            cluster: config(2, 1, 1).cluster,
        };
        let all = [own, Record::Standing { counts: true }, Record::Join(known.clone())];
        let recovered = (1..).map(PersistSeq).zip(all);
        let engine = EventualEngine::recover(config(2, 1, 1), None, recovered).unwrap();
        let mut stand = Stand::of(engine, 3);
        stand.flush();
        stand.sync();
        let mut known = known;
        known.insert(id(1, incarnation(1, 1), 1));
        known.insert(id(1, stand.incarnation(), 1));
        let pull = pull_from(&mut stand, 2);
        answer(&mut stand, 2, &pull, Vec::new(), Some(whole(known)));
        let effects = stand.sync();
        let retires = records(&effects).into_iter().any(
            |record| matches!(record, Record::Retired { node, .. } if *node == stand::node(2)),
        );
        assert_eq!(retires, is_complete, "{gaps} gaps");
    }
}

/// A message of server 3 from before its present incarnation may still bring server 2 a write of which
/// the disk that held it is lost.
#[test]
fn an_incarnation_is_complete_once_all_servers_have_met_in_their_present_ones() {
    let own = Record::Incarnation {
        node: node(1),
        incarnation: incarnation(1, 1),
        cluster: config(3, 1, 1).cluster,
    };
    let known = vector([
        id(2, incarnation(1, 2), 1),
        id(2, incarnation(2, 2), 1),
        id(3, incarnation(2, 3), 1),
    ]);
    let all = [own, Record::Standing { counts: true }, Record::Join(known.clone())];
    let recovered = (1..).map(PersistSeq).zip(all);
    let engine = EventualEngine::recover(config(3, 1, 1), None, recovered).unwrap();
    let mut stand = Stand::of(engine, 3);
    stand.flush();
    stand.sync();
    let own = [id(1, incarnation(1, 1), 1), id(1, stand.incarnation(), 1)];
    let of_two = [id(2, incarnation(1, 2), 1), id(2, incarnation(2, 2), 1)];
    let of_three = [id(3, incarnation(2, 3), 1)];
    let retires = |stand: &mut Stand, peer, vector| {
        let pull = pull_from(stand, peer);
        let mut effects = answer(stand, peer, &pull, Vec::new(), Some(whole(vector)));
        effects.extend(stand.sync());
        let is_of_two = |record: &&Record| matches!(record, Record::Retired { node, .. } if *node == stand::node(2));
        records(&effects).iter().any(is_of_two)
    };
    let all = || vector(own.into_iter().chain(of_two).chain(of_three));
    assert!(!retires(&mut stand, 3, all()));
    assert!(!retires(&mut stand, 2, vector(own.into_iter().chain(of_two))));
    assert!(retires(&mut stand, 2, all()));
}
