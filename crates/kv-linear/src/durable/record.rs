//! What a server writes to its disk.

use bytes::Bytes;
use kv_core::{ClusterConfig, ClusterId, Incarnation, NodeId, wire_enum};

use crate::log::entry::Entry;
use crate::log::epoch::{Epoch, LogIndex};

/// A change of a server's durable state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An empty server has a name, under which it may become a founding member.
    Named {
        /// The name.
        nonce: u64,
    },
    /// A server founds a cluster.
    Founded {
        /// The cluster's name.
        cluster: ClusterId,
        /// The configuration that all its servers share.
        configuration: ClusterConfig,
        /// The server's incarnation.
        incarnation: Incarnation,
        /// The other founding members with their incarnations.
        members: Vec<(NodeId, Incarnation)>,
    },
    /// An empty server is in a cluster.
    Joined {
        /// The cluster's name.
        cluster: ClusterId,
        /// The configuration that all its servers share.
        configuration: ClusterConfig,
        /// The server's incarnation.
        incarnation: Incarnation,
        /// The incarnations of others that it was told of.
        known: Vec<(NodeId, Incarnation)>,
        /// Whether it counts for nothing before it has caught up; founding members do not recover.
        recovering: bool,
    },
    /// A server that keeps its log begins another incarnation.
    Renewed {
        /// That incarnation.
        incarnation: Incarnation,
        /// Whether it counts for nothing before it has caught up.
        recovering: bool,
    },
    /// A server that recovered takes part again.
    Recovered,
    /// A peer's incarnation is known.
    Known {
        /// Which peer.
        peer: NodeId,
        /// Its incarnation; nothing of older ones counts from here on.
        incarnation: Incarnation,
    },
    /// The server takes nothing of an earlier epoch any more.
    Promised {
        /// The epoch.
        epoch: Epoch,
    },
    /// The server opens an epoch, which it has promised with that, in the incarnation that the
    /// epoch names.
    Opened {
        /// The entry that opens it.
        entry: Entry,
    },
    /// Entries of the log, in order. What the log has after `previous` is replaced by them.
    Entries {
        /// The epoch in which they were sent, which is promised with that.
        promised: Epoch,
        /// What was known to be committed when they were written.
        commit: LogIndex,
        /// The position before the first of them.
        previous: LogIndex,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// A part of a state that came from a peer; nothing is changed by it alone.
    Staged {
        /// The part's position, from 0; the first part drops what was staged before.
        part: u32,
        /// Items of the checkpoint.
        items: Vec<(Bytes, Bytes)>,
    },
    /// The switch to the staged state.
    Installed {
        /// The epoch in which it was sent, which is promised with that.
        promised: Epoch,
        /// How many parts were staged.
        parts: u32,
        /// The checkpoint's metadata.
        metadata: Bytes,
    },
    /// A peer has shown that this disk is older than it was, and no other server can bring it up
    /// to date: it is not started on again.
    Refuted {
        /// The peer.
        peer: NodeId,
    },
    /// The cluster that the next record founds or joins is founded on a log that one server kept, so that
    /// V promises say nothing of it before W servers hold it: this one makes none until it does.
    FoundedOn {
        /// Where that log ends.
        last: LogIndex,
    },
    /// A person has given up what other servers of the cluster may have had: this one leaves it with
    /// its log, and founds another one with servers that are empty.
    Salvaged {
        /// The name of the cluster to be.
        cluster: ClusterId,
    },
}

wire_enum!(Record, "record of the linearizable engine", {
    0 => Named { nonce },
    1 => Founded { cluster, configuration, incarnation, members },
    2 => Joined { cluster, configuration, incarnation, known, recovering },
    3 => Renewed { incarnation, recovering },
    4 => Recovered,
    5 => Known { peer, incarnation },
    6 => Promised { epoch },
    7 => Opened { entry },
    8 => Entries { promised, commit, previous, entries },
    9 => Staged { part, items },
    10 => Installed { promised, parts, metadata },
    11 => Refuted { peer },
    12 => Salvaged { cluster },
    13 => FoundedOn { last },
});
