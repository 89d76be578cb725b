//! Whole runs: a seed makes a cluster, clients and faults; then all faults end, and the cluster
//! must serve and come to rest; then what the clients saw is judged.

mod absence;
mod chaos;
mod declaration;
mod failure;
mod judgement;
mod owed;
mod plan;
mod recording;
mod replay;
mod report;

pub use declaration::{Availability, Declaration, Needs, Oracle, QuorumRule};
pub use failure::{Away, BackupTaken, FaultSpan, FaultsBetween, ShownBy, SimulationFailure};
pub(crate) use failure::{FailureKind, failure_of};
pub use plan::Plan;
pub(crate) use replay::shown;
pub use report::Report;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kv_check::evidence::VersionScope;
use kv_check::oracle::Promise;
use kv_check::{History, Process, Request, RequestState};
use kv_core::{
    ConsistencyEngine, Counter, Key, NodeId, Operation, Outcome, Quorum, RequestId, RequestOptions,
    SeedStream, Value,
};

use crate::client::{Clients, OperationKind, TIME_TO_LIVE_MS_MAX};
use crate::cluster::Cluster;
use crate::cluster::holders::probe::Probe;
use crate::config::NetworkConfig;
use crate::sometimes::{Reached, Sometimes};
use crate::violation::Violation;
use chaos::Chaos;
use judgement::{Judged, backups};
use plan::{ACKNOWLEDGED_MIN, KINDS_MIN};
use recording::Recording;
use replay::Players;

/// One run of an engine in two phases: chaos, in which only safety is asked, and then peace, in
/// which the cluster must serve again and come to hold the same everywhere.
#[derive(Debug)]
pub struct Simulation<E: ConsistencyEngine> {
    declaration: Declaration,
    plan: Plan,
    pub(crate) cluster: Cluster<E>,
    clients: Clients,
    chaos: Chaos,
    stream: SeedStream,
    finals: Vec<RequestId>,
    /// Calls of others than the clients, each with its session.
    pub(crate) asked: Vec<(RequestId, Process)>,
    /// What the servers held when they had come to rest, before the last reads.
    fingerprints: BTreeMap<NodeId, u64>,
    /// How many keys each promise judged.
    keys_judged: BTreeMap<Promise, u64>,
    /// How many writes were looked for in backups.
    backed_up: u64,
    reached: Reached<E>,
    recording: Option<Recording>,
    /// Clients that do what those of another run did, in place of `clients`.
    players: Option<Players>,
    /// How often clients that make no new call have looked at their answers.
    closing_looks: u64,
}

impl<E: ConsistencyEngine> Simulation<E> {
    /// The run of a seed, at its beginning.
    ///
    /// # Errors
    /// [`SimulationFailure`] if an engine does not start on an empty disk.
    pub fn new(seed: u64, declaration: &Declaration) -> Result<Self, SimulationFailure> {
        let plan = Plan::of(seed, declaration)?;
        Self::with_plan(plan, declaration)
    }

    /// The run of a plan of one's own, at its beginning.
    ///
    /// # Errors
    /// [`SimulationFailure`] if an engine does not start on an empty disk.
    pub fn with_plan(plan: Plan, declaration: &Declaration) -> Result<Self, SimulationFailure> {
        let mut stream = SeedStream::new(plan.cluster.seed ^ RUN);
        let cluster = Cluster::new(plan.cluster.clone())?;
        let clients = Clients::new(stream.next_u64(), plan.clients.clone());
        let chaos = Chaos::new(stream.next_u64(), &plan, declaration);
        let declaration = declaration.clone();
        Ok(Self {
            declaration,
            plan,
            cluster,
            clients,
            chaos,
            stream,
            finals: Vec::new(),
            asked: Vec::new(),
            fingerprints: BTreeMap::new(),
            keys_judged: BTreeMap::new(),
            backed_up: 0,
            reached: Reached::new(),
            recording: None,
            players: None,
            closing_looks: 0,
        })
    }

    /// Runs both phases and judges.
    ///
    /// # Errors
    /// [`SimulationFailure`] if the engine, or the run itself, does not pass.
    pub fn run(&mut self) -> Result<Report, SimulationFailure> {
        self.disturb()?;
        let slowest_heal = self.finish()?;
        self.report(slowest_heal)
    }

    /// The second phase, and the judgement; how long healing took.
    pub(crate) fn finish(&mut self) -> Result<Duration, SimulationFailure> {
        self.chaos.end_all(&mut self.cluster)?;
        self.cluster.heal_network(NetworkConfig::default());
        self.cluster.trace.remark(self.cluster.now, "all faults have ended");
        let healed_at = self.cluster.now();
        self.serve()?;
        self.serve_without_some()?;
        self.close()?;
        self.end_what_is_owed()?;
        self.converge()?;
        let slowest_heal = self.cluster.now() - healed_at;
        if self.plan.clients.operations.contains(&OperationKind::PutForATime) {
            let clocks_off = self.clocks_off();
            self.cluster.run_for(EXPIRED_WITHIN + clocks_off)?;
            self.fingerprints = self.cluster.fingerprints();
        }
        self.read_all()?;
        self.judge()?;
        Ok(slowest_heal)
    }

    /// Starts a server on an empty disk, if the engine bears that.
    pub(crate) fn wipe(&mut self, node: NodeId) -> Result<(), Violation> {
        self.chaos.wipe(&mut self.cluster, node)
    }

    /// What the seed made of the run.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The cluster as it is.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster<E> {
        &self.cluster
    }

    /// What clients saw so far, as it is judged: with pages as reads of single keys, the run's
    /// own writes and reads after all faults, and without reads that asked for a weaker level.
    #[must_use]
    pub fn history(&self) -> History {
        judgement::history(&self.cluster, &self.clients)
    }

    /// Which process of [`history`](Self::history) put each request.
    #[must_use]
    pub fn callers(&self) -> BTreeMap<RequestId, Process> {
        self.cluster.callers(&self.clients)
    }

    /// Asks the engine, from here on, what it holds: at the acknowledgement of one in
    /// [`WRITES_PER_LOOK`](Self::WRITES_PER_LOOK) writes the disks that hold it are counted.
    pub fn probe(&mut self, probe: Probe<E>) {
        self.cluster.probe(probe, Self::WRITES_PER_LOOK);
    }

    /// Notes, from here on, which of these states the cluster reaches in the first phase.
    pub fn watch_for(&mut self, sometimes: &[Sometimes<E>]) {
        self.reached.watch_for(sometimes);
    }

    /// To count the disks that hold a write takes as long as to restart all servers.
    pub const WRITES_PER_LOOK: u64 = 16;

    /// Keeps the last lines of the trace from here on.
    pub fn keep_trace(&mut self, lines_max: usize) {
        self.cluster.keep_trace(lines_max);
    }

    fn disturb(&mut self) -> Result<(), SimulationFailure> {
        let mut eases_at = EASES_EVERY;
        for moment in 0_u64.. {
            let enough = self.clients.acknowledged() >= self.plan.acknowledged_min
                && self.cluster.faults().kinds().len() >= KINDS_MIN
                && moment > MOMENTS_MIN;
            if enough {
                return Ok(());
            }
            if self.cluster.now() > self.plan.disturbed_max {
                return self.calm_down();
            }
            if self.cluster.now() >= eases_at {
                eases_at += EASES_EVERY;
                self.chaos.ease();
            }
            self.clients.act(&mut self.cluster, false);
            self.note_clients();
            self.chaos.act(&mut self.cluster)?;
            self.let_time_pass()?;
            self.reached.look(&self.cluster);
            self.chaos.replace_halted(&mut self.cluster)?;
        }
        Ok(())
    }

    /// Some seeds draw faults between which hardly anything is ever done. Their clients go on for a
    /// while without them.
    fn calm_down(&mut self) -> Result<(), SimulationFailure> {
        self.note_end_of_faults();
        self.chaos.end_all(&mut self.cluster)?;
        let give_up = self.cluster.now() + CALM_MAX;
        while self.clients.acknowledged() < ACKNOWLEDGED_MIN && self.cluster.now() < give_up {
            self.clients.act(&mut self.cluster, false);
            self.note_clients();
            self.let_time_pass()?;
        }
        Ok(())
    }

    /// Lets a moment pass.
    fn let_time_pass(&mut self) -> Result<(), Violation> {
        let mut time = Duration::from_micros(self.stream.below(MOMENT_MICROS_MAX));
        if let Some(lull) = self.chaos.draw_lull() {
            if lull.is_quiet {
                self.note_end_of_faults();
                self.chaos.begin_quiet_lull(&mut self.cluster, lull.lasts)?;
            }
            self.cluster.note_lull();
            time += lull.lasts;
        }
        self.note_time(time);
        self.cluster.run_for(time)
    }

    /// Lets clients look at their answers, and make no new calls.
    fn look_at_answers(&mut self) {
        self.closing_looks += 1;
        if let Some(players) = &mut self.players {
            players.look(&mut self.cluster, self.closing_looks);
        } else {
            self.clients.act(&mut self.cluster, true);
            self.note_late_cancels();
        }
    }

    /// Every server must do a write.
    fn serve(&mut self) -> Result<(), SimulationFailure> {
        let give_up = self.cluster.now() + HEALED_WITHIN;
        let nodes: Vec<NodeId> = self.cluster.nodes().collect();
        for node in nodes {
            let key = crate::workload::key(HEALED_KEY);
            let value = Value::new(format!("by {node}")).unwrap_or_default();
            let put = Operation::put(key, value);
            loop {
                self.chaos.replace_halted(&mut self.cluster)?;
                let last = self.cluster.execute(node, put.clone())?;
                if matches!(last, Some(Outcome::Done(_))) {
                    break;
                }
                if self.cluster.now() > give_up {
                    let bound = HEALED_WITHIN;
                    return Err(SimulationFailure::NeverServes { node, bound, last });
                }
                self.look_at_answers();
                self.cluster.run_for(Duration::from_millis(50))?;
            }
        }
        Ok(())
    }

    /// Lets every client get its last answer.
    fn close(&mut self) -> Result<(), SimulationFailure> {
        let give_up = self.cluster.now() + HEALED_WITHIN;
        let all_idle = |this: &Self| {
            this.clients.all_idle() && this.players.as_ref().is_none_or(Players::are_idle)
        };
        while !all_idle(self) && self.cluster.now() < give_up {
            self.look_at_answers();
            self.cluster.run_for(Duration::from_millis(20))?;
        }
        if self.players.is_some() {
            return Ok(());
        }
        // What a paused server has taken runs once it goes on, and no read beside it is one at rest.
        self.cluster.run_until(HEALED_WITHIN, |cluster| {
            let mut asked = self.asked.iter().map(|(id, _)| cluster.request(*id));
            asked.all(|request| request.is_none_or(Request::has_ended))
        })?;
        Ok(())
    }

    /// How far ahead of the present time a stamp may be.
    const fn clocks_off(&self) -> Duration {
        if self.cluster.clocks_differed { CLOCK_OFF_MAX } else { Duration::ZERO }
    }

    /// Waits until all servers hold the same.
    fn converge(&mut self) -> Result<(), SimulationFailure> {
        // A delete that a clock stamped ahead is kept until the other clocks are past it.
        let bound = HEALED_WITHIN + self.clocks_off();
        let give_up = self.cluster.now() + bound;
        loop {
            self.fingerprints = self.cluster.fingerprints();
            let distinct: BTreeSet<u64> = self.fingerprints.values().copied().collect();
            let is_one = distinct.len() == 1;
            if !self.declaration.converges || (is_one && self.is_tidy()) {
                return self.check_nothing_was_mended();
            }
            if self.cluster.now() > give_up {
                return Err(if is_one {
                    SimulationFailure::NotTidy { bound }
                } else {
                    SimulationFailure::NotConverged { bound }
                });
            }
            self.cluster.run_for(Duration::from_millis(100))?;
        }
    }

    /// Whether no server found by comparison that it lacked what it should have had.
    fn check_nothing_was_mended(&self) -> Result<(), SimulationFailure> {
        for node in self.cluster.nodes() {
            let status = self.cluster.status(node);
            let records = status.and_then(|status| status.counter(Counter::RecordsMended));
            if let Some(records) = records.filter(|records| *records > 0) {
                return Err(SimulationFailure::Mended { node, records });
            }
        }
        Ok(())
    }

    /// Whether servers that forget deletes and settle what former incarnations wrote have done so.
    fn is_tidy(&self) -> bool {
        if self.declaration.oracle != Oracle::LastWriterWins {
            return true;
        }
        let statuses = self.cluster.nodes().filter_map(|node| self.cluster.status(node));
        statuses.map(|status| status.positions).all(|at| {
            let left = [at.gaps, at.open_incarnations, at.gaps.and(at.tombstones)];
            left.into_iter().flatten().all(|left| left == 0)
        })
    }

    /// Reads every key at every server, from all servers where a read may say so, until every read
    /// is done.
    fn read_all(&mut self) -> Result<(), SimulationFailure> {
        let give_up = self.cluster.now() + HEALED_WITHIN;
        let mut keys = BTreeSet::from([crate::workload::key(HEALED_KEY)]);
        keys.extend(self.clients.keys());
        for (id, _) in &self.asked {
            if let Some(Operation::Batch(batch)) = self.cluster.request(*id).map(|asked| &asked.op)
            {
                keys.extend(batch.commands().iter().map(|command| command.key().clone()));
            }
        }
        let nodes: Vec<NodeId> = self.cluster.nodes().collect();
        let mut wanted: Vec<(NodeId, Key)> = keys
            .into_iter()
            .flat_map(|key| nodes.iter().map(move |node| (*node, key.clone())))
            .collect();
        self.finals.clear();
        while let Some((node, key)) = wanted.first().cloned() {
            if self.cluster.now() > give_up {
                return Err(SimulationFailure::NeverReads { node, key });
            }
            let done = self.read(&wanted)?;
            let all = wanted.into_iter().zip(done);
            let (read, left): (Vec<_>, Vec<_>) = all.partition(|(_, id)| id.is_some());
            self.finals.extend(read.into_iter().filter_map(|(_, id)| id));
            wanted = left.into_iter().map(|(wanted, _)| wanted).collect();
        }
        Ok(())
    }

    /// Reads keys at servers, all at once; those reads that are done.
    fn read(
        &mut self,
        wanted: &[(NodeId, Key)],
    ) -> Result<Vec<Option<RequestId>>, SimulationFailure> {
        let read_quorum = match self.declaration.oracle {
            Oracle::Linearizability => None,
            Oracle::LastWriterWins => Some(Quorum::All),
        };
        let options = RequestOptions::default().with_read_quorum(read_quorum);
        let submit = |(node, key): &(NodeId, Key)| {
            self.cluster.submit(*node, Operation::get(key.clone()), options.clone())
        };
        let ids: Vec<RequestId> = wanted.iter().map(submit).collect();
        let mut left = ids.as_slice();
        self.cluster.run_until(options.timeout + Duration::from_secs(1), |cluster| {
            while let [first, rest @ ..] = left
                && cluster.request(*first).is_none_or(Request::has_ended)
            {
                left = rest;
            }
            left.is_empty()
        })?;
        self.cluster.run_for(Duration::from_millis(10))?;
        let is_done = |id: &RequestId| matches!(self.cluster.outcome(*id), Some(Outcome::Done(_)));
        Ok(ids.into_iter().map(|id| Some(id).filter(is_done)).collect())
    }

    fn judge(&mut self) -> Result<(), SimulationFailure> {
        let (run, wipes) = (self.judged(), &self.chaos.wipes);
        match self.declaration.oracle {
            Oracle::Linearizability => {
                judgement::judge_linearizability(&run)?;
                judgement::judge_expiry(&run, &self.finals)?;
            }
            Oracle::LastWriterWins => judgement::judge_last_writes(&run, &self.finals, wipes)?,
        }
        self.backed_up = backups::judge(&run, self.declaration.backs_up_one(), wipes)?;
        let rest = judgement::rest(&self.cluster, &self.finals, self.fingerprints.clone());
        let calls = self.clients.calls().iter().chain(&self.asked);
        self.keys_judged = judgement::judge_promises(
            (&self.cluster, self.declaration.versions),
            calls,
            rest,
            self.promises(),
            &self.chaos.spans,
        )?;
        Ok(())
    }

    /// What there is to judge.
    fn judged(&self) -> Judged<'_, E> {
        let (cluster, clients) = (&self.cluster, &self.clients);
        Judged { cluster, clients, asked: &self.asked, faults: &self.chaos.spans }
    }

    /// What the engine promises in this run.
    fn promises(&self) -> impl Iterator<Item = Promise> {
        let anyway = self.declaration.oracle == Oracle::Linearizability;
        let disks = anyway || self.chaos.wipes.is_empty();
        let quorums = anyway || (self.plan.quorums_meet() && !self.plan.clients.request_quorums);
        let converges = self.declaration.converges;
        let in_one_order = self.declaration.versions == VersionScope::Store;
        let promises = self.declaration.promises.iter().copied().filter(move |promise| {
            (disks || !promise.rests_on_disks())
                && (quorums || !promise.rests_on_quorums())
                && (converges || *promise != Promise::Convergence)
                && (in_one_order || *promise != Promise::VersionOrder)
        });
        let says_seen = self.plan.clients.session_guarantees && disks;
        let of_sessions =
            [Promise::ReadYourWrites, Promise::MonotonicReads, Promise::MonotonicWrites];
        promises.chain(of_sessions.into_iter().filter(move |_| says_seen))
    }

    fn report(&self, slowest_heal: Duration) -> Result<Report, SimulationFailure> {
        let faults = self.cluster.faults();
        let acknowledged = self.clients.acknowledged();
        if acknowledged < ACKNOWLEDGED_MIN || faults.kinds().len() < KINDS_MIN {
            return Err(SimulationFailure::TooLittle { acknowledged, faults });
        }
        let mut report = Report {
            runs: 1,
            steps: self.cluster.steps(),
            virtual_time: self.cluster.now(),
            faults,
            slowest_heal,
            slowest_heal_seed: self.plan.cluster.seed,
            trace_hash: self.cluster.trace_hash(),
            keys_judged: self.keys_judged.clone(),
            holders_counted: self.cluster.holders_counted(),
            backed_up: self.backed_up,
            sometimes: self.reached.names.iter().map(|name| (*name, 1)).collect(),
            ..Report::default()
        };
        for (_, request) in self.cluster.requests() {
            match &request.state {
                RequestState::Replied { outcome: Outcome::Done(_), .. } => report.ok += 1,
                RequestState::Replied { outcome: Outcome::NotDone(_), .. }
                | RequestState::Refused => report.fail += 1,
                RequestState::Replied { outcome: Outcome::Unknown(_), .. }
                | RequestState::Waiting
                | RequestState::Lost { .. } => report.info += 1,
            }
        }
        Ok(report)
    }
}

/// Virtual time for the cluster to serve, and again to come to rest, once all faults have ended.
const HEALED_WITHIN: Duration = Duration::from_secs(60);

/// Some seeds draw so many faults that hardly anything is ever done: each time so much virtual time
/// has gone by in the first phase, faults begin half as often.
const EASES_EVERY: Duration = Duration::from_secs(300);

/// For how long clients go on without faults where there was too little between them.
const CALM_MAX: Duration = Duration::from_secs(300);

/// Once all faults have ended, whatever was put for a time is over after so long, and if log time is
/// ahead, so much later.
const EXPIRED_WITHIN: Duration = Duration::from_millis(TIME_TO_LIVE_MS_MAX + 1_000);
const CLOCK_OFF_MAX: Duration = Duration::from_secs(70);

/// The first phase has more moments than this.
const MOMENTS_MIN: u64 = 300;
const MOMENT_MICROS_MAX: u64 = 10_000;

/// The key that is written once all faults have ended.
const HEALED_KEY: &str = "healed";

const RUN: u64 = 0x0072_756e;
