//! The byte forms of messages and records.

use bytes::Bytes;
use kv_core::{
    ClusterConfig, ClusterId, Incarnation, NodeId, NotDone, Operation, Quorum, Waiting, Wire,
};
use kv_linear::{
    Body, Entry, EntryHeader, Epoch, Forward, LogIndex, Message, NeedStart, Origin, Prepare,
    Record, StartEpoch,
};
use proptest::prelude::*;

fn node() -> impl Strategy<Value = NodeId> {
    (1u16..).prop_map(|number| NodeId::new(number).unwrap())
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    any::<u64>().prop_map(Incarnation)
}

fn index() -> impl Strategy<Value = LogIndex> {
    any::<u64>().prop_map(LogIndex)
}

fn epoch() -> impl Strategy<Value = Epoch> {
    (any::<u32>(), node(), any::<u16>()).prop_map(|(round, owner, generation)| Epoch {
        round,
        owner,
        generation,
    })
}

fn bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn entry() -> impl Strategy<Value = Entry> {
    let origin = (node(), incarnation(), any::<u64>(), any::<u64>()).prop_map(
        |(server, incarnation, number, settled_below)| Origin {
            server,
            incarnation,
            number,
            settled_below,
        },
    );
    (index(), epoch(), any::<u64>(), origin, any::<u64>(), bytes()).prop_map(
        |(index, epoch, log_time_ms, origin, previous_hash, operation)| {
            let header = EntryHeader { index, epoch, log_time_ms, origin, previous_hash };
            Entry::new(header, &operation)
        },
    )
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    proptest::collection::vec(entry(), 0..4)
}

fn prepare() -> impl Strategy<Value = Prepare> {
    (epoch(), incarnation(), index(), any::<u64>(), entries(), index(), index()).prop_map(
        |(epoch, receiver, previous, previous_hash, entries, commit, last)| Prepare {
            epoch,
            receiver,
            previous,
            previous_hash,
            entries,
            commit,
            last,
        },
    )
}

fn start_epoch() -> impl Strategy<Value = StartEpoch> {
    let places = (index(), index(), index(), index());
    (epoch(), incarnation(), places, any::<u64>(), entries()).prop_map(
        |(epoch, receiver, (base, previous, start, commit), base_hash, entries)| StartEpoch {
            epoch,
            receiver,
            base,
            base_hash,
            previous,
            entries,
            start,
            commit,
        },
    )
}

fn refusal() -> impl Strategy<Value = NotDone> {
    prop_oneof![
        (any::<u16>(), any::<u16>())
            .prop_map(|(reachable, needed)| NotDone::Unavailable { reachable, needed }),
        any::<u64>().prop_map(|limit| NotDone::Overloaded { limit }),
        node().prop_map(|node| NotDone::Waiting(Waiting::RestartsUsedUp { node })),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    let forward = (epoch(), any::<u64>(), proptest::collection::vec((any::<u64>(), bytes()), 0..4))
        .prop_map(|(epoch, settled_below, requests)| Forward { epoch, settled_below, requests });
    prop_oneof![
        any::<u64>().prop_map(|nonce| Body::Hello { nonce }),
        Just(Body::Holding),
        (any::<u64>(), any::<u64>()).prop_map(|(nonce, asked)| Body::Join { nonce, asked }),
        (any::<u64>(), incarnation()).prop_map(|(nonce, highest)| Body::Welcome { nonce, highest }),
        prepare().prop_map(Body::Prepare),
        (epoch(), index()).prop_map(|(epoch, durable)| Body::Ack { epoch, durable }),
        (epoch(), index()).prop_map(|(epoch, last)| Body::Nack { epoch, last }),
        forward.prop_map(Body::Forward),
        (epoch(), incarnation(), proptest::collection::vec((any::<u64>(), refusal()), 0..4))
            .prop_map(|(epoch, receiver, requests)| Body::Refuse { epoch, receiver, requests }),
        node().prop_map(|node| Body::NotServing { waiting: Waiting::LostMemory { node } }),
        Just(Body::Refused),
        (epoch(), epoch(), index(), index(), index()).prop_map(
            |(epoch, log_epoch, last, commit, staged)| {
                Body::NeedStart(NeedStart { epoch, log_epoch, last, commit, staged })
            }
        ),
        start_epoch().prop_map(Body::StartEpoch),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let cluster = proptest::option::of(any::<u64>().prop_map(ClusterId));
    (cluster, any::<u64>(), incarnation(), body()).prop_map(
        |(cluster, configuration, incarnation, body)| Message {
            cluster,
            configuration,
            incarnation,
            body,
        },
    )
}

fn configuration(nodes: u16) -> ClusterConfig {
    let voters = (1..=nodes).map(|number| NodeId::new(number).unwrap());
    ClusterConfig::new(voters, Quorum::Majority, Quorum::Count(1)).unwrap()
}

fn record() -> impl Strategy<Value = Record> {
    let cluster = || any::<u64>().prop_map(ClusterId);
    let configurations = || (1u16..=10).prop_map(configuration);
    let items = proptest::collection::vec((bytes(), bytes()), 0..4);
    prop_oneof![
        (
            cluster(),
            configurations(),
            incarnation(),
            proptest::collection::vec((node(), incarnation()), 0..4)
        )
            .prop_map(|(cluster, configuration, incarnation, members)| Record::Founded {
                cluster,
                configuration,
                incarnation,
                members
            }),
        (cluster(), configurations(), incarnation(), incarnation()).prop_map(
            |(cluster, configuration, incarnation, sequencer)| Record::Joined {
                cluster,
                configuration,
                incarnation,
                sequencer
            }
        ),
        incarnation().prop_map(|incarnation| Record::Renewed { incarnation }),
        (node(), incarnation())
            .prop_map(|(peer, incarnation)| Record::PeerIncarnation { peer, incarnation }),
        epoch().prop_map(|epoch| Record::Opened { epoch }),
        (index(), entries()).prop_map(|(commit, entries)| Record::Entries { commit, entries }),
        (any::<u32>(), items).prop_map(|(part, items)| Record::Staged { part, items }),
        (any::<u32>(), bytes()).prop_map(|(parts, metadata)| Record::Installed { parts, metadata }),
        (any::<u32>(), entries()).prop_map(|(part, entries)| Record::StagedLog { part, entries }),
        (epoch(), index(), any::<u64>(), any::<u32>()).prop_map(
            |(epoch, base, base_hash, parts)| Record::Started { epoch, base, base_hash, parts }
        ),
    ]
}

proptest! {
    #[test]
    fn a_message_survives_a_round_trip(message in message()) {
        prop_assert_eq!(Message::from_bytes(message.to_bytes()), Ok(message));
    }

    #[test]
    fn a_record_survives_a_round_trip(record in record()) {
        prop_assert_eq!(Record::from_bytes(record.to_bytes()), Ok(record));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        let _ = Message::from_bytes(bytes.clone());
        let _ = Record::from_bytes(bytes.clone());
        let _ = Entry::from_bytes(bytes);
    }

    #[test]
    fn changed_and_cut_messages_never_panic(
        message in message(),
        position: prop::sample::Index,
        byte: u8,
    ) {
        let mut bytes = message.to_bytes().to_vec();
        let position = position.index(bytes.len());
        let cut = Bytes::copy_from_slice(bytes.get(..position).unwrap());
        prop_assert!(Message::from_bytes(cut).is_err());
        *bytes.get_mut(position).unwrap() = byte;
        let _ = Message::from_bytes(bytes.into());
    }

    #[test]
    fn changed_and_cut_records_never_panic(
        record in record(),
        position: prop::sample::Index,
        byte: u8,
    ) {
        let mut bytes = record.to_bytes().to_vec();
        let position = position.index(bytes.len());
        let cut = Bytes::copy_from_slice(bytes.get(..position).unwrap());
        prop_assert!(Record::from_bytes(cut).is_err());
        *bytes.get_mut(position).unwrap() = byte;
        let _ = Record::from_bytes(bytes.into());
    }
}

const EPOCH: Epoch = Epoch { round: 1, owner: NodeId::FIRST, generation: 2 };

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn golden_entry() -> Entry {
    let origin =
        Origin { server: NodeId::FIRST, incarnation: Incarnation(3), number: 4, settled_below: 5 };
    let header =
        EntryHeader { index: LogIndex(6), epoch: EPOCH, log_time_ms: 7, origin, previous_hash: 8 };
    let key = kv_core::Key::new("k").unwrap();
    Entry::new(header, &Operation::get(key).to_bytes())
}

const ENTRY: &str = "490000000600000000000000010000000100020007000000000000000100030000000000\
    00000400000000000000050000000000000008000000000000000000000000010000000001000000\
    6b";

#[test]
fn golden_bytes_of_every_message() {
    let number = |n: u8| format!("{n:02x}00000000000000");
    let epoch = "0100000001000200";
    let prepare = Prepare {
        epoch: EPOCH,
        receiver: Incarnation(1),
        previous: LogIndex(2),
        previous_hash: 3,
        entries: vec![golden_entry()],
        commit: LogIndex(4),
        last: LogIndex(5),
    };
    let forward =
        Forward { epoch: EPOCH, settled_below: 1, requests: vec![(2, Bytes::from_static(b"op"))] };
    let refused = vec![(2, NotDone::Overloaded { limit: 3 })];
    let n = number;
    let cases = [
        (Body::Hello { nonce: 1 }, format!("00{}", n(1))),
        (Body::Holding, "01".to_owned()),
        (Body::Join { nonce: 1, asked: 2 }, format!("02{}{}", n(1), n(2))),
        (Body::Welcome { nonce: 1, highest: Incarnation(2) }, format!("03{}{}", n(1), n(2))),
        (
            Body::Prepare(prepare),
            format!("04{epoch}{}{}{}01000000{ENTRY}{}{}", n(1), n(2), n(3), n(4), n(5)),
        ),
        (Body::Ack { epoch: EPOCH, durable: LogIndex(1) }, format!("05{epoch}{}", n(1))),
        (Body::Nack { epoch: EPOCH, last: LogIndex(1) }, format!("06{epoch}{}", n(1))),
        (Body::Forward(forward), format!("07{epoch}{}01000000{}020000006f70", n(1), n(2))),
        (
            Body::Refuse { epoch: EPOCH, receiver: Incarnation(1), requests: refused },
            format!("08{epoch}{}01000000{}08{}", n(1), n(2), n(3)),
        ),
        (
            Body::NotServing { waiting: Waiting::LostMemory { node: NodeId::FIRST } },
            "09030100".to_owned(),
        ),
        (Body::Refused, "0a".to_owned()),
        (
            Body::NeedStart(NeedStart {
                epoch: EPOCH,
                log_epoch: Epoch { generation: 1, ..EPOCH },
                last: LogIndex(1),
                commit: LogIndex(2),
                staged: LogIndex(3),
            }),
            format!("0b{epoch}0100000001000100{}{}{}", n(1), n(2), n(3)),
        ),
        (
            Body::StartEpoch(StartEpoch {
                epoch: EPOCH,
                receiver: Incarnation(1),
                base: LogIndex(2),
                base_hash: 3,
                previous: LogIndex(4),
                entries: vec![golden_entry()],
                start: LogIndex(5),
                commit: LogIndex(6),
            }),
            format!("0c{epoch}{}{}{}{}01000000{ENTRY}{}{}", n(1), n(2), n(3), n(4), n(5), n(6)),
        ),
    ];
    for (body, expected) in cases {
        let message = Message {
            cluster: Some(ClusterId(9)),
            configuration: 8,
            incarnation: Incarnation(7),
            body,
        };
        let expected = format!("01{}{}{}{expected}", n(9), n(8), n(7));
        assert_eq!(hex(&message.to_bytes()), expected, "{message:?}");
    }
}

#[test]
fn golden_bytes_of_every_record() {
    let n = |n: u8| format!("{n:02x}00000000000000");
    let configuration = configuration(1);
    let config = format!("{}01000000010001000100", n(1));
    let incarnation = Incarnation(2);
    let item = (Bytes::from_static(b"k"), Bytes::from_static(b"v"));
    let cases = [
        (
            Record::Founded {
                cluster: ClusterId(1),
                configuration: configuration.clone(),
                incarnation,
                members: vec![(NodeId::FIRST, Incarnation(3))],
            },
            format!("00{}{config}{}010000000100{}", n(1), n(2), n(3)),
        ),
        (
            Record::Joined {
                cluster: ClusterId(1),
                configuration,
                incarnation,
                sequencer: Incarnation(3),
            },
            format!("01{}{config}{}{}", n(1), n(2), n(3)),
        ),
        (Record::Renewed { incarnation }, format!("02{}", n(2))),
        (Record::PeerIncarnation { peer: NodeId::FIRST, incarnation }, format!("030100{}", n(2))),
        (Record::Opened { epoch: EPOCH }, "040100000001000200".to_owned()),
        (
            Record::Entries { commit: LogIndex(1), entries: vec![golden_entry()] },
            format!("05{}01000000{ENTRY}", n(1)),
        ),
        (
            Record::Staged { part: 1, items: vec![item] },
            "060100000001000000010000006b0100000076".to_owned(),
        ),
        (
            Record::Installed { parts: 1, metadata: Bytes::from_static(b"m") },
            "0701000000010000006d".to_owned(),
        ),
        (
            Record::StagedLog { part: 1, entries: vec![golden_entry()] },
            format!("080100000001000000{ENTRY}"),
        ),
        (
            Record::Started { epoch: EPOCH, base: LogIndex(1), base_hash: 2, parts: 3 },
            format!("090100000001000200{}{}03000000", n(1), n(2)),
        ),
    ];
    for (record, expected) in cases {
        assert_eq!(hex(&record.to_bytes()), expected, "{record:?}");
    }
}
