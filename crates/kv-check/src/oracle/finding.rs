//! What an oracle found.

use std::collections::BTreeMap;

use kv_core::{HybridTime, Incarnation, Key, NodeId, RequestId, Value, Version};

use crate::brief::Brief;

/// A rule was broken, and by which calls.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OracleFinding {
    /// A read shows less than what was acknowledged before it began.
    #[error(
        "read {read} of {key:?} shows {} after write {write} of {version} was acknowledged",
        in_words(*shown)
    )]
    Stale {
        /// The read.
        read: RequestId,
        /// The acknowledged write.
        write: RequestId,
        /// Their key.
        key: Key,
        /// What the read shows; `None` for a missing key.
        shown: Option<Version>,
        /// The write's version.
        version: Version,
    },
    /// A version names two writes.
    #[error("version {version} names two writes, of {keys:?}")]
    VersionTwice {
        /// The version.
        version: Version,
        /// The keys of the two.
        keys: [Key; 2],
    },
    /// A write was acknowledged under a version that was superseded when it was asked for.
    #[error(
        "write {write} of {key:?} was acknowledged as {version}, but its server held {held} when it was asked"
    )]
    BornSuperseded {
        /// The write.
        write: RequestId,
        /// Its key.
        key: Key,
        /// Its version.
        version: Version,
        /// What its server held.
        held: Version,
    },
    /// A server stamped a later write lower.
    #[error(
        "write {write} is stamped {version}, which is not after the stamp of write {before} of the same server, which was acknowledged before"
    )]
    StampFell {
        /// The later write.
        write: RequestId,
        /// Its version.
        version: Version,
        /// The write before.
        before: RequestId,
    },
    /// A name was given to two writes.
    #[error(
        "write {seq} of incarnation {incarnation} of server {origin} is two writes, of {keys:?}, \
         stamped {} and {}",
        times[0],
        times[1]
    )]
    NameTwice {
        /// The server that coordinated both.
        origin: NodeId,
        /// That server's incarnation.
        incarnation: Incarnation,
        /// Their number in that incarnation.
        seq: u64,
        /// The coordinator's clock at each.
        times: [HybridTime; 2],
        /// The key of each.
        keys: [Key; 2],
    },
    /// A server went back behind a stamp that another server had from it.
    #[error(
        "server {origin} made write {} of incarnation {} after write {} of incarnation {}, which \
         another server has, and stamped it {}, which is not after {}",
        later.1,
        later.0,
        sent.1,
        sent.0,
        later.2,
        sent.2
    )]
    SentStampReached {
        /// Whose writes they are.
        origin: NodeId,
        /// Incarnation, number and stamp of the one that another server has.
        sent: (Incarnation, u64, HybridTime),
        /// Incarnation, number and stamp of the later one.
        later: (Incarnation, u64, HybridTime),
    },
    /// A value that was refused is shown.
    #[error("read {read} shows what write {write} put, which was called not done")]
    RefusedShown {
        /// The read.
        read: RequestId,
        /// The write.
        write: RequestId,
    },
    /// A value that nobody put is shown.
    #[error("read {read} shows {}, which nobody put", Brief(value))]
    Invented {
        /// The read.
        read: RequestId,
        /// What it shows.
        value: Value,
    },
    /// A read of a session shows less than the session knew.
    #[error(
        "{guarantee}: read {read} of {key:?} shows {} after call {before} of its session knew {known}",
        in_words(*shown)
    )]
    SessionWentBack {
        /// What the session is entitled to.
        guarantee: Guarantee,
        /// The read.
        read: RequestId,
        /// The session's earlier call.
        before: RequestId,
        /// Their key.
        key: Key,
        /// What the read shows; `None` for a missing key.
        shown: Option<Version>,
        /// What the earlier call wrote or showed.
        known: Version,
    },
    /// A session's write was acknowledged with an older version than the session knew of the key.
    #[error(
        "monotonic writes: write {write} of {key:?} has version {version} although call {before} of its \
         session knew {known}"
    )]
    WriteBehindSession {
        /// The write.
        write: RequestId,
        /// The session's earlier call.
        before: RequestId,
        /// Their key.
        key: Key,
        /// The write's version.
        version: Version,
        /// What the earlier call wrote or showed.
        known: Version,
    },
    /// A call of a session does not fit behind the session's earlier calls, in the order of the
    /// versions.
    #[error(
        "call {call} of {key:?} does not fit behind call {before} of its session, which saw the state of {known}"
    )]
    OutOfVersionOrder {
        /// The call.
        call: RequestId,
        /// Its key.
        key: Key,
        /// The session's call that brought it so far.
        before: RequestId,
        /// The version up to which the session had come.
        known: Version,
    },
    /// No order of the calls explains what the sessions saw.
    #[error("no order of all calls that keeps that of each session explains what was seen")]
    NoOrder,
    /// The search for an order ended before it was known whether there is one.
    #[error("undecided after {steps} steps: judge a shorter history")]
    Undecided {
        /// How many configurations were looked at.
        steps: u64,
    },
    /// A rule about rest was asked of a run that was not brought to rest.
    #[error("the run was not brought to rest: there is nothing to judge")]
    NotAtRest,
    /// A key with an acknowledged write was not read at every server at rest.
    #[error(
        "{key:?} was read at {answered} of {nodes} servers only: the run was not brought to rest, \
         and there is nothing to judge"
    )]
    NotReadAtRest {
        /// The key.
        key: Key,
        /// How many servers answered.
        answered: usize,
        /// How many servers there are.
        nodes: u16,
    },
    /// Servers hold different states at rest.
    #[error("servers hold different states at rest: {fingerprints:?}")]
    Differ {
        /// The fingerprint of each server.
        fingerprints: BTreeMap<NodeId, u64>,
    },
    /// An acknowledged write is gone at rest.
    #[error(
        "at rest server {node} shows {} at {key:?} although write {write} of {version} was acknowledged",
        in_words(*shown)
    )]
    Lost {
        /// Who shows it.
        node: NodeId,
        /// The acknowledged put.
        write: RequestId,
        /// Its key.
        key: Key,
        /// What is shown; `None` for a missing key.
        shown: Option<Version>,
        /// The put's version.
        version: Version,
    },
    /// A deleted key is back at rest.
    #[error(
        "at rest server {node} shows {shown} at {key:?} although delete {delete} of {version} was acknowledged"
    )]
    Resurrected {
        /// Who shows it.
        node: NodeId,
        /// The acknowledged delete.
        delete: RequestId,
        /// Its key.
        key: Key,
        /// The older version that is shown.
        shown: Version,
        /// The delete's version.
        version: Version,
    },
}

/// What a session may rely on (Terry et al., *Session Guarantees for Weakly Consistent Replicated
/// Data*, 1994).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Guarantee {
    /// Its reads show its own writes.
    #[error("read your writes")]
    ReadYourWrites,
    /// Its reads never go back.
    #[error("monotonic reads")]
    MonotonicReads,
}

/// What a read shows.
fn in_words(shown: Option<Version>) -> String {
    shown.map_or_else(|| "nothing".to_owned(), |version| version.to_string())
}
