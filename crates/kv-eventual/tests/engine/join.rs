//! How a server that starts empty takes an incarnation, and when it must take another.

use std::time::Duration;

use crate::stand::{
    self, Stand, TestEffect, config, found, incarnation, key, node, refused, theirs, time, value,
    written,
};
use kv_core::{
    Answer, ConsistencyEngine, Counter, Effect, HybridTime, Incarnation, Input, NotDone, Operation,
    Outcome, PersistSeq, RecoverError, RequestId, RequestOptions, Role, Waiting,
};
use kv_eventual::{EventualEngine, Hello, Message, Part, Record, Report, Welcome};

fn incarnation_in(effects: &[TestEffect]) -> Option<Incarnation> {
    effects.iter().find_map(|effect| {
        let Effect::Persist { record, .. } = effect else {
            return None;
        };
        let Record::Incarnation { incarnation, .. } = record else {
            return None;
        };
        Some(*incarnation)
    })
}

fn hello_in(effects: Vec<TestEffect>) -> Hello {
    let sent = stand::sends(effects);
    let mut parts = sent.into_iter().flat_map(|(_, message)| message.parts);
    parts
        .find_map(|part| {
            let Part::Hello(hello) = part else {
                return None;
            };
            Some(hello)
        })
        .unwrap()
}

fn welcome(hello: &Hello, highest: Incarnation, latest: HybridTime) -> Part {
    Part::Welcome(Welcome { highest, latest, ..stand::welcome(hello) })
}

#[test]
fn a_server_alone_takes_its_first_incarnation_at_once() {
    let mut stand = Stand::unborn(1, 1, 1);
    assert_eq!(stand.engine.status().role, Role::Joining);
    assert!(stand.engine.next_deadline().unwrap() <= stand.now.mono);
    let effects = stand.flush();
    assert_eq!(stand.engine.status().role, Role::Coordinator);
    assert_eq!(incarnation_in(&effects).map(Incarnation::counter), Some(1));
    assert_eq!(effects.len(), 1);
    assert_eq!(stand.engine.status().waiting, Some(Waiting::OwnDisk));
    stand.sync();
    assert_eq!(stand.engine.status().waiting, None);
}

#[test]
fn a_server_whose_dials_all_fail_serves_at_once() {
    let mut stand = Stand::unborn(3, 1, 1);
    stand.flush();
    assert_eq!(stand.down(node(2)), []);
    let effects = stand.down(node(3));
    assert!(incarnation_in(&effects).is_some());
    stand.sync();
    let write = stand.own(1, 0, "x", Some("1"));
    stand.put("x", "1");
    assert_eq!(stand.sync(), [written(1, &write, 1)]);
}

#[test]
fn a_server_that_hears_of_nobody_waits_no_longer_than_it_may() {
    let mut stand = Stand::unborn(3, 1, 1);
    stand.flush();
    assert_eq!(incarnation_in(&stand.wait_ms(999)), None);
    assert!(incarnation_in(&stand.wait_ms(1)).is_some());
}

#[test]
fn the_new_incarnation_follows_the_highest_that_a_peer_knows_and_the_clock_their_highest_stamp() {
    let mut stand = Stand::unborn(3, 1, 1);
    stand.flush();
    stand.up(node(2));
    stand.up(node(3));
    let hello = hello_in(stand.flush());
    let first = welcome(&hello, incarnation(4, 1), time(2_000, 0));
    assert_eq!(stand.receive(node(2), first), []);
    let second = welcome(&hello, incarnation(2, 9), time(3_000, 5));
    let effects = stand.receive(node(3), second);
    assert_eq!(incarnation_in(&effects).map(Incarnation::counter), Some(5));
    stand.sync();
    stand.put("x", "1");
    let write = stand::write((1, stand.incarnation()), 1, time(3_000, 6), "x", Some("1"));
    assert_eq!(stand.sync(), [written(1, &write, 1)]);
}

#[test]
fn a_server_that_joins_does_not_follow_a_stamp_of_one_whose_clock_is_off() {
    let mut stand = Stand::unborn(4, 1, 1);
    stand.flush();
    (2..=4).for_each(|peer| drop(stand.up(node(peer))));
    let hello = hello_in(stand.flush());
    let far = welcome(&hello, Incarnation::UNKNOWN, time(60_000, 0));
    let (sender, wall_ms) = (Incarnation::UNKNOWN, stand::WALL_MS + 11_000);
    let message = Message { sender, wall_ms, parts: vec![far] };
    stand.step(Input::Message { from: node(2), message });
    for peer in [3, 4] {
        let near = welcome(&hello, Incarnation::UNKNOWN, HybridTime::ZERO);
        stand.receive(node(peer), near);
    }
    stand.sync();
    stand.put("x", "1");
    let write = stand.own(1, 0, "x", Some("1"));
    assert_eq!(stand.sync(), [written(1, &write, 1)]);
    assert_eq!(stand.counter(Counter::SkewedStamps), 1);
}

#[test]
fn a_hello_is_repeated_until_it_is_answered() {
    let mut stand = Stand::unborn(2, 1, 1);
    stand.flush();
    stand.up(node(2));
    let first = hello_in(stand.flush());
    let second = hello_in(stand.wait_ms(100));
    assert_eq!(first.run, second.run);
    stand.receive(node(2), welcome(&first, Incarnation::UNKNOWN, HybridTime::ZERO));
    stand.sync();
    let sent = stand::sends(stand.wait_ms(60_000));
    let mut parts = sent.iter().flat_map(|(_, message)| &message.parts);
    assert!(!parts.any(|part| matches!(part, Part::Hello(_))), "{sent:?}");
}

#[test]
fn a_welcome_to_an_earlier_start_resolves_nothing() {
    let mut stand = Stand::unborn(2, 1, 1);
    stand.flush();
    stand.up(node(2));
    let hello = hello_in(stand.flush());
    let stale = Hello { run: hello.run ^ 1, ..hello };
    let stale = welcome(&stale, Incarnation::UNKNOWN, HybridTime::ZERO);
    assert_eq!(stand.receive(node(2), stale), []);
    assert_eq!(stand.counter(Counter::StaleMessages), 1);
}

#[test]
fn a_hello_is_answered_with_the_highest_incarnation_known() {
    let mut stand = Stand::serving(3, 1, 1);
    let hello = Hello { run: 5, sent: Duration::from_secs(1), report: Box::new(Report::default()) };
    stand.receive_as(node(2), incarnation(3, 1), Part::Hello(hello.clone()));
    let welcome = |members| {
        let highest = incarnation(3, 1);
        Part::Welcome(Welcome { highest, members, ..stand::welcome(&hello) })
    };
    assert_eq!(stand.flush(), [stand.message(2, vec![welcome(vec![node(1)])])]);
    stand.sync();
    let answer = welcome(vec![node(2), node(1)]);
    // A wiped server that has begun an incarnation before it met anyone is told of its former one.
    stand.receive_as(node(2), incarnation(1, 7), Part::Hello(hello.clone()));
    assert_eq!(stand.flush(), [stand.message(2, vec![answer])]);
}

/// The answer that tells it may be lost; a server that asks again must hear the same.
#[test]
fn a_server_whose_disk_lacks_what_it_acknowledged_is_told_so_each_time_that_it_asks() {
    let mut stand = Stand::serving(3, 1, 1);
    stand.put("x", "1");
    let sent = stand::sends(stand.sync_and_flush().split_off(1));
    let mut parts = sent.into_iter().flat_map(|(_, message)| message.parts);
    let write = parts.find_map(|part| match part {
        Part::Write(write) => Some(write),
        _ => None,
    });
    stand.receive(node(2), Part::Ack(stand::id_of(&write.unwrap())));
    let mut is_told = |run, is_whole| {
        let report = Report { is_whole, ..Report::default() };
        stand.receive_as(
            node(2),
            incarnation(1, 2),
            Part::Hello(Hello { run, sent: Duration::ZERO, report: Box::new(report) }),
        );
        let parts = stand::sends(stand.flush()).into_iter().flat_map(|(_, message)| message.parts);
        let told = parts.filter_map(|part| match part {
            Part::Welcome(welcome) => Some(welcome.has_lost),
            _ => None,
        });
        told.last()
    };
    assert_eq!(is_told(5, true), Some(true));
    assert_eq!(is_told(5, true), Some(true), "the first answer was lost");
    assert_eq!(is_told(5, false), Some(false), "it has noted the loss");
    assert_eq!(is_told(5, true), Some(false), "only a start begins one");
}

#[test]
fn requests_wait_while_joining_and_are_served_after_it_in_order() {
    let mut stand = Stand::unborn(2, 1, 1);
    assert_eq!(stand.put("x", "1"), []);
    assert_eq!(stand.get("x"), []);
    stand.step(Input::Cancel { id: RequestId(2) });
    assert_eq!(stand.get("y"), []);
    let effects = stand.down(node(2));
    assert!(incarnation_in(&effects).is_some());
    let effects = stand.sync();
    let write = stand.own(1, 0, "x", Some("1"));
    assert_eq!(effects.len(), 3, "{effects:?}");
    assert_eq!(effects.last(), Some(&found(3, None, 1)));
    assert_eq!(stand.sync(), [written(1, &write, 1)]);
}

#[test]
fn the_timeout_of_a_request_runs_while_it_waits_to_join() {
    let mut config = config(2, 1, 1);
    config.timing.join_wait = Duration::from_secs(60);
    let mut stand = Stand::with(config);
    let options = RequestOptions::default().with_timeout(Duration::from_millis(300));
    stand.request_with(Operation::put(key("x"), value("1")), options);
    assert_eq!(stand.wait_ms(299), []);
    let reason = NotDone::Waiting(Waiting::Joining);
    assert_eq!(stand.wait_ms(1), [refused(1, reason)]);
}

#[test]
fn the_queue_of_a_joining_server_is_bounded() {
    let mut config = config(2, 1, 1);
    config.limits.requests_max = 1;
    let mut stand = Stand::with(config);
    assert_eq!(stand.put("x", "1"), []);
    let reason = NotDone::Overloaded { limit: 1 };
    assert_eq!(stand.put("x", "2"), [refused(2, reason)]);
}

#[test]
fn a_joining_server_holds_writes_of_others_but_answers_no_query() {
    let mut stand = Stand::unborn(2, 1, 1);
    stand.flush();
    let write = theirs(1, time(0, 0), "x", "1");
    assert_eq!(stand.receive(node(2), Part::Write(write.clone())).len(), 1);
    stand.sync();
    let query = Part::Query(kv_eventual::Query { read: kv_eventual::ReadId(1), key: key("x") });
    stand.receive(node(2), query);
    let sent = stand::sends(stand.flush());
    assert_eq!(sent.len(), 1);
    let parts = sent.into_iter().flat_map(|(_, message)| message.parts);
    assert_eq!(parts.collect::<Vec<_>>(), [Part::Ack(write.entry.id())]);
}

#[test]
fn a_server_that_learns_of_another_incarnation_with_its_number_begins_a_new_one() {
    let mut stand = Stand::serving(2, 1, 1);
    let old = stand.incarnation();
    stand.put("x", "1");
    stand.sync_and_flush();
    stand.down(node(2));
    stand.up(node(2));
    let hello = hello_in(stand.flush());
    let other = Incarnation(old.0 ^ 1);
    let effects = stand.receive(node(2), welcome(&hello, other, HybridTime::ZERO));
    let new = incarnation_in(&effects).unwrap();
    assert_eq!((old.counter(), new.counter()), (1, 2));
    assert_eq!(stand.put("y", "1"), []);
    let waited = stand.sync();
    assert_eq!(stand.incarnation(), new);
    // Numbered from 1 again.
    let write = stand::write((1, new), 1, time(0, 1), "y", Some("1"));
    assert_eq!(waited, [stand::persist(6, Record::Write(write.clone()))]);
    assert_eq!(stand.sync(), [written(2, &write, 1)]);
}

#[test]
fn the_own_incarnation_and_a_former_one_change_nothing() {
    let mut stand = Stand::serving(2, 1, 1);
    for known in [stand.incarnation(), Incarnation::UNKNOWN] {
        stand.down(node(2));
        stand.up(node(2));
        let hello = hello_in(stand.flush());
        let effects = stand.receive(node(2), welcome(&hello, known, HybridTime::ZERO));
        assert_eq!(effects, []);
    }
}

#[test]
fn an_incarnation_no_server_can_have_reached_is_not_believed() {
    let mut stand = Stand::serving(2, 1, 1);
    stand.down(node(2));
    stand.up(node(2));
    let hello = hello_in(stand.flush());
    let absurd = welcome(&hello, Incarnation(u64::MAX), HybridTime::ZERO);
    assert_eq!(stand.receive(node(2), absurd), []);
    assert_eq!(stand.counter(Counter::BadMessages), 1);
}

#[test]
fn an_own_write_that_the_disk_has_forgotten_ends_the_incarnation() {
    let mut stand = Stand::serving(2, 1, 1);
    let forgotten = stand.own(7, 0, "x", Some("1"));
    let effects = stand.receive(node(2), Part::Repair(forgotten));
    let new = incarnation_in(&effects).unwrap();
    assert_eq!(new.counter(), 2);
    // The incarnation that follows is being written, and another such write ends it no second time.
    let another = stand.own(8, 0, "y", Some("1"));
    assert_eq!(incarnation_in(&stand.receive(node(2), Part::Repair(another))), None);
    stand.sync();
    assert_eq!((stand.incarnation(), stand.counter(Counter::Incarnations)), (new, 2));
}

/// What a server has written to its disk, from its first step on.
fn journal() -> (Stand, Vec<(PersistSeq, Record)>) {
    let mut stand = Stand::unborn(2, 1, 1);
    let mut records = Vec::new();
    let mut keep = |effects: Vec<TestEffect>| {
        for effect in effects {
            if let Effect::Persist { seq, record } = effect {
                records.push((seq, record));
            }
        }
    };
    keep(stand.flush());
    keep(stand.down(node(2)));
    keep(stand.sync());
    for n in 0..5 {
        keep(stand.put(&format!("k{n}"), "1"));
    }
    keep(stand.sync());
    keep(stand.request(Operation::delete(key("k1"))));
    keep(stand.receive_as(
        node(2),
        incarnation(3, 3),
        Part::Repair(theirs(9, time(50, 0), "k2", "2")),
    ));
    keep(stand.sync());
    (stand, records)
}

#[test]
fn a_recovered_server_reads_before_it_writes_in_its_next_incarnation() {
    let (before, records) = journal();
    let last = u64::try_from(records.len()).unwrap();
    let engine = EventualEngine::recover(config(2, 1, 1), None, records).unwrap();
    assert_eq!(engine.fingerprint(), before.engine.fingerprint());
    let mut stand = Stand::of(engine, last);
    assert!(stand.engine.next_deadline().unwrap() <= stand.now.mono);
    assert_eq!(stand.engine.status().waiting, Some(Waiting::OwnDisk));
    let held = before.own(1, 0, "k0", Some("1"));
    // It waits a moment for those who may know that its disk was set back.
    let new = incarnation_in(&stand.get("k0")).unwrap();
    let effects = stand.down(node(2));
    assert_eq!((before.incarnation().counter(), new.counter()), (1, 2));
    assert_eq!(effects.last(), Some(&found(1, Some(&held), 1)));
    // Its first write waits until no number can be given twice: the incarnation is on disk.
    assert_eq!(stand.put("x", "1"), []);
    let effects = stand.sync();
    // Above every stamp issued before, whatever the wall clock says.
    let bound = stand::time(32, 1);
    let write = stand::write((1, new), 1, bound, "x", Some("1"));
    let record = stand::persist(last + 3, Record::Write(write.clone()));
    assert_eq!(effects.last(), Some(&record));
    assert_eq!(stand.sync(), [written(2, &write, 1)]);
}

#[test]
fn a_server_on_an_older_copy_of_its_disk_takes_no_write_in_an_incarnation_that_was() {
    let (_, records) = journal();
    let last = u64::try_from(records.len()).unwrap();
    let engine = EventualEngine::recover(config(2, 1, 1), None, records).unwrap();
    let mut stand = Stand::of(engine, last);
    assert_eq!(incarnation_in(&stand.flush()).map(Incarnation::counter), Some(2));
    assert_eq!(stand.put("x", "1"), []);
    stand.up(node(2));
    let hello = hello_in(stand.flush());
    // The peer tells of a later incarnation before the one that follows the copy's is on disk.
    assert_eq!(stand.receive(node(2), welcome(&hello, incarnation(5, 9), HybridTime::ZERO)), []);
    let effects = stand.sync();
    let next = incarnation_in(&effects).unwrap();
    assert_eq!((next.counter(), effects.len()), (6, 1), "{effects:?}");
    stand.sync();
    assert_eq!((stand.incarnation(), stand.positions().last_write_seq), (next, Some(1)));
}

/// Two incarnations of one number cannot be told apart: a peer that has met the first drops all
/// that the second says.
#[test]
fn a_write_that_the_disk_lost_begins_no_second_incarnation_beside_the_one_on_its_way() {
    let (before, mut records) = journal();
    let last = u64::try_from(records.len()).unwrap() + 1;
    records.push((PersistSeq(last), Record::Standing { counts: true }));
    let engine = EventualEngine::recover(config(2, 2, 2), None, records).unwrap();
    let mut stand = Stand::of(engine, last);
    let next = incarnation_in(&stand.flush()).unwrap();
    let mut of_peer = config(2, 2, 2);
    of_peer.node = node(2);
    let mut peer = Stand::serving_with(of_peer);
    stand.up(node(2));
    peer.up(node(1));
    deliver(&mut stand, &mut peer);
    deliver(&mut peer, &mut stand);
    // It takes an incarnation beyond the last in which this server met it.
    deliver(&mut stand, &mut peer);
    peer.sync();
    let lost = before.own(7, 6, "lost", Some("1"));
    let effects = stand.receive(node(2), Part::Repair(lost.clone()));
    assert_eq!(effects, [stand::persist(last + 2, Record::Write(lost))]);
    // The peer meets this server while no more than the next incarnation is on disk.
    stand.step(Input::Persisted { up_to: PersistSeq(last + 1) });
    stand.get("x");
    deliver(&mut stand, &mut peer);
    let effects = deliver(&mut peer, &mut stand);
    assert_eq!(effects.last(), Some(&found(1, None, 2)));
    stand.sync();
    stand.put("x", "1");
    stand.sync();
    deliver(&mut stand, &mut peer);
    peer.sync();
    let effects = deliver(&mut peer, &mut stand);
    let write = stand::write((1, next), 1, time(32, 1), "x", Some("1"));
    assert_eq!(effects, [written(2, &write, 2)]);
}

/// Brings what one server has to say to the other; returns what that makes of it.
fn deliver(from: &mut Stand, to: &mut Stand) -> Vec<TestEffect> {
    let sender = from.engine.status().node;
    let messages = stand::sends(from.flush());
    let steps = messages
        .into_iter()
        .flat_map(|(_, message)| to.step(Input::Message { from: sender, message }));
    steps.collect()
}

#[test]
fn a_server_that_takes_no_writes_for_its_disk_says_so() {
    let (_, records) = journal();
    let last = u64::try_from(records.len()).unwrap();
    let engine = EventualEngine::recover(config(2, 1, 1), None, records).unwrap();
    let mut stand = Stand::of(engine, last);
    let is_numbered = |stand: &Stand| stand.positions().last_write_seq.is_some();
    let options = RequestOptions::default().with_timeout(Duration::from_millis(300));
    stand.request_with(Operation::put(key("x"), value("1")), options);
    for effects in [Vec::new(), stand.wait_ms(300)] {
        let reason = NotDone::Waiting(Waiting::OwnDisk);
        assert!(effects.is_empty() || effects.contains(&refused(1, reason)), "{effects:?}");
        assert_eq!(stand.engine.status().waiting, Some(Waiting::OwnDisk));
        // How far its former incarnation numbered is not known.
        assert!(!is_numbered(&stand));
    }
    stand.sync();
    assert_eq!((stand.engine.status().waiting, is_numbered(&stand)), (None, true));
    assert_eq!(stand.positions().last_write_seq, Some(0));
}

#[test]
fn a_recovered_server_answers_the_reads_of_others_before_it_has_its_next_incarnation() {
    let (_, records) = journal();
    let last = u64::try_from(records.len()).unwrap();
    let engine = EventualEngine::recover(config(2, 1, 1), None, records).unwrap();
    let mut stand = Stand::of(engine, last);
    stand.flush();
    let query = Part::Query(kv_eventual::Query { read: kv_eventual::ReadId(1), key: key("k0") });
    stand.receive_as(node(2), incarnation(3, 3), query);
    let sent = stand::sends(stand.flush());
    let parts = sent.into_iter().flat_map(|(_, message)| message.parts);
    let answered = |part: &Part| matches!(part, Part::Answer(answer) if answer.entry.is_some());
    assert_eq!(parts.filter(answered).count(), 1);
}

fn snapshot(engine: &mut EventualEngine) -> kv_core::Checkpoint {
    let whole = kv_core::read_whole_view(engine, kv_core::ViewScope::Whole);
    whole.unwrap().into_checkpoint()
}

#[test]
fn a_checkpoint_and_the_records_after_it_give_the_same_as_all_records() {
    let (before, records) = journal();
    for cut in 0..=records.len() {
        let (head, tail) = records.split_at(cut);
        let mut first = EventualEngine::recover(config(2, 1, 1), None, head.to_vec()).unwrap();
        let checkpoint = snapshot(&mut first);
        assert_eq!(checkpoint.covers, PersistSeq(u64::try_from(cut).unwrap()));
        let mut second =
            EventualEngine::recover(config(2, 1, 1), Some(checkpoint), tail.to_vec()).unwrap();
        assert_eq!(second.fingerprint(), before.engine.fingerprint());
        let mut whole = EventualEngine::recover(config(2, 1, 1), None, records.clone()).unwrap();
        let (a, b) = (snapshot(&mut second), snapshot(&mut whole));
        assert_eq!(a.metadata, b.metadata);
        assert!(a.items.eq(b.items));
        assert_eq!(second.status(), whole.status());
    }
}

#[test]
fn a_disk_of_another_server_or_of_other_voters_is_refused() {
    let (mut before, records) = journal();
    let mut other = config(2, 1, 1);
    other.node = node(2);
    let recover = |config, checkpoint, records: &[(PersistSeq, Record)]| {
        EventualEngine::recover(config, checkpoint, records.to_vec()).err()
    };
    for config in [other, config(3, 1, 1)] {
        let refused = Some(RecoverError::OtherConfiguration);
        assert_eq!(recover(config.clone(), None, &records), refused);
        let checkpoint = snapshot(&mut before.engine);
        assert_eq!(recover(config, Some(checkpoint), &[]), refused);
    }
    // Quorums are the coordinator's own.
    assert_eq!(recover(config(2, 2, 2), None, &records), None);
    let gap: Vec<_> = records.iter().skip(1).cloned().collect();
    let seq = PersistSeq(2);
    assert_eq!(recover(config(2, 1, 1), None, &gap), Some(RecoverError::Record { seq }));
}

#[test]
fn a_dump_looks_at_so_many_keys_and_goes_on_from_there() {
    let tombstone =
        |n: u64| stand::write((2, incarnation(1, 2)), n, time(n, 0), &format!("k{n:05}"), None);
    let mut last = tombstone(10_002);
    last.entry.value = Some(value("here"));
    let writes = (1..=10_001).map(tombstone).chain([last.clone()]);
    let records = (1..).map(PersistSeq).zip(writes.map(Record::Write));
    let engine = EventualEngine::recover(config(2, 1, 1), None, records).unwrap();
    let mut stand = Stand::of(engine, 10_002);
    let mut dump = |after| {
        let effects = stand.request(Operation::Dump(kv_core::Dump { after, limit: 10 }));
        let Some(Effect::Reply { outcome: Outcome::Done(done), .. }) = effects.last() else {
            panic!("{effects:?}");
        };
        let Answer::Page(page) = &done.answer else {
            panic!("no page: {done:?}");
        };
        page.clone()
    };
    let first = dump(None);
    assert_eq!((first.entries.len(), first.next.clone()), (0, Some(key("k10000"))));
    let second = dump(first.next);
    let names: Vec<_> = second.entries.into_iter().map(|(key, _)| key).collect();
    assert_eq!((names, second.next), (vec![last.key], None));
}
