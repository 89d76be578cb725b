//! A scan at its coordinator: a page of each of R servers, merged.

use crate::stand::{
    self, Stand, TestEffect, incarnation, key, node, refused, reply, theirs, time, write,
};
use kv_core::{
    Answer, ConsistencyEngine, Counter, Done, Input, NotDone, Operation, Outcome, Page, Quorum,
    RequestId, RequestOptions, Scan, Served, Value, Version, Versioned,
};
use kv_eventual::{Look, Part, ReadId, Sight, Write};

fn scan(from: &'static str, until: Option<&'static str>, limit: u32) -> Scan {
    Scan { from: from.into(), until: until.map(Into::into), after: None, limit }
}

fn all(limit: u32) -> Operation {
    Operation::Scan(scan("", None, limit))
}

/// A page with these writes, and where the next one begins.
fn page(id: u64, writes: &[&Write], next: Option<&str>, servers: u16) -> TestEffect {
    let entries = writes.iter().map(|write| {
        let (stamp, value) = (write.entry.stamp, write.entry.value.clone().unwrap());
        let Write { key, .. } = write;
        let version = Version::Stamp {
            time: stamp.time,
            origin: stamp.origin,
            incarnation: stamp.incarnation,
        };
        (key.clone(), Versioned { value, version })
    });
    let answer = Answer::Page(Page { entries: entries.collect(), next: next.map(key) });
    let served = Served::Quorum { servers };
    reply(id, Outcome::Done(Done { answer, version: None, served }))
}

/// A write of server 2 with this number.
fn of(seq: u64, name: &str, value: Option<&str>) -> Write {
    write((2, incarnation(1, 2)), seq, time(seq, 0), name, value)
}

fn holding(r: u16, writes: &[&Write]) -> Stand {
    let mut stand = Stand::serving(3, 1, r);
    for write in writes {
        stand.receive(node(2), Part::Write((*write).clone()));
    }
    stand.sync_and_flush();
    stand
}

/// Puts a scan and returns the number of its question.
fn ask(stand: &mut Stand, op: Operation) -> ReadId {
    assert_eq!(stand.request(op), []);
    let sent = stand::sends(stand.flush()).into_iter().flat_map(|(_, message)| message.parts);
    let mut looks = sent.filter_map(|part| match part {
        Part::Look(Look { read, .. }) => Some(read),
        _ => None,
    });
    looks.next().unwrap()
}

fn sight(read: ReadId, records: &[&Write], through: Option<&str>) -> Part {
    let records = records.iter().map(|write| (*write).clone()).collect();
    Part::Sight(Sight { read, records, through: through.map(key), counts: true })
}

#[test]
fn with_r_of_one_it_is_answered_from_here_without_deletes() {
    let (a, b, d) = (of(1, "a", Some("1")), of(2, "b", None), of(3, "d", Some("3")));
    let mut stand = holding(1, &[&a, &b, &d]);
    assert_eq!(stand.request(all(10)), [page(1, &[&a, &d], None, 1)]);
    let within = Operation::Scan(scan("b", Some("d"), 10));
    assert_eq!(stand.request(within), [page(2, &[], None, 1)]);
    let whole = Operation::Scan(scan("d", None, 10));
    assert_eq!(stand.request(whole), [page(3, &[&d], None, 1)], "the first key is in");
    assert_eq!(stand.flush(), []);
}

#[test]
fn a_page_ends_at_its_limit_and_the_next_begins_there() {
    let writes = ["a", "b", "c"].map(|name| of(u64::from(name.as_bytes()[0]), name, Some("v")));
    let [a, b, c] = &writes;
    let mut stand = holding(1, &[a, b, c]);
    assert_eq!(stand.request(all(2)), [page(1, &[a, b], Some("b"), 1)]);
    let rest = Scan { after: Some(key("b")), ..scan("", None, 2) };
    assert_eq!(stand.request(Operation::Scan(rest)), [page(2, &[c], None, 1)]);
}

#[test]
fn the_newest_record_of_r_servers_counts_key_by_key() {
    let (old, kept) = (of(1, "x", Some("old")), of(2, "y", Some("kept")));
    let gone = of(3, "z", Some("gone"));
    let mut stand = holding(2, &[&old, &kept, &gone]);
    let read = ask(&mut stand, all(10));
    let new = write((3, incarnation(1, 3)), 1, time(7, 0), "x", Some("new"));
    let deleted = write((3, incarnation(1, 3)), 2, time(8, 0), "z", None);
    let other = write((3, incarnation(1, 3)), 3, time(9, 0), "other", Some("1"));
    let theirs = sight(read, &[&other, &new, &deleted], None);
    assert_eq!(stand.receive(node(3), theirs.clone()), [page(1, &[&other, &new, &kept], None, 2)]);
    assert_eq!(stand.receive(node(3), theirs), [], "it is answered once");
    assert_eq!(stand.engine.next_deadline(), None);
}

/// What lies behind it may be newer on the server that has not sent it.
#[test]
fn a_page_ends_where_the_first_of_the_answers_does() {
    let (a, c) = (of(1, "a", Some("1")), of(3, "c", Some("3")));
    let mut stand = holding(2, &[&a, &c]);
    let read = ask(&mut stand, all(10));
    let b = write((3, incarnation(1, 3)), 1, time(7, 0), "b", None);
    let effects = stand.receive(node(3), sight(read, &[&b], Some("b")));
    assert_eq!(effects, [page(1, &[&a], Some("b"), 2)]);
}

#[test]
fn an_answer_that_cannot_be_one_is_bad() {
    let mut stand = holding(2, &[]);
    let read = ask(&mut stand, Operation::Scan(scan("b", Some("d"), 10)));
    let (b, c) = (of(1, "b", Some("1")), of(2, "c", Some("2")));
    let (before, behind) = (of(3, "a", Some("3")), of(4, "d", Some("4")));
    let nobodys = theirs(0, time(0, 0), "c", "0");
    let bad = [
        sight(read, &[&before], None),
        sight(read, &[&behind], None),
        sight(read, &[&c, &b], None),
        sight(read, &[&b, &b], None),
        sight(read, &[&b], Some("c")),
        sight(read, &[&nobodys], None),
    ];
    for part in bad {
        assert_eq!(stand.receive(node(2), part.clone()), [], "{part:?}");
    }
    assert_eq!(stand.counter(Counter::BadMessages), 6);
    let good = sight(read, &[&b, &c], Some("c"));
    assert_eq!(stand.receive(node(2), good), [page(1, &[&b, &c], Some("c"), 2)]);
}

#[test]
fn servers_that_do_not_answer_are_asked_again_until_the_timeout() {
    let mut stand = Stand::serving(3, 1, 3);
    let read = ask(&mut stand, all(10));
    stand.receive(node(2), sight(read, &[], None));
    let look = Part::Look(Look { read, scan: scan("", None, 10) });
    let sent = stand.wait_ms(100);
    assert_eq!(sent, [stand.message(3, vec![look])]);
    let mut last = Vec::new();
    for _ in 0..50 {
        let effects = stand.wait_ms(100);
        if !effects.iter().all(|effect| matches!(effect, TestEffect::Send { .. })) {
            last = effects;
        }
    }
    assert_eq!(last, [refused(1, NotDone::TimedOut { answered: 2, needed: 3 })]);
    assert_eq!(stand.engine.next_deadline(), None);
}

#[test]
fn a_scan_that_loses_its_quorum_or_its_client_ends() {
    let mut stand = Stand::serving(3, 1, 3);
    ask(&mut stand, all(10));
    let reason = NotDone::Unavailable { reachable: 2, needed: 3 };
    assert_eq!(stand.down(node(2)), [refused(1, reason)]);
    let options = RequestOptions::default().with_read_quorum(Quorum::Count(2));
    assert_eq!(stand.request_with(all(10), options), []);
    stand.flush();
    stand.step(Input::Cancel { id: RequestId(2) });
    assert_eq!(stand.wait_ms(200), []);
    assert_eq!(stand.engine.next_deadline(), None);
}

#[test]
fn a_server_says_what_it_holds_of_a_range_deletes_included() {
    let (a, b, c) = (of(1, "a", Some("1")), of(2, "b", None), of(3, "c", Some("3")));
    let mut stand = holding(1, &[&a, &b, &c]);
    let read = ReadId(9);
    stand.receive(node(3), Part::Look(Look { read, scan: scan("", None, 1) }));
    assert_eq!(stand.flush(), [stand.message(3, vec![sight(read, &[&a], Some("a"))])]);
    let rest = Scan { after: Some(key("a")), ..scan("", None, 1) };
    stand.receive(node(3), Part::Look(Look { read, scan: rest }));
    assert_eq!(stand.flush(), [stand.message(3, vec![sight(read, &[&b, &c], None)])]);
}

#[test]
fn scans_that_wait_are_bounded() {
    let mut stand = Stand::serving(3, 1, 3);
    for _ in 0..64 {
        assert_eq!(stand.request(all(10)), []);
    }
    assert_eq!(stand.request(all(10)), [refused(65, NotDone::Overloaded { limit: 64 })]);
    let put = Operation::put(key("x"), Value::new("1").unwrap());
    assert!(matches!(stand.request(put).as_slice(), [_, _]), "others go on");
}
