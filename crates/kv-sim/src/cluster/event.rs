//! What is due at some time.

use bytes::Bytes;
use kv_core::NodeId;
use kv_core::driver::SnapshotFrame;

use crate::disk::DiskWork;

/// Something that happens at its time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message arrives.
    Arrive { from: NodeId, to: NodeId, bytes: Bytes },
    /// A part of a snapshot, or the answer to one, arrives.
    ArriveSnapshot { from: NodeId, to: NodeId, frame: SnapshotFrame },
    /// A server steps what has come in.
    Work { node: NodeId, starts: u64 },
    /// Something ends on a disk.
    DiskWorkEnds { node: NodeId, starts: u64, work: DiskWork },
    /// A server looks at its disk.
    DiskLook { node: NodeId, starts: u64 },
    /// A server looks at its connection to a peer.
    Look { node: NodeId, peer: NodeId },
    /// A client has read the part of a snapshot that it was sent.
    ClientReads { node: NodeId, starts: u64, session: usize },
    /// A client that read nothing reads again.
    ClientDrains { node: NodeId, starts: u64, session: usize },
}

impl Event {
    /// The link that it comes over.
    pub(super) const fn link(&self) -> Option<(NodeId, NodeId)> {
        match self {
            Self::Arrive { from, to, .. } | Self::ArriveSnapshot { from, to, .. } => {
                Some((*from, *to))
            }
            Self::Work { .. }
            | Self::DiskWorkEnds { .. }
            | Self::DiskLook { .. }
            | Self::Look { .. }
            | Self::ClientReads { .. }
            | Self::ClientDrains { .. } => None,
        }
    }
}
