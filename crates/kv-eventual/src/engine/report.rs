//! The engine's state in figures.

use kv_core::{ConsistencyEngine, Key, Status, Version, Waiting};

use crate::engine::EventualEngine;

impl EventualEngine {
    /// The version that this server itself holds of a key, that of a tombstone included. What it
    /// holds is on its disk.
    #[must_use]
    pub fn held_version(&self, key: &Key) -> Option<Version> {
        self.core.state.get(key).map(|entry| entry.stamp.into())
    }

    pub(crate) fn describe(&self) -> Status {
        Status {
            engine: Self::NAME.to_owned(),
            node: self.core.config.node,
            incarnation: self.core.state.incarnation,
            cluster: self.core.config.cluster.clone(),
            connected: self.core.peers.connected_nodes().collect(),
            waiting: self.waiting(),
            counters: self.figures(),
        }
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

    fn figures(&self) -> Vec<(String, u64)> {
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        let entries = count(self.core.state.store.len());
        let positions = [
            ("keys", entries - self.core.state.tombstones),
            ("tombstones", self.core.state.tombstones),
            ("pending_writes", count(self.writes.waiting_len())),
            ("trailing_writes", count(self.writes.trailing_len())),
            ("pending_reads", count(self.reads.len())),
            ("queued_requests", count(self.queue.len())),
            ("unpersisted_records", count(self.core.journal.len())),
            ("clock_ms", self.core.clock.latest().millis()),
        ];
        // How far a former incarnation numbered its writes is not known.
        let numbered = self.identity.is_serving().then(|| self.writes.last_seq().0);
        let numbered = numbered.map(|last| ("last_write_seq", last));
        let figures = positions.into_iter().chain(numbered).chain(self.core.counters.named());
        figures.map(|(name, count)| (name.to_owned(), count)).collect()
    }
}
