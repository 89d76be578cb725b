//! Who a server is, and whom it knows.

use std::collections::BTreeMap;

use kv_core::{ClusterId, Incarnation, NodeId};

/// Who a server is in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster: ClusterId,
    pub(crate) incarnation: Incarnation,
    /// Whether it lost what its disk held, or its disk is older than it was: it takes no part in
    /// any quorum until it has caught up.
    pub(crate) recovering: bool,
}

/// What a server founds a cluster with that has left its former one and kept its log.
#[derive(Clone, Debug)]
pub(crate) struct Salvaged {
    /// The name of the cluster to be.
    pub(crate) cluster: ClusterId,
    /// Its incarnation in the former cluster.
    pub(crate) incarnation: Incarnation,
    /// What it knew of the others there. The log may tell requests of theirs from later ones by it, so
    /// their incarnations go on from there.
    pub(crate) known: Known,
}

/// The highest incarnation known of each peer. Everything of an earlier one is over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    highest: BTreeMap<NodeId, Incarnation>,
    on_disk: BTreeMap<NodeId, Incarnation>,
}

/// What an incarnation is to a server that knows of some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    New,
    Present,
    /// Another process has had its number, or a later one.
    Over,
}

impl Known {
    pub(crate) fn highest(&self, peer: NodeId) -> Incarnation {
        self.highest.get(&peer).copied().unwrap_or(Incarnation::UNKNOWN)
    }

    /// What an incarnation of a peer is. Of two processes that took the same number only the one
    /// that was met first counts.
    pub(crate) fn standing(&self, peer: NodeId, incarnation: Incarnation) -> Standing {
        let highest = self.highest(peer);
        if incarnation == highest {
            Standing::Present
        } else if incarnation.counter() > highest.counter() {
            Standing::New
        } else {
            Standing::Over
        }
    }

    /// What is to be known of a peer that another server knows in this incarnation; `None` if that
    /// is nothing new. Of two processes that took one number neither counts: which of them came
    /// later, and so what the promises of the other one are worth, is not known.
    pub(crate) fn merged(&self, peer: NodeId, other: Incarnation) -> Option<Incarnation> {
        let highest = self.highest(peer);
        let both = Incarnation(highest.0 | u64::from(u32::MAX));
        match self.standing(peer, other) {
            Standing::New => Some(other),
            Standing::Over if other.counter() == highest.counter() && highest != both => Some(both),
            Standing::Over | Standing::Present => None,
        }
    }

    pub(crate) fn note(&mut self, peer: NodeId, incarnation: Incarnation) {
        self.highest.insert(peer, incarnation);
    }

    pub(crate) fn note_on_disk(&mut self, peer: NodeId, incarnation: Incarnation) {
        self.on_disk.insert(peer, incarnation);
    }

    /// The disk has all that this server knows of.
    pub(crate) fn note_all_on_disk(&mut self) {
        self.on_disk.clone_from(&self.highest);
    }

    /// Whether this server never counts an earlier incarnation of the peer, whatever happens.
    pub(crate) fn is_on_disk(&self, peer: NodeId, incarnation: Incarnation) -> bool {
        self.on_disk.get(&peer) == Some(&incarnation) && self.highest(peer) == incarnation
    }

    /// All that the disk has, ascending.
    pub(crate) fn on_disk(&self) -> Vec<(NodeId, Incarnation)> {
        self.on_disk.iter().map(|(peer, incarnation)| (*peer, *incarnation)).collect()
    }

    /// Takes over what the disk held.
    pub(crate) fn recover(&mut self, known: impl IntoIterator<Item = (NodeId, Incarnation)>) {
        for (peer, incarnation) in known {
            self.note(peer, incarnation);
            self.note_on_disk(peer, incarnation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_processes_with_one_number_the_first_counts() {
        let mut known = Known::default();
        let incarnation = |counter: u64, nonce: u64| Incarnation((counter << 32) | nonce);
        let standing = |known: &Known, of| known.standing(NodeId::FIRST, of);
        assert_eq!(standing(&known, incarnation(1, 5)), Standing::New);
        known.note(NodeId::FIRST, incarnation(1, 5));
        assert_eq!(standing(&known, incarnation(1, 5)), Standing::Present);
        assert_eq!(standing(&known, incarnation(1, 4)), Standing::Over);
        assert_eq!(standing(&known, incarnation(1, 6)), Standing::Over);
        assert_eq!(standing(&known, incarnation(2, 0)), Standing::New);
        let merged = |known: &Known, of| known.merged(NodeId::FIRST, of);
        let neither = incarnation(1, u64::from(u32::MAX));
        assert_eq!(merged(&known, incarnation(0, 9)), None);
        assert_eq!(merged(&known, incarnation(1, 5)), None);
        assert_eq!(merged(&known, incarnation(1, 6)), Some(neither));
        assert_eq!(merged(&known, incarnation(2, 0)), Some(incarnation(2, 0)));
        assert!(!known.is_on_disk(NodeId::FIRST, incarnation(1, 5)));
        known.note_on_disk(NodeId::FIRST, incarnation(1, 5));
        assert!(known.is_on_disk(NodeId::FIRST, incarnation(1, 5)));
        known.note(NodeId::FIRST, incarnation(2, 0));
        assert!(!known.is_on_disk(NodeId::FIRST, incarnation(1, 5)));
    }
}
