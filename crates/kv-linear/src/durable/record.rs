//! What a server writes to its disk.

use bytes::Bytes;
use kv_core::{ClusterConfig, ClusterId, Incarnation, NodeId, wire_enum};

use crate::log::entry::Entry;
use crate::log::epoch::{Epoch, LogIndex};

/// A change of a server's durable state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The sequencer founds a cluster.
    Founded {
        /// The cluster's name.
        cluster: ClusterId,
        /// The configuration that all its servers share.
        configuration: ClusterConfig,
        /// The sequencer's incarnation.
        incarnation: Incarnation,
        /// The other founding members with their incarnations.
        members: Vec<(NodeId, Incarnation)>,
    },
    /// An empty server joins a cluster.
    Joined {
        /// The cluster's name.
        cluster: ClusterId,
        /// The configuration that all its servers share.
        configuration: ClusterConfig,
        /// The server's incarnation.
        incarnation: Incarnation,
        /// The sequencer's incarnation.
        sequencer: Incarnation,
    },
    /// A server that keeps its log begins another incarnation.
    Renewed {
        /// That incarnation.
        incarnation: Incarnation,
    },
    /// The sequencer learns of a peer's incarnation.
    PeerIncarnation {
        /// Which peer.
        peer: NodeId,
        /// Its incarnation; acknowledgements of older ones are not counted from here on.
        incarnation: Incarnation,
    },
    /// The sequencer begins an epoch.
    Opened {
        /// Which one.
        epoch: Epoch,
    },
    /// New entries of the log, in order.
    Entries {
        /// What was known to be committed when they were written.
        commit: LogIndex,
        /// The entries; those that the log holds already are skipped.
        entries: Vec<Entry>,
    },
    /// A part of a state that came from the sequencer; nothing is changed by it alone.
    Staged {
        /// The part's position, from 0; the first part drops what was staged before.
        part: u32,
        /// Items of the checkpoint.
        items: Vec<(Bytes, Bytes)>,
    },
    /// The switch to the staged state.
    Installed {
        /// How many parts were staged.
        parts: u32,
        /// The checkpoint's metadata.
        metadata: Bytes,
    },
    /// A part of what an epoch's starting log has beyond this server's log; nothing is changed by
    /// it alone.
    StagedLog {
        /// The part's position, from 0; the first part drops what was staged before.
        part: u32,
        /// Entries, in order.
        entries: Vec<Entry>,
    },
    /// The switch to an epoch's starting log: this server's log up to `base`, then what was
    /// staged.
    Started {
        /// Which epoch.
        epoch: Epoch,
        /// The last position that stays.
        base: LogIndex,
        /// The hash of the log up to there.
        base_hash: u64,
        /// How many parts were staged.
        parts: u32,
    },
}

wire_enum!(Record, "record of the linearizable engine", {
    0 => Founded { cluster, configuration, incarnation, members },
    1 => Joined { cluster, configuration, incarnation, sequencer },
    2 => Renewed { incarnation },
    3 => PeerIncarnation { peer, incarnation },
    4 => Opened { epoch },
    5 => Entries { commit, entries },
    6 => Staged { part, items },
    7 => Installed { parts, metadata },
    8 => StagedLog { part, entries },
    9 => Started { epoch, base, base_hash, parts },
});
