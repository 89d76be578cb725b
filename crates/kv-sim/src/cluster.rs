//! A cluster that a test drives.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{
    ConsistencyEngine, HaltReason, Input, NodeId, Operation, Outcome, RequestId, RequestOptions,
    SeedStream, Status,
};

use crate::clock::WallOffset;
use crate::config::{NetworkConfig, SimConfig};
use crate::connection::Connections;
use crate::event::Event;
use crate::intercept::{Captured, Fate, Intercept};
use crate::network::Network;
use crate::queue::EventQueue;
use crate::request::{Request, RequestState};
use crate::server::Server;
use crate::tape::Tape;
use crate::trace::Trace;
use crate::violation::Violation;

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
    pub(crate) queue: EventQueue<Event>,
    pub(crate) servers: BTreeMap<NodeId, Server<E>>,
    pub(crate) network: Network,
    pub(crate) connections: Connections,
    pub(crate) requests: BTreeMap<RequestId, Request>,
    pub(crate) intercept: Intercept<E::Message>,
    pub(crate) tapes: BTreeMap<NodeId, Tape<E::Message, E::Record>>,
    pub(crate) trace: Trace,
    pub(crate) driver_stream: SeedStream,
    pub(crate) steps: u64,
    pub(crate) steps_at_once: u64,
    last_request: RequestId,
}

/// What a server finds on its disk when it starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Everything that was synced.
    Intact,
    /// Nothing, as when it runs in memory or lost its disk.
    Wiped,
}

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
        let mut cluster = Self {
            network: Network::new(config.network.clone(), network_stream),
            config,
            now: Duration::ZERO,
            queue: EventQueue::new(),
            servers: voters.iter().map(|&node| (node, Server::new(node))).collect(),
            connections: Connections::default(),
            requests: BTreeMap::new(),
            intercept: Intercept::new(),
            tapes: BTreeMap::new(),
            trace: Trace::default(),
            driver_stream,
            steps: 0,
            steps_at_once: 0,
            last_request: RequestId(0),
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

    /// Puts a request to a server; [`Cluster::request`] tells how it stands.
    pub fn submit(&mut self, node: NodeId, op: Operation, options: RequestOptions) -> RequestId {
        self.last_request = RequestId(self.last_request.0 + 1);
        let id = self.last_request;
        let input = Input::Request { id, op: op.clone(), options: options.clone() };
        let state =
            if self.give(node, input) { RequestState::Waiting } else { RequestState::Refused };
        let request = Request { node, op, options, invoked_at: self.now, cancelled: false, state };
        self.requests.insert(id, request);
        id
    }

    /// Tells the server that nobody waits for a request any more; nothing if it has ended.
    pub fn cancel(&mut self, id: RequestId) {
        let waiting = self.requests.get_mut(&id).filter(|request| !request.has_ended());
        if let Some(request) = waiting {
            request.cancelled = true;
            let node = request.node;
            self.give(node, Input::Cancel { id });
        }
    }

    /// How a request stands; `None` for an id that this cluster did not give out.
    #[must_use]
    pub fn request(&self, id: RequestId) -> Option<&Request> {
        self.requests.get(&id)
    }

    /// All requests so far, in the order in which they were put.
    pub fn requests(&self) -> impl Iterator<Item = (RequestId, &Request)> {
        self.requests.iter().map(|(id, request)| (*id, request))
    }

    /// The answer to a request, if there is one yet.
    #[must_use]
    pub fn outcome(&self, id: RequestId) -> Option<&Outcome> {
        self.request(id).and_then(Request::outcome)
    }

    /// Puts a request to a server and runs until it has ended, or until a second after its
    /// timeout; `None` if there is no answer then, or never will be.
    ///
    /// # Errors
    /// [`Violation`] if an engine breaks its contract meanwhile.
    pub fn execute(&mut self, node: NodeId, op: Operation) -> Result<Option<Outcome>, Violation> {
        let options = RequestOptions::default();
        let bound = options.timeout + Duration::from_secs(1);
        let id = self.submit(node, op, options);
        self.run_until(bound, |cluster| cluster.request(id).is_none_or(Request::has_ended))?;
        Ok(self.outcome(id).cloned())
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
        self.run_until(time, |_| false).map(|_| ())
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

    /// Ends a server's process. What it did not sync is lost, but for a random number of records
    /// that had reached the disk by themselves; requests that it had not answered are
    /// [`RequestState::Lost`]. Nothing if it is down.
    pub fn crash(&mut self, node: NodeId) {
        let server = self.server(node);
        let unsynced = server.journal.last().0 - server.journal.durable().0;
        let kept = self.driver_stream.below(unsynced + 1);
        self.end_process(node, |server| server.crash(kept));
    }

    /// Ends a server's process right before it carries out the effect after the next `effects`
    /// ones, as a crash between any two effects does.
    pub fn crash_after_effects(&mut self, node: NodeId, effects: u64) {
        self.server_mut(node).effects_to_live = Some(effects);
    }

    /// Starts a server again; if it runs, it crashes first.
    ///
    /// # Errors
    /// [`Violation`] if the engine cannot go on from its own disk.
    pub fn restart(&mut self, node: NodeId, disk: Restart) -> Result<(), Violation> {
        self.crash(node);
        if disk == Restart::Wiped {
            self.server_mut(node).wipe();
        }
        self.start(node)
    }

    /// Whether a server's process runs: it neither crashed nor halted.
    #[must_use]
    pub fn is_running(&self, node: NodeId) -> bool {
        self.server(node).is_running()
    }

    /// The servers that halted by themselves in their present life, and why.
    pub fn halted(&self) -> impl Iterator<Item = (NodeId, HaltReason)> + '_ {
        let servers = self.servers.iter();
        servers.filter_map(|(node, server)| Some((*node, server.halted?)))
    }

    /// Stops a process without ending it: it takes messages and does nothing with them.
    pub fn pause(&mut self, node: NodeId) {
        self.server_mut(node).paused = true;
    }

    /// Lets a paused process go on.
    pub fn resume(&mut self, node: NodeId) {
        self.server_mut(node).paused = false;
        self.schedule_work(node);
    }

    /// Blocks messages in one direction, those under way included. Servers hold a connection only
    /// while both directions are open.
    pub fn block(&mut self, from: NodeId, to: NodeId) {
        self.network.block((from, to));
        self.hint_everybody();
    }

    /// Opens one direction.
    pub fn unblock(&mut self, from: NodeId, to: NodeId) {
        self.network.unblock((from, to));
        self.hint_everybody();
    }

    /// Cuts a group of servers off from all others, in both directions.
    pub fn partition(&mut self, group: &[NodeId]) {
        let nodes: Vec<NodeId> = self.nodes().collect();
        for &from in &nodes {
            for &to in &nodes {
                if group.contains(&from) != group.contains(&to) {
                    self.network.block((from, to));
                }
            }
        }
        self.hint_everybody();
    }

    /// Replaces what the network does to messages that are sent from here on; blocked links stay.
    pub fn set_network(&mut self, network: NetworkConfig) {
        self.network.config = network;
    }

    /// Sets how far a server's wall clock is off, in this life and the later ones.
    pub fn set_wall_offset(&mut self, node: NodeId, offset: WallOffset) {
        self.server_mut(node).set_wall_offset(offset);
    }

    /// Lets no sync end on a server's disk from here on.
    pub fn hold_disk(&mut self, node: NodeId) {
        self.server_mut(node).disk_held = true;
    }

    /// Lets syncs end again; all that was appended is synced at once.
    pub fn release_disk(&mut self, node: NodeId) {
        let server = self.server_mut(node);
        server.disk_held = false;
        let (life, up_to) = (server.life, server.journal.last());
        self.queue.push(self.now, Event::Synced { node, life, up_to });
    }

    /// Opens every link and replaces what the network does to messages.
    pub fn heal_network(&mut self, network: NetworkConfig) {
        self.network.heal();
        self.network.config = network;
        self.hint_everybody();
    }

    /// Ends every fault of network, disks and clocks, every pause and every crash to come. Servers that are down stay
    /// down, and the test's rule for messages stays.
    pub fn heal(&mut self) {
        self.network.heal();
        let nodes: Vec<NodeId> = self.nodes().collect();
        for node in nodes {
            self.set_wall_offset(node, WallOffset::NONE);
            self.server_mut(node).effects_to_live = None;
            self.release_disk(node);
            self.resume(node);
        }
        self.hint_everybody();
    }

    /// Decides the fate of every message from here on: sender, receiver, message. It comes before
    /// the network's own faults and replaces an earlier rule.
    pub fn intercept(&mut self, decide: impl FnMut(NodeId, NodeId, &E::Message) -> Fate + 'static) {
        self.intercept.decide = Some(Box::new(decide));
    }

    /// Lets every message go its way again.
    pub fn stop_intercepting(&mut self) {
        self.intercept.decide = None;
    }

    /// The messages that the test's rule kept, in the order in which they were sent.
    #[must_use]
    pub fn captured(&self) -> &[Captured<E::Message>] {
        &self.intercept.captured
    }

    /// Delivers a message now, whatever the network does; false if the receiver is down.
    pub fn inject(&mut self, from: NodeId, to: NodeId, message: E::Message) -> bool {
        self.give(to, Input::Message { from, message })
    }

    /// Gives an engine any input now, as a test of its totality does; false if it is down.
    ///
    /// A request given in this way has no entry in [`Cluster::requests`]: its reply would be a
    /// violation.
    pub fn give(&mut self, node: NodeId, input: Input<E::Message>) -> bool {
        self.note_input(node, &input);
        let taken = self.server_mut(node).receive(input);
        self.schedule_work(node);
        taken
    }

    /// A running server's engine, to look at.
    #[must_use]
    pub fn engine(&self, node: NodeId) -> Option<&E> {
        self.server(node).engine.as_ref()
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
        let running = servers.filter_map(|(node, server)| Some((*node, server.engine.as_ref()?)));
        running.map(|(node, engine)| (node, engine.fingerprint())).collect()
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

    /// A server's disk as it is now.
    #[must_use]
    pub fn disk(
        &self,
        node: NodeId,
    ) -> (&kv_storage::MemoryCheckpoint, &kv_storage::MemoryJournal) {
        let server = self.server(node);
        (&server.checkpoint, &server.journal)
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
