//! One engine or several in one process, in memory.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::cluster::ClusterConfig;
use crate::cluster::id::{Incarnation, NodeId, RequestId};
use crate::driver::{DriverConfig, DriverCore, Output, PeerFrame, Reply, SessionId};
use crate::engine::checkpoint::RecoverError;
use crate::engine::effect::HaltReason;
use crate::engine::{ConsistencyEngine, EngineConfig, Now};
use crate::request::operation::{Operation, RequestOptions};
use crate::request::outcome::Outcome;

/// One engine without a disk: each record is persisted the moment it is asked for. It is a
/// [`DriverCore`] with one session, and a turn after each call.
#[derive(Clone, Debug)]
pub struct LocalNode<E: ConsistencyEngine> {
    driver: DriverCore<E>,
    session: SessionId,
}

/// What a [`LocalNode`] leaves to its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalOutput<M> {
    /// Bring this to a peer, for its [`LocalNode::receive`].
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        frame: PeerFrame<M>,
    },
    /// A request has its answer.
    Reply {
        /// What the owner calls the request.
        tag: u64,
        /// Its answer.
        outcome: Outcome,
    },
    /// Stop: this engine does nothing any more.
    Halt {
        /// Why.
        reason: HaltReason,
    },
}

impl<E: ConsistencyEngine> LocalNode<E> {
    /// Takes an engine under way, whose server has these peers.
    #[must_use]
    pub fn new(engine: E, peers: impl IntoIterator<Item = NodeId>) -> Self {
        let mut driver = DriverCore::new(engine, peers, DriverConfig::MEMORY);
        let session = driver.open_session(usize::MAX);
        Self { driver, session }
    }

    /// The engine, to look at.
    #[must_use]
    pub const fn engine(&self) -> &E {
        self.driver.engine()
    }

    /// When [`LocalNode::tick`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.driver.next_deadline()
    }

    /// Puts a request, which the owner calls `tag`.
    pub fn request(
        &mut self,
        now: Now,
        tag: u64,
        op: Operation,
        options: RequestOptions,
    ) -> Vec<LocalOutput<E::Message>> {
        self.driver.request(now, self.session, tag, op, options);
        self.tick(now)
    }

    /// Nobody waits for the answer to a request any more.
    pub fn cancel(&mut self, now: Now, tag: u64) -> Vec<LocalOutput<E::Message>> {
        self.driver.cancel(now, self.session, tag);
        self.tick(now)
    }

    /// A peer is connected, or not.
    pub fn peer_up(
        &mut self,
        now: Now,
        peer: NodeId,
        incarnation: Incarnation,
    ) -> Vec<LocalOutput<E::Message>> {
        self.driver.on_peer_up(now, peer, incarnation);
        self.tick(now)
    }

    /// A peer is not connected any more.
    pub fn peer_down(&mut self, now: Now, peer: NodeId) -> Vec<LocalOutput<E::Message>> {
        self.driver.on_peer_down(now, peer);
        self.tick(now)
    }

    /// Something came from a peer.
    pub fn receive(
        &mut self,
        now: Now,
        from: NodeId,
        frame: PeerFrame<E::Message>,
    ) -> Vec<LocalOutput<E::Message>> {
        self.driver.on_frame(now, from, frame);
        self.tick(now)
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) -> Vec<LocalOutput<E::Message>> {
        let mut outputs = Vec::new();
        loop {
            self.driver.turn(now);
            outputs.extend(std::iter::from_fn(|| self.driver.next_output()).filter_map(local));
            if self.driver.next_deadline().is_none_or(|due| due > now.mono) {
                return outputs;
            }
        }
    }
}

fn local<M, R>(output: Output<M, R>) -> Option<LocalOutput<M>> {
    match output {
        Output::Send { to, frame } => Some(LocalOutput::Send { to, frame }),
        Output::Reply(Reply { tag, outcome, .. }) => Some(LocalOutput::Reply { tag, outcome }),
        Output::Halt(reason) => Some(LocalOutput::Halt { reason }),
        // There is no disk.
        Output::Persist(_)
        | Output::BeginCheckpoint { .. }
        | Output::WriteChanges { .. }
        | Output::AbandonCheckpoint => None,
    }
}

/// All servers of a cluster in one process: messages arrive in order and at once, time goes by
/// only when somebody waits.
///
/// ```
/// use kv_core::local::LocalCluster;
/// use kv_core::{ClusterConfig, ConsistencyEngine, Key, NodeId, Operation, Quorum, Value};
///
/// /// With `kv_eventual::EventualEngine`, for example.
/// fn write<E: ConsistencyEngine>() -> Result<(), Box<dyn std::error::Error>> {
///     let nodes = [NodeId::new(1)?, NodeId::new(2)?, NodeId::new(3)?];
///     let cluster = ClusterConfig::new(nodes, Quorum::Majority, Quorum::Majority)?;
///     let mut local = LocalCluster::<E>::start(cluster, 7)?;
///     let put = Operation::put(Key::new("colour")?, Value::new("green")?);
///     println!("{:?}", local.execute(NodeId::FIRST, put));
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct LocalCluster<E: ConsistencyEngine> {
    nodes: BTreeMap<NodeId, LocalNode<E>>,
    in_flight: VecDeque<(NodeId, Event<E::Message>)>,
    replies: BTreeMap<RequestId, Outcome>,
    halted: BTreeMap<NodeId, HaltReason>,
    now: Now,
    last_request: RequestId,
}

/// What happens to a server.
#[derive(Debug)]
enum Event<M> {
    PeerUp(NodeId),
    Frame { from: NodeId, frame: PeerFrame<M> },
    Request { tag: u64, op: Operation, options: RequestOptions },
}

impl<E: ConsistencyEngine> LocalCluster<E> {
    /// Starts every server of a cluster, empty and connected; `seed` decides all randomness.
    ///
    /// # Errors
    /// [`RecoverError`] if an engine refuses the configuration.
    pub fn start(cluster: ClusterConfig, seed: u64) -> Result<Self, RecoverError> {
        let voters = cluster.voters().to_vec();
        let mut nodes = BTreeMap::new();
        for &node in &voters {
            let seed = seed.wrapping_add(u64::from(node.number()) << 32);
            let config = EngineConfig::seeded(node, cluster.clone(), seed);
            let engine = E::recover(config, None, [])?;
            nodes.insert(node, LocalNode::new(engine, cluster.peers_of(node)));
        }
        let ups = voters
            .iter()
            .flat_map(|&node| cluster.peers_of(node).map(move |peer| (node, Event::PeerUp(peer))));
        let in_flight = ups.collect();
        // Far from zero, as on a real machine, so that nothing mistakes the epoch for "never".
        let now = Now { mono: Duration::from_secs(1), wall: Duration::from_secs(1_000_000_000) };
        let mut local = Self {
            nodes,
            in_flight,
            replies: BTreeMap::new(),
            halted: BTreeMap::new(),
            now,
            last_request: RequestId(0),
        };
        local.deliver_all();
        Ok(local)
    }

    /// Puts a request to a server and lets everything happen until it has its answer, or until
    /// nothing more would happen for an hour: then `None`.
    pub fn execute(&mut self, node: NodeId, op: Operation) -> Option<Outcome> {
        let id = self.submit(node, op, RequestOptions::default());
        let give_up = self.now.mono + Duration::from_secs(3600);
        loop {
            self.deliver_all();
            if let Some(outcome) = self.replies.remove(&id) {
                return Some(outcome);
            }
            if !self.advance(give_up) {
                return None;
            }
        }
    }

    /// Puts a request to a server; [`LocalCluster::take_reply`] has the answer in time.
    pub fn submit(&mut self, node: NodeId, op: Operation, options: RequestOptions) -> RequestId {
        self.last_request = RequestId(self.last_request.0 + 1);
        let id = self.last_request;
        self.in_flight.push_back((node, Event::Request { tag: id.0, op, options }));
        id
    }

    /// The answer to a request, once.
    pub fn take_reply(&mut self, id: RequestId) -> Option<Outcome> {
        self.replies.remove(&id)
    }

    /// Delivers every message, and those that come of it, without letting time go by.
    pub fn deliver_all(&mut self) {
        while let Some((node, event)) = self.in_flight.pop_front() {
            self.on_event(node, event);
        }
    }

    /// Lets time go by to the next deadline; false if there is none up to `limit`.
    pub fn advance(&mut self, limit: Duration) -> bool {
        let deadlines = self.nodes.iter().filter(|(node, _)| !self.halted.contains_key(node));
        let next = deadlines.filter_map(|(&id, node)| Some((node.next_deadline()?, id)));
        let Some((deadline, node)) = next.min().filter(|(deadline, _)| *deadline <= limit) else {
            return false;
        };
        let passed = deadline.saturating_sub(self.now.mono);
        self.now = Now { mono: self.now.mono + passed, wall: self.now.wall + passed };
        self.act(node, |target, now| target.tick(now));
        true
    }

    /// A server's engine, to look at.
    #[must_use]
    pub fn engine(&self, node: NodeId) -> Option<&E> {
        self.nodes.get(&node).map(LocalNode::engine)
    }

    /// The servers that have stopped, and why.
    #[must_use]
    pub const fn halted(&self) -> &BTreeMap<NodeId, HaltReason> {
        &self.halted
    }

    fn on_event(&mut self, node: NodeId, event: Event<E::Message>) {
        self.act(node, |target, now| match event {
            Event::PeerUp(peer) => target.peer_up(now, peer, Incarnation::UNKNOWN),
            Event::Frame { from, frame } => target.receive(now, from, frame),
            Event::Request { tag, op, options } => target.request(now, tag, op, options),
        });
    }

    fn act(
        &mut self,
        node: NodeId,
        what: impl FnOnce(&mut LocalNode<E>, Now) -> Vec<LocalOutput<E::Message>>,
    ) {
        let Some(target) = self.nodes.get_mut(&node).filter(|_| !self.halted.contains_key(&node))
        else {
            return;
        };
        for output in what(target, self.now) {
            match output {
                LocalOutput::Send { to, frame } => {
                    self.in_flight.push_back((to, Event::Frame { from: node, frame }));
                }
                LocalOutput::Reply { tag, outcome } => {
                    self.replies.insert(RequestId(tag), outcome);
                }
                LocalOutput::Halt { reason } => {
                    self.halted.insert(node, reason);
                }
            }
        }
    }
}
