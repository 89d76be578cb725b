//! Which faults there are.

use std::collections::BTreeSet;
use std::time::Duration;

use kv_core::{ConsistencyEngine, NodeId};

use super::Chaos;
use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::injection::Injection;
use crate::server::clock::WallOffset;
use crate::workload::pick;

impl Chaos {
    /// A fault of this kind; `None` if there can be none now.
    pub(super) fn draw<E: ConsistencyEngine>(
        &mut self,
        cluster: &Cluster<E>,
        fault: Fault,
    ) -> Option<Injection> {
        let all: Vec<NodeId> = cluster.nodes().collect();
        if fault.ends_processes() {
            let free: Vec<NodeId> =
                all.iter().copied().filter(|node| self.is_free(*node)).collect();
            let node = *pick(&mut self.stream, &free)?;
            return self.draw_on_process(cluster, fault, node, free);
        }
        let node = *pick(&mut self.stream, &all)?;
        if let Some(injection) = self.draw_on_clock(fault, node) {
            return Some(injection);
        }
        if fault == Fault::HeldSync {
            return Some(Injection::HoldSyncs { node });
        }
        if fault == Fault::Disconnect {
            return Some(Injection::Disconnect { node, session: self.stream.below(3) });
        }
        if fault == Fault::HandOver {
            let to = pick(&mut self.stream, &all).copied().unwrap_or(node);
            return Some(Injection::HandOver { node, to });
        }
        if fault == Fault::Pause {
            return Some(Injection::Pause { node });
        }
        self.draw_on_links(fault, node, &all)
    }

    fn draw_on_links(&mut self, kind: Fault, node: NodeId, all: &[NodeId]) -> Option<Injection> {
        let others: Vec<NodeId> = all.iter().copied().filter(|other| *other != node).collect();
        let peer = *pick(&mut self.stream, &others)?;
        if kind == Fault::Clog {
            return Some(Injection::Clog { from: node, to: peer });
        }
        if kind == Fault::SlowLink {
            let by = Duration::from_millis(1 + self.stream.below(500));
            return Some(Injection::SlowLink { from: node, to: peer, by });
        }
        let links: Vec<(NodeId, NodeId)> = if kind == Fault::OneWayPartition {
            vec![(node, peer)]
        } else if kind == Fault::PartialPartition {
            vec![(node, peer), (peer, node)]
        } else {
            let cut: BTreeSet<NodeId> =
                others.iter().copied().filter(|_| self.stream.chance(400)).collect();
            let is_cut = |node: &NodeId| cut.contains(node);
            let pairs = all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b)));
            pairs.filter(|(a, b)| is_cut(a) != is_cut(b)).collect()
        };
        (!links.is_empty()).then_some(Injection::Block { kind, node, links })
    }

    fn draw_on_clock(&mut self, kind: Fault, node: NodeId) -> Option<Injection> {
        let off_ms_max = if kind == Fault::ClockSkew { 2_000 } else { 60_000 };
        if kind == Fault::ClockSkew || kind == Fault::ClockJump {
            let off = Duration::from_millis(self.stream.below(off_ms_max));
            let ahead = self.stream.chance(500);
            let offset = if ahead { WallOffset::Ahead(off) } else { WallOffset::Behind(off) };
            Some(Injection::SetClock { kind, node, offset })
        } else if kind == Fault::ClockDrift {
            let ppm = i64::try_from(self.stream.below(400_000)).unwrap_or_default() - 200_000;
            Some(Injection::DriftClock { node, ppm })
        } else {
            (kind == Fault::ClockFreeze).then_some(Injection::FreezeClock { node })
        }
    }

    fn draw_on_process<E: ConsistencyEngine>(
        &mut self,
        cluster: &Cluster<E>,
        fault: Fault,
        node: NodeId,
        free: Vec<NodeId>,
    ) -> Option<Injection> {
        let loses_disk = matches!(fault, Fault::WipedDisk | Fault::SetBackDisk | Fault::FlippedBit);
        let is_noticed = fault != Fault::SetBackDisk || self.notices_older_disk(cluster, node);
        if loses_disk && !(is_noticed && self.may_lose_disk(cluster, node)) {
            return None;
        }
        let stream = &mut self.stream;
        Some(if fault == Fault::SetBackDisk {
            Injection::SetBack { node }
        } else if fault == Fault::CrashBetweenEffects {
            Injection::CrashAfter { node, effects: stream.below(30) }
        } else if fault == Fault::FailedSync {
            Injection::FailSync { node }
        } else if fault == Fault::FailedWrite {
            Injection::FailWrite { node }
        } else if fault == Fault::FullDisk {
            let segment_bytes = cluster.config().disk.segment_bytes;
            Injection::FillDisk { node, left: stream.below(2 * segment_bytes) }
        } else if fault == Fault::PowerLossAtDisk {
            Injection::LosePowerAfter { node, operations: stream.below(60) }
        } else if fault == Fault::InterruptedRecovery {
            let (by_crash, operations) = (stream.chance(500), stream.below(40));
            Injection::InterruptRecovery { node, by_crash, operations }
        } else if fault == Fault::Kill {
            Injection::Kill { node }
        } else if fault == Fault::Stop {
            Injection::Stop { node }
        } else if fault == Fault::FlippedBit {
            let (by_crash, bit) = (stream.chance(500), stream.next_u64());
            Injection::FlipBit { node, by_crash, bit }
        } else if fault == Fault::RollingRestart {
            Injection::RollingRestart { node, order: free }
        } else if fault == Fault::MixedConfiguration {
            if self.must_be_used_first(cluster, node) {
                return None;
            }
            let may_wipe = self.may_wipe && self.may_lose_disk(cluster, node);
            let wiped = may_wipe && self.stream.chance(500);
            Injection::Misconfigure { node, wiped }
        } else if fault == Fault::WipedDisk {
            Injection::Wipe { node }
        } else {
            Injection::Crash { node }
        })
    }
}
