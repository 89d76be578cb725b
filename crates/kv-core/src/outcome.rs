//! How a request ended.

use std::fmt;

use crate::id::{ClusterId, NodeId};
use crate::key::{Key, Value};
use crate::quorum::QuorumError;
use crate::version::Version;
use crate::{DecodeError, Wire, wire_enum, wire_struct};

/// The one answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It took effect.
    Done(Done),
    /// It had no effect and never will.
    NotDone(NotDone),
    /// It may have taken effect, or may still.
    Unknown(Unknown),
}

wire_enum!(Outcome, "outcome", { 0 => Done(done), 1 => NotDone(reason), 2 => Unknown(unknown) });

/// What a request that took effect brought.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Done {
    /// What was read or written.
    pub answer: Answer,
    /// The version of the write; for a read in the linearizable engine, the log index read at.
    pub version: Option<Version>,
    /// The level at which the request was served.
    pub served: Served,
}

wire_struct!(Done { answer, version, served });

/// What was read or written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// One result for each command of a batch, in order.
    Results(Vec<CommandResult>),
    /// A page of a scan or a dump.
    Page(Page),
}

wire_enum!(Answer, "answer", { 0 => Results(results), 1 => Page(page) });

/// What one command brought.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CommandResult {
    /// A get: the value, or `None` for a missing key.
    Value(Option<Versioned>),
    /// A put or a delete.
    Written,
    /// An increment: the new number.
    Number(i64),
    /// An append: the new length in bytes.
    Length(u64),
}

wire_enum!(CommandResult, "command result", {
    0 => Value(value),
    1 => Written,
    2 => Number(number),
    3 => Length(length),
});

/// A value and the write that it is from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Versioned {
    /// The value.
    pub value: Value,
    /// The write that it is from.
    pub version: Version,
}

wire_struct!(Versioned { value, version });

/// Some keys in ascending order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Page {
    /// The keys with what they hold.
    pub entries: Vec<(Key, Versioned)>,
    /// Where the next page begins (after this key); `None` on the last page.
    pub next: Option<Key>,
}

wire_struct!(Page { entries, next });

/// The level at which a request was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Served {
    /// In one order with all others, in real time.
    Linearizable,
    /// From this server alone, no older than what the session has seen.
    Sequential,
    /// By this many servers of the eventual engine, the coordinator included.
    Quorum {
        /// How many acknowledged the write or answered the read.
        servers: u16,
    },
    /// From this server alone, with no promise.
    Local,
}

wire_enum!(Served, "consistency level", {
    0 => Linearizable,
    1 => Sequential,
    2 => Quorum { servers },
    3 => Local,
});

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => f.write_str("linearizable"),
            Self::Sequential => f.write_str("sequential"),
            Self::Quorum { servers: 1 } => f.write_str("1 server"),
            Self::Quorum { servers } => write!(f, "{servers} servers"),
            Self::Local => f.write_str("local"),
        }
    }
}

/// Why a request had no effect and never will.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotDone {
    /// Too few servers are connected.
    #[error("unavailable: {reachable} of {needed} servers reachable; start or reconnect {} more",
        needed.saturating_sub(*reachable))]
    Unavailable {
        /// How many are, this one included.
        reachable: u16,
        /// How many the request needs.
        needed: u16,
    },
    /// The server cannot serve yet, or any more.
    #[error("unavailable: {0}")]
    Waiting(Waiting),
    /// Too few servers answered in time; nothing was written.
    #[error("timed out: {answered} of {needed} servers answered; try again")]
    TimedOut {
        /// How many did, this one included.
        answered: u16,
        /// How many the request needs.
        needed: u16,
    },
    /// The engine does not keep such a promise.
    #[error("not supported: {0}")]
    NotSupported(Feature),
    /// A quorum in the request cannot be had.
    #[error("{0}")]
    Quorum(QuorumError),
    /// A condition of the batch did not hold.
    #[error("condition {} did not hold", index + 1)]
    ConditionFailed {
        /// Which one, from 0.
        index: u16,
        /// What the key holds.
        found: Option<Versioned>,
    },
    /// An increment of a value that is no number, or beyond 64 bits.
    #[error("command {}: the value is no number that can be counted on", index + 1)]
    NotANumber {
        /// Which command, from 0.
        index: u16,
    },
    /// An append made a value too large.
    #[error("command {}: the value would be larger than {max} bytes", index + 1,
        max = Value::LEN_MAX)]
    ValueTooLarge {
        /// Which command, from 0.
        index: u16,
    },
    /// The server has as many requests in hand as it may.
    #[error("overloaded: the server has {limit} requests in hand; try again later")]
    Overloaded {
        /// How many it may have.
        limit: u64,
    },
    /// Clocks are too far apart to order a write by them (eventual engine).
    #[error(
        "clock skew: this server's clock is {off_ms} ms off the other servers' clocks or the \
        key's version, and {limit_ms} ms are allowed; set the clocks, or ask another server"
    )]
    ClockSkew {
        /// How far off in milliseconds, positive if this server's clock is ahead.
        off_ms: i64,
        /// How far off it may be, in milliseconds.
        limit_ms: u64,
    },
}

wire_enum!(NotDone, "reason", {
    0 => Unavailable { reachable, needed },
    1 => Waiting(waiting),
    2 => TimedOut { answered, needed },
    3 => NotSupported(feature),
    4 => Quorum(error),
    5 => ConditionFailed { index, found },
    6 => NotANumber { index },
    7 => ValueTooLarge { index },
    8 => Overloaded { limit },
    9 => ClockSkew { off_ms, limit_ms },
});

/// What an engine was asked for and does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Feature {
    /// A batch with conditions, in the eventual engine.
    #[error("conditional writes; use a cluster with the linearizable engine")]
    Conditions,
    /// A batch of several commands.
    #[error("several commands in one request; send them one by one")]
    Transactions,
    /// An increment, in the eventual engine.
    #[error("increment; use a cluster with the linearizable engine")]
    Increment,
    /// An append, in the eventual engine.
    #[error("append; use a cluster with the linearizable engine")]
    Append,
    /// A value with an end.
    #[error("a time to live; put the value without one")]
    TimeToLive,
    /// A scan.
    #[error("scan; `dump` shows what this server holds")]
    Scan,
    /// W or R in a request, in the linearizable engine.
    #[error("W or R for one request; in the linearizable engine they are the cluster's")]
    RequestQuorum,
    /// A read level that the engine does not serve.
    #[error("this consistency level; leave the level out")]
    Level,
    /// An operator's command.
    #[error("this operator's command")]
    Admin,
}

wire_enum!(Feature, "feature", {
    0 => Conditions,
    1 => Transactions,
    2 => Increment,
    3 => Append,
    4 => TimeToLive,
    5 => Scan,
    6 => RequestQuorum,
    7 => Level,
    8 => Admin,
});

/// Why a server does not serve now, in the words that its screen and its clients show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Waiting {
    /// Fewer servers are up than the quorums need.
    #[error("waiting for {more} more server{}", if *more == 1 { "" } else { "s" })]
    Servers {
        /// How many more it takes.
        more: u16,
    },
    /// The sequencer is not reachable, or has founded no cluster yet.
    #[error("waiting for server {node}, the sequencer")]
    Sequencer {
        /// Which server that is.
        node: NodeId,
    },
    /// The server has just started and is asking the others what they hold.
    #[error("joining the cluster; try again in a moment")]
    Joining,
    /// The sequencer restarted empty while another server still holds its log.
    #[error("server {node} lost its data; restart all servers empty, or restore a backup")]
    LostMemory {
        /// The sequencer.
        node: NodeId,
    },
    /// The sequencer founded another cluster than the one that this server's log is from.
    #[error(
        "this server holds cluster {:016x} but server {node} is of cluster {:016x}; restart this \
         server, it then starts empty",
        ours.0,
        theirs.0
    )]
    OtherCluster {
        /// The sequencer.
        node: NodeId,
        /// This server's cluster.
        ours: ClusterId,
        /// The sequencer's cluster.
        theirs: ClusterId,
    },
    /// The sequencer has restarted 65,535 times, and there is no further number for its epoch.
    /// Going on in an old one could give one place in the log to two operations.
    #[error(
        "server {node} has used up its 65535 restarts; copy out what `dump` shows, then start all \
         servers empty"
    )]
    RestartsUsedUp {
        /// The sequencer.
        node: NodeId,
    },
    /// The sequencer works under another server list, W or R than this server.
    #[error(
        "server {node} has another server list, W or R than this server; restart this server with \
         the ones of server {node}"
    )]
    OtherConfiguration {
        /// The sequencer.
        node: NodeId,
    },
    /// The server's disk has no room for what a write may need. Reads go on.
    #[error(
        "this server's disk is full and it takes no writes; make room, or use another server \
         meanwhile"
    )]
    DiskFull,
    /// The server has as many open files as it may, and a write may need one more. Reads go on.
    #[error(
        "this server can open no more files and takes no writes; raise its limit of open files \
         (`ulimit -n`), or use another server meanwhile"
    )]
    TooManyOpenFiles,
    /// The server has been told to stop.
    #[error("this server is stopping; use another one")]
    Stopping,
}

wire_enum!(Waiting, "waiting reason", {
    0 => Servers { more },
    1 => Sequencer { node },
    2 => Joining,
    3 => LostMemory { node },
    4 => OtherCluster { node, ours, theirs },
    5 => Stopping,
    6 => RestartsUsedUp { node },
    7 => OtherConfiguration { node },
    8 => DiskFull,
    9 => TooManyOpenFiles,
});

/// What is known of a request that may have taken effect, or may still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unknown {
    /// The version that the write has if it took effect, where that is known.
    pub version: Option<Version>,
    /// How many servers acknowledged it.
    pub acks: u16,
    /// How many were needed.
    pub needed: u16,
}

wire_struct!(Unknown { version, acks, needed });

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown: {} of {} servers acknowledged; it may have taken effect or may still, so \
             read before you repeat it",
            self.acks, self.needed
        )
    }
}

impl Wire for QuorumError {
    fn encode(&self, out: &mut bytes::BytesMut) {
        match self {
            Self::Zero => 0u8.encode(out),
            Self::TooMany { asked, nodes } => (1u8, *asked, *nodes).encode(out),
            Self::Word => 2u8.encode(out),
        }
    }

    fn decode(input: &mut bytes::Bytes) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            0 => Ok(Self::Zero),
            1 => Ok(Self::TooMany { asked: u16::decode(input)?, nodes: u16::decode(input)? }),
            2 => Ok(Self::Word),
            tag => Err(DecodeError::UnknownTag { what: "quorum error", tag }),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_say_what_to_do() {
        assert_eq!(
            NotDone::Unavailable { reachable: 1, needed: 2 }.to_string(),
            "unavailable: 1 of 2 servers reachable; start or reconnect 1 more"
        );
        assert_eq!(
            NotDone::Waiting(Waiting::Servers { more: 1 }).to_string(),
            "unavailable: waiting for 1 more server"
        );
        assert_eq!(
            Waiting::LostMemory { node: NodeId::FIRST }.to_string(),
            "server 1 lost its data; restart all servers empty, or restore a backup"
        );
        assert_eq!(
            NotDone::NotSupported(Feature::Append).to_string(),
            "not supported: append; use a cluster with the linearizable engine"
        );
    }

    #[test]
    fn every_reason_survives_a_round_trip() {
        let value = Value::new("v").unwrap();
        let found = Some(Versioned { value, version: Version::Log(3) });
        let reasons = [
            NotDone::Unavailable { reachable: 1, needed: 2 },
            NotDone::Waiting(Waiting::OtherCluster {
                node: NodeId::FIRST,
                ours: ClusterId(1),
                theirs: ClusterId(2),
            }),
            NotDone::Waiting(Waiting::RestartsUsedUp { node: NodeId::FIRST }),
            NotDone::Waiting(Waiting::OtherConfiguration { node: NodeId::FIRST }),
            NotDone::Waiting(Waiting::DiskFull),
            NotDone::Waiting(Waiting::TooManyOpenFiles),
            NotDone::TimedOut { answered: 1, needed: 2 },
            NotDone::NotSupported(Feature::RequestQuorum),
            NotDone::Quorum(QuorumError::TooMany { asked: 3, nodes: 2 }),
            NotDone::ConditionFailed { index: 1, found },
            NotDone::NotANumber { index: 0 },
            NotDone::ValueTooLarge { index: 0 },
            NotDone::Overloaded { limit: 9 },
            NotDone::ClockSkew { off_ms: -11_000, limit_ms: 10_000 },
        ];
        for reason in reasons {
            let outcome = Outcome::NotDone(reason);
            assert_eq!(Outcome::from_bytes(outcome.to_bytes()), Ok(outcome));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Outcome::from_bytes(Bytes::from(bytes));
        }
    }
}
