//! The engine's state in figures.

use kv_core::{
    ConsistencyEngine, Counter, Key, NodeId, PeerLag, Positions, Role, Status, Version, Waiting,
};

use crate::core::Core;
use crate::engine::EventualEngine;
use crate::ids::Slot;
use crate::sync::knowledge::Peerage;

impl EventualEngine {
    /// The version that this server itself holds of a key, that of a tombstone included. What it
    /// holds is on its disk.
    #[must_use]
    pub fn held_version(&self, key: &Key) -> Option<Version> {
        self.core.state.get(key).map(|entry| entry.stamp.into())
    }

    /// Whether its disk knows of another server: whether that is asked for what a lost disk held.
    #[must_use]
    pub fn has_met(&self, node: NodeId) -> bool {
        self.core.state.members().any(|member| member == node)
    }

    pub(crate) fn describe(&self) -> Status {
        Status {
            engine: Self::NAME.to_owned(),
            node: self.core.config.node,
            incarnation: self.core.state.incarnation,
            cluster_id: None,
            cluster: self.core.config.cluster.clone(),
            role: self.role(),
            connected: self.core.peers.connected_nodes().collect(),
            waiting: self.waiting(),
            positions: self.positions(),
            lags: self.lags(),
            counters: self.counters(),
        }
    }

    /// How many writes each peer is not known to have that this server has.
    fn lags(&self) -> Vec<PeerLag> {
        let Core { peers, peerage, state, .. } = &self.core;
        let lag = |(slot, known): (&Slot, &Peerage)| {
            let entries = state.vector.ahead_of(&known.vector);
            Some(PeerLag { peer: peers.get(*slot)?.node, entries })
        };
        peerage.iter().filter_map(lag).collect()
    }

    /// `Servers` is for information: requests with smaller quorums are served all the same.
    fn waiting(&self) -> Option<Waiting> {
        if let Some(waiting) = self.identity.waiting() {
            return Some(waiting);
        }
        let cluster = &self.core.config.cluster;
        let needed = cluster.write_quorum().max(cluster.read_quorum());
        let more = needed.saturating_sub(self.core.peers.reachable());
        (more > 0).then_some(Waiting::Servers { more })
    }

    fn role(&self) -> Role {
        let is_whole = self.core.state.counts || self.core.other_members().is_empty();
        if self.identity.waiting() == Some(Waiting::Joining) || !is_whole {
            Role::Joining
        } else {
            Role::Coordinator
        }
    }

    fn positions(&self) -> Positions {
        let tombstones = count(self.core.state.buried.len());
        let offset_ms = self.core.peers.clock_offset_ms();
        let positive = |ms: i64| u64::try_from(ms).ok().filter(|ms| *ms > 0);
        // How far a former incarnation numbered its writes is not known.
        let last_write_seq = self.identity.is_serving().then(|| self.writes.last_seq().0);
        Positions {
            keys: Some(count(self.core.state.store.len()) - tombstones),
            tombstones: Some(tombstones),
            last_write_seq,
            gaps: Some(count(self.core.state.vector.gaps())),
            open_incarnations: Some(count(self.core.state.vector.former())),
            clock_ms: Some(self.core.clock.latest().millis()),
            clock_ahead_ms: offset_ms.and_then(positive),
            clock_behind_ms: offset_ms.and_then(|ms| positive(ms.saturating_neg())),
            ..Positions::default()
        }
    }

    fn counters(&self) -> Vec<(Counter, u64)> {
        let present = [
            (Counter::PendingWrites, count(self.writes.waiting_len())),
            (Counter::PendingReads, count(self.reads.len() + self.scans.len())),
            (Counter::QueuedRequests, count(self.queue.len())),
            (Counter::UnpersistedRecords, count(self.core.journal.len())),
        ];
        present.into_iter().chain(self.core.counters.all()).collect()
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
