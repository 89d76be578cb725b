//! What reaches the disk.

use kv_core::{ClusterConfig, HybridTime, Incarnation, Key, NodeId, wire_enum, wire_struct};

use crate::ids::WriteId;
use crate::state::stamp::Entry;
use crate::vector::Vector;

/// A write: a key and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Which key.
    pub key: Key,
    /// What the write made of it.
    pub entry: Entry,
}

wire_struct!(Write { key, entry });

impl Write {
    /// Bytes of key and value, and about what the rest takes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.key.as_bytes().len() + self.entry.size_bytes() + FIXED_BYTES
    }

    pub(crate) fn detached(&self) -> Self {
        Self { key: self.key.detached(), entry: self.entry.detached() }
    }
}

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The server begins an incarnation; its writes are numbered from 1 again.
    Incarnation {
        /// The server.
        node: NodeId,
        /// The incarnation.
        incarnation: Incarnation,
        /// The configuration that it was started with.
        cluster: ClusterConfig,
    },
    /// A peer was met in an incarnation that was not known before, or was heard of.
    PeerIncarnation {
        /// The peer.
        peer: NodeId,
        /// Its incarnation.
        incarnation: Incarnation,
    },
    /// The server's clock issues only stamps below this one.
    ClockBound {
        /// The bound.
        below: HybridTime,
    },
    /// A write of this server or of another; it takes effect if it is newer than what the key
    /// holds.
    Write(Write),
    /// A write of another server came that is older than what its key holds.
    Superseded(WriteId),
    /// The server reflects all that this vector knows.
    Join(Vector),
    /// Whether what the server holds counts towards the answers that a read needs.
    Standing {
        /// If so.
        counts: bool,
    },
    /// A peer has said that its disk reflects this.
    PeerVector {
        /// The peer.
        peer: NodeId,
        /// What it reflects.
        vector: Vector,
    },
    /// Every write of some former incarnations that any server holds is here.
    Retired {
        /// The server.
        node: NodeId,
        /// The incarnations.
        incarnations: Vec<Incarnation>,
    },
    /// Records are removed that no server needs any more.
    Removed {
        /// None of the deletes that were forgotten so far is later.
        floor: HybridTime,
        /// The keys, each with the write that its record is from.
        records: Vec<(Key, WriteId)>,
    },
}

wire_enum!(Record, "record", {
    0 => Incarnation { node, incarnation, cluster },
    1 => PeerIncarnation { peer, incarnation },
    2 => ClockBound { below },
    3 => Write(write),
    4 => Superseded(id),
    5 => Join(vector),
    6 => Standing { counts },
    7 => PeerVector { peer, vector },
    8 => Retired { node, incarnations },
    9 => Removed { floor, records },
});

/// The byte form of a write without its key and value.
const FIXED_BYTES: usize = 40;

/// Takes as many keys as one record removes.
pub(crate) fn take_for_removal(
    keys: &mut impl Iterator<Item = (Key, WriteId)>,
) -> Vec<(Key, WriteId)> {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    while taken.len() < REMOVED_AT_ONCE_MAX
        && bytes < REMOVED_BYTES_MAX
        && let Some((key, id)) = keys.next()
    {
        bytes += key.as_bytes().len();
        taken.push((key, id));
    }
    taken
}

/// The most keys that one record removes.
const REMOVED_AT_ONCE_MAX: usize = 5_000;

/// About how many bytes of keys such a record has at the most.
const REMOVED_BYTES_MAX: usize = 256 << 10;
