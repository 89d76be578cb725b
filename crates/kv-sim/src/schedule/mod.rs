//! Short schedules of requests and faults: drawn at random, and made smaller when one fails.
//!
//! A seed of a [`Simulation`] is long, and becomes a [`scenario`](crate::scenario) to be shortened; what
//! fails here shrinks to the few moves that it takes.

mod draw;
mod shrink;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use kv_check::{Process, Request};
use kv_core::{Command, ConsistencyEngine, NodeId, Operation, Outcome, RequestId, RequestOptions};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::client::OperationKind;
use crate::cluster::Cluster;
use crate::cluster::process::Restart;
use crate::config::{DiskConfig, NetworkConfig, SimConfig};
use crate::server::clock::WallOffset;
use crate::simulation::{Declaration, Plan, Simulation, SimulationFailure};
use crate::violation::Violation;
use crate::workload::{key, value};

/// A cluster and what is done to it, move by move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// How many servers, from 1.
    pub nodes: u16,
    /// W; more than there are servers means all of them.
    pub write: u16,
    /// R, likewise.
    pub read: u16,
    /// Decides how long messages and syncs take.
    pub seed: u64,
    /// What is done, a millisecond apart.
    pub moves: Vec<Move>,
}

/// One thing that is done. Servers count from 1, and go round beyond the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// A client asks a server for something: a put, a get, a delete or an increment.
    Ask {
        /// Which client.
        client: u8,
        /// Which server.
        server: u16,
        /// For what.
        kind: OperationKind,
        /// Of which key.
        key: u8,
    },
    /// Time goes by.
    Wait {
        /// How much.
        millis: u16,
    },
    /// Power is lost.
    Crash(u16),
    /// A process is killed, and what it wrote stays.
    Kill(u16),
    /// A process is told to stop.
    Stop(u16),
    /// The client of one of a server's sessions goes, and another comes.
    Disconnect(u16, u8),
    /// A process ends between two effects.
    CrashAfter(u16, u8),
    /// A server starts on its disk; one that runs crashes first.
    Restart(u16),
    /// A server starts on an empty disk.
    Wipe(u16),
    /// Nothing passes between a server and all others.
    CutOff(u16),
    /// Nothing passes from one server to another.
    Block(u16, u16),
    /// Everything passes.
    OpenNetwork,
    /// Messages are lost, copied and late, or no more so.
    Lossy(bool),
    /// No sync of a server ends.
    HoldDisk(u16),
    /// Its syncs end again.
    ReleaseDisk(u16),
    /// A process stands still.
    Pause(u16),
    /// It goes on.
    Resume(u16),
    /// A wall clock is so many milliseconds ahead, or behind.
    SetClock(u16, i32),
}

/// The smallest schedule that was found to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smallest {
    /// What it takes.
    pub schedule: Schedule,
    /// What comes of it; `None` if the engine panicked.
    pub failure: Option<SimulationFailure>,
    /// How many schedules passed before one failed.
    pub passed: u32,
    /// How many were run to make it smaller.
    pub shrinking_runs: u32,
}

/// How many schedules are enough by default: fewer miss engines that are broken in ways of which one
/// schedule in some hundreds shows something.
pub const SCHEDULES: u32 = 2_000;

/// Runs so many random schedules of the faults that an engine declares to survive, always the same
/// ones.
///
/// # Errors
/// [`Smallest`]: of the first schedule that fails, as little as was found to fail.
///
/// # Panics
/// If no schedule can be drawn, as of a declaration without operations.
pub fn explore<E: ConsistencyEngine>(
    declaration: &Declaration,
    cases: u32,
) -> Result<(), Box<Smallest>> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let schedules = draw::schedules(declaration);
    for passed in 0..cases {
        let schedule = match schedules.new_tree(&mut runner) {
            Ok(tree) => tree.current().fitted(declaration),
            Err(reason) => panic!("no schedule can be drawn: {reason}"),
        };
        if let Some(failure) = shrink::fails::<E>(&schedule, declaration) {
            let smallest = shrink::shrink::<E>(schedule, failure, declaration);
            return Err(Box::new(Smallest { passed, ..smallest }));
        }
    }
    Ok(())
}

impl Schedule {
    /// Makes all moves, ends all faults, and judges as a [`Simulation`] does.
    ///
    /// # Errors
    /// [`SimulationFailure`] if the engine does not pass.
    pub fn run<E: ConsistencyEngine>(
        &self,
        declaration: &Declaration,
    ) -> Result<(), SimulationFailure> {
        let mut simulation = self.begin::<E>(declaration)?;
        self.play(&mut simulation, declaration)
    }

    /// All that happens in the run, line by line.
    ///
    /// # Errors
    /// [`SimulationFailure`] if an engine does not start on an empty disk.
    pub fn trace<E: ConsistencyEngine>(
        &self,
        declaration: &Declaration,
    ) -> Result<Vec<String>, SimulationFailure> {
        let mut simulation = self.begin::<E>(declaration)?;
        simulation.keep_trace(TRACE_LINES_MAX);
        let ended = self.play(&mut simulation, declaration);
        let lines = simulation.cluster.trace_lines().map(ToOwned::to_owned);
        Ok(lines.chain(ended.err().map(|failure| failure.to_string())).collect())
    }

    fn begin<E: ConsistencyEngine>(
        &self,
        declaration: &Declaration,
    ) -> Result<Simulation<E>, SimulationFailure> {
        let Self { nodes, write, read, .. } = self.clone().fitted(declaration);
        let cluster = SimConfig::new(nodes, write, read, self.seed)?;
        let mut plan = Plan::of(self.seed, declaration)?;
        plan.cluster = cluster.with_disk(DiskConfig::slow());
        plan.cluster.streams_of_links = true;
        plan.clients.clients = 0;
        plan.clients.keys = u64::from(KEYS);
        plan.clients.request_quorums = false;
        Simulation::<E>::with_plan(plan, declaration)
    }

    fn play<E: ConsistencyEngine>(
        &self,
        simulation: &mut Simulation<E>,
        declaration: &Declaration,
    ) -> Result<(), SimulationFailure> {
        simulation.cluster.run_for(WARM)?;
        let mut players = Players::default();
        for next in &self.moves {
            self.make(*next, simulation, &mut players, declaration)?;
            simulation.cluster.run_for(BETWEEN)?;
        }
        simulation.cluster.run_for(CALLS_END_WITHIN)?;
        simulation.asked = players.calls;
        simulation.finish().map(|_| ())
    }

    /// The same with the W and R that the engine takes.
    fn fitted(self, declaration: &Declaration) -> Self {
        let (write, read) = declaration.quorums.fit(self.nodes, self.write, self.read);
        Self { write, read, ..self }
    }

    fn make<E: ConsistencyEngine>(
        &self,
        next: Move,
        simulation: &mut Simulation<E>,
        players: &mut Players,
        declaration: &Declaration,
    ) -> Result<(), Violation> {
        let spared = |server: u16| declaration.spares.contains(&self.node(server));
        let cluster = &mut simulation.cluster;
        match next {
            Move::Ask { client, server, kind, key } => {
                players.ask(cluster, client, self.node(server), kind, key);
            }
            Move::Wait { millis } => cluster.run_for(Duration::from_millis(millis.into()))?,
            Move::Crash(server) if !spared(server) => cluster.crash(self.node(server)),
            Move::Kill(server) if !spared(server) => cluster.kill(self.node(server)),
            Move::Stop(server) if !spared(server) => cluster.stop(self.node(server)),
            Move::Disconnect(server, session) => {
                cluster.disconnect(self.node(server), session.into());
            }
            Move::CrashAfter(server, effects) if !spared(server) => {
                cluster.crash_after_effects(self.node(server), effects.into());
            }
            Move::Restart(server) if !spared(server) => {
                cluster.restart(self.node(server), Restart::Intact)?;
            }
            Move::Wipe(server) if !spared(server) => simulation.wipe(self.node(server))?,
            Move::Crash(_)
            | Move::Kill(_)
            | Move::Stop(_)
            | Move::CrashAfter(..)
            | Move::Restart(_)
            | Move::Wipe(_) => {}
            Move::CutOff(server) => cluster.partition(&[self.node(server)]),
            Move::Block(from, to) if self.node(from) != self.node(to) => {
                cluster.block(self.node(from), self.node(to));
            }
            Move::Block(..) => {}
            Move::OpenNetwork => cluster.heal_network(cluster.config().network.clone()),
            Move::Lossy(true) => cluster.set_network(NetworkConfig::lossy()),
            Move::Lossy(false) => cluster.set_network(NetworkConfig::default()),
            Move::HoldDisk(server) => cluster.hold_disk(self.node(server)),
            Move::ReleaseDisk(server) => cluster.release_disk(self.node(server)),
            Move::Pause(server) => cluster.pause(self.node(server)),
            Move::Resume(server) => cluster.resume(self.node(server)),
            Move::SetClock(server, millis) => {
                let off = Duration::from_millis(millis.unsigned_abs().into());
                let offset =
                    if millis < 0 { WallOffset::Behind(off) } else { WallOffset::Ahead(off) };
                cluster.set_wall_offset(self.node(server), offset);
            }
        }
        Ok(())
    }

    fn node(&self, server: u16) -> NodeId {
        NodeId::new(1 + server.saturating_sub(1) % self.nodes.max(1)).unwrap_or(NodeId::FIRST)
    }
}

/// Who asks: a session goes on after an answer that says what was done, otherwise another begins.
#[derive(Debug, Default)]
struct Players {
    last: BTreeMap<u8, (Process, RequestId)>,
    calls: Vec<(RequestId, Process)>,
    written: u64,
}

impl Players {
    fn ask<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
        client: u8,
        node: NodeId,
        kind: OperationKind,
        key_number: u8,
    ) {
        let options = RequestOptions::default().with_timeout(TIMEOUT);
        let op = self.operation(kind, key_number);
        let id = cluster.submit(node, op, options);
        let goes_on = self.last.get(&client).filter(|(_, last)| {
            let outcome = cluster.outcome(*last);
            let ended = cluster.request(*last).and_then(Request::ended_at);
            matches!(outcome, Some(Outcome::Done(_))) && ended.is_some_and(|at| at < cluster.now())
        });
        let process = goes_on.map_or(Process(id.0), |(process, _)| *process);
        self.last.insert(client, (process, id));
        self.calls.push((id, process));
    }

    fn operation(&mut self, kind: OperationKind, number: u8) -> Operation {
        let plain = key(&format!("k{number}"));
        self.written += 1;
        match kind {
            OperationKind::Put => Operation::put(plain, value(&format!("v{}", self.written))),
            OperationKind::Delete => Operation::delete(plain),
            OperationKind::Increment => Operation::of(Command::Increment { key: key("n0"), by: 1 }),
            OperationKind::Get
            | OperationKind::Append
            | OperationKind::ConditionalPut
            | OperationKind::Transaction
            | OperationKind::Scan
            | OperationKind::Dump
            | OperationKind::PutForATime
            | OperationKind::Expiry => Operation::get(plain),
        }
    }
}

/// `N=3 W=2 R=2, seed 7`, and one line for each move.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, write, read, seed, moves } = self;
        write!(f, "N={nodes} W={write} R={read}, seed {seed}")?;
        moves.iter().try_for_each(|next| write!(f, "\n  {next:?}"))
    }
}

impl fmt::Display for Smallest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            Some(failure) => write!(f, "{failure}")?,
            None => f.write_str("the engine panicked; its message stands above")?,
        }
        let Self { schedule, passed, shrinking_runs, .. } = self;
        write!(
            f,
            "\nafter this schedule, {passed} others having passed; none smaller was found in "
        )?;
        write!(f, "{shrinking_runs} runs:\n{schedule}")
    }
}

const KEYS: u8 = 2;
const TRACE_LINES_MAX: usize = 1_000_000;

/// Time for a cluster to be founded before the first move.
const WARM: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(1);
const TIMEOUT: Duration = Duration::from_secs(1);

/// Longer than a timeout, even on a clock that drifts.
const CALLS_END_WITHIN: Duration = Duration::from_secs(2);
