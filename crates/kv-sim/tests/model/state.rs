//! What a model checker's cluster is at a moment, and what can happen to it next.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kv_check::evidence::{Call, End};
use kv_core::{ClusterConfig, ConsistencyEngine, NodeId, Operation, Wire, digest};

/// An engine that can be model checked, with what must hold of it.
pub trait Checked:
    ConsistencyEngine<Message: Send + Sync, Record: Send + Sync> + Clone + Debug + Send + Sync + 'static
{
    /// What is wrong after a server has answered a call, both given, if something is.
    fn judge_answer(
        state: &State<Self>,
        config: &ClusterConfig,
        answer: (usize, &Call),
    ) -> Option<String>;

    /// What is wrong between any two steps, if something is.
    fn judge_servers(state: &State<Self>) -> Option<String>;
}

/// How large a model is.
#[derive(Clone, Debug)]
pub struct Bounds {
    pub nodes: u16,
    pub write: u16,
    pub read: u16,
    /// What clients ask of which server; each is a session, and may begin at any time.
    pub calls: Vec<(u16, Operation)>,
    /// How many deadlines come before what they wait for.
    pub timeouts: u8,
    /// How many messages are lost.
    pub losses: u8,
    /// How many messages arrive once more.
    pub copies: u8,
    /// Servers that crash and lose what is not on disk, and start again at once; each once at most.
    pub crashes: Vec<u16>,
    /// The same for servers that start again at any time.
    pub outages: Vec<u16>,
    /// How many connections are closed, to be opened again at any time; what is in flight on one
    /// arrives or is lost.
    pub cuts: u8,
}

/// One server, with the hash of all that it is.
#[derive(Clone, Debug)]
pub struct Server<E: ConsistencyEngine> {
    pub engine: E,
    pub records: Vec<E::Record>,
    pub persisted: usize,
    pub now: Duration,
    pub incarnation: u64,
    pub is_up: bool,
    pub hash: OnceLock<u64>,
}

/// A message under way.
#[derive(Clone, Debug)]
pub struct Flying<M> {
    pub from: NodeId,
    pub to: NodeId,
    pub message: Arc<M>,
    pub copies: u8,
}

#[derive(Clone, Debug)]
pub struct State<E: ConsistencyEngine> {
    pub servers: Vec<Arc<Server<E>>>,
    pub flying: BTreeMap<u64, Flying<E::Message>>,
    /// What clients saw; its moments are numbers, a second each.
    pub calls: Vec<Call>,
    pub begun: Vec<bool>,
    pub moment: u64,
    pub timeouts: u8,
    pub losses: u8,
    pub copies: u8,
    pub crashes: Vec<u16>,
    pub outages: Vec<u16>,
    pub cuts: u8,
    /// The connections that are closed.
    pub cut: BTreeSet<(usize, usize)>,
    pub wrong: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Call(usize),
    Arrive(u64),
    ArriveAndStay(u64),
    Lose(u64),
    Persist(usize),
    Timeout(usize),
    Crash(usize),
    Stop(usize),
    Start(usize),
    Cut(usize, usize),
    Mend(usize, usize),
}

impl<E: ConsistencyEngine + Debug> Server<E> {
    pub fn records_on_disk(&self) -> &[E::Record] {
        &self.records[..self.persisted]
    }

    pub fn is_behind(&self) -> bool {
        self.persisted < self.records.len()
    }

    /// A hash of everything that decides what the server does from here on.
    ///
    /// `ConsistencyEngine::fingerprint` leaves out what is volatile, so the engine's `Debug` form
    /// is hashed instead, without the counters, which decide nothing.
    fn digest(&self) -> u64 {
        let text = format!("{:?}", self.engine);
        let text = match text.split_once("counters: Counters {") {
            Some((before, after)) => {
                format!("{before}{}", after.split_once('}').map_or("", |(_, rest)| rest))
            }
            None => text,
        };
        let records: Vec<_> = self.records.iter().map(Wire::to_bytes).collect();
        let numbers =
            (u64::try_from(self.persisted).unwrap(), self.incarnation, digest(text.as_bytes()));
        digest(&(numbers, self.now, records).to_bytes())
    }
}

impl<E: ConsistencyEngine> State<E> {
    pub fn tick(&mut self) -> Duration {
        self.moment += 1;
        Duration::from_secs(self.moment)
    }

    /// Whether every call was made and was done.
    pub fn is_all_done(&self) -> bool {
        let is_done =
            |call: &Call| matches!(call.end, Some((_, End::Read { .. } | End::Written { .. })));
        self.calls.len() == self.begun.len() && self.calls.iter().all(is_done)
    }

    pub fn take(&mut self, hash: u64) -> Flying<E::Message> {
        let flying = self.flying.get_mut(&hash).unwrap();
        flying.copies -= 1;
        let taken = flying.clone();
        if taken.copies == 0 {
            self.flying.remove(&hash);
        }
        taken
    }
}

impl<E: ConsistencyEngine + Debug> Hash for State<E> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for server in &self.servers {
            (server.is_up, server.hash.get_or_init(|| server.digest())).hash(hasher);
        }
        for (hash, flying) in &self.flying {
            (hash, flying.copies).hash(hasher);
        }
        format!("{:?}", self.calls).hash(hasher);
        (&self.begun, self.timeouts, self.losses, self.copies, &self.crashes).hash(hasher);
        (&self.outages, self.cuts, &self.cut).hash(hasher);
        self.wrong.hash(hasher);
    }
}

impl<E: ConsistencyEngine + Debug> PartialEq for State<E> {
    fn eq(&self, other: &Self) -> bool {
        let hash = |state: &Self| {
            let mut hasher = std::hash::DefaultHasher::new();
            state.hash(&mut hasher);
            hasher.finish()
        };
        hash(self) == hash(other)
    }
}

pub fn state_send<M: Wire>(
    flying: &mut BTreeMap<u64, Flying<M>>,
    from: NodeId,
    to: NodeId,
    message: M,
) {
    let hash = digest(&(from, to, message.to_bytes()).to_bytes());
    let message = Arc::new(message);
    flying.entry(hash).or_insert(Flying { from, to, message, copies: 0 }).copies += 1;
}
