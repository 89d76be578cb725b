//! Generated clients.

mod operation;
pub(crate) mod seen;
mod session;

pub(crate) use operation::TIME_TO_LIVE_MS_MAX;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use kv_check::{Process, Request, RequestState};
use kv_core::{
    Command, ConsistencyEngine, ExpiryMs, Key, Level, NodeId, NotDone, Operation, Outcome, Quorum,
    RequestId, RequestOptions, SeedStream, Served, Versioned,
};

use crate::client::seen::Seen;
use crate::client::session::ClientSession;
use crate::cluster::Cluster;
use crate::config::draw;
use crate::workload::pick;

/// Clients that put random requests to random servers, one after the other each, and ask again
/// elsewhere where that is safe: after an answer that says that nothing was done, for reads, and in
/// a session.
///
/// Few calls of those kinds that are hard to judge end in the unknown: after some, clients ask
/// for none of these any more. A client that does not learn how its request ended retires: its
/// number is not used again. Every value is written once.
#[derive(Clone, Debug)]
pub struct Clients {
    config: ClientConfig,
    stream: SeedStream,
    clients: Vec<Client>,
    calls: Vec<(RequestId, Process)>,
    numbers: u64,
    written: u64,
    acknowledged: u64,
    /// Calls of a hard kind of which nobody knows, or nobody knows yet, whether they took effect.
    hard_unknown: u64,
    /// The same of increments.
    increments_unknown: u64,
    /// What some client was told last that each plain key holds.
    known: BTreeMap<Key, Versioned>,
    /// When keys expire, as far as that was read.
    known_expiries: BTreeMap<Key, Option<ExpiryMs>>,
    /// What each client did, if that is recorded.
    pub(crate) record: Option<Vec<(u64, ClientAct)>>,
}

/// What a client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientAct {
    /// It put this request to a server.
    Asked(RequestId),
    /// It cancelled its last one.
    Cancelled,
}

/// What clients do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// How many there are at a time.
    pub clients: u64,
    /// How many keys they use.
    pub keys: u64,
    /// What they ask for; a kind that stands here more often is asked for more often.
    pub operations: Vec<OperationKind>,
    /// The most bytes of a value, if it is more than the value needs to be unlike all others.
    pub value_bytes_max: u64,
    /// The timeout of a request.
    pub timeout: RangeInclusive<Duration>,
    /// How long a client waits between an answer and its next request.
    pub think: RangeInclusive<Duration>,
    /// How many of 1,000 looks at an open request lead to its cancel.
    pub cancel_per_mille: u64,
    /// How many of 1,000 requests go to another server than the client's last one.
    pub move_per_mille: u64,
    /// How often a request is asked again where that is safe.
    pub retries_max: u32,
    /// Whether a request may bring its own W and R.
    pub request_quorums: bool,
    /// Whether a request may say its level.
    pub levels: bool,
    /// Whether clients say what they have seen of a key, where versions are compared key by key.
    pub session_guarantees: bool,
    /// Whether writes are sent in sessions, and again where it is not known how they ended.
    pub sessions: bool,
}

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum OperationKind {
    /// Writes a value that is like no other.
    Put,
    /// Reads a key.
    Get,
    /// Removes a key.
    Delete,
    /// Adds to a number, on a key of its own.
    Increment,
    /// Appends to a value, on a key of its own.
    Append,
    /// Writes a key if it is missing, or has a value or a version that was written before.
    ConditionalPut,
    /// Several commands on several keys, perhaps with a condition.
    Transaction,
    /// A page of a range of keys.
    Scan,
    /// A page of what a server holds.
    Dump,
    /// Writes a key for a time, on keys of its own, or reads or removes one of these.
    PutForATime,
    /// Sets when a key expires, rewrites it, or asks when it expires, perhaps with a condition on
    /// that, on keys of its own.
    Expiry,
}

/// One client.
#[derive(Clone, Debug)]
struct Client {
    process: Process,
    server: NodeId,
    open: Option<RequestId>,
    retries_left: u32,
    idle_until: Duration,
    /// How many of its calls in a row were turned away.
    turned_away: u32,
    seen: Seen,
    /// What it asks again once it has waited.
    again: Option<(Operation, RequestOptions)>,
    session: ClientSession,
}

/// How a call of a client stands.
enum Stands {
    Open,
    Done,
    NotDone,
    /// Not done either, and the next call will hardly fare better.
    TurnedAway,
    Unknown,
}

impl Stands {
    /// By what this copy of the call says.
    const fn of(request: &Request) -> Self {
        match &request.state {
            RequestState::Waiting => Self::Open,
            RequestState::Refused => Self::TurnedAway,
            RequestState::Lost { .. } => Self::Unknown,
            RequestState::Replied { outcome, .. } => match outcome {
                Outcome::Done(_) => Self::Done,
                Outcome::NotDone(reason) if is_of_the_server(reason) => Self::TurnedAway,
                Outcome::NotDone(_) => Self::NotDone,
                Outcome::Unknown(_) => Self::Unknown,
            },
        }
    }
}

impl Clients {
    /// Clients that have not begun; the seed decides all that they do.
    #[must_use]
    pub fn new(seed: u64, config: ClientConfig) -> Self {
        Self {
            config,
            stream: SeedStream::new(seed),
            clients: Vec::new(),
            calls: Vec::new(),
            numbers: 0,
            written: 0,
            acknowledged: 0,
            hard_unknown: 0,
            increments_unknown: 0,
            known: BTreeMap::new(),
            known_expiries: BTreeMap::new(),
            record: None,
        }
    }

    /// The keys that the clients use.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        let asked = |kind| self.config.operations.contains(&kind);
        let plain = (0..self.config.keys).filter_map(|number| Key::new(format!("k{number}")).ok());
        let counter = asked(OperationKind::Increment).then(operation::counter_key).flatten();
        let log = asked(OperationKind::Append).then(operation::log_key).flatten();
        let passing = asked(OperationKind::PutForATime).then(operation::passing_keys);
        let timed = asked(OperationKind::Expiry).then(operation::timed_keys);
        let timed = passing.into_iter().chain(timed).flatten();
        plain.chain(counter).chain(log).chain(timed).collect()
    }

    /// Which client made each call, in the order of the calls.
    #[must_use]
    pub fn calls(&self) -> &[(RequestId, Process)] {
        &self.calls
    }

    /// How many calls were done, as far as the clients have seen.
    #[must_use]
    pub const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Lets every client look at its answer and act on it; none makes a new call if `closing`.
    pub fn act<E: ConsistencyEngine>(&mut self, cluster: &mut Cluster<E>, closing: bool) {
        let servers: Vec<NodeId> = cluster.nodes().collect();
        while self.config.clients > u64::try_from(self.clients.len()).unwrap_or(u64::MAX) {
            let server = self.server(&servers);
            let process = self.number();
            self.clients.push(Client {
                process,
                server,
                open: None,
                retries_left: 0,
                idle_until: cluster.now() + draw(&mut self.stream, &self.config.think),
                turned_away: 0,
                seen: Seen::default(),
                again: None,
                session: ClientSession::default(),
            });
        }
        let mut clients = std::mem::take(&mut self.clients);
        for (number, client) in (1..).zip(&mut clients) {
            let (open, asked) = (client.open, cluster.last_request);
            self.look(client, cluster, &servers, closing);
            if client.open.is_none() && client.idle_until <= cluster.now() && !closing {
                if self.stream.chance(self.config.move_per_mille) {
                    client.server = self.server(&servers);
                }
                let (op, options) = client.again.take().unwrap_or_else(|| {
                    client.retries_left = self.config.retries_max;
                    (self.operation(), self.options())
                });
                self.call_named(client, cluster, (op, options));
            }
            self.note(number, cluster, open, asked);
        }
        self.clients = clients;
    }

    /// Notes what a client did that had this call open, before which this was the last request.
    fn note<E: ConsistencyEngine>(
        &mut self,
        client: u64,
        cluster: &Cluster<E>,
        open: Option<RequestId>,
        asked: RequestId,
    ) {
        if let Some(record) = &mut self.record {
            let is_cancelled = |id| cluster.request(id).is_some_and(|request| request.cancelled);
            if open.is_some_and(is_cancelled) {
                record.push((client, ClientAct::Cancelled));
            }
            let asked = (asked.0 + 1..=cluster.last_request.0).map(RequestId);
            record.extend(asked.map(|id| (client, ClientAct::Asked(id))));
        }
    }

    /// Whether no client waits for an answer.
    #[must_use]
    pub fn all_idle(&self) -> bool {
        self.clients.iter().all(|client| client.open.is_none())
    }

    fn look<E: ConsistencyEngine>(
        &mut self,
        client: &mut Client,
        cluster: &mut Cluster<E>,
        servers: &[NodeId],
        closing: bool,
    ) {
        let Some(id) = client.open else {
            return;
        };
        let Some(request) = cluster.request(id) else {
            return;
        };
        if request.op == Operation::OpenSession {
            if request.has_ended() {
                self.end_opening(client, request.outcome(), cluster.now(), servers);
            }
            return;
        }
        // A call at the very moment of the last answer would count as open beside it.
        if request.ended_at().is_some_and(|at| at >= cluster.now()) {
            return;
        }
        if let Some(Outcome::Done(done)) = request.outcome() {
            // What a sequential read shows is not in the history, which has to name each version.
            if done.served != Served::Sequential {
                operation::learn(&mut self.known, &request.op, done);
                operation::learn_expiry(&mut self.known_expiries, &request.op, done);
            }
            client.seen.learn(&request.op, done);
        }
        let stands = Stands::of(request);
        let mut again = (request.op.clone(), request.options.clone());
        let stands = client.session.judge(request.outcome(), &mut again.1, stands);
        if matches!(stands, Stands::Unknown) && client.session.may_copy(&again.1) && !closing {
            // No other call comes between, and it is still not known how this one ends.
            return self.ask_again(client, again, cluster.now(), servers);
        }
        let turned_away = matches!(stands, Stands::TurnedAway);
        let safe = match stands {
            Stands::Open => {
                if self.stream.chance(self.config.cancel_per_mille) {
                    cluster.cancel(id);
                    client.process = self.number();
                    client.session.end_call();
                    client.open = None;
                }
                return;
            }
            Stands::Done => {
                self.acknowledged += 1;
                self.know_end(&again.0);
                false
            }
            Stands::NotDone | Stands::TurnedAway => {
                self.know_end(&again.0);
                true
            }
            Stands::Unknown => {
                client.process = self.number();
                again.0.is_read_only()
            }
        };
        client.session.end_call();
        client.open = None;
        client.turned_away = if turned_away { client.turned_away + 1 } else { 0 };
        client.idle_until = cluster.now() + draw(&mut self.stream, &self.config.think);
        if safe && client.retries_left > 0 && !closing {
            client.retries_left -= 1;
            client.server = self.server(servers);
            if turned_away {
                client.again = Some(again);
            } else {
                return self.call_named(client, cluster, again);
            }
        }
        if turned_away {
            client.idle_until += self.back_off(client.turned_away);
            client.server = self.server(servers);
        }
    }

    /// How long a client waits that was turned away so many times in a row: up to twice as long
    /// each time, so that it is there soon when a fault has ended.
    fn back_off(&mut self, times: u32) -> Duration {
        let most = BACK_OFF.saturating_mul(1 << times.min(BACK_OFF_DOUBLED_MAX));
        draw(&mut self.stream, &(Duration::ZERO..=most))
    }

    fn call<E: ConsistencyEngine>(
        &mut self,
        client: &mut Client,
        cluster: &mut Cluster<E>,
        op: Operation,
        options: RequestOptions,
    ) {
        self.hard_unknown += u64::from(self.is_hard(&op));
        self.increments_unknown += u64::from(is_increment(&op));
        let id = cluster.submit(client.server, op, options);
        self.calls.push((id, client.process));
        client.open = Some(id);
    }

    /// It is known whether the operation took effect.
    fn know_end(&mut self, op: &Operation) {
        self.hard_unknown -= u64::from(self.is_hard(op));
        self.increments_unknown -= u64::from(is_increment(op));
    }

    /// Whether an unknown end of the operation multiplies what a checker has to try.
    fn is_hard(&self, op: &Operation) -> bool {
        let Operation::Batch(batch) = op else {
            return false;
        };
        let conditional = [OperationKind::ConditionalPut, OperationKind::Transaction];
        let mixed = self.config.operations.iter().any(|kind| conditional.contains(kind));
        batch.single().is_none_or(|command| match command {
            Command::Append { .. } => true,
            Command::Delete { key } => mixed || self.computes_on(key),
            Command::Put { key, .. } => self.computes_on(key),
            Command::Expire { .. } | Command::Rewrite { .. } | Command::ExpireAt { .. } => true,
            Command::Get { .. }
            | Command::Increment { .. }
            | Command::TimeToLive { .. }
            | Command::Expiry { .. } => false,
        })
    }

    fn number(&mut self) -> Process {
        self.numbers += 1;
        Process(self.numbers)
    }

    fn server(&mut self, servers: &[NodeId]) -> NodeId {
        pick(&mut self.stream, servers).copied().unwrap_or(NodeId::FIRST)
    }

    fn options(&mut self) -> RequestOptions {
        let quorum = |stream: &mut SeedStream| match stream.below(6) {
            0 => Some(Quorum::Majority),
            1 => Some(Quorum::All),
            2 => Some(Quorum::Count(1)),
            _ => None,
        };
        let own = self.config.request_quorums && self.stream.chance(200);
        let write_quorum = if own { quorum(&mut self.stream) } else { None };
        let read_quorum = if own { quorum(&mut self.stream) } else { None };
        let level = (self.config.levels && self.stream.chance(500))
            .then(|| if self.stream.chance(300) { Level::Sequenced } else { Level::Sequential });
        let timeout = draw(&mut self.stream, &self.config.timeout);
        RequestOptions::default()
            .with_timeout(timeout)
            .with_write_quorum(write_quorum)
            .with_read_quorum(read_quorum)
            .with_level(level)
    }
}

/// The first wait of a client that was turned away, at most, and how often it doubles.
const BACK_OFF: Duration = Duration::from_millis(10);
const BACK_OFF_DOUBLED_MAX: u32 = 6;

/// Whether the server turned a request away, whatever it was.
const fn is_of_the_server(reason: &NotDone) -> bool {
    match reason {
        NotDone::Unavailable { .. }
        | NotDone::Waiting(_)
        | NotDone::TimedOut { .. }
        | NotDone::Overloaded { .. }
        | NotDone::NotCaughtUp { .. }
        | NotDone::ClockSkew { .. }
        | NotDone::SessionExpired
        | NotDone::CannotLead(_) => true,
        NotDone::NotSupported(_)
        | NotDone::Quorum(_)
        | NotDone::ConditionFailed { .. }
        | NotDone::NotANumber { .. }
        | NotDone::ValueTooLarge { .. }
        | _ => false,
    }
}

fn is_increment(op: &Operation) -> bool {
    let Operation::Batch(batch) = op else {
        return false;
    };
    matches!(batch.single(), Some(Command::Increment { .. }))
}
