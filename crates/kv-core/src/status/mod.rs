//! What a server reports about itself.

mod counter;
mod outlook;
mod positions;

use std::fmt;

use bytes::{Bytes, BytesMut};

pub use counter::{Counter, Unit};
pub use outlook::Outlook;
pub use positions::Positions;

use crate::cluster::ClusterConfig;
use crate::cluster::id::{ClusterId, Incarnation, NodeId};
use crate::request::not_done::Waiting;
use crate::wire::{DecodeError, Wire};
use crate::{wire_enum, wire_struct};

/// A server's state, for people and tools. Nothing in a protocol depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// [`crate::ConsistencyEngine::NAME`].
    pub engine: String,
    /// The server.
    pub node: NodeId,
    /// Its incarnation; [`Incarnation::UNKNOWN`] while it is joining.
    pub incarnation: Incarnation,
    /// The cluster whose data the server's disk holds; `None` before it has founded or joined one,
    /// and in an engine whose clusters have no id.
    pub cluster_id: Option<ClusterId>,
    /// The configuration that it works under.
    pub cluster: ClusterConfig,
    /// What it does in the cluster.
    pub role: Role,
    /// The peers that it is connected to, ascending.
    pub connected: Vec<NodeId>,
    /// What it waits for; `None` when it serves.
    pub waiting: Option<Waiting>,
    /// How far its data, log and disk are.
    pub positions: Positions,
    /// How far its peers are behind, ascending by peer. In the linearizable engine known at a
    /// sequencer only, and only of the peers that have acknowledged something in the present epoch.
    pub lags: Vec<PeerLag>,
    /// Counts, each at most once.
    pub counters: Vec<(Counter, u64)>,
}

impl Status {
    /// A counter's value, in its [`Counter::unit`]; `None` if the server does not report it.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> Option<u64> {
        self.counters.iter().find(|(other, _)| *other == counter).map(|(_, value)| *value)
    }

    /// The known positions and then the counters, each with its name, as people read them.
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, u64)> + use<'_> {
        let counters = self.counters.iter().map(|(counter, value)| (counter.name(), *value));
        self.positions.figures().chain(counters)
    }
}

/// Counters that this program does not know are skipped, so that a client can show the status of a
/// newer server.
impl Wire for Status {
    fn encode(&self, out: &mut BytesMut) {
        self.engine.encode(out);
        self.node.encode(out);
        self.incarnation.encode(out);
        self.cluster_id.encode(out);
        self.cluster.encode(out);
        self.role.encode(out);
        self.connected.encode(out);
        self.waiting.encode(out);
        self.positions.encode(out);
        self.lags.encode(out);
        let counters = self.counters.iter().map(|(counter, value)| (counter.tag(), *value));
        counters.collect::<Vec<(u16, u64)>>().encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        Ok(Self {
            engine: Wire::decode(input)?,
            node: Wire::decode(input)?,
            incarnation: Wire::decode(input)?,
            cluster_id: Wire::decode(input)?,
            cluster: Wire::decode(input)?,
            role: Wire::decode(input)?,
            connected: Wire::decode(input)?,
            waiting: Wire::decode(input)?,
            positions: Wire::decode(input)?,
            lags: Wire::decode(input)?,
            counters: {
                let tagged = Vec::<(u16, u64)>::decode(input)?.into_iter();
                let known = |(tag, value)| Counter::from_tag(tag).map(|known| (known, value));
                tagged.filter_map(known).collect()
            },
        })
    }
}

/// What a server does in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// It has no data yet, or lost what it had, and asks its peers for what they hold and know of
    /// it. It is in no quorum.
    Joining,
    /// It is the sequencer of a cluster that does not exist yet, and asks its peers for that.
    Founding,
    /// It orders the writes of the cluster.
    Sequencer,
    /// It follows the sequencer's log.
    Follower,
    /// It coordinates the requests of its own clients, as every server of a leaderless engine does.
    Coordinator,
}

wire_enum!(Role, "role", {
    0 => Joining,
    1 => Founding,
    2 => Sequencer,
    3 => Follower,
    4 => Coordinator,
});

impl Role {
    /// The role in one lower-case word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Founding => "founding",
            Self::Sequencer => "sequencer",
            Self::Follower => "follower",
            Self::Coordinator => "coordinator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How far a peer is behind the server that reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerLag {
    /// The peer.
    pub peer: NodeId,
    /// How many of the log's entries, or of the writes that the server has, the peer is not known to
    /// have on its disk.
    pub entries: u64,
}

wire_struct!(PeerLag { peer, entries });

#[cfg(test)]
mod tests;
