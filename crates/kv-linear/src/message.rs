//! What servers say to each other.

use bytes::Bytes;
use kv_core::{CannotLead, ClusterId, Incarnation, NodeId, NotDone, wire_enum, wire_struct};

use crate::log::entry::Entry;
use crate::log::epoch::{Epoch, LogIndex};
use crate::log::tail::Tail;

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
    /// The empty server that founds clusters asks what the receiver holds.
    Hello {
        /// Names the sender's process.
        nonce: u64,
    },
    /// An empty server asks to be taken in.
    Join {
        /// Names the sender.
        nonce: u64,
        /// The nonce of the Hello that this answers; 0 if none was received.
        asked: u64,
    },
    /// An empty server is a member of the cluster from its founding on.
    Welcome {
        /// The nonce of the Join that this answers.
        nonce: u64,
        /// All founding members with their incarnations, the receiver's among them.
        members: Vec<(NodeId, Incarnation)>,
        /// The log that the cluster was founded on ends here; 0 if it was founded empty.
        founded_on: LogIndex,
    },
    /// An empty server meets a cluster that was founded without it, or in which it has lost its
    /// data.
    Holding {
        /// The nonce of the Hello or Join that this answers.
        nonce: u64,
        /// The highest incarnation that is known of the receiver.
        highest: Incarnation,
    },
    /// A server that lost its data asks to take part again.
    Recover,
    /// The sender's disk has the incarnation of the asking server, and it listens to no earlier
    /// one any more.
    RecoverOk(RecoverOk),
    /// The receiver's incarnation, or a later one, was another process: its disk is older than it
    /// was, or it lost its data.
    Outdated {
        /// The highest one that is known.
        highest: Incarnation,
    },
    /// The sequencer's new entries and its commit.
    Prepare(Prepare),
    /// What a follower's disk holds of the sequencer's log.
    Ack(Ack),
    /// A follower lacks what comes before the entries that it was sent.
    Nack {
        /// The sequencer's epoch.
        epoch: Epoch,
        /// What it holds.
        tail: Tail,
    },
    /// The sender has promised a later epoch than the one it was spoken to in.
    Reject {
        /// That epoch.
        promised: Epoch,
    },
    /// Asks whether the receiver misses the sequencer too.
    PreVote {
        /// The epoch that the sender would ask promises for.
        epoch: Epoch,
    },
    /// The receiver misses the sequencer.
    PreVoteOk {
        /// The epoch that was asked about.
        epoch: Epoch,
        /// Whether the sender would promise it; a server that recovers cannot.
        may_promise: bool,
    },
    /// Asks for the promise to take nothing of earlier epochs any more.
    EpochRequest {
        /// The sender's epoch.
        epoch: Epoch,
    },
    /// The promise, with what the sender's disk holds.
    Promise(Promise),
    /// The owner of an epoch asks for what it lacks of the log of one that promised it.
    Fetch {
        /// The epoch that was promised.
        epoch: Epoch,
        /// Up to here the logs agree.
        previous: LogIndex,
        /// The hash of the log up to there.
        previous_hash: u64,
    },
    /// What was asked for, or the first part of it.
    Fetched {
        /// The epoch that was promised.
        epoch: Epoch,
        /// The position before the first entry.
        previous: LogIndex,
        /// The hash of the log up to there.
        previous_hash: u64,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// The sequencer hands over: the receiver should ask for promises at once.
    Lead {
        /// The sequencer's epoch.
        epoch: Epoch,
    },
    /// Asks the sequencer to hand over to a server.
    AskLead {
        /// The sequencer's epoch.
        epoch: Epoch,
        /// The server that shall lead.
        node: NodeId,
    },
    /// The server does not take over.
    RefuseLead {
        /// The sequencer's epoch.
        epoch: Epoch,
        /// The server that should lead.
        node: NodeId,
        /// Why; `None` if it still may take over.
        reason: Option<CannotLead>,
    },
    /// Asks the sequencer how far the log is committed now, so that the sender can read.
    ReadIndex {
        /// The sequencer's epoch.
        epoch: Epoch,
        /// Names the question.
        number: u64,
    },
    /// What was committed after the question came, or more.
    ReadIndexOk {
        /// The sequencer's epoch.
        epoch: Epoch,
        /// The incarnation of the receiver that asked.
        receiver: Incarnation,
        /// The question. This answers all before it too.
        number: u64,
        /// The last entry that was committed.
        index: LogIndex,
    },
    /// Too few servers can be reached to say that, for this question and all before it.
    RefuseReads {
        /// The sequencer's epoch.
        epoch: Epoch,
        /// The incarnation of the receiver that asked.
        receiver: Incarnation,
        /// The question.
        number: u64,
        /// What is missing.
        reason: NotDone,
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
    /// A message was refused: the servers are of different clusters or configurations, as the
    /// head shows.
    Refused,
}

wire_enum!(Body, "message of the linearizable engine", {
    0 => Hello { nonce },
    1 => Join { nonce, asked },
    2 => Welcome { nonce, members, founded_on },
    3 => Holding { nonce, highest },
    4 => Recover,
    5 => RecoverOk(answer),
    6 => Outdated { highest },
    7 => Prepare(prepare),
    8 => Ack(ack),
    9 => Nack { epoch, tail },
    10 => Reject { promised },
    11 => PreVote { epoch },
    12 => PreVoteOk { epoch, may_promise },
    13 => EpochRequest { epoch },
    14 => Promise(promise),
    15 => Fetch { epoch, previous, previous_hash },
    16 => Fetched { epoch, previous, previous_hash, entries },
    17 => Lead { epoch },
    18 => Forward(forward),
    19 => Refuse { epoch, receiver, requests },
    20 => Refused,
    21 => ReadIndex { epoch, number },
    22 => ReadIndexOk { epoch, receiver, number, index },
    23 => RefuseReads { epoch, receiver, number, reason },
    24 => AskLead { epoch, node },
    25 => RefuseLead { epoch, node, reason },
});

/// Entries from the sequencer, in order; none in a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare {
    /// The sequencer's epoch.
    pub epoch: Epoch,
    /// The incarnation of the receiver from which the sequencer has heard in this epoch; unknown
    /// until it has heard any.
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
    /// The last round in which the sequencer asks whether it still is that, for reads.
    pub round: u64,
    /// The sequencer hears too few servers to work: this only asks for an answer, and nobody
    /// should wait for it.
    pub probe: bool,
}

wire_struct!(Prepare {
    epoch,
    receiver,
    previous,
    previous_hash,
    entries,
    commit,
    last,
    round,
    probe
});

/// How far a follower is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The sequencer's epoch.
    pub epoch: Epoch,
    /// Up to here its disk holds the sequencer's log.
    pub durable: LogIndex,
    /// The last round that it knows of.
    pub round: u64,
    /// Whether it recovers: then it counts for nothing.
    pub recovering: bool,
}

wire_struct!(Ack { epoch, durable, round, recovering });

/// What a server says to one that recovers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoverOk {
    /// The incarnation that asked.
    pub receiver: Incarnation,
    /// The sender's promise.
    pub promised: Epoch,
    /// Whether the sender recovers itself.
    pub recovering: bool,
    /// The last entry of its log, if it is the sequencer of that epoch.
    pub sequenced: Option<LogIndex>,
    /// The highest incarnations that the sender's disk has of others. The one that recovers has lost
    /// its own list, and by that it would take promises of processes that are gone.
    pub known: Vec<(NodeId, Incarnation)>,
}

wire_struct!(RecoverOk { receiver, promised, recovering, sequenced, known });

/// A promise to take nothing of an epoch before this one any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The epoch.
    pub epoch: Epoch,
    /// The highest incarnations that the sender's disk has of others.
    pub known: Vec<(NodeId, Incarnation)>,
    /// What the sender's disk holds.
    pub tail: Tail,
}

wire_struct!(Promise { epoch, known, tail });

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
