//! Runs that the clauses' tests look at.

use std::ops::RangeInclusive;
use std::time::Duration;

use kv_core::{ConsistencyEngine, NodeId, NotDone, Operation, Outcome, SeedStream};

use super::failure::{Failure, Finding};
use crate::cluster::Cluster;
use crate::cluster::process::Restart;
use crate::config::{DiskConfig, NetworkConfig, SimConfig};
use crate::server::clock::WallOffset;
use crate::workload::{Workload, key, pick, value};

/// A run of random requests under faults, then healed and quiet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    /// Decides everything, the number of servers and the quorums included.
    pub(super) seed: u64,
    /// How many requests are put.
    pub(super) requests: u64,
    /// Whether processes crash, lose their disks and are paused.
    pub(super) process_faults: bool,
    /// Whether the engines' inputs and effects are kept.
    pub(super) tapes: bool,
}

impl Scenario {
    /// The cluster as it is before anything happens.
    pub(super) fn cluster<E: ConsistencyEngine>(&self) -> Result<Cluster<E>, Failure> {
        Ok(Cluster::new(self.config()?)?)
    }

    pub(super) fn config(&self) -> Result<SimConfig, Failure> {
        let mut stream = SeedStream::new(self.seed);
        let mut up_to = |max: u16| {
            let drawn = 1 + stream.below(u64::from(max));
            u16::try_from(drawn).unwrap_or(max)
        };
        let nodes = up_to(5);
        let config = SimConfig::new(nodes, up_to(nodes), up_to(nodes), self.seed)?;
        let config = config.with_network(NetworkConfig::lossy());
        Ok(SimConfig {
            disk: DiskConfig {
                checkpoint_every: self.process_faults.then_some(20),
                ..DiskConfig::slow()
            },
            processing: Duration::ZERO..=Duration::from_millis(2),
            keep_tapes: self.tapes,
            ..config
        })
    }

    /// The whole run: requests under faults, then all servers up and all faults over, and time
    /// for everything to settle.
    pub(super) fn run<E: ConsistencyEngine>(&self) -> Result<Cluster<E>, Failure> {
        let mut cluster = self.cluster()?;
        self.disturb(&mut cluster)?;
        settle(&mut cluster)?;
        Ok(cluster)
    }

    /// Puts the requests, one fault now and then between them.
    pub(super) fn disturb<E: ConsistencyEngine>(
        &self,
        cluster: &mut Cluster<E>,
    ) -> Result<(), Failure> {
        let mut stream = SeedStream::new(self.seed ^ DISTURBANCE);
        let mut workload = Workload::new(stream.next_u64(), 4);
        let nodes: Vec<NodeId> = cluster.nodes().collect();
        let mut last = None;
        for _ in 0..self.requests {
            if let Some(node) = pick(&mut stream, &nodes) {
                let (op, options) = workload.next();
                last = Some(cluster.submit(*node, op, options));
            }
            if stream.chance(100)
                && let Some(node) = pick(&mut stream, &nodes)
            {
                self.fault(&mut stream, cluster, *node)?;
            }
            if let Some(id) = last.filter(|_| stream.chance(30)) {
                cluster.cancel(id);
            }
            cluster.run_for(Duration::from_millis(stream.below(150)))?;
        }
        Ok(())
    }

    fn fault<E: ConsistencyEngine>(
        &self,
        stream: &mut SeedStream,
        cluster: &mut Cluster<E>,
        node: NodeId,
    ) -> Result<(), Failure> {
        let kinds = if self.process_faults { 10 } else { 4 };
        match stream.below(kinds) {
            0 => cluster.partition(&[node]),
            1 => {
                let others: Vec<NodeId> = cluster.nodes().filter(|other| *other != node).collect();
                if let Some(to) = pick(stream, &others) {
                    // The servers notice the one and not the other.
                    if stream.chance(500) {
                        cluster.block(node, *to);
                    } else {
                        cluster.clog(node, *to);
                    }
                }
            }
            2 => {
                let offset = Duration::from_millis(stream.below(20_000));
                let ahead = stream.chance(500);
                cluster.set_wall_offset(
                    node,
                    if ahead { WallOffset::Ahead(offset) } else { WallOffset::Behind(offset) },
                );
            }
            3 => {
                cluster.heal_network(NetworkConfig::lossy());
                for (from, to) in cluster.network.clogged() {
                    cluster.unclog(from, to);
                }
            }
            4 => cluster.crash(node),
            5 => cluster.crash_after_effects(node, stream.below(5)),
            6 | 7 => cluster.restart(node, Restart::Intact)?,
            8 => cluster.restart(node, Restart::Wiped)?,
            _ if cluster.is_running(node) => cluster.pause(node),
            _ => {}
        }
        Ok(())
    }
}

/// Ends all faults, starts what is down and lets a minute go by.
pub(super) fn settle<E: ConsistencyEngine>(cluster: &mut Cluster<E>) -> Result<(), Failure> {
    cluster.heal();
    let nodes: Vec<NodeId> = cluster.nodes().collect();
    for node in nodes {
        let halted = cluster.halted().any(|(halted, _)| halted == node);
        if !cluster.is_running(node) && !halted {
            cluster.restart(node, Restart::Intact)?;
        }
    }
    cluster.run_for(Duration::from_secs(60))?;
    Ok(())
}

/// A cluster in which every server has done a write; `None` if the engine says that it does not
/// keep such quorums.
pub(super) fn serving<E: ConsistencyEngine>(
    config: SimConfig,
    clause: u8,
) -> Result<Option<Cluster<E>>, Failure> {
    let seed = config.seed;
    let mut cluster = Cluster::<E>::new(config)?;
    let nodes: Vec<NodeId> = cluster.nodes().collect();
    for node in nodes {
        let give_up = cluster.now() + SERVES_WITHIN;
        loop {
            match cluster.execute(node, Operation::put(key("warm"), value("up")))? {
                Some(Outcome::Done(_)) => break,
                Some(Outcome::NotDone(NotDone::Quorum(_) | NotDone::NotSupported(_))) => {
                    return Ok(None);
                }
                Some(Outcome::NotDone(_) | Outcome::Unknown(_)) | None => {}
            }
            if cluster.now() > give_up {
                let bound = SERVES_WITHIN;
                return Err(Finding::NeverServes { node, bound }.of(clause, seed));
            }
            cluster.run_for(Duration::from_millis(100))?;
        }
    }
    Ok(Some(cluster))
}

/// A serving cluster of `nodes` with W = `nodes` if the engine keeps that, otherwise W = 1; R = 1.
pub(super) fn serving_with_all<E: ConsistencyEngine>(
    nodes: u16,
    seed: u64,
    disk: &DiskConfig,
    clause: u8,
) -> Result<Cluster<E>, Failure> {
    let config =
        |write| Ok::<_, Failure>(SimConfig::new(nodes, write, 1, seed)?.with_disk(disk.clone()));
    if let Some(cluster) = serving(config(nodes)?, clause)? {
        return Ok(cluster);
    }
    let finding = Finding::NeverServes { node: NodeId::FIRST, bound: SERVES_WITHIN };
    serving(config(1)?, clause)?.ok_or_else(|| finding.of(clause, seed))
}

/// The seeds of a clause's test.
pub(super) const fn seeds(count: u64) -> RangeInclusive<u64> {
    1..=count
}

const SERVES_WITHIN: Duration = Duration::from_secs(30);
const DISTURBANCE: u64 = 0x6469_7374;
