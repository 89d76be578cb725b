//! The faults of a run: they begin at random moments, last for a while, and end.

mod draw;
mod driver;
mod guard;
mod lull;
mod perform;

use std::collections::BTreeSet;
use std::time::Duration;

use kv_core::{ConsistencyEngine, NodeId, SeedStream};

use super::declaration::Declaration;
use super::failure::FaultSpan;
use super::plan::Plan;
use crate::cluster::Cluster;
use crate::cluster::process::Restart;
use crate::fault::Fault;
use crate::injection::Injection;
use crate::scenario::acts::Act;
use crate::violation::Violation;
use crate::workload::pick;

/// Begins and ends faults.
#[derive(Debug)]
pub(super) struct Chaos {
    stream: SeedStream,
    kinds: Vec<Fault>,
    /// The kinds that are drawn from a stream of their own, beside the others.
    of_the_driver: Vec<Fault>,
    driver_stream: SeedStream,
    /// Draws lulls and copies of disks, if there are any.
    lulls: Option<SeedStream>,
    /// Whether disks are set back.
    sets_back: bool,
    /// Whether a client reads at a server before it takes a backup of it, which then is one server's.
    reads_first: bool,
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
    under_way: Vec<UnderWay>,
    /// How many faults have begun.
    begun: u64,
    /// The servers whose disks were lost, and when.
    pub(super) wipes: Vec<(Duration, NodeId)>,
    /// Every fault that began, in that order.
    pub(super) spans: Vec<FaultSpan>,
    /// What began and ended, if that is recorded.
    pub(super) record: Option<Vec<Act>>,
}

/// A fault that lasts.
#[derive(Clone, Debug)]
struct UnderWay {
    /// The number under which it is recorded.
    fault: u64,
    /// Its place among the spans.
    span: usize,
    until: Duration,
    /// It is one of the driver's.
    is_of_the_driver: bool,
    ending: Ending,
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
    /// A connection to a peer takes everything again.
    DrainLink(NodeId, NodeId),
    /// The client of a session reads again.
    DrainClient(NodeId, usize),
    /// Checkpoints can be written again.
    WriteCheckpoints(NodeId),
}

impl Chaos {
    pub(super) fn new(seed: u64, plan: &Plan, declaration: &Declaration) -> Self {
        let kinds = plan.faults.iter().copied().filter(|fault| !is_passive(*fault));
        let (of_the_driver, kinds) = kinds.partition(|kind| Fault::OF_THE_DRIVER.contains(kind));
        Self {
            stream: SeedStream::new(seed),
            kinds,
            of_the_driver,
            driver_stream: SeedStream::new(seed ^ DRIVER),
            lulls: plan.faults.contains(&Fault::Lull).then(|| SeedStream::new(seed ^ LULL)),
            sets_back: plan.faults.contains(&Fault::SetBackDisk),
            reads_first: declaration.backs_up_one(),
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
            begun: 0,
            wipes: Vec::new(),
            spans: Vec::new(),
            record: None,
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
            under_way.into_iter().partition(|under_way| under_way.until <= now);
        self.under_way = lasting;
        for UnderWay { fault, span, ending, .. } in due {
            self.note(|| Act::End { fault });
            match self.end(cluster, ending)? {
                Some(ending) => self.lasts(cluster, (fault, span), ending),
                None => self.note_end(span, now),
            }
        }
        if self.under_way_of(false) < self.at_once
            && self.stream.chance(self.per_mille)
            && let Some(kind) = pick(&mut self.stream, &self.kinds).copied()
            && let Some(injection) = self.draw(cluster, kind)
        {
            let (fault, span) = self.note_drawn(&injection, now);
            match self.begin(cluster, &injection)? {
                Some(ending) => self.lasts(cluster, (fault, span), ending),
                None => self.note_end(span, now),
            }
        }
        self.copy_disks(cluster)?;
        self.act_on_drivers(cluster)
    }

    /// How many faults are under way of the driver's kinds, or of the others.
    fn under_way_of(&self, driver: bool) -> usize {
        self.under_way.iter().filter(|under_way| under_way.is_of_the_driver == driver).count()
    }

    /// The number of a fault that was drawn, and its place among the spans.
    fn note_drawn(&mut self, injection: &Injection, now: Duration) -> (u64, usize) {
        self.begun += 1;
        let fault = self.begun;
        self.note(|| Act::Begin { fault, injection: injection.clone() });
        (fault, self.note_begin(injection, now))
    }

    /// Begins faults half as often from here on.
    pub(super) fn ease(&mut self) {
        self.per_mille = (self.per_mille / 2).max(1);
    }

    /// Begins a fault that was drawn in another run, if it can be now; it lasts until it is ended.
    pub(super) fn begin_again<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
        fault: u64,
        injection: &Injection,
    ) -> Result<(), Violation> {
        if self.may(cluster, injection) {
            let now = cluster.now();
            let span = self.note_begin(injection, now);
            match self.begin(cluster, injection)? {
                Some(ending) => self.lasts_until((fault, span), Duration::MAX, ending),
                None => self.note_end(span, now),
            }
        }
        Ok(())
    }

    /// Ends that fault, or a part of it, if it is under way.
    pub(super) fn end_again<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
        fault: u64,
    ) -> Result<(), Violation> {
        let place = self.under_way.iter().position(|under_way| under_way.fault == fault);
        let under_way = place.map(|place| self.under_way.remove(place));
        let Some(UnderWay { span, ending, .. }) = under_way else {
            return Ok(());
        };
        let now = cluster.now();
        match self.end(cluster, ending)? {
            Some(ending) => self.lasts_until((fault, span), Duration::MAX, ending),
            None => self.note_end(span, now),
        }
        Ok(())
    }

    /// Notes what only shows in between, in a run in which nothing is drawn.
    pub(super) fn watch<E: ConsistencyEngine>(&mut self, cluster: &Cluster<E>) {
        self.look(cluster);
    }

    /// Ends all faults and starts every server that is down.
    pub(super) fn end_all<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
    ) -> Result<(), Violation> {
        while let Some(UnderWay { span, ending, .. }) = self.under_way.pop() {
            let ending = if let Ending::RollOn(node, _) = ending {
                Ending::Revive(node, Restart::Intact)
            } else {
                ending
            };
            let now = cluster.now();
            self.end(cluster, ending)?;
            self.note_end(span, now);
        }
        cluster.heal();
        let down: Vec<NodeId> = cluster.nodes().filter(|node| !cluster.is_running(*node)).collect();
        down.into_iter().try_for_each(|node| self.revive(cluster, node, Restart::Intact))
    }

    fn lasts<E: ConsistencyEngine>(
        &mut self,
        cluster: &Cluster<E>,
        named: (u64, usize),
        ending: Ending,
    ) {
        let nanos = u64::try_from(self.lasts_max.as_nanos()).unwrap_or(u64::MAX);
        let until = cluster.now() + Duration::from_nanos(self.stream.below(nanos));
        self.lasts_until(named, until, ending);
    }

    fn lasts_until(&mut self, (fault, span): (u64, usize), until: Duration, ending: Ending) {
        let is_of_the_driver = false;
        self.under_way.push(UnderWay { fault, span, until, is_of_the_driver, ending });
    }

    /// The place of the fault among the spans.
    fn note_begin(&mut self, injection: &Injection, now: Duration) -> usize {
        self.spans.push(FaultSpan { injection: injection.clone(), begun: now, ended: None });
        self.spans.len() - 1
    }

    fn note_end(&mut self, span: usize, now: Duration) {
        if let Some(span) = self.spans.get_mut(span) {
            span.ended = Some(now);
        }
    }

    fn note(&mut self, act: impl FnOnce() -> Act) {
        if let Some(record) = &mut self.record {
            record.push(act());
        }
    }
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
            | Fault::Lull
    )
}

const DRIVER: u64 = 0x6472_6976;
const LULL: u64 = 0x6c75_6c6c;
