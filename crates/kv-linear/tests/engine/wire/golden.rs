//! The bytes of each message and record: what an earlier release wrote must be read.

use bytes::Bytes;
use kv_core::{ClusterId, Incarnation, Key, NodeId, NotDone, Operation, Wire};
use kv_linear::{
    Ack, Body, Entry, EntryHeader, Epoch, Forward, LogIndex, Message, Origin, Prepare, Promise,
    Record, RecoverOk, Run, Tail,
};

use super::configuration;

const EPOCH: Epoch = Epoch { round: 1, owner: NodeId::FIRST, incarnation: Incarnation(2) };
/// [`EPOCH`].
const E: &str = "0100000001000200000000000000";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number in 64 bits.
fn n(number: u8) -> String {
    format!("{number:02x}00000000000000")
}

fn entry() -> Entry {
    let server = NodeId::FIRST;
    let origin = Origin { server, incarnation: Incarnation(3), number: 4, settled_below: 5 };
    let header = EntryHeader {
        index: LogIndex(6),
        epoch: EPOCH,
        log_time_ms: 7,
        operations_before: 8,
        operations: 0,
        previous_hash: 9,
    };
    let get = Operation::get(Key::new("k").unwrap()).to_bytes();
    Entry::new(header, &[(origin, get)])
}

/// [`entry`]: its length, header, origin and operation.
fn entry_bytes() -> String {
    let header = format!("{}{E}{}{}01000000{}", n(6), n(7), n(8), n(9));
    let origin = format!("0100{}{}{}", n(3), n(4), n(5));
    let operation = "0000000000010000000001000000".to_owned() + "6b";
    let operation = format!("{:02x}000000{operation}", operation.len() / 2);
    let whole = header + &origin + &operation;
    format!("{:02x}000000{whole}", whole.len() / 2)
}

fn tail() -> Tail {
    Tail {
        commit: LogIndex(1),
        commit_hash: 2,
        commit_epoch: EPOCH,
        runs: vec![Run { epoch: EPOCH, first: LogIndex(2) }],
        last: LogIndex(3),
        last_hash: 4,
    }
}

/// [`tail`].
fn tail_bytes() -> String {
    format!("{}{}{E}01000000{E}{}{}{}", n(1), n(2), n(2), n(3), n(4))
}

fn assert_message(body: Body, expected: &str) {
    let message = Message {
        cluster: Some(ClusterId(9)),
        configuration: 8,
        incarnation: Incarnation(7),
        body,
    };
    let expected = format!("01{}{}{}{expected}", n(9), n(8), n(7));
    assert_eq!(hex(&message.to_bytes()), expected, "{message:?}");
    assert_eq!(Message::from_bytes(message.to_bytes()), Ok(message));
}

#[test]
fn golden_bytes_of_an_entry() {
    assert_eq!(hex(&entry().to_bytes()), entry_bytes());
}

#[test]
fn golden_bytes_of_a_message_of_an_empty_server() {
    let message = Message {
        cluster: None,
        configuration: 8,
        incarnation: Incarnation(0),
        body: Body::Hello { nonce: 1 },
    };
    assert_eq!(hex(&message.to_bytes()), format!("00{}{}00{}", n(8), n(0), n(1)));
}

#[test]
fn golden_bytes_of_the_messages_of_founding_and_recovery() {
    let members = vec![(NodeId::FIRST, Incarnation(2))];
    let answer = RecoverOk {
        receiver: Incarnation(1),
        promised: EPOCH,
        recovering: true,
        sequenced: Some(LogIndex(3)),
        known: members.clone(),
    };
    let without =
        RecoverOk { recovering: false, sequenced: None, known: Vec::new(), ..answer.clone() };
    let cases = [
        (Body::Hello { nonce: 1 }, format!("00{}", n(1))),
        (Body::Join { nonce: 1, asked: 2 }, format!("01{}{}", n(1), n(2))),
        (
            Body::Welcome { nonce: 1, members, founded_on: LogIndex(3) },
            format!("02{}010000000100{}{}", n(1), n(2), n(3)),
        ),
        (Body::Holding { nonce: 1, highest: Incarnation(2) }, format!("03{}{}", n(1), n(2))),
        (Body::Recover, "04".to_owned()),
        (Body::RecoverOk(answer), format!("05{}{E}0101{}010000000100{}", n(1), n(3), n(2))),
        (Body::RecoverOk(without), format!("05{}{E}000000000000", n(1))),
        (Body::Outdated { highest: Incarnation(1) }, format!("06{}", n(1))),
        (Body::Refused, "14".to_owned()),
    ];
    cases.into_iter().for_each(|(body, expected)| assert_message(body, &expected));
}

#[test]
fn golden_bytes_of_the_messages_of_the_log() {
    let prepare = Prepare {
        epoch: EPOCH,
        receiver: Incarnation(1),
        previous: LogIndex(2),
        previous_hash: 3,
        entries: vec![entry()],
        commit: LogIndex(4),
        last: LogIndex(5),
        round: 6,
        probe: true,
    };
    let entry = entry_bytes();
    let positions = format!("{}{}{}", n(1), n(2), n(3));
    let ack = Ack { epoch: EPOCH, durable: LogIndex(1), round: 2, recovering: true };
    let forward =
        Forward { epoch: EPOCH, settled_below: 1, requests: vec![(2, Bytes::from_static(b"op"))] };
    let requests = vec![(2, NotDone::Overloaded { limit: 3 })];
    let refuse = Body::Refuse { epoch: EPOCH, receiver: Incarnation(1), requests };
    let reason = NotDone::Overloaded { limit: 3 };
    let refuse_reads =
        Body::RefuseReads { epoch: EPOCH, receiver: Incarnation(1), number: 2, reason };
    let read_index_ok =
        Body::ReadIndexOk { epoch: EPOCH, receiver: Incarnation(1), number: 2, index: LogIndex(3) };
    let cases = [
        (
            Body::Prepare(prepare),
            format!("07{E}{positions}01000000{entry}{}{}{}01", n(4), n(5), n(6)),
        ),
        (Body::Ack(ack), format!("08{E}{}{}01", n(1), n(2))),
        (Body::Nack { epoch: EPOCH, tail: tail() }, format!("09{E}{}", tail_bytes())),
        (Body::Forward(forward), format!("12{E}{}01000000{}020000006f70", n(1), n(2))),
        (Body::ReadIndex { epoch: EPOCH, number: 1 }, format!("15{E}{}", n(1))),
        (read_index_ok, format!("16{E}{}{}{}", n(1), n(2), n(3))),
        (refuse_reads, format!("17{E}{}{}08{}", n(1), n(2), n(3))),
        (refuse, format!("13{E}{}01000000{}08{}", n(1), n(2), n(3))),
    ];
    cases.into_iter().for_each(|(body, expected)| assert_message(body, &expected));
}

#[test]
fn golden_bytes_of_the_messages_of_elections() {
    let epoch = EPOCH;
    let known = vec![(NodeId::FIRST, Incarnation(3))];
    let promise = Promise { epoch, known, tail: tail() };
    let (previous, previous_hash) = (LogIndex(1), 2);
    let fetched = Body::Fetched { epoch, previous, previous_hash, entries: vec![entry()] };
    let cases = [
        (Body::Reject { promised: epoch }, format!("0a{E}")),
        (Body::PreVote { epoch }, format!("0b{E}")),
        (Body::PreVoteOk { epoch, may_promise: true }, format!("0c{E}01")),
        (Body::EpochRequest { epoch }, format!("0d{E}")),
        (Body::Promise(promise), format!("0e{E}010000000100{}{}", n(3), tail_bytes())),
        (Body::Fetch { epoch, previous, previous_hash }, format!("0f{E}{}{}", n(1), n(2))),
        (fetched, format!("10{E}{}{}01000000{}", n(1), n(2), entry_bytes())),
        (Body::Lead { epoch }, format!("11{E}")),
    ];
    cases.into_iter().for_each(|(body, expected)| assert_message(body, &expected));
}

#[test]
fn golden_bytes_of_the_records_of_an_identity() {
    let (cluster, incarnation, peer) = (ClusterId(1), Incarnation(2), NodeId::FIRST);
    let config = format!("{}01000000010001000100", n(1));
    let others = vec![(peer, Incarnation(3))];
    let founded = Record::Founded {
        cluster,
        configuration: configuration(1),
        incarnation,
        members: others.clone(),
    };
    let joined = Record::Joined {
        cluster,
        configuration: configuration(1),
        incarnation,
        known: others,
        recovering: true,
    };
    let list = format!("010000000100{}", n(3));
    let cases = [
        (Record::Named { nonce: 1 }, format!("00{}", n(1))),
        (founded, format!("01{}{config}{}{list}", n(1), n(2))),
        (joined, format!("02{}{config}{}{list}01", n(1), n(2))),
        (Record::Renewed { incarnation, recovering: true }, format!("03{}01", n(2))),
        (Record::Recovered, "04".to_owned()),
        (Record::Known { peer, incarnation }, format!("050100{}", n(2))),
        (Record::Refuted { peer }, "0b0100".to_owned()),
        (Record::Salvaged { cluster: ClusterId(1) }, format!("0c{}", n(1))),
        (Record::FoundedOn { last: LogIndex(1) }, format!("0d{}", n(1))),
    ];
    cases.into_iter().for_each(|(record, expected)| assert_record(&record, &expected));
}

#[test]
fn golden_bytes_of_the_records_of_the_log() {
    let entries = Record::Entries {
        promised: EPOCH,
        commit: LogIndex(1),
        previous: LogIndex(2),
        entries: vec![entry()],
    };
    let item = (Bytes::from_static(b"k"), Bytes::from_static(b"v"));
    let installed =
        Record::Installed { promised: EPOCH, parts: 1, metadata: Bytes::from_static(b"m") };
    let cases = [
        (Record::Promised { epoch: EPOCH }, format!("06{E}")),
        (Record::Opened { entry: entry() }, format!("07{}", entry_bytes())),
        (entries, format!("08{E}{}{}01000000{}", n(1), n(2), entry_bytes())),
        (
            Record::Staged { part: 1, items: vec![item] },
            "090100000001000000010000006b0100000076".to_owned(),
        ),
        (installed, format!("0a{E}01000000010000006d")),
    ];
    cases.into_iter().for_each(|(record, expected)| assert_record(&record, &expected));
}

fn assert_record(record: &Record, expected: &str) {
    assert_eq!(hex(&record.to_bytes()), *expected, "{record:?}");
    assert_eq!(Record::from_bytes(record.to_bytes()).as_ref(), Ok(record));
}
