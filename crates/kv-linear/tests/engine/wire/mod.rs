//! The byte forms of messages and records.

mod golden;

use bytes::Bytes;
use kv_core::{
    ClusterConfig, ClusterId, DecodeError, Incarnation, NodeId, NotDone, Quorum, Waiting, Wire,
};
use kv_linear::{
    Ack, Body, Entry, EntryHeader, Epoch, Forward, LogIndex, Message, Origin, Prepare, Promise,
    Record, RecoverOk, Run, Tail,
};
use proptest::collection::vec;
use proptest::option;
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
    (0..=Epoch::ROUND_MAX, node(), incarnation()).prop_map(|(round, owner, incarnation)| Epoch {
        round,
        owner,
        incarnation,
    })
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
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
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
    (index(), epoch(), numbers, vec((origin, bytes()), 0..3)).prop_map(
        |(index, epoch, (log_time_ms, operations_before, previous_hash), batch)| {
            let header = EntryHeader {
                index,
                epoch,
                log_time_ms,
                operations_before,
                operations: 0,
                previous_hash,
            };
            Entry::new(header, &batch)
        },
    )
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    vec(entry(), 0..4)
}

fn members() -> impl Strategy<Value = Vec<(NodeId, Incarnation)>> {
    vec((node(), incarnation()), 0..4)
}

fn tail() -> impl Strategy<Value = Tail> {
    let run = (epoch(), index()).prop_map(|(epoch, first)| Run { epoch, first });
    (index(), any::<u64>(), epoch(), vec(run, 0..4), index(), any::<u64>()).prop_map(
        |(commit, commit_hash, commit_epoch, runs, last, last_hash)| Tail {
            commit,
            commit_hash,
            commit_epoch,
            runs,
            last,
            last_hash,
        },
    )
}

fn prepare() -> impl Strategy<Value = Prepare> {
    let positions = (index(), any::<u64>(), index(), index());
    (epoch(), incarnation(), positions, entries(), any::<u64>(), any::<bool>()).prop_map(
        |(epoch, receiver, (previous, previous_hash, commit, last), entries, round, probe)| {
            Prepare {
                epoch,
                receiver,
                previous,
                previous_hash,
                entries,
                commit,
                last,
                round,
                probe,
            }
        },
    )
}

fn recover_ok() -> impl Strategy<Value = RecoverOk> {
    (incarnation(), epoch(), any::<bool>(), option::of(index()), members()).prop_map(
        |(receiver, promised, recovering, sequenced, known)| RecoverOk {
            receiver,
            promised,
            recovering,
            sequenced,
            known,
        },
    )
}

fn refusal() -> impl Strategy<Value = NotDone> {
    prop_oneof![
        (any::<u16>(), any::<u16>())
            .prop_map(|(reachable, needed)| NotDone::Unavailable { reachable, needed }),
        any::<u64>().prop_map(|limit| NotDone::Overloaded { limit }),
        node().prop_map(|node| NotDone::Waiting(Waiting::LostMemory { node })),
    ]
}

fn founding_body() -> impl Strategy<Value = Body> {
    prop_oneof![
        any::<u64>().prop_map(|nonce| Body::Hello { nonce }),
        (any::<u64>(), any::<u64>()).prop_map(|(nonce, asked)| Body::Join { nonce, asked }),
        (any::<u64>(), members(), index()).prop_map(|(nonce, members, founded_on)| {
            Body::Welcome { nonce, members, founded_on }
        }),
        (any::<u64>(), incarnation()).prop_map(|(nonce, highest)| Body::Holding { nonce, highest }),
        Just(Body::Recover),
        recover_ok().prop_map(Body::RecoverOk),
        incarnation().prop_map(|highest| Body::Outdated { highest }),
        Just(Body::Refused),
    ]
}

fn log_body() -> impl Strategy<Value = Body> {
    let ack = (epoch(), index(), any::<u64>(), any::<bool>());
    let ack = ack.prop_map(|(epoch, durable, round, recovering)| Ack {
        epoch,
        durable,
        round,
        recovering,
    });
    let read_index_ok = (epoch(), incarnation(), any::<u64>(), index());
    let forward = (epoch(), any::<u64>(), vec((any::<u64>(), bytes()), 0..4))
        .prop_map(|(epoch, settled_below, requests)| Forward { epoch, settled_below, requests });
    prop_oneof![
        (epoch(), any::<u64>()).prop_map(|(epoch, number)| Body::ReadIndex { epoch, number }),
        read_index_ok.prop_map(|(epoch, receiver, number, index)| Body::ReadIndexOk {
            epoch,
            receiver,
            number,
            index,
        }),
        (epoch(), incarnation(), any::<u64>(), refusal()).prop_map(
            |(epoch, receiver, number, reason)| Body::RefuseReads {
                epoch,
                receiver,
                number,
                reason
            }
        ),
        prepare().prop_map(Body::Prepare),
        ack.prop_map(Body::Ack),
        (epoch(), tail()).prop_map(|(epoch, tail)| Body::Nack { epoch, tail }),
        forward.prop_map(Body::Forward),
        (epoch(), incarnation(), vec((any::<u64>(), refusal()), 0..4))
            .prop_map(|(epoch, receiver, requests)| Body::Refuse { epoch, receiver, requests }),
    ]
}

fn election_body() -> impl Strategy<Value = Body> {
    let promise = (epoch(), members(), tail()).prop_map(|(epoch, known, tail)| Promise {
        epoch,
        known,
        tail,
    });
    prop_oneof![
        epoch().prop_map(|promised| Body::Reject { promised }),
        epoch().prop_map(|epoch| Body::PreVote { epoch }),
        (epoch(), any::<bool>())
            .prop_map(|(epoch, may_promise)| Body::PreVoteOk { epoch, may_promise }),
        epoch().prop_map(|epoch| Body::EpochRequest { epoch }),
        promise.prop_map(Body::Promise),
        (epoch(), index(), any::<u64>()).prop_map(|(epoch, previous, previous_hash)| {
            Body::Fetch { epoch, previous, previous_hash }
        }),
        (epoch(), index(), any::<u64>(), entries()).prop_map(
            |(epoch, previous, previous_hash, entries)| {
                Body::Fetched { epoch, previous, previous_hash, entries }
            }
        ),
        epoch().prop_map(|epoch| Body::Lead { epoch }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let cluster = option::of(any::<u64>().prop_map(ClusterId));
    let body = prop_oneof![founding_body(), log_body(), election_body()];
    (cluster, any::<u64>(), incarnation(), body).prop_map(
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

fn identity_record() -> impl Strategy<Value = Record> {
    let cluster = || any::<u64>().prop_map(ClusterId);
    let configurations = || (1u16..=10).prop_map(configuration);
    prop_oneof![
        any::<u64>().prop_map(|nonce| Record::Named { nonce }),
        (cluster(), configurations(), incarnation(), members()).prop_map(
            |(cluster, configuration, incarnation, members)| Record::Founded {
                cluster,
                configuration,
                incarnation,
                members,
            },
        ),
        (cluster(), configurations(), incarnation(), members(), any::<bool>()).prop_map(
            |(cluster, configuration, incarnation, known, recovering)| Record::Joined {
                cluster,
                configuration,
                incarnation,
                known,
                recovering,
            },
        ),
        (incarnation(), any::<bool>())
            .prop_map(|(incarnation, recovering)| Record::Renewed { incarnation, recovering }),
        Just(Record::Recovered),
        (node(), incarnation()).prop_map(|(peer, incarnation)| Record::Known { peer, incarnation }),
        node().prop_map(|peer| Record::Refuted { peer }),
        any::<u64>().prop_map(|name| Record::Salvaged { cluster: ClusterId(name) }),
        index().prop_map(|last| Record::FoundedOn { last }),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let items = vec((bytes(), bytes()), 0..4);
    prop_oneof![
        identity_record(),
        epoch().prop_map(|epoch| Record::Promised { epoch }),
        entry().prop_map(|entry| Record::Opened { entry }),
        (epoch(), index(), index(), entries()).prop_map(|(promised, commit, previous, entries)| {
            Record::Entries { promised, commit, previous, entries }
        }),
        (any::<u32>(), items).prop_map(|(part, items)| Record::Staged { part, items }),
        (epoch(), any::<u32>(), bytes()).prop_map(|(promised, parts, metadata)| {
            Record::Installed { promised, parts, metadata }
        }),
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
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        let _ = Message::from_bytes(bytes.clone());
        let _ = Record::from_bytes(bytes.clone());
        if let Ok(entry) = Entry::from_bytes(bytes) {
            let _ = entry.operations().count();
        }
    }

    #[test]
    fn arbitrary_bytes_behind_any_tag_never_panic(tag: u8, bytes in vec(any::<u8>(), 0..300)) {
        let head = Message {
            cluster: None,
            configuration: 0,
            incarnation: Incarnation(0),
            body: Body::Refused,
        };
        let head = head.to_bytes();
        let body = [&[tag], bytes.as_slice()].concat();
        let message = [&head[..head.len() - 1], body.as_slice()].concat();
        let _ = Message::from_bytes(message.into());
        let _ = Record::from_bytes(body.into());
    }

    #[test]
    fn changed_and_cut_messages_never_panic(
        message in message(),
        position: prop::sample::Index,
        byte: u8,
    ) {
        let mut bytes = message.to_bytes().to_vec();
        let position = position.index(bytes.len());
        let cut = Bytes::copy_from_slice(&bytes[..position]);
        prop_assert!(Message::from_bytes(cut).is_err());
        bytes[position] = byte;
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
        let cut = Bytes::copy_from_slice(&bytes[..position]);
        prop_assert!(Record::from_bytes(cut).is_err());
        bytes[position] = byte;
        let _ = Record::from_bytes(bytes.into());
    }

    #[test]
    fn a_message_with_a_round_beyond_the_last_is_refused(
        round in Epoch::ROUND_MAX + 1..=u32::MAX,
        owner in node(),
        incarnation in incarnation(),
    ) {
        let epoch = Epoch { round, owner, incarnation };
        let message = Message {
            cluster: None,
            configuration: 0,
            incarnation,
            body: Body::EpochRequest { epoch },
        };
        let refused = DecodeError::Invalid { what: "round of an epoch" };
        prop_assert_eq!(Message::from_bytes(message.to_bytes()), Err(refused));
        let record = Record::Promised { epoch };
        prop_assert_eq!(Record::from_bytes(record.to_bytes()), Err(refused));
    }
}
