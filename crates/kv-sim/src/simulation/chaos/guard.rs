//! What an engine is spared.

use kv_core::{ConsistencyEngine, NodeId, Role};

use super::{Chaos, Ending};
use crate::cluster::Cluster;
use crate::cluster::process::Restart;
use crate::injection::Injection;

impl Chaos {
    /// Whether a fault that was drawn in another run can be now, and the engine bears it.
    pub(super) fn may<E: ConsistencyEngine>(
        &mut self,
        cluster: &Cluster<E>,
        injection: &Injection,
    ) -> bool {
        match injection {
            Injection::SetBack { node } => {
                self.notices_older_disk(cluster, *node)
                    && self.is_free(*node)
                    && self.may_lose_disk(cluster, *node)
            }
            Injection::Wipe { node } | Injection::FlipBit { node, .. } => {
                self.is_free(*node) && self.may_lose_disk(cluster, *node)
            }
            Injection::Misconfigure { node, wiped } => {
                let may_lose = self.may_wipe && self.may_lose_disk(cluster, *node);
                self.is_free(*node)
                    && !self.must_be_used_first(cluster, *node)
                    && (may_lose || !wiped)
            }
            Injection::Crash { node }
            | Injection::Kill { node }
            | Injection::Stop { node }
            | Injection::CrashAfter { node, .. }
            | Injection::FailSync { node }
            | Injection::FailWrite { node }
            | Injection::FillDisk { node, .. }
            | Injection::LosePowerAfter { node, .. }
            | Injection::InterruptRecovery { node, .. } => self.is_free(*node),
            Injection::RollingRestart { order, .. } => order.iter().all(|node| self.is_free(*node)),
            Injection::Block { .. }
            | Injection::Clog { .. }
            | Injection::SlowLink { .. }
            | Injection::HoldSyncs { .. }
            | Injection::Pause { .. }
            | Injection::Disconnect { .. }
            | Injection::HandOver { .. }
            | Injection::SetClock { .. }
            | Injection::DriftClock { .. }
            | Injection::FreezeClock { .. }
            | Injection::CongestLink { .. }
            | Injection::CongestClient { .. }
            | Injection::BackUp { .. }
            | Injection::CopyDisk { .. } => true,
            Injection::FailCheckpoints { node, .. } => !self.spares.contains(node),
        }
    }

    /// Whether an older copy of this server's disk is noticed in time. Servers that choose a sequencer
    /// are at least N + 1 - min(W, R). Without the one in question, they have a server in common with
    /// the others of any W that acknowledged a write only if W > R: otherwise nobody may know
    /// better. A sequencer goes on in its round before it has asked so many.
    pub(super) fn notices_older_disk<E: ConsistencyEngine>(
        &self,
        cluster: &Cluster<E>,
        node: NodeId,
    ) -> bool {
        let config = &cluster.config().cluster;
        let role = cluster.engine(node).map(|engine| engine.status().role);
        !self.keeps_quorum
            || (config.write_quorum() > config.read_quorum() && role == Some(Role::Follower))
    }

    /// Whether a process may be ended, and no other fault is at that.
    pub(super) fn is_free(&self, node: NodeId) -> bool {
        !self.spares.contains(&node) && !self.is_busy(node)
    }

    /// Whether the disk must last and was not used yet: one first used under another configuration
    /// would be given up in the end.
    pub(super) fn must_be_used_first<E: ConsistencyEngine>(
        &self,
        cluster: &Cluster<E>,
        node: NodeId,
    ) -> bool {
        let must_last = self.keeps_quorum || self.keeps_disks.contains(&node);
        must_last && !cluster.has_used_disk(node)
    }

    /// Whether the engine bears that this server loses its disk; then it is about to.
    pub(super) fn may_lose_disk<E: ConsistencyEngine>(
        &mut self,
        cluster: &Cluster<E>,
        node: NodeId,
    ) -> bool {
        if self.keeps_quorum && !self.leaves_quorum(cluster, node) {
            return false;
        }
        let lost = |other: &NodeId| {
            let has_lost = self.wipes.iter().any(|(_, wiped)| wiped == other);
            *other == node
                || has_lost
                || self.will_lose_disk(*other)
                || cluster.has_damaged_disk(*other)
        };
        let may = !self.keeps_disks.contains(&node);
        let may = may && (!self.keeps_a_disk || !cluster.nodes().all(|other| lost(&other)));
        if may {
            self.sound.remove(&node);
        }
        may
    }

    /// Whether a server's disk is about to be lost or set back.
    fn will_lose_disk(&self, node: NodeId) -> bool {
        self.under_way.iter().any(|under_way| {
            matches!(&under_way.ending,
                Ending::Revive(down, Restart::Wiped | Restart::SetBack) if *down == node)
        })
    }

    /// Notes which servers have data and count for it.
    pub(super) fn look<E: ConsistencyEngine>(&mut self, cluster: &Cluster<E>) {
        let counts = |node: &NodeId| {
            let role = cluster.engine(*node).map(|engine| engine.status().role);
            let has_joined = matches!(role, Some(Role::Sequencer | Role::Follower));
            has_joined && !cluster.is_on_older_disk(*node) && !self.will_lose_disk(*node)
        };
        if self.keeps_quorum {
            let sound: Vec<NodeId> = cluster.nodes().filter(counts).collect();
            self.sound.extend(sound);
        }
    }

    /// Whether a quorum of servers that have their data is left without this one.
    fn leaves_quorum<E: ConsistencyEngine>(&mut self, cluster: &Cluster<E>, node: NodeId) -> bool {
        self.look(cluster);
        let config = &cluster.config().cluster;
        let (write, read) = (config.write_quorum(), config.read_quorum());
        let promises = config.nodes() + 1 - write.min(read);
        let needed = write.max(read).max(promises);
        let is_left = |other: &&NodeId| **other != node && !cluster.has_damaged_disk(**other);
        self.sound.iter().filter(is_left).count() >= usize::from(needed)
    }

    fn is_busy(&self, node: NodeId) -> bool {
        self.under_way.iter().any(|under_way| match &under_way.ending {
            Ending::Revive(busy, _) | Ending::MakeRoom(busy) => *busy == node,
            Ending::RollOn(busy, left) => *busy == node || left.contains(&node),
            Ending::Unblock(_)
            | Ending::Unclog(..)
            | Ending::SpeedUp(..)
            | Ending::Release(_)
            | Ending::Resume(_)
            | Ending::SetClock(_)
            | Ending::DrainLink(..)
            | Ending::DrainClient(..)
            | Ending::WriteCheckpoints(_) => false,
        })
    }
}
