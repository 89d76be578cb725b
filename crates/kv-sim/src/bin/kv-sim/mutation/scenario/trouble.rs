//! What happens to the servers of a scenario.

use std::collections::BTreeSet;
use std::time::Duration;

use kv_core::{NodeId, Operation, RequestOptions, Role, SeedStream};
use kv_sim::{Cluster, Restart, Violation, WallOffset};

use super::super::subject::Subject;
use super::Scenario;
use super::pick::one_of;

/// Disturbs a cluster, as far as its engine bears it.
pub(super) struct Trouble {
    scenario: Scenario,
    pub(super) stream: SeedStream,
    /// The servers that have counted since they last lost their data.
    sound: BTreeSet<NodeId>,
}

impl Trouble {
    pub(super) fn new(scenario: Scenario, seed: u64) -> Self {
        let stream = SeedStream::new(seed ^ 0x6d75_7461);
        Self { scenario, stream, sound: BTreeSet::new() }
    }

    pub(super) fn make<E: Subject>(&mut self, cluster: &mut Cluster<E>) -> Result<(), Violation> {
        use Scenario::{
            Alone, CutOff, Failover, Followers, HandOvers, Late, Losses, Quorums, Refusals,
            Sequencer, Slow,
        };
        let nodes: Vec<NodeId> = cluster.nodes().collect();
        let first = NodeId::FIRST;
        let second = nodes.get(1).copied().unwrap_or(first);
        let victim = self.victim(cluster, &nodes);
        match (self.scenario, self.stream.below(8)) {
            (Alone, 0..=5) => {
                cluster.set_wall_offset(first, self.behind());
                cluster.restart(first, Restart::Intact)?;
            }
            (CutOff, 0..=2) => cluster.hold_disk(first),
            (CutOff, 3..=5) => {
                cluster.partition(&[first]);
                cluster.release_disk(first);
                cluster.set_wall_offset(first, self.behind());
                cluster.restart(first, Restart::Intact)?;
            }
            (Sequencer, 0) => {
                cluster.restart(second, Restart::Wiped)?;
                cluster.restart(first, Restart::Wiped)?;
            }
            (Sequencer, 1 | 2) => cluster.restart(first, Restart::Intact)?,
            // The third server holds the log and can always be asked: where W disks are lost and
            // no holder answers, a new cluster may be founded.
            (Sequencer, 3 | 4) => cluster.hold_disk(second),
            (Sequencer, _) => cluster.heal(),
            (Refusals, 0..=2) => cluster.restart(first, Restart::Intact)?,
            (Refusals, 3 | 4) => cluster.crash(nodes.last().copied().unwrap_or(first)),
            (_, 0) => cluster.partition(&[victim]),
            (Quorums, 1 | 2) => {
                let ahead = Duration::from_millis(self.stream.below(3_000));
                cluster.set_wall_offset(victim, WallOffset::Ahead(ahead));
            }
            (Followers | Late | Slow | Losses, 1) => self.wipe(cluster, victim)?,
            (HandOvers, 1 | 5) => {
                for other in nodes.iter().filter(|other| **other != victim) {
                    cluster.block(victim, *other);
                }
                let lead = Operation::Lead { node: victim };
                let asked = nodes.iter().copied().find(|other| *other != victim);
                cluster.submit(asked.unwrap_or(first), lead, RequestOptions::default());
            }
            (Failover | Losses, 5) => cluster.crash(victim),
            (_, 2) => cluster.restart(victim, Restart::Intact)?,
            (_, 3) => cluster.crash_after_effects(victim, self.stream.below(20)),
            (_, 4) => cluster.hold_disk(victim),
            (_, _) => {
                cluster.heal();
                cluster.set_network(self.scenario.network(cluster.config().seed));
                revive(cluster)?;
            }
        }
        Ok(())
    }

    fn victim<E: Subject>(&mut self, cluster: &Cluster<E>, nodes: &[NodeId]) -> NodeId {
        match self.scenario {
            Scenario::Followers | Scenario::Late | Scenario::Slow => {
                one_of(&mut self.stream, nodes.get(1..))
            }
            // The present sequencer, as often as all others together.
            Scenario::Failover | Scenario::Losses if self.stream.chance(400) => {
                let sequences = |node: &NodeId| {
                    cluster.status(*node).is_some_and(|status| status.role == Role::Sequencer)
                };
                let sequencers: Vec<NodeId> = nodes.iter().copied().filter(sequences).collect();
                let any = one_of(&mut self.stream, Some(nodes));
                sequencers.last().copied().unwrap_or(any)
            }
            Scenario::Alone
            | Scenario::Sequencer
            | Scenario::Failover
            | Scenario::HandOvers
            | Scenario::Losses
            | Scenario::Refusals
            | Scenario::Quorums
            | Scenario::CutOff => one_of(&mut self.stream, Some(nodes)),
        }
    }

    /// A server loses its data, if as many others have theirs and count as it takes to choose a
    /// sequencer and to work.
    fn wipe<E: Subject>(
        &mut self,
        cluster: &mut Cluster<E>,
        node: NodeId,
    ) -> Result<(), Violation> {
        let counts = |node: &NodeId| {
            let role = cluster.status(*node).map(|status| status.role);
            matches!(role, Some(Role::Sequencer | Role::Follower))
        };
        self.sound.extend(cluster.nodes().filter(counts));
        let config = &cluster.config().cluster;
        let (write, read) = (config.write_quorum(), config.read_quorum());
        let needed = write.max(read).max(config.nodes() + 1 - write.min(read));
        let others = self.sound.iter().filter(|other| **other != node).count();
        if others >= usize::from(needed) {
            self.sound.remove(&node);
            cluster.restart(node, Restart::Wiped)?;
        }
        Ok(())
    }

    fn behind(&mut self) -> WallOffset {
        WallOffset::Behind(Duration::from_millis(self.stream.below(3_000)))
    }
}

/// Starts every server that is down.
pub(super) fn revive<E: Subject>(cluster: &mut Cluster<E>) -> Result<(), Violation> {
    let down: Vec<NodeId> = cluster.nodes().filter(|node| !cluster.is_running(*node)).collect();
    down.into_iter().try_for_each(|node| cluster.restart(node, Restart::Intact))
}
