//! What comes to a server's driver from outside.

use bytes::BytesMut;
use kv_core::driver::PeerFrame;
use kv_core::{
    Incarnation, NodeId, Operation, PersistSeq, RequestId, RequestOptions, Shortage, Wire,
};

use kv_check::CallText;

/// What comes to a server's driver, and waits until the server works.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Arrival<M> {
    /// A client asks for something in one of the server's sessions.
    Request { id: RequestId, op: Operation, options: RequestOptions },
    /// A client waits no more.
    Cancel { id: RequestId },
    /// The client of a session has gone, and another one connects in its place.
    Disconnect { session: usize },
    /// A client asks for all that the server holds.
    Snapshot { session: usize, tag: u64 },
    /// Something came from a peer.
    Frame { from: NodeId, frame: PeerFrame<M> },
    /// A peer is connected.
    PeerUp { peer: NodeId, incarnation: Incarnation },
    /// A peer is not connected.
    PeerDown { peer: NodeId },
    /// Records are on disk.
    Persisted { up_to: PersistSeq },
    /// The disk lacks something, or no more so.
    Room { shortage: Option<Shortage> },
    /// The checkpoint's writer has taken a chunk.
    ChangesTaken,
    /// The checkpoint is on disk.
    CheckpointWritten,
    /// The checkpoint could not be written.
    CheckpointFailed,
    /// The server is told to stop.
    Stop,
}

impl<M: Wire + std::fmt::Debug> Arrival<M> {
    /// What tells it from others.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Request { id, op, options } => {
                (0_u8, *id, op.to_bytes()).encode(out);
                options.encode(out);
            }
            Self::Cancel { id } => (1_u8, *id).encode(out),
            Self::Disconnect { session } => {
                (2_u8, u64::try_from(*session).unwrap_or(u64::MAX)).encode(out);
            }
            Self::Frame { from, frame: PeerFrame::Message(message) } => {
                (3_u8, *from, message.to_bytes()).encode(out);
            }
            Self::Frame { from, frame: PeerFrame::Snapshot(frame) } => {
                (4_u8, *from, frame.to_bytes()).encode(out);
            }
            Self::PeerUp { peer, incarnation } => (5_u8, *peer, *incarnation).encode(out),
            Self::PeerDown { peer } => (6_u8, *peer).encode(out),
            Self::Persisted { up_to } => (7_u8, *up_to).encode(out),
            Self::Room { shortage } => (8_u8, u8::from(shortage.is_some())).encode(out),
            Self::ChangesTaken => 9_u8.encode(out),
            Self::CheckpointWritten => 10_u8.encode(out),
            Self::Stop => 11_u8.encode(out),
            Self::CheckpointFailed => 12_u8.encode(out),
            Self::Snapshot { tag, .. } => (13_u8, *tag).encode(out),
        }
    }

    /// In the words of a trace.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Request { id, op: Operation::Batch(batch), options } => {
                format!("<- request {id}:{}, {options:?}", CallText(batch))
            }
            Self::Request { id, op, options } => format!("<- request {id}: {op:?}, {options:?}"),
            Self::Frame { from, frame: PeerFrame::Message(message) } => {
                format!("<- from {from}: {message:?}")
            }
            Self::Frame { from, frame: PeerFrame::Snapshot(frame) } => {
                format!("<- from {from}: {frame:?}")
            }
            Self::Cancel { .. }
            | Self::Disconnect { .. }
            | Self::PeerUp { .. }
            | Self::PeerDown { .. }
            | Self::Persisted { .. }
            | Self::Room { .. }
            | Self::ChangesTaken
            | Self::CheckpointWritten
            | Self::CheckpointFailed
            | Self::Snapshot { .. }
            | Self::Stop => format!("<- {self:?}"),
        }
    }
}
