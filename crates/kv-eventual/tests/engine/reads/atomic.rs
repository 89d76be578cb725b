//! Atomic reads: nobody sees what they show before enough servers hold it.

use crate::stand::{self, Stand, TestEffect, found, node, persist, refused, theirs, time};
use kv_core::{Incarnation, Level, NotDone, Operation, Quorum, RequestOptions};
use kv_eventual::{Answer, Part, ReadId, Record, Write};

fn atomic() -> RequestOptions {
    RequestOptions::default().with_level(Level::Atomic)
}

fn ask(stand: &mut Stand) -> ReadId {
    assert_eq!(stand.request_with(Operation::get(stand::key("x")), atomic()), []);
    let sent = stand::sends(stand.flush()).into_iter().flat_map(|(_, message)| message.parts);
    let mut reads = sent.filter_map(|part| match part {
        Part::Query(query) => Some(query.read),
        _ => None,
    });
    reads.next().unwrap()
}

fn answer(read: ReadId, write: Option<&Write>) -> Part {
    let entry = write.map(|write| write.entry.clone());
    Part::Answer(Answer { read, key: stand::key("x"), entry, counts: true })
}

fn write() -> Write {
    theirs(1, time(0, 0), "x", "new")
}

/// The parts that go to each server.
fn parts(effects: Vec<TestEffect>) -> Vec<(u16, Part)> {
    let sent = stand::sends(effects).into_iter();
    sent.flat_map(|(to, message)| message.parts.into_iter().map(move |part| (to.number(), part)))
        .collect()
}

#[test]
fn what_only_one_server_holds_is_shown_once_another_one_has_it_on_disk() {
    let mut stand = Stand::serving(3, 2, 2);
    let read = ask(&mut stand);
    let effects = stand.receive(node(2), answer(read, Some(&write())));
    let kept = persist(10, Record::Write(write()));
    assert!(matches!(effects.as_slice(), [TestEffect::Persist { record, .. }]
        if matches!(&kept, TestEffect::Persist { record: other, .. } if record == other)));
    assert_eq!(parts(stand.flush()), [(3, Part::Keep(write()))], "server 2 holds it");
    assert_eq!(stand.sync(), [found(1, Some(&write()), 2)], "it is on this disk");
}

#[test]
fn the_other_servers_disk_counts_as_well_as_this_one() {
    let mut stand = Stand::serving(3, 2, 2);
    let read = ask(&mut stand);
    stand.receive(node(2), answer(read, Some(&write())));
    stand.flush();
    let ack = Part::Ack(write().entry.id());
    assert_eq!(stand.receive(node(2), ack.clone()), [], "it was known to hold it");
    assert_eq!(stand.receive(node(3), ack), [found(1, Some(&write()), 2)]);
    assert_eq!(stand.sync(), [], "it is answered once");
}

#[test]
fn what_enough_servers_hold_is_shown_at_once() {
    let mut stand = Stand::serving(3, 2, 2);
    stand.receive(node(2), Part::Write(write()));
    stand.sync_and_flush();
    let read = ask(&mut stand);
    let effects = stand.receive(node(2), answer(read, Some(&write())));
    assert_eq!(effects, [found(1, Some(&write()), 2)]);
    let read = ask(&mut stand);
    assert_eq!(
        stand.receive(node(3), answer(read, None)),
        [],
        "this server alone is known to hold it"
    );
}

#[test]
fn a_missing_key_needs_no_holders() {
    let mut stand = Stand::serving(3, 3, 2);
    let read = ask(&mut stand);
    assert_eq!(stand.receive(node(2), answer(read, None)), [found(1, None, 2)]);
}

#[test]
fn what_is_shown_is_sent_again_until_the_time_is_up() {
    let mut stand = Stand::serving(3, 3, 1);
    stand.receive(node(2), Part::Write(write()));
    stand.sync_and_flush();
    assert_eq!(stand.request_with(Operation::get(stand::key("x")), atomic()), []);
    let keep = (3, Part::Keep(write()));
    let both = [(2, Part::Keep(write())), keep.clone()];
    assert_eq!(parts(stand.flush()), both);
    stand.receive(node(2), Part::Ack(write().entry.id()));
    assert_eq!(parts(stand.wait_ms(200)), [keep]);
    let given_up = refused(1, NotDone::TimedOut { answered: 2, needed: 3 });
    assert_eq!(stand.wait_ms(4_900), [given_up]);
}

#[test]
fn a_write_of_another_server_is_acknowledged_to_whoever_reads_it_once_it_is_on_disk() {
    let mut stand = Stand::serving(3, 1, 1);
    let ack = Part::Ack(write().entry.id());
    assert_eq!(stand.receive(node(3), Part::Keep(write())).len(), 1, "it is to be persisted");
    assert_eq!(stand.flush(), []);
    assert_eq!(parts(stand.sync_and_flush()), [(3, ack.clone())]);
    stand.receive(node(3), Part::Keep(write()));
    assert_eq!(parts(stand.flush()), [(3, ack)], "it is there");
    let older = theirs(2, time(0, 0), "x", "older");
    let older = Write {
        entry: kv_eventual::Entry {
            stamp: kv_eventual::Stamp { incarnation: Incarnation(0), ..older.entry.stamp },
            ..older.entry
        },
        ..older
    };
    assert_eq!(stand.receive(node(3), Part::Keep(older)), [], "no server makes such a write");
}

#[test]
fn too_few_servers_for_it_are_known_at_once() {
    let mut stand = Stand::serving(3, 1, 1);
    stand.down(node(2));
    stand.down(node(3));
    let options = atomic().with_write_quorum(Quorum::Count(2));
    let effects = stand.request_with(Operation::get(stand::key("x")), options);
    assert_eq!(effects, [refused(1, NotDone::Unavailable { reachable: 1, needed: 2 })]);
}
