//! What a server says of itself.

use crate::cluster::ClusterConfig;
use crate::cluster::id::{Incarnation, NodeId};
use crate::request::not_done::Waiting;
use crate::wire_struct;

/// An engine's state in figures, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// [`crate::ConsistencyEngine::NAME`].
    pub engine: String,
    /// The server.
    pub node: NodeId,
    /// Its incarnation; [`Incarnation::UNKNOWN`] while it is joining.
    pub incarnation: Incarnation,
    /// The configuration that it works under.
    pub cluster: ClusterConfig,
    /// The peers that it is connected to, ascending.
    pub connected: Vec<NodeId>,
    /// What it waits for; `None` when it serves.
    pub waiting: Option<Waiting>,
    /// Counts and positions, each with its name.
    pub counters: Vec<(String, u64)>,
}

wire_struct!(Status { engine, node, incarnation, cluster, connected, waiting, counters });
