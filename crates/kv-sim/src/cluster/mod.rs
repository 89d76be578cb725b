//! A cluster that a test drives.

pub(crate) mod backup;
mod clocks;
pub(crate) mod event;
pub(crate) mod holders;
mod observation;
pub(crate) mod process;
mod queue;
mod steps;
mod submission;
pub(crate) mod tape;
mod trace;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kv_check::Request;
use kv_check::evidence::{KeptWrite, Loss};
use kv_core::{ConsistencyEngine, NodeId, PersistSeq, RequestId, SeedStream, Status, Version};
use kv_storage::{JournalError, MemoryCheckpoint};

use crate::config::SimConfig;
use crate::fault::{Fault, FaultCounts};
use crate::network::Network;
use crate::network::connection::Connections;
use crate::network::intercept::Intercept;
use crate::server::Server;
use crate::server::arrival::Arrival;
use crate::violation::Violation;
use backup::BackupCopy;
use event::Event;
use holders::probe::Probe;
use queue::EventQueue;
use tape::Tape;
use trace::Trace;

/// The servers of a cluster with their network, disks and clocks, all in virtual time.
///
/// One seed decides everything that the test does not. While it runs, the contract of
/// [`ConsistencyEngine`] is watched; whoever breaks it ends the run with a [`Violation`].
///
/// Time passes only in [`step`](Self::step) and the `run_*` methods; all others act at
/// [`now`](Self::now).
///
/// # Panics
/// Methods that take a [`NodeId`] panic if the cluster has no such server.
#[derive(Debug)]
pub struct Cluster<E: ConsistencyEngine> {
    pub(crate) config: SimConfig,
    pub(crate) now: Duration,
    /// Some server's clocks do not show the time, or did not once.
    pub(crate) clocks_differed: bool,
    pub(crate) queue: EventQueue<Event>,
    pub(crate) servers: BTreeMap<NodeId, Server<E>>,
    pub(crate) network: Network,
    pub(crate) connections: Connections,
    pub(crate) requests: BTreeMap<RequestId, Request>,
    pub(crate) intercept: Intercept<E::Message>,
    pub(crate) tapes: BTreeMap<NodeId, Tape<E::Message, E::Record>>,
    pub(crate) trace: Trace,
    pub(crate) driver_stream: SeedStream,
    pub(crate) counts: FaultCounts,
    pub(crate) steps: u64,
    pub(crate) steps_at_once: u64,
    pub(crate) last_request: RequestId,
    /// What may be asked of the engine beyond its contract, and of how many writes one is looked
    /// at.
    pub(crate) probe: Option<(Probe<E>, u64)>,
    /// What each request's server held of its key at its begin.
    pub(crate) held: BTreeMap<RequestId, Version>,
    /// Which server was asked to keep which write.
    pub(crate) kept: BTreeSet<(KeptWrite, NodeId)>,
    pub(crate) writes_done: u64,
    pub(crate) holders_counted: u64,
    /// When servers lost their disks, or an older copy took their place.
    pub(crate) losses: Vec<Loss>,
    /// The servers that were set back and have not noticed, each with its place among the losses.
    pub(crate) unnoticed: BTreeMap<NodeId, usize>,
    /// Some connection to a peer was congested once.
    pub(crate) congests: bool,
    /// How many backups clients have begun.
    pub(crate) backups: u64,
    /// What servers gave for them, or are about to.
    pub(crate) copies: Vec<BackupCopy>,
    pub(crate) has_backed_up_what_changed: bool,
    /// How fast clients read what they are sent; a stream of its own.
    pub(crate) reading_stream: SeedStream,
}

/// What is on a disk: the checkpoint, and the records after it.
pub type OnDisk<'a, R> = (&'a MemoryCheckpoint, Vec<(PersistSeq, R)>);

impl<E: ConsistencyEngine> Cluster<E> {
    /// Starts every server, empty and on its way to be connected.
    ///
    /// # Errors
    /// [`Violation`] if an engine refuses an empty disk.
    pub fn new(config: SimConfig) -> Result<Self, Violation> {
        let mut streams = SeedStream::new(config.seed);
        let network_stream = SeedStream::new(streams.next_u64());
        let driver_stream = SeedStream::new(streams.next_u64());
        let voters = config.cluster.voters().to_vec();
        let servers = voters.iter().map(|&node| (node, Server::new(node, &config))).collect();
        let network = Network::new(config.network.clone(), network_stream);
        let reading_stream = SeedStream::new(config.seed ^ READING);
        let mut cluster = Self {
            network: if config.streams_of_links {
                network.with_streams_of_links()
            } else {
                network
            },
            config,
            now: Duration::ZERO,
            clocks_differed: false,
            queue: EventQueue::new(),
            servers,
            connections: Connections::default(),
            requests: BTreeMap::new(),
            intercept: Intercept::new(),
            tapes: BTreeMap::new(),
            trace: Trace::default(),
            driver_stream,
            counts: FaultCounts::default(),
            steps: 0,
            steps_at_once: 0,
            last_request: RequestId(0),
            probe: None,
            held: BTreeMap::new(),
            kept: BTreeSet::new(),
            writes_done: 0,
            holders_counted: 0,
            losses: Vec::new(),
            unnoticed: BTreeMap::new(),
            congests: false,
            backups: 0,
            copies: Vec::new(),
            has_backed_up_what_changed: false,
            reading_stream,
        };
        for &node in &voters {
            cluster.start(node)?;
        }
        Ok(cluster)
    }

    /// What the cluster is made of.
    #[must_use]
    pub const fn config(&self) -> &SimConfig {
        &self.config
    }

    /// The servers, ascending.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.servers.keys().copied()
    }

    /// Virtual time since the cluster was made.
    #[must_use]
    pub const fn now(&self) -> Duration {
        self.now
    }

    /// How many inputs all engines together were stepped with.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// Lets the next thing happen; false if nothing ever will.
    ///
    /// # Errors
    /// [`Violation`] if an engine breaks its contract by it.
    pub fn step(&mut self) -> Result<bool, Violation> {
        match self.next_event_at() {
            Some(at) => self.happen(at).map(|()| true),
            None => Ok(false),
        }
    }

    /// Lets so much time go by.
    ///
    /// # Errors
    /// [`Violation`] if an engine breaks its contract meanwhile.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Violation> {
        self.run_until(time, |_| false)?;
        self.look_at_losses();
        Ok(())
    }

    /// Lets time go by until the predicate holds, at most so long; whether it holds.
    ///
    /// # Errors
    /// [`Violation`] if an engine breaks its contract meanwhile.
    pub fn run_until(
        &mut self,
        bound: Duration,
        mut predicate: impl FnMut(&Self) -> bool,
    ) -> Result<bool, Violation> {
        let end = self.now + bound;
        loop {
            if predicate(self) {
                return Ok(true);
            }
            match self.next_event_at().filter(|at| *at <= end) {
                Some(at) => self.happen(at)?,
                None => {
                    self.now = end;
                    return Ok(predicate(self));
                }
            }
        }
    }

    /// Ends every fault of network, disks and clocks, every pause and every crash to come. Servers
    /// that are down stay down, and the test's rule for messages stays.
    pub fn heal(&mut self) {
        self.network.heal();
        for (from, to) in self.network.clogged() {
            self.unclog(from, to);
        }
        for (from, to) in self.network.congested() {
            self.drain_link(from, to);
        }
        let nodes: Vec<NodeId> = self.nodes().collect();
        for node in nodes {
            self.correct_clock(node);
            self.spare_process(node);
            self.release_disk(node);
            self.drain_clients(node);
            self.resume(node);
        }
        self.hint_everybody();
    }

    /// Brings something to a server now; false if it is down.
    pub(crate) fn arrive(&mut self, node: NodeId, arrival: Arrival<E::Message>) -> bool {
        self.trace.note(self.now, node, |out| arrival.encode(out), || arrival.text());
        let taken = self.server_mut(node).receive(arrival);
        self.schedule_work(node);
        taken
    }

    /// A running server's engine, to look at.
    #[must_use]
    pub fn engine(&self, node: NodeId) -> Option<&E> {
        self.server(node).engine()
    }

    /// What a running server says of itself.
    #[must_use]
    pub fn status(&self, node: NodeId) -> Option<Status> {
        self.engine(node).map(E::status)
    }

    /// The fingerprints of all servers that run.
    #[must_use]
    pub fn fingerprints(&self) -> BTreeMap<NodeId, u64> {
        let servers = self.servers.iter();
        let running = servers.filter_map(|(node, server)| Some((*node, server.engine()?)));
        running.map(|(node, engine)| (node, engine.fingerprint())).collect()
    }

    /// How often each kind of fault has come to pass.
    #[must_use]
    pub fn faults(&self) -> FaultCounts {
        let mut counts = self.counts.clone();
        counts.add(&self.network.counts);
        counts
    }

    /// Counts a fault that is nothing but a state for a while, such as a partition.
    pub(crate) fn note_fault(&mut self, fault: Fault, node: NodeId, text: impl FnOnce() -> String) {
        self.counts.note(fault);
        self.note(node, 11, |_| {}, text);
    }

    /// Counts a while in which nobody asks for anything.
    pub(crate) fn note_lull(&mut self) {
        self.counts.note(Fault::Lull);
    }

    /// A hash of everything that happened so far, in order.
    #[must_use]
    pub const fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Keeps the last `lines_max` lines of the trace from here on.
    pub fn keep_trace(&mut self, lines_max: usize) {
        self.trace.keep_lines(lines_max);
    }

    /// The lines of the trace that were kept, oldest first.
    pub fn trace_lines(&self) -> impl Iterator<Item = &str> {
        self.trace.lines()
    }

    /// All that a server's engine was given and gave, if [`SimConfig::keep_tapes`] asks for it.
    #[must_use]
    pub fn tape(&self, node: NodeId) -> Option<&Tape<E::Message, E::Record>> {
        self.tapes.get(&node)
    }

    /// What a loss of power now could not take from a server's disk: its checkpoint, and the
    /// records after that.
    ///
    /// # Errors
    /// [`JournalError`] if the journal is damaged.
    pub fn disk(&self, node: NodeId) -> Result<OnDisk<'_, E::Record>, JournalError> {
        let storage = &self.server(node).storage;
        Ok((&storage.checkpoint, storage.synced_records()?))
    }

    pub(crate) fn server(&self, node: NodeId) -> &Server<E> {
        match self.servers.get(&node) {
            Some(server) => server,
            None => panic!("the cluster has no server {node}"),
        }
    }

    pub(crate) fn server_mut(&mut self, node: NodeId) -> &mut Server<E> {
        match self.servers.get_mut(&node) {
            Some(server) => server,
            None => panic!("the cluster has no server {node}"),
        }
    }
}

const READING: u64 = 0x7265_6164;
