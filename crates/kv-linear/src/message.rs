//! What servers say to each other.

use bytes::Bytes;
use kv_core::{ClusterId, Incarnation, NotDone, Waiting, wire_enum, wire_struct};

use crate::log::entry::Entry;
use crate::log::epoch::{Epoch, LogIndex};

/// A message with its sender's cluster and incarnation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender's cluster; `None` while it is empty.
    pub cluster: Option<ClusterId>,
    /// [`kv_core::ClusterConfig::hash`] of the sender's configuration.
    pub configuration: u64,
    /// The sender's incarnation; [`Incarnation::UNKNOWN`] while it is empty.
    pub incarnation: Incarnation,
    /// What it says.
    pub body: Body,
}

wire_struct!(Message { cluster, configuration, incarnation, body });

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// An empty sequencer asks what the receiver holds.
    Hello {
        /// Names the sequencer's incarnation.
        nonce: u64,
    },
    /// The answer of a server that holds a cluster's log, which the message's head names.
    Holding,
    /// An empty server asks to be taken in.
    Join {
        /// Names the server's incarnation.
        nonce: u64,
        /// The nonce of the Hello that this answers; 0 if none was received.
        asked: u64,
    },
    /// The sequencer takes an empty server in.
    Welcome {
        /// The nonce of the Join that this answers.
        nonce: u64,
        /// The highest incarnation that is known of the receiver; it takes the one after.
        highest: Incarnation,
    },
    /// The sequencer's new entries and its commit.
    Prepare(Prepare),
    /// A follower holds the log up to here on its disk, in the incarnation that the message's head
    /// names.
    Ack {
        /// The sequencer's epoch.
        epoch: Epoch,
        /// The last entry on disk.
        durable: LogIndex,
    },
    /// A follower lacks entries.
    Nack {
        /// The sequencer's epoch.
        epoch: Epoch,
        /// The last entry that it has without a gap.
        last: LogIndex,
    },
    /// Requests for the sequencer.
    Forward(Forward),
    /// Requests that the sequencer has not assigned a position, and never will.
    Refuse {
        /// The sequencer's epoch.
        epoch: Epoch,
        /// The incarnation of the receiver that forwarded them.
        receiver: Incarnation,
        /// Each request's number and why it was refused.
        requests: Vec<(u64, NotDone)>,
    },
    /// The sequencer serves nobody, for this reason.
    NotServing {
        /// Why.
        waiting: Waiting,
    },
    /// A follower lacks an epoch's starting log.
    NeedStart(NeedStart),
    /// An epoch's starting log, or a part of it.
    StartEpoch(StartEpoch),
    /// A message was refused: the servers are of different clusters or configurations, as the
    /// head shows.
    Refused,
}

wire_enum!(Body, "message of the linearizable engine", {
    0 => Hello { nonce },
    1 => Holding,
    2 => Join { nonce, asked },
    3 => Welcome { nonce, highest },
    4 => Prepare(prepare),
    5 => Ack { epoch, durable },
    6 => Nack { epoch, last },
    7 => Forward(forward),
    8 => Refuse { epoch, receiver, requests },
    9 => NotServing { waiting },
    10 => Refused,
    11 => NeedStart(need),
    12 => StartEpoch(part),
});

/// Entries from the sequencer, in order; none in a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare {
    /// The sequencer's epoch.
    pub epoch: Epoch,
    /// The incarnation of the receiver whose acknowledgements the sequencer counts; unknown until
    /// it has heard any.
    pub receiver: Incarnation,
    /// The position before the first entry.
    pub previous: LogIndex,
    /// The hash of the log up to there.
    pub previous_hash: u64,
    /// The entries.
    pub entries: Vec<Entry>,
    /// Entries up to here are committed.
    pub commit: LogIndex,
    /// The last entry that was sent to the receiver, so that it notices a lost one while idle.
    pub last: LogIndex,
}

wire_struct!(Prepare { epoch, receiver, previous, previous_hash, entries, commit, last });

/// What a follower holds that does not hold the whole starting log of its sequencer's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeedStart {
    /// The epoch that is to be started.
    pub epoch: Epoch,
    /// The latest epoch whose whole starting log the follower's disk holds.
    pub log_epoch: Epoch,
    /// The last place of its log, on disk or being written.
    pub last: LogIndex,
    /// Entries up to here are committed, as far as it knows.
    pub commit: LogIndex,
    /// How far it has the new starting log without a gap, beside its own log; zero if it has no
    /// part of it.
    pub staged: LogIndex,
}

wire_struct!(NeedStart { epoch, log_epoch, last, commit, staged });

/// A part of an epoch's starting log: all that its sequencer's disk held when it opened it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartEpoch {
    /// The epoch.
    pub epoch: Epoch,
    /// The incarnation of the receiver that asked for it.
    pub receiver: Incarnation,
    /// Up to here the receiver's log is the epoch's starting log; the rest of it is replaced.
    pub base: LogIndex,
    /// The hash of the log up to there.
    pub base_hash: u64,
    /// The position before the first entry.
    pub previous: LogIndex,
    /// The entries, in order; none if the starting log ends with the base.
    pub entries: Vec<Entry>,
    /// The last position of the starting log.
    pub start: LogIndex,
    /// Entries up to here are committed.
    pub commit: LogIndex,
}

wire_struct!(StartEpoch { epoch, receiver, base, base_hash, previous, entries, start, commit });

/// Requests of one server's clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The epoch whose sequencer is meant; no other may assign the requests positions.
    pub epoch: Epoch,
    /// The sender never sends a number below this one again.
    pub settled_below: u64,
    /// Each request's number and the byte form of its operation.
    pub requests: Vec<(u64, Bytes)>,
}

wire_struct!(Forward { epoch, settled_below, requests });
