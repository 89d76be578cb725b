//! What servers were asked to keep.

use kv_core::{HybridTime, Incarnation, Key, NodeId};

/// One write under the name that its coordinator gave it, as some server took it in: into its
/// memory, and on the way to its disk. Known of engines that say so when they are asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeptWrite {
    /// The server that coordinated it.
    pub origin: NodeId,
    /// That server's incarnation.
    pub incarnation: Incarnation,
    /// Its number in that incarnation.
    pub seq: u64,
    /// The coordinator's clock when it was made.
    pub time: HybridTime,
    /// Its key.
    pub key: Key,
    /// A hash of what it made of the key.
    pub content: u64,
}
