//! Whether the cluster serves while as many servers are away as it says it can do without.

use std::time::Duration;

use kv_core::{
    ConsistencyEngine, NodeId, Operation, Outcome, RequestOptions, Role, SeedStream, Value,
};

use super::failure::Away;
use super::{HEALED_KEY, HEALED_WITHIN, Simulation, SimulationFailure};
use crate::cluster::process::Restart;
use crate::config::NetworkConfig;

impl<E: ConsistencyEngine> Simulation<E> {
    /// Takes as many servers away as may be, by a crash or by the network, has each of the others
    /// serve, and brings them back.
    pub(super) fn serve_without_some(&mut self) -> Result<(), SimulationFailure> {
        let Some(availability) = self.declaration.availability else {
            return Ok(());
        };
        // A server that lost its data may take the others to be whole again.
        if self.declaration.converges {
            self.converge()?;
        }
        self.cluster.run_until(HEALED_WITHIN, |cluster| {
            let mut statuses = cluster.nodes().filter_map(|node| cluster.status(node));
            statuses.all(|status| status.waiting.is_none() && status.role != Role::Joining)
        })?;
        let mut stream = SeedStream::new(self.plan.cluster.seed ^ AWAY);
        let cluster = &self.plan.cluster.cluster;
        let (write, read) = (cluster.write_quorum(), cluster.read_quorum());
        let most = availability.needs.may_be_away(cluster.nodes(), write, read);
        let mut left: Vec<NodeId> = self.cluster.nodes().collect();
        let mut away = Vec::new();
        for _ in 0..most {
            let spared = |node: &NodeId| self.declaration.spares.contains(node);
            let possible: Vec<NodeId> = left.iter().copied().filter(|n| !spared(n)).collect();
            if let Some(node) = crate::workload::pick(&mut stream, &possible).copied() {
                left.retain(|other| *other != node);
                away.push(node);
            }
        }
        if away.is_empty() {
            return Ok(());
        }
        let crash = stream.chance(500);
        for &node in &away {
            if crash {
                self.cluster.crash(node);
            } else {
                self.cluster.partition(&[node]);
            }
        }
        self.cluster.trace.remark(self.cluster.now, "some servers are away, and the others serve");
        for &node in &left {
            let last = self.serve_at(node, availability.within)?;
            if let Err(last) = last {
                let bound = availability.within;
                let away = Box::new(Away { nodes: away, by_crash: crash, last });
                return Err(SimulationFailure::NeverServesWithout { node, away, bound });
            }
        }
        for &node in away.iter().filter(|_| crash) {
            self.cluster.restart(node, Restart::Intact)?;
        }
        self.cluster.heal_network(NetworkConfig::default());
        Ok(())
    }

    /// Has a server do a write and a read; its last answer if it did not.
    fn serve_at(
        &mut self,
        node: NodeId,
        bound: Duration,
    ) -> Result<Result<(), Option<Outcome>>, SimulationFailure> {
        let give_up = self.cluster.now() + bound;
        let key = crate::workload::key(HEALED_KEY);
        let value = Value::new(format!("by {node} alone")).unwrap_or_default();
        for op in [Operation::put(key.clone(), value), Operation::get(key)] {
            loop {
                let left = give_up.saturating_sub(self.cluster.now());
                let options = RequestOptions::default().with_timeout(left);
                let last = self.cluster.execute_with(node, op.clone(), options)?;
                if matches!(last, Some(Outcome::Done(_))) {
                    break;
                }
                if self.cluster.now() >= give_up {
                    return Ok(Err(last));
                }
                self.cluster.run_for(BETWEEN)?;
            }
        }
        Ok(Ok(()))
    }
}

const BETWEEN: Duration = Duration::from_millis(50);
const AWAY: u64 = 0x6177_6179;
