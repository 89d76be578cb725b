//! What a model checker's cluster is at a moment, and what can happen to it next.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::calls::linearizable;
use kv_check::evidence::{Call, End};
use kv_core::{ClusterConfig, ConsistencyEngine, NodeId, Operation, Wire, digest};

/// An engine that can be model checked: every one that can be copied and shown.
///
/// Two states in which the engines' `Debug` forms, the disks and what is in flight are equal count as
/// one. A field `counters` of a type `Counters` is left out of that: it decides nothing.
pub trait Checked:
    ConsistencyEngine<Message: Send + Sync, Record: Send + Sync> + Clone + Debug + Send + Sync + 'static
{
}

impl<E> Checked for E where
    E: ConsistencyEngine<Message: Send + Sync, Record: Send + Sync>
        + Clone
        + Debug
        + Send
        + Sync
        + 'static
{
}

/// What must hold of an engine; each says what is wrong, if something is.
#[derive(Debug)]
pub struct Laws<E: ConsistencyEngine> {
    /// After a server has answered a call. The server is its place in [`State::servers`].
    pub answer: fn(&State<E>, &ClusterConfig, usize, &Call) -> Option<String>,
    /// Between any two steps.
    pub servers: fn(&State<E>) -> Option<String>,
}

impl<E: ConsistencyEngine> Laws<E> {
    /// Some order explains what clients saw.
    pub const LINEARIZABLE: Self =
        Self { answer: |state, _, _, _| linearizable(&state.calls), servers: |_| None };
}

impl<E: ConsistencyEngine> Clone for Laws<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E: ConsistencyEngine> Copy for Laws<E> {}

/// How large a model is.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// N.
    pub nodes: u16,
    /// W.
    pub write: u16,
    /// R.
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

impl Bounds {
    /// So many servers with these quorums and calls, and nothing that goes wrong.
    #[must_use]
    pub const fn new(nodes: u16, write: u16, read: u16, calls: Vec<(u16, Operation)>) -> Self {
        Self {
            nodes,
            write,
            read,
            calls,
            timeouts: 0,
            losses: 0,
            copies: 0,
            crashes: Vec::new(),
            outages: Vec::new(),
            cuts: 0,
        }
    }
}

/// One server.
#[derive(Clone, Debug)]
pub struct Server<E: ConsistencyEngine> {
    /// Its engine; as it was last, while the server is down.
    pub engine: E,
    /// All that it was asked to persist, the first record first.
    pub records: Vec<E::Record>,
    /// How many of these are on disk.
    pub persisted: usize,
    /// Its monotonic clock.
    pub now: Duration,
    /// How often it has started again.
    pub incarnation: u64,
    /// Whether it runs.
    pub is_up: bool,
    /// The hash of all that it is, once it was asked for.
    pub(super) hash: OnceLock<u64>,
}

/// A message in flight.
#[derive(Clone, Debug)]
pub struct Flying<M> {
    /// Who sent it.
    pub from: NodeId,
    /// To whom.
    pub to: NodeId,
    /// The message.
    pub message: Arc<M>,
    /// How many of it there are.
    pub copies: u8,
}

/// A cluster at a moment, with what may still go wrong.
#[derive(Clone, Debug)]
pub struct State<E: ConsistencyEngine> {
    /// The servers by their numbers, the first at place 0.
    pub servers: Vec<Arc<Server<E>>>,
    /// What is in flight, by its hash.
    pub flying: BTreeMap<u64, Flying<E::Message>>,
    /// What clients saw; its moments are numbers, a second each.
    pub calls: Vec<Call>,
    /// The connections that are closed, by the places of both servers.
    pub cut: BTreeSet<(usize, usize)>,
    pub(super) begun: Vec<bool>,
    pub(super) moment: u64,
    pub(super) timeouts: u8,
    pub(super) losses: u8,
    pub(super) copies: u8,
    pub(super) crashes: Vec<u16>,
    pub(super) outages: Vec<u16>,
    pub(super) cuts: u8,
    pub(super) wrong: Option<String>,
}

/// What happens next. Servers stand as their places, messages as their hashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// This one of the calls is made.
    Call(usize),
    /// A message arrives.
    Arrive(u64),
    /// A message arrives, and will once more.
    ArriveAndStay(u64),
    /// A message is lost.
    Lose(u64),
    /// A server's next record is on disk.
    Persist(usize),
    /// A server's deadline comes.
    Timeout(usize),
    /// A server loses what is not on disk, and starts at once.
    Crash(usize),
    /// A server loses what is not on disk.
    Stop(usize),
    /// A server that is down starts.
    Start(usize),
    /// A connection closes.
    Cut(usize, usize),
    /// A connection opens again.
    Mend(usize, usize),
}

impl<E: ConsistencyEngine + Debug> Server<E> {
    /// The records that a restart finds.
    #[must_use]
    pub fn records_on_disk(&self) -> &[E::Record] {
        &self.records[..self.persisted]
    }

    pub(super) fn is_behind(&self) -> bool {
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
    pub(super) fn tick(&mut self) -> Duration {
        self.moment += 1;
        Duration::from_secs(self.moment)
    }

    /// Whether every call was made and was done.
    #[must_use]
    pub fn is_all_done(&self) -> bool {
        let is_done =
            |call: &Call| matches!(call.end, Some((_, End::Read { .. } | End::Written { .. })));
        self.calls.len() == self.begun.len() && self.calls.iter().all(is_done)
    }

    pub(super) fn take(&mut self, hash: u64) -> Flying<E::Message> {
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

pub(super) fn state_send<M: Wire>(
    flying: &mut BTreeMap<u64, Flying<M>>,
    from: NodeId,
    to: NodeId,
    message: M,
) {
    let hash = digest(&(from, to, message.to_bytes()).to_bytes());
    let message = Arc::new(message);
    flying.entry(hash).or_insert(Flying { from, to, message, copies: 0 }).copies += 1;
}
