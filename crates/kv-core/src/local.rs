//! A driver without IO: one engine or several in one process, in memory.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::checkpoint::{RecoverError, StagedCheckpoint};
use crate::cluster::ClusterConfig;
use crate::effect::{Effect, Effects, HaltReason};
use crate::engine::{ConsistencyEngine, EngineConfig, Input, Now};
use crate::id::{Incarnation, NodeId, RequestId};
use crate::operation::{Operation, RequestOptions};
use crate::outcome::Outcome;

/// One engine whose records need no disk: each is persisted the moment it is asked for.
#[derive(Debug)]
pub struct LocalNode<E: ConsistencyEngine> {
    engine: E,
    effects: Effects<E::Message, E::Record>,
}

/// What a [`LocalNode`] leaves to its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<M> {
    /// Bring a message to a peer.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: M,
    },
    /// Bring this state to a peer, as [`Input::CheckpointInstalled`].
    SendCheckpoint {
        /// To whom.
        to: NodeId,
        /// The state.
        checkpoint: StagedCheckpoint,
    },
    /// A request has its answer.
    Reply {
        /// Which request.
        id: RequestId,
        /// Its answer.
        outcome: Outcome,
    },
    /// Stop: step this engine no more.
    Halt {
        /// Why.
        reason: HaltReason,
    },
}

impl<E: ConsistencyEngine> LocalNode<E> {
    /// Takes an engine under way.
    #[must_use]
    pub const fn new(engine: E) -> Self {
        Self { engine, effects: Effects::new() }
    }

    /// The engine, to look at.
    #[must_use]
    pub const fn engine(&self) -> &E {
        &self.engine
    }

    /// Steps the engine, also through a deadline that is due, and hands on what is left to do.
    pub fn step(&mut self, now: Now, input: Input<E::Message>) -> Vec<Output<E::Message>> {
        let mut outputs = Vec::new();
        self.engine.step(now, input, &mut self.effects);
        loop {
            self.flush(now, &mut outputs);
            if self.engine.next_deadline().is_none_or(|deadline| deadline > now.mono) {
                return outputs;
            }
            self.engine.step(now, Input::Timeout, &mut self.effects);
        }
    }

    fn flush(&mut self, now: Now, outputs: &mut Vec<Output<E::Message>>) {
        while let Some(effect) = self.effects.pop() {
            match effect {
                Effect::Persist { seq: up_to, .. } => {
                    self.engine.step(now, Input::Persisted { up_to }, &mut self.effects);
                }
                Effect::Send { to, message } => outputs.push(Output::Send { to, message }),
                Effect::SendCheckpoint { to } => {
                    let checkpoint = self.engine.snapshot().into();
                    outputs.push(Output::SendCheckpoint { to, checkpoint });
                }
                Effect::Reply { id, outcome } => outputs.push(Output::Reply { id, outcome }),
                Effect::Halt { reason } => outputs.push(Output::Halt { reason }),
            }
        }
    }
}

/// All servers of a cluster in one process: messages arrive in order and at once, time goes by
/// only when somebody waits.
///
/// ```ignore
/// let cluster = ClusterConfig::new([1, 2, 3].map(node), Quorum::Majority, Quorum::Majority)?;
/// let mut local = LocalCluster::<EventualEngine>::start(cluster, 7)?;
/// let outcome = local.execute(node(1), Operation::put(key, value));
/// ```
#[derive(Debug)]
pub struct LocalCluster<E: ConsistencyEngine> {
    nodes: BTreeMap<NodeId, LocalNode<E>>,
    in_flight: VecDeque<(NodeId, Input<E::Message>)>,
    replies: BTreeMap<RequestId, Outcome>,
    halted: BTreeMap<NodeId, HaltReason>,
    now: Now,
    last_request: RequestId,
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
            let config = EngineConfig::new(node, cluster.clone(), seed);
            nodes.insert(node, LocalNode::new(E::recover(config, None, [])?));
        }
        let ups = voters.iter().flat_map(|&node| {
            cluster
                .peers_of(node)
                .map(move |peer| (node, Input::PeerUp { peer, incarnation: Incarnation::UNKNOWN }))
        });
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
        self.in_flight.push_back((node, Input::Request { id, op, options }));
        id
    }

    /// The answer to a request, once.
    pub fn take_reply(&mut self, id: RequestId) -> Option<Outcome> {
        self.replies.remove(&id)
    }

    /// Delivers every message, and those that come of it, without letting time go by.
    pub fn deliver_all(&mut self) {
        while let Some((node, input)) = self.in_flight.pop_front() {
            self.step(node, input);
        }
    }

    /// Lets time go by to the next deadline; false if there is none up to `limit`.
    pub fn advance(&mut self, limit: Duration) -> bool {
        let deadlines = self.nodes.iter().filter(|(node, _)| !self.halted.contains_key(node));
        let next = deadlines.filter_map(|(&id, node)| Some((node.engine.next_deadline()?, id)));
        let Some((deadline, node)) = next.min().filter(|(deadline, _)| *deadline <= limit) else {
            return false;
        };
        let passed = deadline.saturating_sub(self.now.mono);
        self.now = Now { mono: self.now.mono + passed, wall: self.now.wall + passed };
        self.step(node, Input::Timeout);
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

    fn step(&mut self, node: NodeId, input: Input<E::Message>) {
        let Some(target) = self.nodes.get_mut(&node).filter(|_| !self.halted.contains_key(&node))
        else {
            return;
        };
        for output in target.step(self.now, input) {
            match output {
                Output::Send { to, message } => {
                    self.in_flight.push_back((to, Input::Message { from: node, message }));
                }
                Output::SendCheckpoint { to, checkpoint } => {
                    let input = Input::CheckpointInstalled { from: node, checkpoint };
                    self.in_flight.push_back((to, input));
                }
                Output::Reply { id, outcome } => {
                    self.replies.insert(id, outcome);
                }
                Output::Halt { reason } => {
                    self.halted.insert(node, reason);
                }
            }
        }
    }
}
