//! The engine's state in figures.

use kv_core::{ConsistencyEngine, Key, Status, Version, Waiting};

use crate::engine::EventualEngine;

impl EventualEngine {
    /// The version that this server itself holds of a key, that of a tombstone included. What it
    /// holds is on its disk.
    #[must_use]
    pub fn held_version(&self, key: &Key) -> Option<Version> {
        self.state.get(key).map(|entry| entry.stamp.into())
    }

    pub(crate) fn describe(&self) -> Status {
        Status {
            engine: Self::NAME.to_owned(),
            node: self.config.node,
            incarnation: self.state.life,
            cluster: self.config.cluster.clone(),
            connected: self.peers.connected_nodes().collect(),
            waiting: self.waiting(),
            counters: self.figures(),
        }
    }

    /// `Servers` is for information: requests with smaller quorums are served all the same.
    fn waiting(&self) -> Option<Waiting> {
        if let Some(waiting) = self.membership.waiting() {
            return Some(waiting);
        }
        let cluster = &self.config.cluster;
        let needed = cluster.write_quorum().max(cluster.read_quorum());
        let more = needed.saturating_sub(self.peers.reachable());
        (more > 0).then_some(Waiting::Servers { more })
    }

    fn figures(&self) -> Vec<(String, u64)> {
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        let entries = count(self.state.store.len());
        let positions = [
            ("keys", entries - self.state.tombstones),
            ("tombstones", self.state.tombstones),
            ("pending_writes", count(self.writes.waiting_len())),
            ("trailing_writes", count(self.writes.trailing_len())),
            ("pending_reads", count(self.reads.len())),
            ("queued_requests", count(self.membership.queue_len())),
            ("unpersisted_records", count(self.journal.len())),
            ("clock_ms", self.clock.latest().millis()),
        ];
        // How far a former life numbered its writes is not known.
        let numbered = self.membership.is_serving().then(|| self.writes.last_seq().0);
        let numbered = numbered.map(|last| ("last_write_seq", last));
        let figures = positions.into_iter().chain(numbered).chain(self.counters.named());
        figures.map(|(name, count)| (name.to_owned(), count)).collect()
    }
}
