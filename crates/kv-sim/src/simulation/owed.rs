//! What servers owe once all faults have ended: answers, backups and checkpoints.

use kv_check::RequestState;
use kv_core::{ConsistencyEngine, NodeId};

use super::{HEALED_WITHIN, Simulation, SimulationFailure};
use crate::cluster::Cluster;

impl<E: ConsistencyEngine> Simulation<E> {
    /// Every client must get its answer and its backup, and every server write the checkpoint that it
    /// could not write before.
    pub(super) fn end_what_is_owed(&mut self) -> Result<(), SimulationFailure> {
        let bound = HEALED_WITHIN;
        let is_done = |cluster: &Cluster<E>| {
            cluster.owes_backup().is_none() && owes_checkpoint(cluster).is_none()
        };
        if !is_done(&self.cluster) {
            self.cluster.run_until(bound, is_done)?;
        }
        // One that is being written may be long, on a slow disk and in small parts.
        let owing = owes_checkpoint(&self.cluster);
        if let Some(node) = owing.filter(|node| !self.cluster.writes_checkpoint(*node)) {
            return Err(SimulationFailure::CheckpointNotWritten { node, bound });
        }
        if let Some(node) = self.cluster.owes_backup() {
            return Err(SimulationFailure::BackupNeverEnds { node, bound });
        }
        let now = self.cluster.now();
        let waits = self.cluster.requests().find(|(_, request)| {
            let is_open = request.state == RequestState::Waiting && !request.cancelled;
            is_open && request.invoked_at + request.options.timeout + bound < now
        });
        match waits {
            Some((id, request)) => {
                let (node, shown_by) = (request.node, self.judged().shown_by([id]));
                Err(SimulationFailure::NeverAnswered { id, node, bound, shown_by })
            }
            None => Ok(()),
        }
    }
}

fn owes_checkpoint<E: ConsistencyEngine>(cluster: &Cluster<E>) -> Option<NodeId> {
    cluster.nodes().find(|node| cluster.owes_checkpoint(*node))
}
