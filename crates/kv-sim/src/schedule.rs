//! Short schedules of requests and faults: drawn at random, and made smaller when one fails.
//!
//! A seed of a [`Simulation`] is long and cannot be shortened; what fails here shrinks to the few
//! moves that it takes.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use kv_check::{Process, Request};
use kv_core::{Command, ConsistencyEngine, NodeId, Operation, Outcome, RequestId, RequestOptions};
use proptest::prelude::{BoxedStrategy, Just, Strategy, any};
use proptest::strategy::Union;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::client::OperationKind;
use crate::cluster::Cluster;
use crate::cluster::process::Restart;
use crate::config::{DiskConfig, NetworkConfig, SimConfig};
use crate::fault::Fault;
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
}

/// Runs so many random schedules of the faults that an engine declares to survive, always the same
/// ones.
///
/// # Errors
/// [`Smallest`]: of the first schedule that fails, as little as still fails.
pub fn explore<E: ConsistencyEngine>(
    declaration: &Declaration,
    cases: u32,
) -> Result<(), Box<Smallest>> {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: SHRINKS_MAX,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let run = |schedule: Schedule| {
        schedule.run::<E>(declaration).map_err(|failure| TestCaseError::fail(failure.to_string()))
    };
    match TestRunner::new_with_rng(config, rng).run(&schedules(declaration), run) {
        Ok(()) => Ok(()),
        Err(TestError::Fail(_, schedule)) => {
            let run = std::panic::AssertUnwindSafe(|| schedule.run::<E>(declaration).err());
            let failure = std::panic::catch_unwind(run).unwrap_or(None);
            Err(Box::new(Smallest { schedule, failure }))
        }
        Err(TestError::Abort(reason)) => panic!("no schedule can be drawn: {reason}"),
    }
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
        let quorum = |wanted: u16| wanted.clamp(1, self.nodes.min(declaration.quorum_max));
        let cluster = SimConfig::new(self.nodes, quorum(self.write), quorum(self.read), self.seed)?;
        let mut plan = Plan::of(self.seed, declaration)?;
        plan.cluster = cluster.with_disk(DiskConfig::slow());
        plan.clients.clients = 0;
        plan.clients.keys = u64::from(KEYS);
        plan.clients.request_quorums = false;
        let mut simulation = Simulation::<E>::with_plan(plan, declaration)?;
        simulation.cluster.run_for(WARM)?;
        let mut players = Players::default();
        for next in &self.moves {
            self.make(*next, &mut simulation, &mut players, declaration)?;
            simulation.cluster.run_for(BETWEEN)?;
        }
        simulation.cluster.run_for(CALLS_END_WITHIN)?;
        simulation.asked = players.calls;
        simulation.finish().map(|_| ())
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
        let options = RequestOptions { timeout: TIMEOUT, ..RequestOptions::default() };
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
            | OperationKind::PutForATime => Operation::get(plain),
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
        write!(f, "\nafter this schedule, which cannot be made smaller:\n{}", self.schedule)
    }
}

/// All schedules of what the engine does and survives.
fn schedules(declaration: &Declaration) -> impl Strategy<Value = Schedule> + use<> {
    let moves = proptest::collection::vec(Union::new_weighted(moves(declaration)), 0..MOVES_MAX);
    let sizes = (1..=SERVERS_MAX, 1..=SERVERS_MAX, 1..=SERVERS_MAX);
    (sizes, any::<u64>(), moves).prop_map(|((nodes, write, read), seed, moves)| {
        let (write, read) = (write.min(nodes), read.min(nodes));
        Schedule { nodes, write, read, seed, moves }
    })
}

/// What can be done, each with how often it is.
fn moves(declaration: &Declaration) -> Vec<(u32, BoxedStrategy<Move>)> {
    let kinds = [OperationKind::Get, OperationKind::Put, OperationKind::Delete]
        .into_iter()
        .chain([OperationKind::Increment]);
    let kinds: Vec<_> = kinds.filter(|kind| declaration.operations.contains(kind)).collect();
    let server = || 1..=SERVERS_MAX;
    let ask = (0..CLIENTS, server(), proptest::sample::select(kinds), 0..KEYS);
    let ask = ask.prop_map(|(client, server, kind, key)| Move::Ask { client, server, kind, key });
    let wait = (1..=WAIT_MILLIS_MAX).prop_map(|millis| Move::Wait { millis });
    let mut moves =
        vec![(24, ask.boxed()), (8, wait.boxed()), (2, Just(Move::OpenNetwork).boxed())];
    for fault in &declaration.survives {
        let kinds = match fault {
            Fault::Loss => vec![any::<bool>().prop_map(Move::Lossy).boxed()],
            Fault::Partition => vec![server().prop_map(Move::CutOff).boxed()],
            Fault::OneWayPartition => {
                vec![(server(), server()).prop_map(|(from, to)| Move::Block(from, to)).boxed()]
            }
            Fault::HeldSync => vec![
                server().prop_map(Move::HoldDisk).boxed(),
                server().prop_map(Move::ReleaseDisk).boxed(),
            ],
            Fault::Crash => vec![
                server().prop_map(Move::Crash).boxed(),
                server().prop_map(Move::Restart).boxed(),
            ],
            Fault::Kill => vec![server().prop_map(Move::Kill).boxed()],
            Fault::Stop => vec![server().prop_map(Move::Stop).boxed()],
            Fault::Disconnect => vec![
                (server(), 0..3_u8).prop_map(|(at, session)| Move::Disconnect(at, session)).boxed(),
            ],
            Fault::CrashBetweenEffects => {
                let crash = (server(), 0..20_u8).prop_map(|(at, left)| Move::CrashAfter(at, left));
                vec![crash.boxed()]
            }
            Fault::WipedDisk => vec![server().prop_map(Move::Wipe).boxed()],
            Fault::Pause => vec![
                server().prop_map(Move::Pause).boxed(),
                server().prop_map(Move::Resume).boxed(),
            ],
            Fault::ClockJump => {
                let set = (server(), -OFF_MILLIS_MAX..OFF_MILLIS_MAX);
                vec![set.prop_map(|(at, millis)| Move::SetClock(at, millis)).boxed()]
            }
            // These are states of the network or the disk, or need what a long run has: the seeds
            // of a simulation draw them.
            Fault::Duplication
            | Fault::SetBackDisk
            | Fault::Reordering
            | Fault::SlowMessage
            | Fault::SlowLink
            | Fault::PartialPartition
            | Fault::Clog
            | Fault::TornWrite
            | Fault::ReorderedWrites
            | Fault::FailedSync
            | Fault::FailedWrite
            | Fault::FullDisk
            | Fault::PowerLossAtDisk
            | Fault::InterruptedRecovery
            | Fault::LostCheckpoint
            | Fault::FlippedBit
            | Fault::ClockSkew
            | Fault::ClockDrift
            | Fault::ClockFreeze
            | Fault::RollingRestart
            | Fault::MixedConfiguration
            | Fault::HandOver => Vec::new(),
        };
        moves.extend(kinds.into_iter().map(|kind| (1, kind)));
    }
    moves
}

const SERVERS_MAX: u16 = 5;
const CLIENTS: u8 = 3;
const KEYS: u8 = 2;
const MOVES_MAX: usize = 60;
const WAIT_MILLIS_MAX: u16 = 600;
const OFF_MILLIS_MAX: i32 = 20_000;
const SHRINKS_MAX: u32 = 2_000;

/// Time for a cluster to be founded before the first move.
const WARM: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(1);
const TIMEOUT: Duration = Duration::from_secs(1);

/// Longer than a timeout, even on a clock that drifts.
const CALLS_END_WITHIN: Duration = Duration::from_secs(2);
