//! What is due at some time.

use bytes::Bytes;
use kv_core::{NodeId, StagedCheckpoint};

use crate::disk::DiskWork;

/// Something that happens at its time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message arrives.
    Arrive { from: NodeId, to: NodeId, bytes: Bytes },
    /// A peer's checkpoint has arrived whole.
    ArriveCheckpoint { from: NodeId, to: NodeId, checkpoint: StagedCheckpoint },
    /// A server steps what has come in.
    Work { node: NodeId, incarnation: u64 },
    /// Something ends on a disk.
    DiskWorkEnds { node: NodeId, incarnation: u64, work: DiskWork },
    /// A server looks at its disk.
    DiskLook { node: NodeId, incarnation: u64 },
    /// A server looks at its connection to a peer.
    Look { node: NodeId, peer: NodeId },
}

impl Event {
    /// The link that it comes over.
    pub(super) const fn link(&self) -> Option<(NodeId, NodeId)> {
        match self {
            Self::Arrive { from, to, .. } | Self::ArriveCheckpoint { from, to, .. } => {
                Some((*from, *to))
            }
            Self::Work { .. }
            | Self::DiskWorkEnds { .. }
            | Self::DiskLook { .. }
            | Self::Look { .. } => None,
        }
    }
}
