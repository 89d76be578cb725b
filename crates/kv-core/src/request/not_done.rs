//! Why a request had no effect, or cannot have one now.

use crate::cluster::id::{ClusterId, NodeId};
use crate::cluster::quorum::QuorumError;
use crate::key::Value;
use crate::request::outcome::Versioned;
use crate::version::Version;
use crate::{DecodeError, Wire, wire_enum};

/// Why a request had no effect and never will.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NotDone {
    /// Too few servers are connected.
    #[error("unavailable: {reachable} of {} reachable; start or reconnect {} more",
        servers(*needed), needed.saturating_sub(*reachable))]
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
    #[error("timed out: {answered} of {} answered; try again", servers(*needed))]
    TimedOut {
        /// How many did, this one included.
        answered: u16,
        /// How many the request needs.
        needed: u16,
    },
    /// No server that answered in time holds what the client has seen of the key, or anything newer
    /// (eventual engine).
    #[error(
        "not caught up: no server that answers holds version {seen} of the key, which this session \
         has seen, or a newer one; it comes back with a server that does"
    )]
    NotCaughtUp {
        /// What the client has seen ([`RequestOptions::seen`](crate::RequestOptions::seen)).
        seen: Version,
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
    #[error(
        "overloaded: the server has as much in hand as it takes ({limit} requests, or fewer that \
         are large); try again later"
    )]
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
    /// The request's session is not there any more. This copy of the request was not carried out;
    /// of one that was sent before it says nothing.
    #[error("the session has expired; open another one")]
    SessionExpired,
    /// Another server cannot become the sequencer, and the present one stays.
    #[error("not handed over: {0}")]
    CannotLead(CannotLead),
}

impl NotDone {
    /// Whether the same request may be served in a moment, at this server or at another one: while
    /// servers start, connect or change over.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Waiting(waiting) => waiting.is_transient(),
            Self::TimedOut { .. }
            | Self::NotCaughtUp { .. }
            | Self::NotSupported(_)
            | Self::Quorum(_)
            | Self::ConditionFailed { .. }
            | Self::NotANumber { .. }
            | Self::ValueTooLarge { .. }
            | Self::Overloaded { .. }
            | Self::ClockSkew { .. }
            | Self::SessionExpired
            | Self::CannotLead(_) => false,
        }
    }

    /// Whether the request was carried out and failed by what the keys hold. In a session any other
    /// copy of it ends so too. All other reasons are of one copy alone.
    #[must_use]
    pub const fn is_of_the_state(&self) -> bool {
        match self {
            Self::ConditionFailed { .. } | Self::NotANumber { .. } | Self::ValueTooLarge { .. } => {
                true
            }
            Self::Unavailable { .. }
            | Self::Waiting(_)
            | Self::TimedOut { .. }
            | Self::NotCaughtUp { .. }
            | Self::NotSupported(_)
            | Self::Quorum(_)
            | Self::Overloaded { .. }
            | Self::ClockSkew { .. }
            | Self::SessionExpired
            | Self::CannotLead(_) => false,
        }
    }
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
    10 => SessionExpired,
    12 => CannotLead(why),
    13 => NotCaughtUp { seen },
});

/// Why a server cannot become the sequencer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CannotLead {
    /// It is not in the cluster.
    #[error("server {node} is not one of the cluster's servers")]
    NotInCluster {
        /// Which one.
        node: NodeId,
    },
    /// W = 1 or R = 1.
    #[error("with W=1 or R=1 no other server can take the sequencer's place")]
    NoSuccessor,
    /// Too few servers are connected to choose another one.
    #[error("it takes {more} more connected server{}", if *more == 1 { "" } else { "s" })]
    TooFew {
        /// How many more it takes.
        more: u16,
    },
    /// It is not connected, has lost its data, is stopping, or its disk is full.
    #[error("server {node} is not connected or not fit to lead; look at its status")]
    Unfit {
        /// Which one.
        node: NodeId,
    },
    /// It did not catch up with the sequencer in time.
    #[error("server {node} is too far behind; try again once it has caught up")]
    Behind {
        /// Which one.
        node: NodeId,
    },
    /// Another hand-over is under way.
    #[error("the sequencer is handing over to server {node}")]
    Busy {
        /// To which one.
        node: NodeId,
    },
}

wire_enum!(CannotLead, "reason not to lead", {
    0 => NotInCluster { node },
    1 => NoSuccessor,
    2 => TooFew { more },
    3 => Unfit { node },
    4 => Behind { node },
    5 => Busy { node },
});

/// What an engine was asked for and does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Feature {
    /// A batch with conditions, in the eventual engine.
    #[error("conditional writes; use a cluster with the linearizable engine")]
    Conditions,
    /// A batch of several commands.
    #[error(
        "several commands in one request; send them one by one, or use a cluster with the linearizable engine"
    )]
    Transactions,
    /// An increment, in the eventual engine.
    #[error("increment; use a cluster with the linearizable engine")]
    Increment,
    /// An append, in the eventual engine.
    #[error("append; use a cluster with the linearizable engine")]
    Append,
    /// A key with an end, in the eventual engine.
    #[error("a time to live; use a cluster with the linearizable engine")]
    TimeToLive,
    /// A scan.
    #[error("scan; a dump shows what this server holds")]
    Scan,
    /// W or R in a request, in the linearizable engine.
    #[error("W or R for one request; in the linearizable engine they are the cluster's")]
    RequestQuorum,
    /// Sessions, in the eventual engine.
    #[error("sessions; use a cluster with the linearizable engine")]
    Sessions,
    /// A change of the sequencer, in the eventual engine.
    #[error("a sequencer; in the eventual engine all servers take writes alike")]
    Lead,
    /// A read level that the engine does not serve.
    #[error("this consistency level; leave the level out")]
    Level,
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
    8 => Sessions,
    9 => Lead,
});

/// Why a server does not serve now, in the words that its screen and its clients show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Waiting {
    /// Fewer servers are up than the quorums need.
    #[error("waiting for {more} more server{}", if *more == 1 { "" } else { "s" })]
    Servers {
        /// How many more it takes.
        more: u16,
    },
    /// The sequencer is not reachable and no other server can take its place, or the server that
    /// founds the cluster is not reachable.
    #[error("waiting for server {node}, the sequencer")]
    Sequencer {
        /// Which server that is.
        node: NodeId,
    },
    /// The servers have not agreed on a sequencer for longer than that should take.
    #[error("no sequencer has been chosen; look whether the servers can reach each other")]
    Election,
    /// The server has just started without data and is asking the others what they hold and know
    /// of it.
    #[error("joining the cluster; try again in a moment")]
    Joining,
    /// The server has no data, may not found a cluster, and meets none.
    #[error(
        "waiting for a cluster that this server is of: it has no data and may not found one \
         (`bootstrap`)"
    )]
    Cluster,
    /// The sequencer restarted empty while another server still holds its log, and no other server
    /// can take its place (W = 1 or R = 1).
    #[error(
        "server {node}, the sequencer, has no data and others have its log: is it started on the \
         right data directory? Look there first and remove nothing; docs/backup.md says how to save \
         what the others have"
    )]
    LostMemory {
        /// The sequencer.
        node: NodeId,
    },
    /// A server is of another cluster than the one that this server's log is from.
    #[error(
        "this server holds cluster {:016x} but server {node} is of cluster {:016x}: are both started \
         on the right data directories? To be in one cluster, one of them must start on a new one; remove no \
         data before you know which to keep",
        ours.0,
        theirs.0
    )]
    OtherCluster {
        /// The other server.
        node: NodeId,
        /// This server's cluster.
        ours: ClusterId,
        /// The other server's cluster.
        theirs: ClusterId,
    },
    /// A server works under another server list, W or R than this server.
    #[error(
        "server {node} has another server list, W or R than this server; restart this server with \
         the ones of server {node}"
    )]
    OtherConfiguration {
        /// The other server.
        node: NodeId,
    },
    /// The server's disk has no room for what a write may need. Reads go on, and deletes while there
    /// is some reserve.
    #[error(
        "the disk of server {node} is full and it takes no writes, except deletes while its reserve \
         lasts; make room there, or use another server meanwhile"
    )]
    DiskFull {
        /// The server.
        node: NodeId,
    },
    /// The server has as many open files as it may, and a write may need one more. Reads go on.
    #[error(
        "server {node} can open no more files and takes no writes; raise its limit of open files, \
         or use another server meanwhile"
    )]
    TooManyOpenFiles {
        /// The server.
        node: NodeId,
    },
    /// The server has just started, and its own disk has not taken the record of that yet, without
    /// which its writes could not be told from those before. Reads go on where it held data.
    #[error(
        "this server's own disk has not taken the record of its start yet, and it takes no writes \
         before; look at the disk if that lasts, or use another server meanwhile"
    )]
    OwnDisk,
    /// The server has been told to stop.
    #[error("this server is stopping; use another one")]
    Stopping,
}

impl Waiting {
    /// Whether it ends by itself once servers are there and connected. Of the others a person has to
    /// know.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Servers { .. }
                | Self::Sequencer { .. }
                | Self::Election
                | Self::Joining
                | Self::Cluster
                | Self::OwnDisk
                | Self::Stopping
        )
    }

    /// Whether the server refuses writes alone and answers reads.
    #[must_use]
    pub const fn serves_reads(&self) -> bool {
        match self {
            Self::DiskFull { .. } | Self::TooManyOpenFiles { .. } | Self::OwnDisk => true,
            Self::Servers { .. }
            | Self::Sequencer { .. }
            | Self::Election
            | Self::Joining
            | Self::Cluster
            | Self::LostMemory { .. }
            | Self::OtherCluster { .. }
            | Self::OtherConfiguration { .. }
            | Self::Stopping => false,
        }
    }
}

wire_enum!(Waiting, "waiting reason", {
    0 => Servers { more },
    1 => Sequencer { node },
    2 => Joining,
    3 => LostMemory { node },
    4 => OtherCluster { node, ours, theirs },
    5 => Stopping,
    7 => OtherConfiguration { node },
    8 => DiskFull { node },
    9 => TooManyOpenFiles { node },
    10 => OwnDisk,
    11 => Election,
    12 => Cluster,
});

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

/// `1 server`, `3 servers`
fn servers(count: u16) -> String {
    if count == 1 { "1 server".to_owned() } else { format!("{count} servers") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::outcome::Outcome;
    use crate::version::Version;

    #[test]
    fn messages_say_what_to_do() {
        assert_eq!(
            NotDone::Unavailable { reachable: 1, needed: 2 }.to_string(),
            "unavailable: 1 of 2 servers reachable; start or reconnect 1 more"
        );
        assert_eq!(
            NotDone::TimedOut { answered: 0, needed: 1 }.to_string(),
            "timed out: 0 of 1 server answered; try again"
        );
        assert_eq!(
            NotDone::Waiting(Waiting::Servers { more: 1 }).to_string(),
            "unavailable: waiting for 1 more server"
        );
        assert_eq!(
            Waiting::LostMemory { node: NodeId::FIRST }.to_string(),
            "server 1, the sequencer, has no data and others have its log: is it started on the \
             right data directory? Look there first and remove nothing; docs/backup.md says how to \
             save what the others have"
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
            NotDone::Waiting(Waiting::OtherConfiguration { node: NodeId::FIRST }),
            NotDone::Waiting(Waiting::DiskFull { node: NodeId::FIRST }),
            NotDone::Waiting(Waiting::OwnDisk),
            NotDone::Waiting(Waiting::TooManyOpenFiles { node: NodeId::FIRST }),
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
}
