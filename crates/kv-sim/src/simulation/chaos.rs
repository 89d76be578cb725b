//! The faults of a run: they begin at random moments, last for a while, and end.

use std::collections::BTreeSet;
use std::time::Duration;

use kv_core::{
    ClusterConfig, ConsistencyEngine, NodeId, Operation, Quorum, RequestOptions, Role, SeedStream,
};

use super::declaration::Declaration;
use super::plan::Plan;
use crate::cluster::Cluster;
use crate::cluster::process::{Restart, Started};
use crate::fault::Fault;
use crate::server::clock::WallOffset;
use crate::violation::Violation;
use crate::workload::pick;

/// Begins and ends faults.
#[derive(Debug)]
pub(super) struct Chaos {
    stream: SeedStream,
    kinds: Vec<Fault>,
    at_once: usize,
    lasts_max: Duration,
    per_mille: u64,
    spares: BTreeSet<NodeId>,
    keeps_disks: BTreeSet<NodeId>,
    may_wipe: bool,
    keeps_a_disk: bool,
    keeps_quorum: bool,
    /// The servers that have data and count for it; kept only where a quorum of them is.
    sound: BTreeSet<NodeId>,
    under_way: Vec<(Duration, Ending)>,
    /// The servers whose disks were lost, and when.
    pub(super) wipes: Vec<(Duration, NodeId)>,
}

/// How a fault ends.
#[derive(Clone, Debug)]
enum Ending {
    /// Links open.
    Unblock(Vec<(NodeId, NodeId)>),
    /// A link delivers what it kept back.
    Unclog(NodeId, NodeId),
    /// A link is as fast as the others.
    SpeedUp(NodeId, NodeId),
    /// Syncs end again.
    Release(NodeId),
    /// There is room on a disk again.
    MakeRoom(NodeId),
    /// A process goes on.
    Resume(NodeId),
    /// A clock is set right.
    SetClock(NodeId),
    /// What would end the process is taken away, and it starts again if it is down.
    Revive(NodeId, Restart),
    /// This server starts again, and the next one goes down.
    RollOn(NodeId, Vec<NodeId>),
}

impl Chaos {
    pub(super) fn new(seed: u64, plan: &Plan, declaration: &Declaration) -> Self {
        let kinds = plan.faults.iter().copied().filter(|fault| !is_passive(*fault));
        Self {
            stream: SeedStream::new(seed),
            kinds: kinds.collect(),
            at_once: plan.faults_at_once,
            lasts_max: plan.fault_lasts_max,
            per_mille: plan.fault_per_mille,
            spares: declaration.spares.clone(),
            keeps_disks: declaration.keeps_disks.clone(),
            may_wipe: plan.faults.contains(&Fault::WipedDisk),
            keeps_a_disk: declaration.keeps_a_disk,
            keeps_quorum: declaration.keeps_quorum,
            sound: BTreeSet::new(),
            under_way: Vec::new(),
            wipes: Vec::new(),
        }
    }

    /// Ends the faults whose time is up, and perhaps begins one.
    pub(super) fn act<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
    ) -> Result<(), Violation> {
        let now = cluster.now();
        let under_way = std::mem::take(&mut self.under_way);
        let (due, lasting): (Vec<_>, Vec<_>) =
            under_way.into_iter().partition(|(until, _)| *until <= now);
        self.under_way = lasting;
        for (_, ending) in due {
            self.end(cluster, ending)?;
        }
        if self.under_way.len() < self.at_once
            && self.stream.chance(self.per_mille)
            && let Some(kind) = pick(&mut self.stream, &self.kinds).copied()
            && let Some(ending) = self.begin(cluster, kind)?
        {
            self.lasts(cluster, ending);
        }
        Ok(())
    }

    /// Begins faults half as often from here on.
    pub(super) fn ease(&mut self) {
        self.per_mille = (self.per_mille / 2).max(1);
    }

    /// Ends all faults and starts every server that is down.
    pub(super) fn end_all<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
    ) -> Result<(), Violation> {
        while let Some((_, ending)) = self.under_way.pop() {
            let ending = if let Ending::RollOn(node, _) = ending {
                Ending::Revive(node, Restart::Intact)
            } else {
                ending
            };
            self.end(cluster, ending)?;
        }
        cluster.heal();
        let down: Vec<NodeId> = cluster.nodes().filter(|node| !cluster.is_running(*node)).collect();
        down.into_iter().try_for_each(|node| self.revive(cluster, node, Restart::Intact))
    }

    fn lasts<E: ConsistencyEngine>(&mut self, cluster: &Cluster<E>, ending: Ending) {
        let nanos = u64::try_from(self.lasts_max.as_nanos()).unwrap_or(u64::MAX);
        let until = cluster.now() + Duration::from_nanos(self.stream.below(nanos));
        self.under_way.push((until, ending));
    }

    /// Begins a fault; `None` if it cannot be now.
    fn begin<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
        fault: Fault,
    ) -> Result<Option<Ending>, Violation> {
        let all: Vec<NodeId> = cluster.nodes().collect();
        if fault.ends_processes() {
            let free = |node: &&NodeId| !self.spares.contains(node) && !self.is_busy(**node);
            let free: Vec<NodeId> = all.iter().filter(free).copied().collect();
            let Some(node) = pick(&mut self.stream, &free).copied() else {
                return Ok(None);
            };
            return self.begin_on_process(cluster, fault, node, free);
        }
        let Some(node) = pick(&mut self.stream, &all).copied() else {
            return Ok(None);
        };
        if let Some(ending) = self.begin_on_clock(cluster, fault, node) {
            return Ok(Some(ending));
        }
        if fault == Fault::HeldSync {
            cluster.note_fault(fault, node, || "syncs no more".to_owned());
            cluster.hold_disk(node);
            return Ok(Some(Ending::Release(node)));
        }
        if fault == Fault::Disconnect {
            cluster.note_fault(fault, node, || "a client's connection is lost".to_owned());
            let session = usize::try_from(self.stream.below(3)).unwrap_or_default();
            cluster.disconnect(node, session);
            return Ok(None);
        }
        if fault == Fault::HandOver {
            let to = pick(&mut self.stream, &all).copied().unwrap_or(node);
            cluster.note_fault(fault, node, || format!("is asked that server {to} lead"));
            cluster.submit(node, Operation::Lead { node: to }, RequestOptions::default());
            return Ok(None);
        }
        if fault == Fault::Pause {
            cluster.note_fault(fault, node, || "pauses".to_owned());
            cluster.pause(node);
            return Ok(Some(Ending::Resume(node)));
        }
        Ok(self.begin_on_links(cluster, fault, node, &all))
    }

    fn begin_on_links<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
        fault: Fault,
        node: NodeId,
        all: &[NodeId],
    ) -> Option<Ending> {
        let others: Vec<NodeId> = all.iter().copied().filter(|other| *other != node).collect();
        let peer = *pick(&mut self.stream, &others)?;
        if fault == Fault::Clog {
            cluster.note(node, 12, |_| {}, || format!("the link to {peer} clogs"));
            cluster.clog(node, peer);
            return Some(Ending::Unclog(node, peer));
        }
        if fault == Fault::SlowLink {
            cluster.note(node, 12, |_| {}, || format!("the link to {peer} is slow"));
            cluster.slow_link(node, peer, Duration::from_millis(1 + self.stream.below(500)));
            return Some(Ending::SpeedUp(node, peer));
        }
        let links: Vec<(NodeId, NodeId)> = if fault == Fault::OneWayPartition {
            vec![(node, peer)]
        } else if fault == Fault::PartialPartition {
            vec![(node, peer), (peer, node)]
        } else {
            let cut: BTreeSet<NodeId> =
                others.iter().copied().filter(|_| self.stream.chance(400)).collect();
            let is_cut = |node: &NodeId| cut.contains(node);
            let pairs = all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b)));
            pairs.filter(|(a, b)| is_cut(a) != is_cut(b)).collect()
        };
        if links.is_empty() {
            return None;
        }
        cluster.note_fault(fault, node, || format!("{fault}: {links:?}"));
        links.iter().for_each(|(from, to)| cluster.block(*from, *to));
        Some(Ending::Unblock(links))
    }

    fn begin_on_clock<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
        fault: Fault,
        node: NodeId,
    ) -> Option<Ending> {
        let off_ms_max = if fault == Fault::ClockSkew { 2_000 } else { 60_000 };
        if fault == Fault::ClockSkew || fault == Fault::ClockJump {
            let off = Duration::from_millis(self.stream.below(off_ms_max));
            let ahead = self.stream.chance(500);
            let offset = if ahead { WallOffset::Ahead(off) } else { WallOffset::Behind(off) };
            cluster.note_fault(fault, node, || format!("{fault}: {offset:?}"));
            cluster.set_wall_offset(node, offset);
        } else if fault == Fault::ClockDrift {
            let ppm = i32::try_from(self.stream.below(400_000)).unwrap_or_default() - 200_000;
            cluster.note_fault(fault, node, || format!("{fault}: {ppm} ppm"));
            cluster.set_clock_drift(node, ppm);
        } else if fault == Fault::ClockFreeze {
            cluster.note_fault(fault, node, || "wall clock freezes".to_owned());
            cluster.freeze_wall_clock(node);
        } else {
            return None;
        }
        Some(Ending::SetClock(node))
    }

    fn begin_on_process<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
        fault: Fault,
        node: NodeId,
        free: Vec<NodeId>,
    ) -> Result<Option<Ending>, Violation> {
        let mut disk = Restart::Intact;
        let loses_disk = matches!(fault, Fault::WipedDisk | Fault::SetBackDisk | Fault::FlippedBit);
        if loses_disk && !self.may_lose_disk(cluster, node) {
            return Ok(None);
        }
        if fault == Fault::SetBackDisk {
            cluster.copy_disk(node);
            return Ok(Some(Ending::Revive(node, Restart::SetBack)));
        }
        if fault == Fault::CrashBetweenEffects {
            cluster.crash_after_effects(node, self.stream.below(30));
        } else if fault == Fault::FailedSync {
            cluster.fail_next_sync(node);
        } else if fault == Fault::FailedWrite {
            cluster.fail_next_write(node);
        } else if fault == Fault::FullDisk {
            let segment_bytes = cluster.config().disk.segment_bytes;
            cluster.fill_disk(node, self.stream.below(2 * segment_bytes));
            return Ok(Some(Ending::MakeRoom(node)));
        } else if fault == Fault::PowerLossAtDisk {
            cluster.lose_power_after(node, self.stream.below(60));
        } else if fault == Fault::InterruptedRecovery {
            self.end_somehow(cluster, node);
            cluster.lose_power_after(node, self.stream.below(40));
            cluster.start_again(node, disk, None)?;
        } else if fault == Fault::Kill {
            cluster.kill(node);
        } else if fault == Fault::Stop {
            cluster.stop(node);
        } else if fault == Fault::FlippedBit {
            // What may be lost goes first: a record that knows of the damaged one must still be
            // there at the start, or the damage cannot be told from a torn write.
            self.end_somehow(cluster, node);
            cluster.flip_bit(node, self.stream.next_u64());
            if cluster.start_again(node, disk, None)? == Started::Runs {
                return Ok(None);
            }
        } else if fault == Fault::RollingRestart {
            cluster.note_fault(fault, node, || "rolling restart begins".to_owned());
            let mut left = free;
            let first = left.pop().unwrap_or(node);
            cluster.crash(first);
            return Ok(Some(Ending::RollOn(first, left)));
        } else if fault == Fault::MixedConfiguration {
            // A disk first used under another configuration would be given up in the end.
            let must_last = self.keeps_quorum || self.keeps_disks.contains(&node);
            if must_last && !cluster.has_used_disk(node) {
                return Ok(None);
            }
            self.misconfigure(cluster, node)?;
        } else {
            cluster.crash(node);
            if fault == Fault::WipedDisk {
                disk = Restart::Wiped;
            }
        }
        Ok(Some(Ending::Revive(node, disk)))
    }

    /// Ends a process, with or without the power of its machine.
    fn end_somehow<E: ConsistencyEngine>(&mut self, cluster: &mut Cluster<E>, node: NodeId) {
        if self.stream.chance(500) {
            cluster.crash(node);
        } else {
            cluster.kill(node);
        }
    }

    /// Starts a server again under a configuration that the others must refuse.
    fn misconfigure<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
        node: NodeId,
    ) -> Result<(), Violation> {
        let other = other_config::<E>(&cluster.config().cluster);
        let may_wipe = self.may_wipe && self.may_lose_disk(cluster, node);
        let wiped = may_wipe && self.stream.chance(500);
        if wiped {
            self.wipes.push((cluster.now(), node));
        }
        let disk = if wiped { Restart::Wiped } else { Restart::Intact };
        cluster.start_again(node, disk, other).map(|_| ())
    }

    fn end<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
        ending: Ending,
    ) -> Result<(), Violation> {
        match ending {
            Ending::Unblock(links) => {
                links.iter().for_each(|(from, to)| cluster.unblock(*from, *to));
            }
            Ending::Unclog(from, to) => cluster.unclog(from, to),
            Ending::SpeedUp(from, to) => cluster.slow_link(from, to, Duration::ZERO),
            Ending::Release(node) => cluster.release_disk(node),
            Ending::MakeRoom(node) => cluster.free_disk(node),
            Ending::Resume(node) => cluster.resume(node),
            Ending::SetClock(node) => cluster.correct_clock(node),
            Ending::Revive(node, disk) => self.revive(cluster, node, disk)?,
            Ending::RollOn(node, mut left) => {
                self.revive(cluster, node, Restart::Intact)?;
                if let Some(next) = left.pop() {
                    cluster.crash(next);
                    self.lasts(cluster, Ending::RollOn(next, left));
                }
            }
        }
        Ok(())
    }

    /// Starts a server that is down, or that has another configuration than the others. If it
    /// cannot go on from its disk it gets an empty one, as an operator would give it.
    fn revive<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
        node: NodeId,
        disk: Restart,
    ) -> Result<(), Violation> {
        cluster.spare_process(node);
        let is_set_back = disk == Restart::SetBack;
        if cluster.is_running(node) && !cluster.is_configured_apart(node) && !is_set_back {
            return Ok(());
        }
        if is_set_back {
            self.wipes.push((cluster.now(), node));
        }
        let wiped = match disk {
            Restart::Wiped => true,
            Restart::Intact | Restart::SetBack => {
                cluster.start_again(node, disk, None)? != Started::Runs
            }
        };
        if wiped {
            self.wipes.push((cluster.now(), node));
            cluster.start_again(node, Restart::Wiped, None)?;
        }
        Ok(())
    }

    /// Starts a server on an empty disk, if the engine bears that.
    pub(super) fn wipe<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
        node: NodeId,
    ) -> Result<(), Violation> {
        if self.may_lose_disk(cluster, node) {
            self.wipes.push((cluster.now(), node));
            cluster.restart(node, Restart::Wiped)?;
        }
        Ok(())
    }

    /// Whether the engine bears that this server loses its disk; then it is about to.
    fn may_lose_disk<E: ConsistencyEngine>(&mut self, cluster: &Cluster<E>, node: NodeId) -> bool {
        if self.keeps_quorum && !self.leaves_quorum(cluster, node) {
            return false;
        }
        let lost = |other: &NodeId| {
            let has_lost = self.wipes.iter().any(|(_, wiped)| wiped == other);
            let will_lose = self.under_way.iter().any(|(_, ending)| {
                let Ending::Revive(down, disk) = ending else {
                    return false;
                };
                down == other && matches!(disk, Restart::Wiped | Restart::SetBack)
            });
            *other == node || has_lost || will_lose || cluster.has_damaged_disk(*other)
        };
        let may = !self.keeps_disks.contains(&node);
        let may = may && (!self.keeps_a_disk || !cluster.nodes().all(|other| lost(&other)));
        if may {
            self.sound.remove(&node);
        }
        may
    }

    /// Whether a quorum of servers that have their data is left without this one.
    fn leaves_quorum<E: ConsistencyEngine>(&mut self, cluster: &Cluster<E>, node: NodeId) -> bool {
        let counts = |node: &NodeId| {
            let role = cluster.engine(*node).map(|engine| engine.status().role);
            matches!(role, Some(Role::Sequencer | Role::Follower))
        };
        self.sound.extend(cluster.nodes().filter(counts));
        let config = &cluster.config().cluster;
        let (write, read) = (config.write_quorum(), config.read_quorum());
        let promises = config.nodes() + 1 - write.min(read);
        let needed = write.max(read).max(promises);
        let is_left = |other: &&NodeId| **other != node && !cluster.has_damaged_disk(**other);
        self.sound.iter().filter(is_left).count() >= usize::from(needed)
    }

    fn is_busy(&self, node: NodeId) -> bool {
        self.under_way.iter().any(|(_, ending)| match ending {
            Ending::Revive(busy, _) | Ending::MakeRoom(busy) => *busy == node,
            Ending::RollOn(busy, left) => *busy == node || left.contains(&node),
            Ending::Unblock(_)
            | Ending::Unclog(..)
            | Ending::SpeedUp(..)
            | Ending::Release(_)
            | Ending::Resume(_)
            | Ending::SetClock(_) => false,
        })
    }
}

/// A configuration that the others must refuse: other quorums where they are the cluster's,
/// otherwise a server too many.
fn other_config<E: ConsistencyEngine>(config: &ClusterConfig) -> Option<ClusterConfig> {
    let nodes = config.nodes();
    let (write, read) = (config.write_quorum(), Quorum::Count(config.read_quorum()));
    let mut voters = config.voters().to_vec();
    if E::SHARED_QUORUMS && nodes > 1 {
        return ClusterConfig::new(voters, Quorum::Count(write % nodes + 1), read).ok();
    }
    voters.push(NodeId::new(nodes + 1).ok()?);
    ClusterConfig::new(voters, Quorum::Count(write), read).ok()
}

/// Whether the fault is one of the network's or the disks' configuration.
const fn is_passive(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Loss
            | Fault::Duplication
            | Fault::Reordering
            | Fault::SlowMessage
            | Fault::TornWrite
            | Fault::ReorderedWrites
            | Fault::LostCheckpoint
    )
}
