//! Faults begin and end.

use std::time::Duration;

use kv_core::{
    ClusterConfig, ConsistencyEngine, HaltReason, NodeId, Operation, Quorum, RequestOptions,
};

use super::driver::begin_on_driver;
use super::{Chaos, Ending};
use crate::cluster::Cluster;
use crate::cluster::process::{Restart, Started};
use crate::fault::Fault;
use crate::injection::Injection;
use crate::simulation::SimulationFailure;
use crate::violation::Violation;

impl Chaos {
    /// Begins a fault; how it ends, if it lasts.
    pub(super) fn begin<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
        injection: &Injection,
    ) -> Result<Option<Ending>, Violation> {
        match injection {
            Injection::Block { .. }
            | Injection::Clog { .. }
            | Injection::SlowLink { .. }
            | Injection::HoldSyncs { .. }
            | Injection::Pause { .. }
            | Injection::Disconnect { .. }
            | Injection::HandOver { .. } => Ok(begin_around(cluster, injection)),
            Injection::SetClock { .. }
            | Injection::DriftClock { .. }
            | Injection::FreezeClock { .. } => Ok(begin_on_clock(cluster, injection)),
            Injection::CongestLink { .. }
            | Injection::CongestClient { .. }
            | Injection::FailCheckpoints { .. }
            | Injection::BackUp { .. } => Ok(begin_on_driver(cluster, injection)),
            Injection::Crash { .. }
            | Injection::Kill { .. }
            | Injection::Stop { .. }
            | Injection::CrashAfter { .. }
            | Injection::FailSync { .. }
            | Injection::FailWrite { .. }
            | Injection::FillDisk { .. }
            | Injection::LosePowerAfter { .. }
            | Injection::InterruptRecovery { .. }
            | Injection::FlipBit { .. }
            | Injection::Wipe { .. }
            | Injection::SetBack { .. }
            | Injection::CopyDisk { .. }
            | Injection::RollingRestart { .. }
            | Injection::Misconfigure { .. } => self.begin_on_process(cluster, injection),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are begun elsewhere")]
    fn begin_on_process<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
        injection: &Injection,
    ) -> Result<Option<Ending>, Violation> {
        let revive = |node: &NodeId| Some(Ending::Revive(*node, Restart::Intact));
        Ok(match injection {
            Injection::Crash { node } => {
                cluster.crash(*node);
                revive(node)
            }
            Injection::Kill { node } => {
                cluster.kill(*node);
                revive(node)
            }
            Injection::Stop { node } => {
                cluster.stop(*node);
                revive(node)
            }
            Injection::CrashAfter { node, effects } => {
                cluster.crash_after_effects(*node, *effects);
                revive(node)
            }
            Injection::FailSync { node } => {
                cluster.fail_next_sync(*node);
                revive(node)
            }
            Injection::FailWrite { node } => {
                cluster.fail_next_write(*node);
                revive(node)
            }
            Injection::FillDisk { node, left } => {
                cluster.fill_disk(*node, *left);
                Some(Ending::MakeRoom(*node))
            }
            Injection::LosePowerAfter { node, operations } => {
                cluster.lose_power_after(*node, *operations);
                revive(node)
            }
            Injection::InterruptRecovery { node, by_crash, operations } => {
                end_process(cluster, *node, *by_crash);
                cluster.lose_power_after(*node, *operations);
                cluster.start_again(*node, Restart::Intact, None)?;
                revive(node)
            }
            Injection::FlipBit { node, by_crash, bit } => {
                let runs = starts_damaged(cluster, *node, *by_crash, *bit)?;
                if runs { None } else { revive(node) }
            }
            Injection::Wipe { node } => {
                cluster.crash(*node);
                Some(Ending::Revive(*node, Restart::Wiped))
            }
            Injection::SetBack { node } => {
                cluster.copy_disk_if_none(*node);
                Some(Ending::Revive(*node, Restart::SetBack))
            }
            Injection::CopyDisk { node } => {
                cluster.copy_disk(*node);
                None
            }
            Injection::RollingRestart { node, order } => {
                let begins = || "rolling restart begins".to_owned();
                cluster.note_fault(Fault::RollingRestart, *node, begins);
                let mut left = order.clone();
                let first = left.pop().unwrap_or(*node);
                cluster.crash(first);
                Some(Ending::RollOn(first, left))
            }
            Injection::Misconfigure { node, wiped } => {
                self.misconfigure(cluster, *node, *wiped)?;
                revive(node)
            }
            _ => None,
        })
    }

    /// Starts a server again under a configuration that the others must refuse.
    fn misconfigure<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
        node: NodeId,
        wiped: bool,
    ) -> Result<(), Violation> {
        let other = other_config::<E>(&cluster.config().cluster);
        if wiped {
            self.wipes.push((cluster.now(), node));
        }
        let disk = if wiped { Restart::Wiped } else { Restart::Intact };
        cluster.start_again(node, disk, other).map(|_| ())
    }

    /// Ends a fault; how it goes on, if it does.
    pub(super) fn end<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
        ending: Ending,
    ) -> Result<Option<Ending>, Violation> {
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
            Ending::DrainLink(from, to) => cluster.drain_link(from, to),
            Ending::DrainClient(node, session) => cluster.drain_client(node, session),
            Ending::WriteCheckpoints(node) => cluster.write_checkpoints(node),
            Ending::Revive(node, disk) => self.revive(cluster, node, disk)?,
            Ending::RollOn(node, mut left) => {
                self.revive(cluster, node, Restart::Intact)?;
                if let Some(next) = left.pop() {
                    cluster.crash(next);
                    return Ok(Some(Ending::RollOn(next, left)));
                }
            }
        }
        Ok(None)
    }

    /// Starts a server that is down, or that has another configuration than the others. If it
    /// cannot go on from its disk it gets an empty one, as an operator would give it.
    pub(super) fn revive<E: ConsistencyEngine>(
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

    /// Gives an empty disk to servers that have halted since theirs is an older copy, as an operator
    /// would whom they tell so.
    ///
    /// # Errors
    /// [`SimulationFailure::Halted`] if one halted for another reason.
    pub(in crate::simulation) fn replace_halted<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
    ) -> Result<(), SimulationFailure> {
        loop {
            let halted = cluster.halted().next();
            let Some((node, reason)) = halted else {
                return Ok(());
            };
            let is_older = matches!(reason, HaltReason::SetBack { .. });
            if !is_older || !cluster.is_on_older_disk(node) {
                return Err(SimulationFailure::Halted { node, reason });
            }
            self.wipes.push((cluster.now(), node));
            cluster.start_again(node, Restart::Wiped, None)?;
        }
    }

    /// Starts a server on an empty disk, if the engine bears that.
    pub(in crate::simulation) fn wipe<E: ConsistencyEngine>(
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
}

/// Begins a fault between servers and clients, or one that makes a server wait.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others are begun elsewhere")]
fn begin_around<E: ConsistencyEngine>(
    cluster: &mut Cluster<E>,
    injection: &Injection,
) -> Option<Ending> {
    match injection {
        Injection::Block { kind, node, links } => {
            cluster.note_fault(*kind, *node, || format!("{kind}: {links:?}"));
            links.iter().for_each(|(from, to)| cluster.block(*from, *to));
            Some(Ending::Unblock(links.clone()))
        }
        Injection::Clog { from, to } => {
            cluster.note(*from, 12, |_| {}, || format!("the link to {to} clogs"));
            cluster.clog(*from, *to);
            Some(Ending::Unclog(*from, *to))
        }
        Injection::SlowLink { from, to, by } => {
            cluster.note(*from, 12, |_| {}, || format!("the link to {to} is slow"));
            cluster.slow_link(*from, *to, *by);
            Some(Ending::SpeedUp(*from, *to))
        }
        Injection::HoldSyncs { node } => {
            cluster.note_fault(Fault::HeldSync, *node, || "syncs no more".to_owned());
            cluster.hold_disk(*node);
            Some(Ending::Release(*node))
        }
        Injection::Pause { node } => {
            cluster.note_fault(Fault::Pause, *node, || "pauses".to_owned());
            cluster.pause(*node);
            Some(Ending::Resume(*node))
        }
        Injection::Disconnect { node, session } => {
            let text = || "a client's connection is lost".to_owned();
            cluster.note_fault(Fault::Disconnect, *node, text);
            cluster.disconnect(*node, usize::try_from(*session).unwrap_or_default());
            None
        }
        Injection::HandOver { node, to } => {
            let text = || format!("is asked that server {to} lead");
            cluster.note_fault(Fault::HandOver, *node, text);
            cluster.submit(*node, Operation::Lead { node: *to }, RequestOptions::default());
            None
        }
        _ => None,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others are begun elsewhere")]
fn begin_on_clock<E: ConsistencyEngine>(
    cluster: &mut Cluster<E>,
    injection: &Injection,
) -> Option<Ending> {
    match injection {
        Injection::SetClock { kind, node, offset } => {
            cluster.note_fault(*kind, *node, || format!("{kind}: {offset:?}"));
            cluster.set_wall_offset(*node, *offset);
            Some(Ending::SetClock(*node))
        }
        Injection::DriftClock { node, ppm } => {
            let kind = Fault::ClockDrift;
            cluster.note_fault(kind, *node, || format!("{kind}: {ppm} ppm"));
            cluster.set_clock_drift(*node, i32::try_from(*ppm).unwrap_or_default());
            Some(Ending::SetClock(*node))
        }
        Injection::FreezeClock { node } => {
            cluster.note_fault(Fault::ClockFreeze, *node, || "wall clock freezes".to_owned());
            cluster.freeze_wall_clock(*node);
            Some(Ending::SetClock(*node))
        }
        _ => None,
    }
}

/// Starts a server again with a flipped bit on its disk; whether it runs.
fn starts_damaged<E: ConsistencyEngine>(
    cluster: &mut Cluster<E>,
    node: NodeId,
    by_crash: bool,
    bit: u64,
) -> Result<bool, Violation> {
    // What may be lost goes first: a record that knows of the damaged one must still be there at the
    // start, or the damage cannot be told from a torn write.
    end_process(cluster, node, by_crash);
    cluster.flip_bit(node, bit);
    Ok(cluster.start_again(node, Restart::Intact, None)? == Started::Runs)
}

/// Ends a process, with or without the power of its machine.
fn end_process<E: ConsistencyEngine>(cluster: &mut Cluster<E>, node: NodeId, by_crash: bool) {
    if by_crash {
        cluster.crash(node);
    } else {
        cluster.kill(node);
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
