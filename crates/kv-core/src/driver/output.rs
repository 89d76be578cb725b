//! What goes to peers and what a driver's owner is asked to do.

use bytes::Bytes;

use super::session::SessionId;
use crate::cluster::id::{NodeId, PersistSeq, RequestId};
use crate::engine::checkpoint::{CheckpointChange, SnapshotPart};
use crate::engine::effect::HaltReason;
use crate::request::outcome::Outcome;
use crate::wire_enum;

/// What a driver sends to the driver of a peer. It may be lost, duplicated, delayed or reordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerFrame<M> {
    /// A message of the engine to the peer's.
    Message(M),
    /// A snapshot on its way.
    Snapshot(SnapshotFrame),
}

/// A snapshot on its way to a peer, or the answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotFrame {
    /// A part of it.
    Part(SnapshotPart),
    /// The receiver has all parts before this one on disk and takes more.
    Received {
        /// The snapshot's name at its sender.
        snapshot: u64,
        /// How many parts those are.
        parts: u32,
    },
    /// The receiver has no use for it.
    Refused {
        /// The snapshot's name at its sender.
        snapshot: u64,
    },
}

wire_enum!(SnapshotFrame, "snapshot frame", {
    0 => Part(part),
    1 => Received { snapshot, parts },
    2 => Refused { snapshot },
});

/// One thing that a driver's owner is to do. Outputs are carried out in the order in which they
/// are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<M, R> {
    /// Write these records to disk, as one batch; [`DriverCore::on_persisted`] tells when they are
    /// there.
    ///
    /// [`DriverCore::on_persisted`]: super::DriverCore::on_persisted
    Persist(Vec<(PersistSeq, R)>),
    /// Send to a peer that is connected.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        frame: PeerFrame<M>,
    },
    /// Answer a request.
    Reply(Reply),
    /// Begin to write a checkpoint; its changes follow.
    BeginCheckpoint {
        /// The records that it reflects.
        covers: PersistSeq,
        /// What it holds that is not kept by key.
        metadata: Bytes,
        /// About how many changes will follow.
        changes: usize,
    },
    /// Write these changes into the checkpoint that was begun;
    /// [`DriverCore::on_changes_taken`] asks for more.
    ///
    /// [`DriverCore::on_changes_taken`]: super::DriverCore::on_changes_taken
    WriteChanges {
        /// The changes, ascending by key.
        changes: Vec<CheckpointChange>,
        /// Whether the checkpoint is whole with them, and is to take effect.
        is_last: bool,
    },
    /// Drop the checkpoint that was begun: there will be no more changes.
    AbandonCheckpoint,
    /// Stop the process; the driver does nothing any more.
    Halt(HaltReason),
}

/// The answer to a request of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Whose request it is.
    pub session: SessionId,
    /// The session's own name for it.
    pub tag: u64,
    /// The driver's name for it.
    pub request: RequestId,
    /// The answer.
    pub outcome: Outcome,
}
