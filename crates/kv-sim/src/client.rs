//! Generated clients.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use kv_core::{
    Answer, Batch, Check, Command, CommandResult, Condition, ConsistencyEngine, Done, Dump, Key,
    Level, NodeId, Operation, Outcome, Quorum, RequestId, RequestOptions, Scan, SeedStream, Value,
    Version,
};

use crate::cluster::Cluster;
use crate::config::draw;
use crate::history::Process;
use crate::request::RequestState;
use crate::workload::pick;

/// Clients that put random requests to random servers, one after the other each, and ask again
/// elsewhere where that is safe: after an answer that says that nothing was done, and for reads.
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
    /// The version of each plain key that some client was told last.
    versions: BTreeMap<Key, Version>,
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
}

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
}

/// One client.
#[derive(Clone, Debug)]
struct Client {
    process: Process,
    server: NodeId,
    open: Option<RequestId>,
    retries_left: u32,
    idle_until: Duration,
}

/// How a call of a client stands.
enum Stands {
    Open,
    Done,
    NotDone,
    Unknown,
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
            versions: BTreeMap::new(),
        }
    }

    /// The keys that the clients use.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        let asked = |kind| self.config.operations.contains(&kind);
        let plain = (0..self.config.keys).filter_map(|number| Key::new(format!("k{number}")).ok());
        let counter = asked(OperationKind::Increment).then(counter_key).flatten();
        let log = asked(OperationKind::Append).then(log_key).flatten();
        plain.chain(counter).chain(log).collect()
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
            });
        }
        let mut clients = std::mem::take(&mut self.clients);
        for client in &mut clients {
            self.look(client, cluster, &servers, closing);
            if client.open.is_none() && client.idle_until <= cluster.now() && !closing {
                if self.stream.chance(self.config.move_per_mille) {
                    client.server = self.server(&servers);
                }
                client.retries_left = self.config.retries_max;
                let (op, options) = (self.operation(), self.options());
                self.call(client, cluster, op, options);
            }
        }
        self.clients = clients;
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
        // A call at the very moment of the last answer would count as open beside it.
        if request.ended_at().is_some_and(|at| at >= cluster.now()) {
            return;
        }
        let stands = match &request.state {
            RequestState::Waiting => Stands::Open,
            RequestState::Refused => Stands::NotDone,
            RequestState::Lost { .. } => Stands::Unknown,
            RequestState::Replied { outcome, .. } => match outcome {
                Outcome::Done(done) => {
                    learn(&mut self.versions, &request.op, done);
                    Stands::Done
                }
                Outcome::NotDone(_) => Stands::NotDone,
                Outcome::Unknown(_) => Stands::Unknown,
            },
        };
        let again = (request.op.clone(), request.options.clone());
        let safe = match stands {
            Stands::Open => {
                if self.stream.chance(self.config.cancel_per_mille) {
                    cluster.cancel(id);
                    client.process = self.number();
                    client.open = None;
                }
                return;
            }
            Stands::Done => {
                self.acknowledged += 1;
                self.know_end(&again.0);
                false
            }
            Stands::NotDone => {
                self.know_end(&again.0);
                true
            }
            Stands::Unknown => {
                client.process = self.number();
                again.0.is_read_only()
            }
        };
        client.open = None;
        client.idle_until = cluster.now() + draw(&mut self.stream, &self.config.think);
        if safe && client.retries_left > 0 && !closing {
            client.retries_left -= 1;
            client.server = self.server(servers);
            self.call(client, cluster, again.0, again.1);
        }
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
            Command::Delete { .. } => mixed,
            Command::Get { .. } | Command::Put { .. } | Command::Increment { .. } => false,
        })
    }

    fn number(&mut self) -> Process {
        self.numbers += 1;
        Process(self.numbers)
    }

    fn server(&mut self, servers: &[NodeId]) -> NodeId {
        pick(&mut self.stream, servers).copied().unwrap_or(NodeId::FIRST)
    }

    fn operation(&mut self) -> Operation {
        let kind = pick(&mut self.stream, &self.config.operations).copied();
        let kind = kind.unwrap_or(OperationKind::Get);
        let op = self.operation_of(kind);
        let too_hard = self.hard_unknown >= HARD_UNKNOWN_MAX && self.is_hard(&op);
        if too_hard || (self.increments_unknown >= INCREMENTS_UNKNOWN_MAX && is_increment(&op)) {
            return Operation::of(self.put());
        }
        op
    }

    fn operation_of(&mut self, kind: OperationKind) -> Operation {
        match kind {
            OperationKind::Put => Operation::of(self.put()),
            OperationKind::Get => Operation::of(self.get()),
            OperationKind::Delete => Operation::delete(self.key()),
            OperationKind::Increment => Operation::of(self.increment()),
            OperationKind::Append => {
                let key = log_key().unwrap_or_else(|| self.key());
                Operation::of(Command::Append { key, suffix: self.value() })
            }
            OperationKind::ConditionalPut => {
                let command = self.put();
                let condition = self.condition(command.key().clone());
                batch(vec![condition], vec![command])
            }
            OperationKind::Transaction => self.transaction(),
            OperationKind::Scan => Operation::Scan(Scan {
                from: Bytes::new(),
                until: None,
                after: self.stream.chance(300).then(|| self.key()),
                limit: 5,
            }),
            OperationKind::Dump => Operation::Dump(Dump { after: None, limit: 5 }),
        }
    }

    fn transaction(&mut self) -> Operation {
        let mut commands = vec![Command::Get { key: self.key() }, self.put()];
        if self.stream.chance(300) {
            commands.push(Command::Get { key: self.key() });
        }
        let key = self.key();
        let conditions =
            if self.stream.chance(400) { vec![self.condition(key)] } else { Vec::new() };
        batch(conditions, commands)
    }

    fn condition(&mut self, key: Key) -> Condition {
        // Not `Present`: once it held, any write whose end is unknown can explain it, and the
        // history cannot be judged.
        let check = if self.stream.chance(300) {
            Check::Absent
        } else if self.stream.chance(400)
            && let Some(version) = self.versions.get(&key)
        {
            Check::VersionIs(*version)
        } else {
            let recent = self.stream.below(20).min(self.written);
            Check::ValueIs(self.padded(self.written - recent))
        };
        Condition { key, check }
    }

    fn get(&mut self) -> Command {
        let asked = |kind| self.config.operations.contains(&kind);
        let counter = asked(OperationKind::Increment).then(counter_key).flatten();
        let log = asked(OperationKind::Append).then(log_key).flatten();
        let counter = counter.filter(|_| self.stream.chance(150));
        let log = log.filter(|_| self.stream.chance(100));
        Command::Get { key: counter.or(log).unwrap_or_else(|| self.key()) }
    }

    fn put(&mut self) -> Command {
        Command::Put { key: self.key(), value: self.value(), time_to_live: None }
    }

    fn increment(&mut self) -> Command {
        let key = counter_key().unwrap_or_else(|| self.key());
        let by = i64::try_from(self.stream.below(5)).unwrap_or_default() - 1;
        Command::Increment { key, by }
    }

    fn key(&mut self) -> Key {
        let number = self.stream.below(self.config.keys.max(1));
        crate::workload::key(&format!("k{number}"))
    }

    fn value(&mut self) -> Value {
        self.written += 1;
        self.padded(self.written)
    }

    /// The value of a number: always the same, so that a condition can name it.
    fn padded(&self, number: u64) -> Value {
        let mut text = format!("v{number}");
        let bytes = SeedStream::new(number).below(self.config.value_bytes_max.max(1));
        while u64::try_from(text.len()).unwrap_or(u64::MAX) < bytes {
            text.push('.');
        }
        Value::new(text).unwrap_or_default()
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
        let level = (self.config.levels && self.stream.chance(200))
            .then(|| if self.stream.chance(700) { Level::Linearizable } else { Level::Sequential });
        let timeout = draw(&mut self.stream, &self.config.timeout);
        RequestOptions { timeout, write_quorum, read_quorum, level }
    }
}

/// While so many calls of a hard kind are open or ended in the unknown, clients make no more of
/// them: the history could not be judged.
const HARD_UNKNOWN_MAX: u64 = 4;

/// The same for increments: their unknown ends multiply less, as equal ones can be exchanged.
const INCREMENTS_UNKNOWN_MAX: u64 = 12;

/// The key of all increments. What they bring depends on every write before them, so that a write
/// whose end is unknown could be anywhere: nothing else writes it.
fn counter_key() -> Option<Key> {
    Key::new("n0").ok()
}

/// The key of all appends, for the same reason.
fn log_key() -> Option<Key> {
    Key::new("a0").ok()
}

fn is_increment(op: &Operation) -> bool {
    let Operation::Batch(batch) = op else {
        return false;
    };
    matches!(batch.single(), Some(Command::Increment { .. }))
}

/// Notes the versions that an answer shows of keys that hold nothing but what was put.
fn learn(versions: &mut BTreeMap<Key, Version>, op: &Operation, done: &Done) {
    let (Operation::Batch(batch), Answer::Results(results)) = (op, &done.answer) else {
        return;
    };
    for (command, result) in batch.commands().iter().zip(results) {
        let version = match (command, result) {
            (Command::Get { .. }, CommandResult::Value(Some(found))) => Some(found.version),
            (Command::Put { .. }, CommandResult::Written) => done.version,
            _ => None,
        };
        if let Some(version) = version {
            versions.insert(command.key().clone(), version);
        }
    }
}

fn batch(conditions: Vec<Condition>, commands: Vec<Command>) -> Operation {
    match Batch::new(conditions, commands) {
        Ok(batch) => Operation::Batch(batch),
        Err(error) => panic!("a client's batch: {error}"),
    }
}
