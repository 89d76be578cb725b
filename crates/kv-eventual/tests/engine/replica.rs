//! What a replica makes of the messages of others.

use crate::stand::{
    self, Stand, config, found, id_of, incarnation, key, node, persist, theirs, time, write,
};
use kv_core::{Counter, HybridTime, Incarnation, Input};
use kv_eventual::{Answer, Message, Part, Query, ReadId, Record, Write};

fn ack(stand: &Stand, write: &Write) -> Vec<stand::TestEffect> {
    vec![stand.message(2, vec![Part::Ack(id_of(write))])]
}

#[test]
fn a_write_is_acknowledged_when_it_is_on_disk_and_not_before() {
    let mut stand = Stand::serving(3, 2, 1);
    let write = theirs(1, time(0, 0), "x", "1");
    assert_eq!(
        stand.receive(node(2), Part::Write(write.clone())),
        [persist(3, Record::Write(write.clone()))]
    );
    assert_eq!(stand.flush(), []);
    assert_eq!(stand.get("x"), [found(1, None, 1)]);
    assert_eq!(stand.sync(), []);
    assert_eq!(stand.flush(), ack(&stand, &write));
    assert_eq!(stand.get("x"), [found(2, Some(&write), 1)]);
}

#[test]
fn a_duplicate_waits_for_the_first_and_is_acknowledged_at_once_after_it() {
    let mut stand = Stand::serving(3, 2, 1);
    let write = theirs(1, time(0, 0), "x", "1");
    stand.receive(node(2), Part::Write(write.clone()));
    assert_eq!(stand.receive(node(2), Part::Write(write.clone())), []);
    assert_eq!(stand.flush(), []);
    stand.sync();
    assert_eq!(stand.flush(), ack(&stand, &write));
    assert_eq!(stand.receive(node(2), Part::Write(write.clone())), []);
    assert_eq!(stand.flush(), ack(&stand, &write));
}

#[test]
fn a_write_older_than_what_is_on_disk_is_acknowledged_once_its_name_is_there_too() {
    let mut stand = Stand::serving(3, 2, 1);
    let newer = theirs(2, time(1, 0), "x", "2");
    let older = theirs(1, time(0, 0), "x", "1");
    stand.receive(node(2), Part::Write(newer.clone()));
    stand.sync_and_flush();
    let noted = persist(4, Record::Superseded(id_of(&older)));
    assert_eq!(stand.receive(node(2), Part::Write(older.clone())), [noted]);
    assert_eq!(stand.receive(node(2), Part::Write(older.clone())), [], "it is on its way");
    assert_eq!(stand.flush(), []);
    stand.sync();
    assert_eq!(stand.flush(), ack(&stand, &older));
    assert_eq!(stand.get("x"), [found(1, Some(&newer), 1)]);
}

#[test]
fn a_write_older_than_what_is_on_its_way_to_disk_waits_for_the_disk() {
    let mut stand = Stand::serving(3, 2, 1);
    let newer = theirs(2, time(1, 0), "x", "2");
    let older = theirs(1, time(0, 0), "x", "1");
    stand.receive(node(2), Part::Write(newer.clone()));
    stand.receive(node(2), Part::Write(older));
    assert_eq!(stand.flush(), []);
    stand.sync();
    assert_eq!(stand.get("x"), [found(1, Some(&newer), 1)]);
}

#[test]
fn a_write_too_far_in_the_future_is_rejected_unless_its_coordinators_clock_agrees() {
    let mut stand = Stand::serving(3, 2, 1);
    let near = theirs(1, time(10_000, 0), "x", "1");
    let far = theirs(2, time(20_001, 0), "x", "2");
    let from = |write: &Write, wall_ms| {
        let sender = Incarnation::UNKNOWN;
        let message = Message { sender, wall_ms, parts: vec![Part::Write(write.clone())] };
        Input::Message { from: node(2), message }
    };
    assert_eq!(stand.step(from(&near, stand::WALL_MS + 20_000)).len(), 1);
    // This server's own logical clock is ten seconds ahead by now.
    assert_eq!(stand.step(from(&far, stand::WALL_MS + 20_000)), []);
    assert_eq!(stand.flush(), [stand.message(2, vec![Part::Reject(id_of(&far))])]);
    assert_eq!(stand.counter(Counter::RejectedWrites), 1);
    assert_eq!(stand.step(from(&far, stand::WALL_MS)).len(), 1);
}

#[test]
fn a_write_under_another_servers_name_is_bad() {
    let mut stand = Stand::serving(3, 2, 1);
    let write = theirs(1, time(0, 0), "x", "1");
    assert_eq!(stand.receive(node(3), Part::Write(write)), []);
    assert_eq!(stand.flush(), []);
    assert_eq!(stand.counter(Counter::BadMessages), 1);
}

#[test]
fn entries_that_cannot_be_are_bad() {
    let mut stand = Stand::serving(3, 2, 1);
    let first = (2, incarnation(1, 2));
    let far = HybridTime::from_millis(1 << 47);
    let bad = [
        write(first, 0, time(0, 0), "x", Some("no number")),
        write((9, incarnation(1, 2)), 1, time(0, 0), "x", Some("no voter")),
        write((2, Incarnation(5)), 1, time(0, 0), "x", Some("no incarnation")),
        write((2, Incarnation(u64::MAX)), 1, time(0, 0), "x", None),
        write(first, 1, far, "x", Some("the year 6429")),
    ];
    for (count, write) in (1..).zip(bad) {
        assert_eq!(stand.receive(node(2), Part::Write(write.clone())), []);
        assert_eq!(stand.receive(node(3), Part::Repair(write)), []);
        assert_eq!(stand.counter(Counter::BadMessages), 2 * count);
    }
    assert_eq!(stand.flush(), []);
}

#[test]
fn a_message_of_no_peer_is_bad() {
    let mut stand = Stand::serving(3, 2, 1);
    for from in [1, 4] {
        let query = Query { read: ReadId(1), key: key("x") };
        assert_eq!(stand.receive(node(from), Part::Query(query)), []);
    }
    assert_eq!(stand.flush(), []);
    assert_eq!(stand.counter(Counter::BadMessages), 2);
}

#[test]
fn a_query_is_answered_with_what_is_on_disk() {
    let mut stand = Stand::serving(3, 2, 1);
    let write = theirs(1, time(0, 0), "x", "1");
    stand.receive(node(2), Part::Write(write.clone()));
    let query = Part::Query(Query { read: ReadId(5), key: key("x") });
    let answer =
        |entry| Part::Answer(Answer { read: ReadId(5), key: key("x"), entry, counts: true });
    stand.receive(node(3), query.clone());
    assert_eq!(stand.flush(), [stand.message(3, vec![answer(None)])]);
    stand.sync_and_flush();
    stand.receive(node(3), query);
    assert_eq!(stand.flush(), [stand.message(3, vec![answer(Some(write.entry))])]);
}

#[test]
fn a_repair_is_taken_over_once_and_not_acknowledged() {
    let mut stand = Stand::serving(3, 2, 1);
    let write = theirs(1, time(0, 0), "x", "1");
    let repair = Part::Repair(write.clone());
    assert_eq!(stand.receive(node(3), repair.clone()), [persist(3, Record::Write(write.clone()))]);
    assert_eq!(stand.receive(node(3), repair.clone()), []);
    assert_eq!(stand.sync_and_flush(), []);
    assert_eq!(stand.receive(node(3), repair), []);
    assert_eq!(stand.get("x"), [found(1, Some(&write), 1)]);
}

#[test]
fn a_repair_from_the_future_is_taken_over_but_the_clock_stays() {
    let mut stand = Stand::serving(2, 1, 1);
    let far = theirs(1, time(60_000, 0), "x", "1");
    stand.receive(node(2), Part::Repair(far.clone()));
    stand.sync_and_flush();
    assert_eq!(stand.get("x"), [found(1, Some(&far), 1)]);
    assert_eq!(stand.counter(Counter::SkewedStamps), 1);
    stand.put("y", "1");
    let own = stand.own(1, 0, "y", Some("1"));
    assert_eq!(stand.sync(), [stand::written(2, &own, 1)]);
}

#[test]
fn writes_of_others_that_wait_for_the_disk_are_bounded_by_number_and_bytes() {
    let mut config = config(3, 1, 1);
    config.limits.hold_back_entries_max = 2;
    let mut stand = Stand::serving_with(config.clone());
    for seq in 1..=3 {
        let write = theirs(seq, time(seq, 0), "x", "1");
        stand.receive(node(2), Part::Write(write));
    }
    assert_eq!(stand.counter(Counter::DroppedWrites), 1);
    let third = theirs(3, time(3, 0), "x", "1");
    stand.sync_and_flush();
    assert_eq!(stand.receive(node(2), Part::Write(third)).len(), 1);

    config.limits.window_bytes_max = 1_000;
    let mut stand = Stand::serving_with(config);
    let large = theirs(1, time(1, 0), "x", &"v".repeat(2_000));
    assert_eq!(stand.receive(node(2), Part::Write(large)).len(), 1);
    let small = theirs(2, time(2, 0), "y", "1");
    assert_eq!(stand.receive(node(2), Part::Write(small)), []);
}

#[test]
fn what_a_former_incarnation_says_is_dropped() {
    let mut stand = Stand::serving(3, 2, 1);
    let (old, new) = (incarnation(1, 9), incarnation(2, 1));
    let record = Record::PeerIncarnation { peer: node(2), incarnation: new };
    let query = |read| Part::Query(Query { read: ReadId(read), key: key("x") });
    assert_eq!(stand.receive_as(node(2), new, query(1)), [persist(3, record)]);
    assert_eq!(stand.flush().len(), 1);
    assert_eq!(stand.receive_as(node(2), old, query(2)), []);
    assert_eq!(stand.receive_as(node(2), incarnation(2, 2), query(3)), []);
    assert_eq!(stand.flush(), []);
    assert_eq!(stand.counter(Counter::StaleMessages), 2);
}

#[test]
fn an_acknowledgement_of_a_write_that_is_not_under_way_is_stale() {
    let mut stand = Stand::serving(3, 2, 1);
    let write = stand.own(1, 0, "x", Some("1"));
    assert_eq!(stand.receive(node(2), Part::Ack(id_of(&write))), []);
    assert_eq!(stand.receive(node(2), Part::Reject(id_of(&write))), []);
    assert_eq!(stand.counter(Counter::StaleMessages), 2);
}

#[test]
fn a_snapshot_is_refused_since_these_servers_send_none() {
    let mut stand = Stand::serving(2, 1, 1);
    let part = kv_core::SnapshotPart {
        snapshot: 1,
        number: 0,
        metadata: bytes::Bytes::new(),
        items: Vec::new(),
        is_last: true,
    };
    let from = node(2);
    let effects = stand.step(Input::SnapshotPart { from, part });
    assert_eq!(effects, [kv_core::Effect::EndSnapshot { peer: from }]);
    assert_eq!(stand.counter(Counter::BadMessages), 1);
}

#[test]
fn a_server_whose_disk_is_short_refuses_writes_and_serves_reads() {
    let mut stand = Stand::serving(1, 1, 1);
    stand.put("x", "1");
    stand.sync_and_flush();
    let shortage = kv_core::Shortage::Space;
    assert_eq!(stand.step(Input::DiskShort { shortage }), []);
    let refused = kv_core::NotDone::Waiting(kv_core::Waiting::DiskFull { node: node(1) });
    let put = kv_core::Operation::put(stand::key("x"), stand::value("2"));
    let effects = stand.request(put.clone());
    let kv_core::Effect::Reply { outcome, .. } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!(*outcome, kv_core::Outcome::NotDone(refused));
    let effects = stand.request(kv_core::Operation::get(stand::key("x")));
    let kv_core::Effect::Reply { outcome, .. } = &effects[0] else { panic!("{effects:?}") };
    assert!(matches!(outcome, kv_core::Outcome::Done(_)), "{outcome:?}");
    stand.step(Input::DiskRoom);
    let effects = stand.request(put);
    assert!(matches!(effects[0], kv_core::Effect::Persist { .. }), "{effects:?}");
}

#[test]
fn a_server_whose_disk_is_full_takes_deletes_from_its_reserve() {
    let mut stand = Stand::serving(1, 1, 1);
    stand.put("x", "1");
    stand.sync_and_flush();
    stand.step(Input::DiskShort { shortage: kv_core::Shortage::SpaceForData });
    let put = kv_core::Operation::put(stand::key("x"), stand::value("2"));
    let delete = kv_core::Operation::delete(stand::key("x"));
    let effects = stand.request(put);
    assert!(matches!(effects[0], kv_core::Effect::Reply { .. }), "{effects:?}");
    let effects = stand.request(delete.clone());
    assert!(matches!(effects[0], kv_core::Effect::Persist { .. }), "{effects:?}");
    stand.step(Input::DiskShort { shortage: kv_core::Shortage::Space });
    let effects = stand.request(delete);
    assert!(matches!(effects[0], kv_core::Effect::Reply { .. }), "{effects:?}");
}

#[test]
fn persisted_beyond_what_was_asked_is_not_believed() {
    let mut stand = Stand::serving(2, 1, 1);
    stand.put("x", "1");
    let up_to = kv_core::PersistSeq(1_000);
    assert_eq!(stand.step(Input::Persisted { up_to }), []);
    assert_eq!(stand.counter(Counter::BadInputs), 1);
    let own = stand.own(1, 0, "x", Some("1"));
    assert_eq!(stand.sync(), [stand::written(1, &own, 1)]);
}

#[test]
fn an_empty_message_does_nothing() {
    let mut stand = Stand::serving(2, 1, 1);
    let message = Message { sender: Incarnation::UNKNOWN, wall_ms: 0, parts: vec![] };
    let from = node(2);
    assert_eq!(stand.step(Input::Message { from, message }), []);
    assert_eq!(stand.flush(), []);
}
