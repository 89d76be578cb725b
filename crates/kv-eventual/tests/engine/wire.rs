//! The byte forms of messages and records.

use std::time::Duration;

use bytes::Bytes;
use kv_core::{ClusterConfig, HybridTime, Incarnation, Key, NodeId, Quorum, Scan, Value, Wire};
use kv_eventual::{
    Answer, Batch, Compare, Compared, Cut, Entry, HashedRange, Hello, Listing, Look, Message, Part,
    Pull, PullBegin, Query, ReadId, Record, Report, Sight, Stamp, Summary, Vector, Welcome, Write,
    WriteId, WriteSeq,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn nodes() -> impl Strategy<Value = NodeId> {
    (1u16..).prop_map(|number| NodeId::new(number).unwrap())
}

fn incarnations() -> impl Strategy<Value = Incarnation> {
    any::<u64>().prop_map(Incarnation)
}

fn times() -> impl Strategy<Value = HybridTime> {
    any::<u64>().prop_map(|bits| HybridTime::from_bytes(bits.to_bytes()).unwrap())
}

fn keys() -> impl Strategy<Value = Key> {
    vec(any::<u8>(), 1..20).prop_map(|bytes| Key::new(bytes).unwrap())
}

fn entries() -> impl Strategy<Value = Entry> {
    let value = proptest::option::of(vec(any::<u8>(), 0..20));
    (times(), nodes(), incarnations(), any::<u64>(), value).prop_map(
        |(time, origin, incarnation, seq, value)| Entry {
            stamp: Stamp { time, origin, incarnation },
            seq: WriteSeq(seq),
            value: value.map(|bytes| Value::new(bytes).unwrap()),
        },
    )
}

fn writes() -> impl Strategy<Value = Write> {
    (keys(), entries()).prop_map(|(key, entry)| Write { key, entry })
}

fn vectors() -> impl Strategy<Value = Vector> {
    let ids = vec((nodes(), incarnations(), 1u64..50), 0..8);
    ids.prop_map(|ids| {
        let mut vector = Vector::default();
        for (origin, incarnation, seq) in ids {
            vector.insert(WriteId { origin, incarnation, seq: WriteSeq(seq) });
        }
        vector
    })
}

fn reports() -> impl Strategy<Value = Report> {
    let cut = (incarnations(), any::<u64>(), times());
    let cut =
        cut.prop_map(|(incarnation, seq, time)| Cut { incarnation, seq: WriteSeq(seq), time });
    (vectors(), any::<(bool, bool)>(), vec(nodes(), 0..4), cut, times()).prop_map(
        |(vector, (counts, is_whole), members, cut, floor)| Report {
            vector,
            counts,
            is_whole,
            members,
            cut,
            floor,
        },
    )
}

fn hellos() -> impl Strategy<Value = Hello> {
    (any::<u64>(), any::<u64>(), reports()).prop_map(|(run, sent, report)| Hello {
        run,
        sent: Duration::from_nanos(sent),
        report: Box::new(report),
    })
}

fn pulls() -> impl Strategy<Value = Pull> {
    let begin = (reports(), any::<bool>())
        .prop_map(|(report, wants_all)| Box::new(PullBegin { report, wants_all }));
    (any::<u64>(), any::<u32>(), any::<u64>(), proptest::option::of(begin))
        .prop_map(|(transfer, number, instance, begin)| Pull { transfer, number, instance, begin })
}

fn batches() -> impl Strategy<Value = Batch> {
    let end = proptest::option::of(reports().prop_map(Box::new));
    (any::<u64>(), any::<u32>(), any::<u64>(), vec(writes(), 0..4), end).prop_map(
        |(transfer, number, instance, writes, end)| Batch {
            transfer,
            number,
            instance,
            writes,
            end,
        },
    )
}

fn compares() -> impl Strategy<Value = Compare> {
    let range = (proptest::option::of(keys()), any::<u64>());
    let range = range.prop_map(|(up_to, hash)| HashedRange { up_to, hash });
    (any::<(u64, u32)>(), proptest::option::of(keys()), vec(range, 0..4)).prop_map(
        |((comparison, number), after, ranges)| Compare { comparison, number, after, ranges },
    )
}

fn compareds() -> impl Strategy<Value = Compared> {
    let summary = (keys(), entries(), proptest::option::of(any::<u64>()));
    let summary = summary.prop_map(|(key, entry, value)| Summary {
        key,
        stamp: entry.stamp,
        seq: entry.seq,
        value,
    });
    let ends = || proptest::option::of(keys());
    let listing = (ends(), ends(), vec(summary, 0..4))
        .prop_map(|(after, up_to, records)| Listing { after, up_to, records });
    (any::<(u64, u32)>(), ends(), vec(listing, 0..3), times()).prop_map(
        |((comparison, number), through, listings, floor)| Compared {
            comparison,
            number,
            through,
            listings,
            floor,
        },
    )
}

fn looks() -> impl Strategy<Value = Look> {
    let bytes = || vec(any::<u8>(), 0..20);
    let bounds = (bytes(), proptest::option::of(bytes()), proptest::option::of(keys()));
    (any::<u64>(), bounds, any::<u32>()).prop_map(|(read, (from, until, after), limit)| Look {
        read: ReadId(read),
        scan: Scan { from: from.into(), until: until.map(Into::into), after, limit },
    })
}

fn parts() -> impl Strategy<Value = Part> {
    let through = proptest::option::of(keys());
    let sights = (any::<u64>(), vec(writes(), 0..5), through, any::<bool>());
    let sights = sights.prop_map(|(read, records, through, counts)| Sight {
        read: ReadId(read),
        records,
        through,
        counts,
    });
    let ids = || entries().prop_map(|entry| entry.id());
    let welcome = (hellos(), incarnations(), times(), any::<bool>());
    let welcome = welcome.prop_map(|(hello, highest, latest, has_lost)| Welcome {
        run: hello.run,
        sent: hello.sent,
        highest,
        latest,
        members: hello.report.members,
        has_lost,
    });
    let query = (any::<u64>(), keys()).prop_map(|(read, key)| Query { read: ReadId(read), key });
    let answer = (any::<u64>(), keys(), proptest::option::of(entries()), any::<bool>())
        .prop_map(|(read, key, entry, counts)| Answer { read: ReadId(read), key, entry, counts });
    prop_oneof![
        hellos().prop_map(Part::Hello),
        welcome.prop_map(Part::Welcome),
        writes().prop_map(Part::Write),
        ids().prop_map(Part::Ack),
        ids().prop_map(Part::Reject),
        query.prop_map(Part::Query),
        answer.prop_map(Part::Answer),
        writes().prop_map(Part::Repair),
        pulls().prop_map(Part::Pull),
        batches().prop_map(Part::Batch),
        compares().prop_map(Part::Compare),
        compareds().prop_map(Part::Compared),
        vec(keys(), 0..4).prop_map(Part::Want),
        writes().prop_map(Part::Mend),
        writes().prop_map(Part::Keep),
        looks().prop_map(Part::Look),
        sights.prop_map(Part::Sight),
    ]
}

fn messages() -> impl Strategy<Value = Message> {
    (incarnations(), any::<u64>(), vec(parts(), 0..8))
        .prop_map(|(sender, wall_ms, parts)| Message { sender, wall_ms, parts })
}

fn records() -> impl Strategy<Value = Record> {
    let incarnation =
        (nodes(), incarnations(), 1u16..=10).prop_map(|(node, incarnation, nodes)| {
            let voters = (1..=nodes).map(|number| NodeId::new(number).unwrap());
            let cluster = ClusterConfig::new(voters, Quorum::Majority, Quorum::All).unwrap();
            Record::Incarnation { node, incarnation, cluster }
        });
    let peer = (nodes(), incarnations())
        .prop_map(|(peer, incarnation)| Record::PeerIncarnation { peer, incarnation });
    prop_oneof![
        incarnation,
        peer,
        times().prop_map(|below| Record::ClockBound { below }),
        writes().prop_map(Record::Write),
        entries().prop_map(|entry| Record::Superseded(entry.id())),
        vectors().prop_map(Record::Join),
        any::<bool>().prop_map(|counts| Record::Standing { counts }),
        (nodes(), vectors()).prop_map(|(peer, vector)| Record::PeerVector { peer, vector }),
        (nodes(), vec(incarnations(), 0..3))
            .prop_map(|(node, incarnations)| Record::Retired { node, incarnations }),
        (times(), vec((keys(), entries().prop_map(|entry| entry.id())), 0..3))
            .prop_map(|(floor, records)| Record::Removed { floor, records }),
    ]
}

proptest! {
    #[test]
    fn messages_survive_a_round_trip(message in messages()) {
        prop_assert_eq!(Message::from_bytes(message.to_bytes()), Ok(message));
    }

    #[test]
    fn records_survive_a_round_trip(record in records()) {
        prop_assert_eq!(Record::from_bytes(record.to_bytes()), Ok(record));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = Message::from_bytes(Bytes::from(bytes.clone()));
        let _ = Record::from_bytes(Bytes::from(bytes));
    }

    #[test]
    fn a_damaged_message_never_panics(
        message in messages(),
        at in any::<prop::sample::Index>(),
        byte: u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = message.to_bytes().to_vec();
        let place = at.index(bytes.len());
        if let Some(hit) = bytes.get_mut(place) {
            *hit = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let _ = Message::from_bytes(Bytes::from(bytes));
    }
}

fn sample_write() -> Write {
    let stamp = Stamp {
        time: HybridTime::from_millis(2).next(),
        origin: NodeId::new(3).unwrap(),
        incarnation: Incarnation(4),
    };
    Write {
        key: Key::new("k").unwrap(),
        entry: Entry { stamp, seq: WriteSeq(5), value: Some(Value::new("v").unwrap()) },
    }
}

/// The sample's stamp: time, origin, incarnation.
const STAMP: [u8; 18] = [1, 0, 2, 0, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0, 0, 0];

/// The sample's number.
const SEQ: [u8; 8] = [5, 0, 0, 0, 0, 0, 0, 0];

const KEY: [u8; 5] = [1, 0, 0, 0, b'k'];

const VALUE: [u8; 6] = [1, 1, 0, 0, 0, b'v'];

fn part_bytes(part: Part) -> Vec<u8> {
    part.to_bytes().to_vec()
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn golden_bytes_of_a_message() {
    let message = Message {
        sender: Incarnation(1),
        wall_ms: 2,
        parts: vec![Part::Ack(sample_write().entry.id())],
    };
    let head: &[u8] = &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    // The identity of a write has the origin and the incarnation of its stamp.
    let (_, id) = STAMP.split_at(8);
    assert_eq!(message.to_bytes(), joined(&[head, &[3], id, &SEQ]));
}

/// A report, and its bytes.
fn sample_report() -> (Report, Vec<u8>) {
    let write = sample_write();
    let eight = |first: u8| [first, 0, 0, 0, 0, 0, 0, 0];
    let mut vector = Vector::default();
    [1, 2, 5].into_iter().for_each(|seq| {
        vector.insert(WriteId { seq: WriteSeq(seq), ..write.entry.id() });
    });
    let report = Report {
        vector,
        counts: true,
        is_whole: false,
        members: vec![NodeId::new(3).unwrap()],
        cut: Cut { incarnation: Incarnation(4), seq: WriteSeq(5), time: HybridTime::ZERO.next() },
        floor: HybridTime::ZERO,
    };
    // No incarnation is retired, and one is live: through 2, and one run beyond.
    let (_, live) = STAMP.split_at(8);
    let run = [eight(5), eight(5)].concat();
    let head: &[&[u8]] = &[&[0, 0, 0, 0, 1, 0, 0, 0], live, &eight(2), &[1, 0, 0, 0], &run];
    let tail: &[&[u8]] = &[&[1, 0, 1, 0, 0, 0, 3, 0], &eight(4), &SEQ, &eight(1), &eight(0)];
    let said = [head, tail].concat().concat();
    (report, said)
}

#[test]
fn golden_bytes_of_every_part() {
    let write = sample_write();
    let (_, id) = STAMP.split_at(8);
    let eight = |first: u8| [first, 0, 0, 0, 0, 0, 0, 0];
    let (report, said) = sample_report();
    let hello = Hello { run: 6, sent: Duration::from_nanos(7), report: Box::new(report.clone()) };
    let welcome = Welcome {
        run: 6,
        sent: Duration::from_nanos(7),
        highest: Incarnation(8),
        latest: HybridTime::ZERO.next(),
        members: vec![NodeId::new(3).unwrap()],
        has_lost: true,
    };
    let write_id =
        WriteId { origin: NodeId::new(3).unwrap(), incarnation: Incarnation(4), seq: WriteSeq(5) };
    let query = Query { read: ReadId(9), key: write.key.clone() };
    let answer = |entry| Answer { read: ReadId(9), key: write.key.clone(), entry, counts: true };
    let begin = Box::new(PullBegin { report: report.clone(), wants_all: true });
    let pull = Pull { transfer: 6, number: 7, instance: 8, begin: Some(begin) };
    let batch = Batch {
        transfer: 6,
        number: 7,
        instance: 8,
        writes: vec![write.clone()],
        end: Some(Box::new(report)),
    };
    let whole: &[&[u8]] = &[&KEY, &STAMP, &SEQ, &VALUE];
    let whole = joined(whole);
    let cases = [
        (Part::Hello(hello), joined(&[&[0], &eight(6), &eight(7), &said])),
        (
            Part::Welcome(welcome),
            joined(&[&[1], &eight(6), &eight(7), &eight(8), &eight(1), &[1, 0, 0, 0, 3, 0, 1]]),
        ),
        (Part::Write(write.clone()), joined(&[&[2], &whole])),
        (Part::Ack(write_id), joined(&[&[3], id, &SEQ])),
        (Part::Reject(write_id), joined(&[&[4], id, &SEQ])),
        (Part::Query(query), joined(&[&[5], &eight(9), &KEY])),
        (Part::Answer(answer(None)), joined(&[&[6], &eight(9), &KEY, &[0, 1]])),
        (
            Part::Answer(answer(Some(write.entry.clone()))),
            joined(&[&[6], &eight(9), &KEY, &[1], &STAMP, &SEQ, &VALUE, &[1]]),
        ),
        (Part::Repair(write.clone()), joined(&[&[7], &whole])),
        (Part::Pull(pull), joined(&[&[8], &eight(6), &[7, 0, 0, 0], &eight(8), &[1], &said, &[1]])),
        (
            Part::Batch(batch),
            joined(&[
                &[9],
                &eight(6),
                &[7, 0, 0, 0],
                &eight(8),
                &[1, 0, 0, 0],
                &whole,
                &[1],
                &said,
            ]),
        ),
    ];
    for (part, expected) in cases {
        assert_eq!(part_bytes(part.clone()), expected, "{part:?}");
    }
}

#[test]
fn golden_bytes_of_comparisons_write_backs_and_scans() {
    let write = sample_write();
    let eight = |first: u8| [first, 0, 0, 0, 0, 0, 0, 0];
    let end = Some(write.key.clone());
    let range = HashedRange { up_to: end.clone(), hash: 8 };
    let compare = Compare { comparison: 6, number: 7, after: None, ranges: vec![range] };
    let stamp = write.entry.stamp;
    let summary = Summary { key: write.key.clone(), stamp, seq: WriteSeq(5), value: Some(9) };
    let listing = Listing { after: None, up_to: end.clone(), records: vec![summary] };
    let compared = Compared {
        comparison: 6,
        number: 7,
        through: end,
        listings: vec![listing],
        floor: HybridTime::ZERO.next(),
    };
    let scan = Scan { from: "a".into(), until: None, after: None, limit: 7 };
    let sight = Sight {
        read: ReadId(9),
        records: vec![write.clone()],
        through: Some(write.key.clone()),
        counts: true,
    };
    let whole: &[&[u8]] = &[&KEY, &STAMP, &SEQ, &VALUE];
    let whole = joined(whole);
    let cases = [
        (
            Part::Compare(compare),
            joined(&[&[10], &eight(6), &[7, 0, 0, 0, 0, 1, 0, 0, 0, 1], &KEY, &eight(8)]),
        ),
        (
            Part::Compared(compared),
            joined(&[
                &[11],
                &eight(6),
                &[7, 0, 0, 0, 1],
                &KEY,
                &[1, 0, 0, 0, 0, 1],
                &KEY,
                &[1, 0, 0, 0],
                &joined(&[&KEY, &STAMP, &SEQ, &[1], &eight(9)]),
                &eight(1),
            ]),
        ),
        (Part::Want(vec![write.key.clone()]), joined(&[&[12, 1, 0, 0, 0], &KEY])),
        (Part::Mend(write.clone()), joined(&[&[13], &whole])),
        (Part::Keep(write.clone()), joined(&[&[14], &whole])),
        (
            Part::Look(Look { read: ReadId(9), scan }),
            joined(&[&[15], &eight(9), &[1, 0, 0, 0, b'a', 0, 0, 7, 0, 0, 0]]),
        ),
        (Part::Sight(sight), joined(&[&[16], &eight(9), &[1, 0, 0, 0], &whole, &[1], &KEY, &[1]])),
    ];
    for (part, expected) in cases {
        assert_eq!(part_bytes(part.clone()), expected, "{part:?}");
    }
}

#[test]
fn golden_bytes_of_every_record() {
    let node = NodeId::new(1).unwrap();
    let cluster = ClusterConfig::new([node], Quorum::All, Quorum::All).unwrap();
    let eight = |first: u8| [first, 0, 0, 0, 0, 0, 0, 0];
    let incarnation =
        Record::Incarnation { node, incarnation: Incarnation(4), cluster: cluster.clone() };
    let peer_incarnation =
        Record::PeerIncarnation { peer: NodeId::new(3).unwrap(), incarnation: Incarnation(4) };
    let bound = Record::ClockBound { below: HybridTime::ZERO.next() };
    let tombstone =
        Write { entry: Entry { value: None, ..sample_write().entry }, ..sample_write() };
    let id = sample_write().entry.id();
    let (_, named) = STAMP.split_at(8);
    let floor = HybridTime::ZERO.next();
    let mut vector = Vector::default();
    vector.insert(id);
    let cases = [
        (incarnation, joined(&[&[0, 1, 0], &eight(4), &cluster.to_bytes()])),
        (peer_incarnation, joined(&[&[1, 3, 0], &eight(4)])),
        (bound, joined(&[&[2], &eight(1)])),
        (Record::Write(sample_write()), joined(&[&[3], &KEY, &STAMP, &SEQ, &VALUE])),
        (Record::Write(tombstone), joined(&[&[3], &KEY, &STAMP, &SEQ, &[0]])),
        (Record::Superseded(id), joined(&[&[4], named, &SEQ])),
        (Record::Join(vector.clone()), joined(&[&[5], &vector.to_bytes()])),
        (Record::Standing { counts: true }, vec![6, 1]),
        (
            Record::PeerVector { peer: id.origin, vector: vector.clone() },
            joined(&[&[7, 3, 0], &vector.to_bytes()]),
        ),
        (
            Record::Retired { node: id.origin, incarnations: vec![Incarnation(4)] },
            joined(&[&[8, 3, 0, 1, 0, 0, 0], &eight(4)]),
        ),
        (
            Record::Removed { floor, records: vec![(sample_write().key, id)] },
            joined(&[&[9], &eight(1), &[1, 0, 0, 0], &KEY, named, &SEQ]),
        ),
    ];
    for (record, expected) in cases {
        assert_eq!(record.to_bytes(), expected, "{record:?}");
    }
}
