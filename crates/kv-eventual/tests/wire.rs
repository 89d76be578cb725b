//! The byte forms of messages and records.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::time::Duration;

use bytes::Bytes;
use kv_core::{ClusterConfig, HybridTime, Incarnation, Key, NodeId, Quorum, Value, Wire};
use kv_eventual::{
    Answer, Entry, Hello, Message, Part, Query, ReadId, Record, Stamp, Welcome, Write, WriteId,
    WriteSeq,
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

fn parts() -> impl Strategy<Value = Part> {
    let ids = || entries().prop_map(|entry| entry.id());
    let hello = (any::<u64>(), any::<u64>())
        .prop_map(|(run, sent)| Hello { run, sent: Duration::from_nanos(sent) });
    let welcome = (hello, incarnations(), times()).prop_map(|(hello, highest, latest)| Welcome {
        run: hello.run,
        sent: hello.sent,
        highest,
        latest,
    });
    let hellos = (any::<u64>(), any::<u64>())
        .prop_map(|(run, sent)| Hello { run, sent: Duration::from_nanos(sent) });
    let query = (any::<u64>(), keys()).prop_map(|(read, key)| Query { read: ReadId(read), key });
    let answer = (any::<u64>(), keys(), proptest::option::of(entries()))
        .prop_map(|(read, key, entry)| Answer { read: ReadId(read), key, entry });
    prop_oneof![
        hellos.prop_map(Part::Hello),
        welcome.prop_map(Part::Welcome),
        writes().prop_map(Part::Write),
        ids().prop_map(Part::Ack),
        ids().prop_map(Part::Reject),
        query.prop_map(Part::Query),
        answer.prop_map(Part::Answer),
        writes().prop_map(Part::Repair),
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

#[test]
fn golden_bytes_of_every_part() {
    let write = sample_write();
    let (_, id) = STAMP.split_at(8);
    let eight = |first: u8| [first, 0, 0, 0, 0, 0, 0, 0];
    let hello = Hello { run: 6, sent: Duration::from_nanos(7) };
    let welcome = Welcome {
        run: 6,
        sent: Duration::from_nanos(7),
        highest: Incarnation(8),
        latest: HybridTime::ZERO.next(),
    };
    let write_id =
        WriteId { origin: NodeId::new(3).unwrap(), incarnation: Incarnation(4), seq: WriteSeq(5) };
    let query = Query { read: ReadId(9), key: write.key.clone() };
    let answer = |entry| Answer { read: ReadId(9), key: write.key.clone(), entry };
    let whole: &[&[u8]] = &[&KEY, &STAMP, &SEQ, &VALUE];
    let whole = joined(whole);
    let cases = [
        (Part::Hello(hello), joined(&[&[0], &eight(6), &eight(7)])),
        (Part::Welcome(welcome), joined(&[&[1], &eight(6), &eight(7), &eight(8), &eight(1)])),
        (Part::Write(write.clone()), joined(&[&[2], &whole])),
        (Part::Ack(write_id), joined(&[&[3], id, &SEQ])),
        (Part::Reject(write_id), joined(&[&[4], id, &SEQ])),
        (Part::Query(query), joined(&[&[5], &eight(9), &KEY])),
        (Part::Answer(answer(None)), joined(&[&[6], &eight(9), &KEY, &[0]])),
        (
            Part::Answer(answer(Some(write.entry.clone()))),
            joined(&[&[6], &eight(9), &KEY, &[1], &STAMP, &SEQ, &VALUE]),
        ),
        (Part::Repair(write.clone()), joined(&[&[7], &whole])),
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
    let cases = [
        (incarnation, joined(&[&[0, 1, 0], &eight(4), &cluster.to_bytes()])),
        (peer_incarnation, joined(&[&[1, 3, 0], &eight(4)])),
        (bound, joined(&[&[2], &eight(1)])),
        (Record::Write(sample_write()), joined(&[&[3], &KEY, &STAMP, &SEQ, &VALUE])),
        (Record::Write(tombstone), joined(&[&[3], &KEY, &STAMP, &SEQ, &[0]])),
    ];
    for (record, expected) in cases {
        assert_eq!(record.to_bytes(), expected, "{record:?}");
    }
}
