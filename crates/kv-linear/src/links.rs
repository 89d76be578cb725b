//! Which peers can be reached, and which are refused.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::{NodeId, Waiting};

/// What the driver's hints and the heads of messages say of the peers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    connected: BTreeSet<NodeId>,
    /// How a peer's cluster or configuration differs from this server's.
    mismatched: BTreeMap<NodeId, Waiting>,
    warned: BTreeSet<NodeId>,
}

impl Links {
    pub(crate) fn up(&mut self, peer: NodeId) {
        self.connected.insert(peer);
    }

    /// True if the peer was connected.
    pub(crate) fn down(&mut self, peer: NodeId) -> bool {
        self.warned.remove(&peer);
        self.connected.remove(&peer)
    }

    /// Whether a peer is connected and of the same cluster.
    pub(crate) fn is_reachable(&self, peer: NodeId) -> bool {
        self.connected.contains(&peer) && !self.mismatched.contains_key(&peer)
    }

    pub(crate) fn is_connected(&self, peer: NodeId) -> bool {
        self.connected.contains(&peer)
    }

    /// The connected peers, ascending.
    pub(crate) fn connected(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.connected.iter().copied()
    }

    /// How many peers are connected and of the same cluster.
    pub(crate) fn reachable(&self) -> u16 {
        let count = self.connected.iter().filter(|peer| self.is_reachable(**peer)).count();
        u16::try_from(count).unwrap_or(u16::MAX)
    }

    /// How many peers are connected and of another cluster or configuration.
    pub(crate) fn refused(&self) -> usize {
        self.connected.iter().filter(|peer| self.is_mismatched(**peer)).count()
    }

    /// How the first connected peer differs that is of another cluster or configuration.
    pub(crate) fn first_mismatch(&self) -> Option<Waiting> {
        self.connected.iter().find_map(|peer| self.mismatch_of(*peer))
    }

    /// Notes that a peer is of another cluster or configuration; true if that is worth a warning.
    pub(crate) fn mismatch(&mut self, peer: NodeId, how: Waiting) -> bool {
        self.mismatched.insert(peer, how);
        self.warned.insert(peer)
    }

    /// Notes that a peer is of the same cluster, or of none.
    pub(crate) fn matches(&mut self, peer: NodeId) {
        if !self.mismatched.is_empty() {
            self.mismatched.remove(&peer);
        }
    }

    pub(crate) fn is_mismatched(&self, peer: NodeId) -> bool {
        self.mismatched.contains_key(&peer)
    }

    /// How a peer's cluster or configuration differs from this server's, if it does.
    pub(crate) fn mismatch_of(&self, peer: NodeId) -> Option<Waiting> {
        self.mismatched.get(&peer).copied()
    }
}
