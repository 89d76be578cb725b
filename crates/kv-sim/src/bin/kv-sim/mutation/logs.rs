//! Whether the servers of the linearizable engine have one log.

use std::collections::BTreeMap;

use kv_core::{ClusterId, NodeId};
use kv_linear::{Epoch, LinearEngine, LogIndex};
use kv_sim::Cluster;

use super::breakable::Linear;

/// What was committed on any server, to be compared with what is committed elsewhere and with the
/// log of each later sequencer.
#[derive(Default)]
pub(super) struct Logs {
    /// The hash and the epoch of each entry that some server took to be committed.
    committed: BTreeMap<LogIndex, (u64, Epoch)>,
    /// The commit of each server when it was looked at last.
    seen: BTreeMap<NodeId, LogIndex>,
    /// The latest epoch that was opened.
    latest: Option<(Epoch, NodeId)>,
    /// The cluster that was founded first.
    founded: Option<ClusterId>,
    differ: Option<String>,
}

impl Logs {
    pub(super) fn look(&mut self, cluster: &Cluster<Linear>) {
        for node in cluster.nodes() {
            if let Some(engine) = cluster.engine(node).map(Linear::engine) {
                self.look_at_cluster(node, engine);
                self.look_at_commit(cluster, node, engine);
                self.look_at_sequencer(node, engine);
            }
        }
    }

    pub(super) fn found(self) -> Option<String> {
        self.differ
    }

    /// There is one cluster, and so one log.
    fn look_at_cluster(&mut self, node: NodeId, engine: &LinearEngine) {
        if let Some(cluster) = engine.cluster_id()
            && *self.founded.get_or_insert(cluster) != cluster
        {
            self.note(format!("server {node} is in another cluster"));
        }
    }

    /// What is committed is equal everywhere, also on a server that restarts and learns it anew.
    fn look_at_commit(&mut self, cluster: &Cluster<Linear>, node: NodeId, engine: &LinearEngine) {
        let commit = engine.committed_index();
        let before = self.seen.insert(node, commit).unwrap_or_default();
        if commit == before {
            return;
        }
        let mut index = if commit > before { before.next() } else { commit };
        while index <= commit {
            if let (Some(hash), Some(epoch)) = (engine.log_hash(index), engine.log_epoch(index)) {
                let (known, _) = *self.committed.entry(index).or_insert((hash, epoch));
                if known != hash {
                    self.note(format!("server {node} commits another entry {index}"));
                }
            }
            index = index.next();
        }
        if let Some((_, node)) = self.latest
            && let Some(sequencer) = cluster.engine(node).map(Linear::engine)
        {
            self.look_at_sequencer_from(before.next(), node, sequencer);
        }
    }

    /// The sequencer of the latest epoch has all that was committed in earlier ones. One of an
    /// earlier epoch that does not know yet need not.
    fn look_at_sequencer(&mut self, node: NodeId, engine: &LinearEngine) {
        let Some(epoch) = engine.sequences() else {
            return;
        };
        if self.latest.is_none_or(|(latest, _)| epoch > latest) {
            self.latest = Some((epoch, node));
            self.look_at_sequencer_from(LogIndex::ZERO, node, engine);
        }
    }

    fn look_at_sequencer_from(&mut self, first: LogIndex, node: NodeId, engine: &LinearEngine) {
        let Some((latest, _)) = self.latest.filter(|(epoch, _)| engine.sequences() == Some(*epoch))
        else {
            return;
        };
        let lacks = |(index, (hash, epoch)): &(&LogIndex, &(u64, Epoch))| {
            // What it does not keep any more it has applied.
            let is_trimmed = || **index <= engine.committed_index();
            *epoch < latest && engine.log_hash(**index).map_or(!is_trimmed(), |own| own != *hash)
        };
        let lacking = self.committed.range(first..).find(lacks).map(|(index, _)| *index);
        if let Some(index) = lacking {
            self.note(format!("server {node} opens {latest} without entry {index}"));
        }
    }

    fn note(&mut self, finding: String) {
        self.differ.get_or_insert(finding);
    }
}
