//! Logs for tests: entries that follow each other.

use bytes::{Bytes, BytesMut};
use kv_core::{
    Answer, CommandResult, Done, Incarnation, Key, NodeId, Operation, Outcome, RequestIdentity,
    Served, Value, Version, Wire,
};
use kv_linear::{Entry, EntryHeader, Epoch, LogIndex, Origin, Record, Run, Tail};

use super::{Given, Reply, first, node};

pub fn put(text: &str) -> Operation {
    Operation::put(Key::new("k").unwrap(), Value::new(text.to_owned()).unwrap())
}

/// An operation as it stands in the log, of no session.
pub fn logged(operation: &Operation) -> Bytes {
    let mut bytes = BytesMut::new();
    None::<RequestIdentity>.encode(&mut bytes);
    operation.encode(&mut bytes);
    bytes.freeze()
}

pub fn get() -> Operation {
    Operation::get(Key::new("k").unwrap())
}

pub fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap()
}

/// A log with one entry for each of these: the epoch, and what server 3's clients write in it. An
/// empty text is the entry that opens an epoch.
pub fn log(entries: &[(Epoch, &str)]) -> Vec<Entry> {
    extend(&[], entries)
}

/// The log with further entries.
pub fn extend(log: &[Entry], entries: &[(Epoch, &str)]) -> Vec<Entry> {
    let mut log = log.to_vec();
    for (epoch, text) in entries {
        let number = count(log.len()) + 1;
        let batch = (!text.is_empty()).then(|| (origin(3, first(3), number), put(text)));
        log.push(next_entry(&log, *epoch, batch.as_slice()));
    }
    log
}

pub fn origin(server: u16, incarnation: Incarnation, number: u64) -> Origin {
    Origin { server: node(server), incarnation, number, settled_below: 1 }
}

/// The entry that follows a log.
pub fn next_entry(log: &[Entry], epoch: Epoch, batch: &[(Origin, Operation)]) -> Entry {
    let (last, previous_hash) = end(log);
    let operations_before = log.last().map_or(0, |last| {
        let header = last.header();
        header.operations_before + u64::from(header.operations)
    });
    let header = EntryHeader {
        index: last.next(),
        epoch,
        log_time_ms: 5000,
        operations_before,
        operations: 0,
        previous_hash,
    };
    let batch: Vec<_> =
        batch.iter().map(|(origin, operation)| (*origin, logged(operation))).collect();
    Entry::new(header, &batch)
}

/// The last position of a log and its hash.
pub fn end(log: &[Entry]) -> (LogIndex, u64) {
    log.last().map_or((LogIndex::ZERO, 0), |last| (last.index(), last.hash()))
}

/// The record of the entries after the first `from`.
pub fn record(promised: Epoch, commit: u64, log: &[Entry], from: usize) -> Record {
    Record::Entries {
        promised,
        commit: LogIndex(commit),
        previous: LogIndex(count(from)),
        entries: log.get(from..).unwrap().to_vec(),
    }
}

/// What a server says of its log, of which so much is committed.
pub fn tail(log: &[Entry], commit: usize) -> Tail {
    let (committed, rest) = log.split_at(commit);
    let mut runs: Vec<Run> = Vec::new();
    for entry in rest {
        let epoch = entry.header().epoch;
        if runs.last().is_none_or(|run| run.epoch != epoch) {
            runs.push(Run { epoch, first: entry.index() });
        }
    }
    let (commit, commit_hash) = end(committed);
    let (last, last_hash) = end(log);
    let commit_epoch = committed.last().map_or(Epoch::default(), |last| last.header().epoch);
    Tail { commit, commit_hash, commit_epoch, runs, last, last_hash }
}

/// The answer to a write, which is the operation of this number.
pub fn done(id: u64, number: u64) -> Given {
    let outcome = Outcome::Done(Done {
        answer: Answer::Results(vec![CommandResult::Written]),
        version: Some(Version::Log(number)),
        served: Served::Linearizable,
    });
    Reply(id, outcome)
}

/// What a server knows of others.
pub fn known(peers: &[u16]) -> Vec<(NodeId, Incarnation)> {
    peers.iter().map(|peer| (node(*peer), first(*peer))).collect()
}
