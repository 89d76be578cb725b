//! What reaches the driver.

use kv_core::{
    Checkpoint, Incarnation, NodeId, Operation, Outcome, RequestOptions, StagedCheckpoint, Status,
};
use tokio::sync::oneshot;

use crate::client_number::ClientNumber;
use crate::driver::replies::Replies;

/// From the connections between servers.
#[derive(Debug)]
pub(crate) enum PeerEvent<M> {
    /// The connection to a peer stands.
    Up { peer: NodeId, incarnation: Incarnation },
    /// It is lost, or could not be made.
    Down { peer: NodeId },
    /// A message came from a peer.
    Message { from: NodeId, message: M },
    /// A checkpoint came whole from a peer.
    Checkpoint { from: NodeId, staged: StagedCheckpoint },
}

/// From clients, those in this process included.
#[derive(Debug)]
pub(crate) enum ClientEvent {
    /// A client has connected; its replies go here.
    Opened { client: ClientNumber, replies: Replies },
    /// It has gone; nobody waits for its replies.
    Closed { client: ClientNumber },
    /// It asks for something.
    Request { client: ClientNumber, id: u64, op: Operation, options: RequestOptions },
    /// It waits for the reply no more.
    Cancel { client: ClientNumber, id: u64 },
    /// A client in this process asks for something.
    Local {
        client: ClientNumber,
        op: Operation,
        options: RequestOptions,
        reply: oneshot::Sender<Outcome>,
    },
    /// Somebody asks how the server is.
    Status { reply: oneshot::Sender<Status> },
    /// Somebody asks for all that the server holds.
    Checkpoint { reply: oneshot::Sender<Checkpoint> },
}
