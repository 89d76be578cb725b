//! The engine: inputs in, effects out.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use kv_core::{
    Answer, Checkpoint, Command, ConsistencyEngine, DecodeError, Done, Dump, Effects, EngineConfig,
    Feature, Incarnation, Input, Key, NodeId, NotDone, Now, OpenView, Operation, Outcome, Page,
    PersistSeq, Positions, RecoverError, RequestId, RequestOptions, Role, SeedStream, Served,
    Status, Versioned, ViewChunk, ViewId, ViewRead, ViewScope, Waiting, Wire, digest,
};

use crate::coordinator::{Aim, Phase, Request, Requests};
use crate::message::{CallId, Held, Message, Record, Tag};
use crate::replica::{Replica, Storing};
use crate::rule::{Broken, Rule};

type Out = Effects<Message, Record>;

/// A server of the majority register.
///
/// W servers must have stored, and R must have answered. A read must meet every write, so R counts
/// as N + 1 - W if it is less than that.
#[derive(Clone, Debug)]
pub struct AbdEngine {
    config: EngineConfig,
    broken: Broken,
    incarnation: Incarnation,
    connected: BTreeSet<NodeId>,
    replica: Replica,
    /// The disk has no room.
    is_short: bool,
    requests: Requests,
    /// The number of the last question.
    last_call: u64,
    /// The greatest number of a tag that this incarnation gave to a write.
    issued: u64,
    /// For the rule [`Rule::RefusesAfterPeerDown`].
    refuses_until: Duration,
}

impl ConsistencyEngine for AbdEngine {
    const NAME: &'static str = "majority register";

    type Message = Message;
    type Record = Record;

    fn recover(
        config: EngineConfig,
        checkpoint: Option<Checkpoint>,
        records: impl IntoIterator<Item = (PersistSeq, Record)>,
    ) -> Result<Self, RecoverError> {
        let mut replica = Replica::new(Broken::present());
        if let Some(checkpoint) = checkpoint {
            install(&mut replica, checkpoint).map_err(RecoverError::Checkpoint)?;
        }
        for (seq, record) in records {
            if seq != replica.persisted.next() {
                return Err(RecoverError::Record { seq });
            }
            replica.replay(seq, record);
        }
        // No two incarnations have one seed, so that none has the name of another.
        let nonce = SeedStream::new(config.seed).below(1 << 32);
        let nonce = u32::try_from(nonce).unwrap_or_default();
        Ok(Self {
            config,
            broken: Broken::present(),
            incarnation: Incarnation::following(Incarnation::UNKNOWN, nonce),
            connected: BTreeSet::new(),
            replica,
            is_short: false,
            requests: Requests::new(),
            last_call: 0,
            issued: 0,
            refuses_until: Duration::ZERO,
        })
    }

    fn step(&mut self, now: Now, input: Input<Message>, out: &mut Out) {
        match input {
            Input::Request { id, op, options } => self.on_request(now, id, &op, &options, out),
            // What was begun may still take effect; nobody waits for it.
            Input::Cancel { id } => self.requests.retain(|_, request| request.id != id),
            Input::Message { from, message } => self.on_message(now, from, message, out),
            Input::PeerUp { peer, .. } => {
                self.connected.insert(peer);
            }
            Input::PeerDown { peer } => {
                self.connected.remove(&peer);
                self.refuses_until = now.mono + REFUSES_FOR;
            }
            Input::Persisted { up_to } => self.on_persisted(up_to, out),
            Input::CheckpointWritten { covers } => self.replica.store.note_written(covers),
            // Nobody sends snapshots: what a server missed, the quorums make up for.
            Input::SnapshotPart { from, .. } => out.end_snapshot(from),
            Input::DiskShort { .. } => self.is_short = true,
            Input::DiskRoom => self.is_short = false,
            Input::Stop => {}
            Input::Timeout => self.on_timeout(now, out),
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let requests = self.requests.values();
        requests.map(|request| request.resend_at.min(request.give_up_at)).min()
    }

    fn open_view(&mut self, scope: ViewScope) -> Option<OpenView> {
        let covers = self.replica.persisted;
        let (id, items) = match scope {
            ViewScope::Changes => self.replica.store.open_changes(covers)?,
            ViewScope::Whole => (self.replica.store.open_whole(), self.replica.store.len()),
        };
        Some(OpenView { id, covers, metadata: Bytes::new(), items })
    }

    fn read_view(&mut self, view: ViewId, bytes_max: usize) -> Option<ViewChunk> {
        let (mut changes, mut bytes) = (Vec::new(), 0);
        let read = self.replica.store.read_view(view, |key, held| {
            let held = held.map(Wire::to_bytes);
            bytes += key.as_bytes().len() + held.as_ref().map_or(0, Bytes::len);
            changes.push((key.to_shared(), held));
            if bytes < bytes_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Some(ViewChunk { changes, is_last: read == ViewRead::End })
    }

    fn close_view(&mut self, view: ViewId) {
        self.replica.store.close_view(view);
    }

    fn status(&self) -> Status {
        let up = u16::try_from(self.connected.len() + 1).unwrap_or(u16::MAX);
        let more = self.stores_at().max(self.asks()).saturating_sub(up);
        Status {
            engine: Self::NAME.to_owned(),
            node: self.config.node,
            incarnation: self.incarnation,
            cluster_id: None,
            cluster: self.config.cluster.clone(),
            role: Role::Coordinator,
            connected: self.connected.iter().copied().collect(),
            waiting: (more > 0).then_some(Waiting::Servers { more }),
            positions: Positions::default(),
            lags: Vec::new(),
            counters: Vec::new(),
        }
    }

    fn fingerprint(&self) -> u64 {
        let items = self.replica.store.after(None);
        let items: Vec<_> = items.map(|(key, held)| (key.clone(), held.clone())).collect();
        digest(&items.to_bytes())
    }
}

impl AbdEngine {
    /// Whether this server's disk holds a write of a key, or a newer one.
    #[must_use]
    pub fn holds(&self, key: &Key, version: kv_core::Version) -> bool {
        self.held_version(key).is_some_and(|held| held >= version)
    }

    /// The version of a key that this server's disk holds.
    #[must_use]
    pub fn held_version(&self, key: &Key) -> Option<kv_core::Version> {
        self.replica.store.get(key).map(|held| held.tag.version())
    }

    /// How many servers must have stored something.
    fn stores_at(&self) -> u16 {
        let cluster = &self.config.cluster;
        if self.broken.is(Rule::WaitsForAll) {
            return cluster.nodes();
        }
        let fewer = u16::from(self.broken.is(Rule::StoresAtOneFewer));
        (cluster.write_quorum() - fewer).max(1)
    }

    /// How many servers must have said what they hold.
    fn asks(&self) -> u16 {
        let cluster = &self.config.cluster;
        if self.broken.is(Rule::WaitsForAll) {
            return cluster.nodes();
        }
        let meets_all = cluster.nodes() + 1 - cluster.write_quorum();
        let fewer = u16::from(self.broken.is(Rule::AsksOneFewer));
        (cluster.read_quorum().max(meets_all) - fewer).max(1)
    }

    fn call(&self, number: u64) -> CallId {
        CallId { incarnation: self.incarnation, number }
    }

    /// Whether a question is of this incarnation.
    fn is_present(&self, call: CallId) -> bool {
        call.incarnation == self.incarnation
    }

    fn on_request(
        &mut self,
        now: Now,
        id: RequestId,
        op: &Operation,
        options: &RequestOptions,
        out: &mut Out,
    ) {
        let (key, aim) = match self.aim_of(op, options) {
            Ok(aim) => aim,
            Err(outcome) => return out.reply(id, outcome),
        };
        if let Some(reason) = self.refusal(now, &aim) {
            return out.reply(id, Outcome::NotDone(reason));
        }
        let request = Request {
            id,
            key,
            aim,
            phase: Phase::Asking { newest: None, agree: true },
            answered: BTreeSet::new(),
            resend_at: now.mono,
            backoff: self.config.timing.resend_min,
            give_up_at: now.mono.saturating_add(options.timeout),
        };
        self.put_question(now, request, out);
    }

    /// Why a request is refused before anything is done for it.
    fn refusal(&self, now: Now, aim: &Aim) -> Option<NotDone> {
        let limit = self.config.limits.requests_max;
        if self.broken.is(Rule::RefusesAfterPeerDown) && now.mono < self.refuses_until {
            return Some(NotDone::Waiting(Waiting::Election));
        }
        // A delete makes room in the end, and the reserve is kept for it.
        if self.is_short && matches!(aim, Aim::Write(Some(_))) {
            return Some(NotDone::Waiting(Waiting::DiskFull { node: self.config.node }));
        }
        let limit_reached = self.requests.len() >= limit;
        limit_reached
            .then(|| NotDone::Overloaded { limit: u64::try_from(limit).unwrap_or(u64::MAX) })
    }

    /// Begins a request's next question: to the peers, and to this server itself.
    fn put_question(&mut self, now: Now, mut request: Request, out: &mut Out) {
        self.last_call += 1;
        let number = self.last_call;
        let call = self.call(number);
        request.answered.clear();
        request.backoff = self.config.timing.resend_min;
        request.resend_at = now.mono + request.backoff;
        let question = request.question(call);
        self.requests.insert(number, request);
        for peer in self.config.cluster.peers_of(self.config.node) {
            out.send(peer, question.clone());
        }
        let own = self.config.node;
        match question {
            Message::Store { key, held, .. } => self.store((own, call), &key, &held, out),
            Message::Ask { key, .. } => {
                let held = self.replica.store.get(&key).cloned();
                self.on_found(now, own, number, held, out);
            }
            Message::Found { .. } | Message::Stored { .. } => {}
        }
    }

    fn on_message(&mut self, now: Now, from: NodeId, message: Message, out: &mut Out) {
        if from == self.config.node || !self.config.cluster.contains(from) {
            return;
        }
        match message {
            Message::Ask { call, key } => {
                let held = self.replica.store.get(&key).cloned();
                out.send(from, Message::Found { call, held });
            }
            Message::Store { call, key, held } => self.store((from, call), &key, &held, out),
            Message::Found { call, held } if self.is_present(call) => {
                self.on_found(now, from, call.number, held, out);
            }
            Message::Stored { call } if self.is_present(call) => {
                self.on_stored(from, call.number, out);
            }
            // An answer to a former incarnation.
            Message::Found { .. } | Message::Stored { .. } => {}
        }
    }

    /// Stores something for a coordinator, which may be this server.
    fn store(&mut self, waiter: (NodeId, CallId), key: &Key, held: &Held, out: &mut Out) {
        let is_own = waiter.0 == self.config.node;
        let early =
            if is_own { Rule::CountsItselfBeforePersisted } else { Rule::AckBeforePersisted };
        let storing = self.replica.store(key, held, waiter);
        let is_done = storing == Storing::Done;
        if let Storing::Begins(seq, record) = storing {
            out.persist(seq, record);
        }
        if is_done || self.broken.is(early) {
            self.acknowledge(waiter, out);
        }
    }

    fn on_persisted(&mut self, up_to: PersistSeq, out: &mut Out) {
        for waiter in self.replica.on_persisted(up_to) {
            self.acknowledge(waiter, out);
        }
    }

    fn acknowledge(&mut self, (coordinator, call): (NodeId, CallId), out: &mut Out) {
        if coordinator == self.config.node {
            self.on_stored(coordinator, call.number, out);
        } else {
            out.send(coordinator, Message::Stored { call });
        }
    }

    fn on_found(&mut self, now: Now, from: NodeId, number: u64, held: Option<Held>, out: &mut Out) {
        let needed = usize::from(self.asks());
        let stored_at = usize::from(self.stores_at());
        let Some(request) = self.requests.get_mut(&number) else {
            return;
        };
        request.note_found(from, held);
        let Phase::Asking { newest, agree } = &request.phase else {
            return;
        };
        if request.answered.len() < needed {
            return;
        }
        let (newest, is_stored) = (newest.clone(), *agree && request.answered.len() >= stored_at);
        let Some(mut request) = self.requests.remove(&number) else {
            return;
        };
        let held = match (&request.aim, newest) {
            (Aim::Read, None) => return out.reply(request.id, Request::read(None)),
            (Aim::Read, Some(held)) if is_stored || self.broken.is(Rule::ReadsWithoutWriteBack) => {
                return out.reply(request.id, Request::read(Some(&held)));
            }
            (Aim::Read, Some(held)) => held,
            (Aim::Write(value), newest) => {
                Held { tag: self.tag_after(newest.map(|held| held.tag)), value: value.clone() }
            }
        };
        request.phase = Phase::Storing(held);
        self.put_question(now, request, out);
    }

    /// A tag that no other write has, above this one.
    fn tag_after(&mut self, newest: Option<Tag>) -> Tag {
        let heeds = !self.broken.is(Rule::WritesWithoutAsking);
        let newest = newest.filter(|_| heeds).map_or(0, |tag| tag.number);
        let issued = if self.broken.is(Rule::IssuedTwice) { 0 } else { self.issued };
        self.issued = newest.max(issued).saturating_add(1);
        Tag { number: self.issued, writer: self.config.node, incarnation: self.incarnation }
    }

    fn on_stored(&mut self, from: NodeId, number: u64, out: &mut Out) {
        let needed = usize::from(self.stores_at());
        let Some(request) = self.requests.get_mut(&number) else {
            return;
        };
        let Phase::Storing(held) = request.phase.clone() else {
            return;
        };
        request.answered.insert(from);
        if request.answered.len() >= needed
            && let Some(request) = self.requests.remove(&number)
        {
            out.reply(request.id, request.stored(&held));
        }
    }

    fn on_timeout(&mut self, now: Now, out: &mut Out) {
        let (asks, stores_at) = (self.asks(), self.stores_at());
        let is_late = |request: &&Request| request.give_up_at <= now.mono;
        for request in self.requests.values().filter(is_late) {
            let needed = match request.phase {
                Phase::Asking { .. } => asks,
                Phase::Storing(_) => stores_at,
            };
            let outcome = match request.given_up(needed) {
                Outcome::Unknown(_) if self.broken.is(Rule::UnknownToldAsNotDone) => {
                    Outcome::NotDone(NotDone::TimedOut { answered: 0, needed })
                }
                outcome @ (Outcome::Done(_) | Outcome::NotDone(_) | Outcome::Unknown(_)) => outcome,
            };
            out.reply(request.id, outcome);
        }
        self.requests.retain(|_, request| request.give_up_at > now.mono);
        let incarnation = self.incarnation;
        for (number, request) in &mut self.requests {
            if request.resend_at > now.mono {
                continue;
            }
            if self.broken.is(Rule::NeverResends) {
                request.resend_at = Duration::MAX;
                continue;
            }
            request.resend_at = now.mono + request.backoff;
            request.backoff = (2 * request.backoff).min(self.config.timing.resend_max);
            let question = request.question(CallId { incarnation, number: *number });
            for peer in self.config.cluster.peers_of(self.config.node) {
                if !request.answered.contains(&peer) {
                    out.send(peer, question.clone());
                }
            }
        }
    }

    /// The key of an operation and what it wants of it, or the outcome of one that wants something
    /// else.
    fn aim_of(&self, op: &Operation, options: &RequestOptions) -> Result<(Key, Aim), Outcome> {
        let refuse = |feature| Err(Outcome::NotDone(NotDone::NotSupported(feature)));
        let batch = match op {
            Operation::Batch(batch) => batch,
            Operation::Dump(dump) => return Err(self.dump(dump)),
            Operation::Scan(_) => return refuse(Feature::Scan),
            Operation::OpenSession => return refuse(Feature::Sessions),
            Operation::Lead { .. } => return refuse(Feature::Lead),
        };
        if options.write_quorum.is_some() || options.read_quorum.is_some() {
            return refuse(Feature::RequestQuorum);
        }
        if !batch.conditions().is_empty() {
            return refuse(Feature::Conditions);
        }
        match batch.single() {
            None => refuse(Feature::Transactions),
            Some(Command::Get { key }) => Ok((key.clone(), Aim::Read)),
            Some(Command::Put { key, value, time_to_live: None }) => {
                Ok((key.clone(), Aim::Write(Some(value.clone()))))
            }
            Some(Command::Delete { key }) => Ok((key.clone(), Aim::Write(None))),
            Some(
                Command::Put { .. }
                | Command::Expire { .. }
                | Command::TimeToLive { .. }
                | Command::Rewrite { .. }
                | Command::ExpireAt { .. }
                | Command::Expiry { .. },
            ) => refuse(Feature::TimeToLive),
            Some(Command::Increment { .. }) => refuse(Feature::Increment),
            Some(Command::Append { .. }) => refuse(Feature::Append),
        }
    }

    /// A page of what this server itself holds.
    fn dump(&self, dump: &Dump) -> Outcome {
        let asked = usize::try_from(dump.limit).unwrap_or(usize::MAX);
        let limit = self.config.limits.page_entries_max.min(asked).max(1);
        let (mut entries, mut bytes, mut next) = (Vec::<(Key, Versioned)>::new(), 0, None);
        for (key, Held { tag, value }) in self.replica.store.after(dump.after.as_ref()) {
            let Some(value) = value else {
                continue;
            };
            if entries.len() >= limit || bytes > PAGE_BYTES {
                next = entries.last().map(|(key, _)| key.clone());
                break;
            }
            bytes += key.as_bytes().len() + value.as_bytes().len();
            entries.push((key.clone(), Versioned { value: value.clone(), version: tag.version() }));
        }
        let answer = Answer::Page(Page { entries, next });
        Outcome::Done(Done { answer, version: None, served: Served::Local })
    }
}

/// Takes the state of a checkpoint.
fn install(replica: &mut Replica, checkpoint: Checkpoint) -> Result<(), DecodeError> {
    for (key, held) in checkpoint.items {
        let key = Key::new(key).map_err(DecodeError::from)?;
        replica.store.insert(key, Held::from_bytes(held)?);
    }
    replica.resume_at(checkpoint.covers);
    replica.store.note_recovered();
    Ok(())
}

const PAGE_BYTES: usize = 1 << 20;
const REFUSES_FOR: Duration = Duration::from_secs(10);
