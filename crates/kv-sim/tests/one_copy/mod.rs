//! A third engine, as small as one can be: the first voter holds the only copy, and the others
//! forward their clients' requests to it. What it lacks in safety it has in being easy to break on
//! purpose: each [`Mutation`] breaks one clause of the contract.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a test engine, of which each test binary uses a part"
)]

mod message;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kv_core::{
    Answer, Checkpoint, Command, ConsistencyEngine, Done, Dump, Effects, EngineConfig, Feature,
    HaltReason, Incarnation, Input, Key, NodeId, NotDone, Now, OpenView, Operation, Outcome, Page,
    PersistSeq, Positions, QuorumError, RecoverError, RequestId, RequestOptions, Role, SeedStream,
    Served, Status, Store, Unknown, Value, Version, Versioned, ViewChunk, ViewId, ViewRead,
    ViewScope, Waiting, Wire, digest,
};
use kv_sim::{Declaration, Fault, OperationKind, Oracle, QuorumRule};
pub use message::{Message, Record, Ticket};

/// A way to break the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    None,
    RepliesBeforePersisted,
    DropsAnEffect,
    PanicsOnAStranger,
    NeverResends,
    DeadlineStands,
    RepliesTwice,
    CallsAnUnknownWriteNotDone,
    KeepsSilentAtTheTimeout,
    CountsBesidesItsInputs,
    ForgetsARecord,
    CheckpointForgetsAKey,
    HaltsOnADuplicate,
    DumpsEverythingAtOnce,
    ExecutesADuplicateAgain,
    RefusesEverything,
    WaitsForTheDisk,
}

/// Runs something with every engine that is recovered meanwhile on this thread broken so.
///
/// A mutation is no parameter of the engine's type, as the whole simulator would be compiled again
/// for each.
pub fn broken_by<T>(mutation: Mutation, run: impl FnOnce() -> T) -> T {
    let _mended = Mended(BROKEN.replace(mutation));
    run()
}

/// What the engine is to be broken by again when this is dropped.
struct Mended(Mutation);

impl Drop for Mended {
    fn drop(&mut self) {
        BROKEN.set(self.0);
    }
}

thread_local! {
    static BROKEN: Cell<Mutation> = const { Cell::new(Mutation::None) };
}

/// One server holds the only copy, the others ask it and have nothing that could be backed up; there are
/// no other quorums than 1.
pub fn declaration() -> Declaration {
    let operations = [OperationKind::Put, OperationKind::Get, OperationKind::Delete];
    let lost = [
        Fault::WipedDisk,
        Fault::SetBackDisk,
        Fault::FlippedBit,
        Fault::MixedConfiguration,
        Fault::HandOver,
        Fault::Backup,
        Fault::Lull,
    ];
    let declaration = Declaration::all(Oracle::Linearizability, &operations).but_not(&lost);
    Declaration { converges: false, quorums: QuorumRule::AtMost(1), ..declaration }
}

/// The engine, broken as [`broken_by`] said when it was recovered.
pub struct OneCopy {
    broken: Mutation,
    config: EngineConfig,
    incarnation: Incarnation,
    connected: BTreeMap<NodeId, ()>,
    next_seq: PersistSeq,
    persisted: PersistSeq,
    /// The disk has no room.
    is_short: bool,
    // The holder's side.
    store: Store<(Value, u64)>,
    forgets_a_key: bool,
    version: u64,
    applied: BTreeMap<(NodeId, Incarnation), Applied>,
    unsynced: BTreeMap<PersistSeq, (Record, Option<RequestId>)>,
    next_version: u64,
    // The others' side.
    asked: BTreeMap<u64, Asked>,
    next_number: u64,
}

/// What one incarnation of a forwarding server had done.
#[derive(Clone, Debug, Default)]
struct Applied {
    settled_below: u64,
    versions: BTreeMap<u64, u64>,
}

/// A request on its way to the holder.
struct Asked {
    id: RequestId,
    op: Operation,
    options: RequestOptions,
    sent: bool,
    resend_at: Duration,
    backoff: Duration,
    give_up_at: Duration,
}

impl OneCopy {
    /// The version of the last write that is on the disk.
    pub fn last_version(&self) -> Version {
        Version::Log(self.version)
    }
}

impl ConsistencyEngine for OneCopy {
    const NAME: &'static str = "one copy";

    type Message = Message;
    type Record = Record;

    fn recover(
        config: EngineConfig,
        checkpoint: Option<Checkpoint>,
        records: impl IntoIterator<Item = (PersistSeq, Record)>,
    ) -> Result<Self, RecoverError> {
        let nonce = SeedStream::new(config.seed).next_u64() & 0xffff_ffff;
        let nonce = u32::try_from(nonce).unwrap();
        let mut engine = Self {
            broken: BROKEN.get(),
            incarnation: Incarnation::following(Incarnation::UNKNOWN, nonce),
            config,
            connected: BTreeMap::new(),
            next_seq: PersistSeq(1),
            persisted: PersistSeq(0),
            store: Store::new(),
            is_short: false,
            forgets_a_key: false,
            version: 0,
            applied: BTreeMap::new(),
            unsynced: BTreeMap::new(),
            next_version: 1,
            asked: BTreeMap::new(),
            next_number: 1,
        };
        if let Some(checkpoint) = checkpoint {
            engine.install(checkpoint).map_err(RecoverError::Checkpoint)?;
            engine.store.note_recovered();
        }
        let mut records: Vec<_> = records.into_iter().collect();
        let last = records.last().map(|(seq, _)| *seq);
        if engine.is(Mutation::ForgetsARecord) {
            records.pop();
        }
        for (seq, record) in records {
            if seq != engine.persisted.next() {
                return Err(RecoverError::Record { seq });
            }
            engine.persisted = seq;
            engine.apply(&record);
        }
        engine.persisted = last.unwrap_or(engine.persisted);
        engine.next_seq = engine.persisted.next();
        engine.next_version = engine.version + 1;
        Ok(engine)
    }

    fn step(&mut self, now: Now, input: Input<Message>, out: &mut Effects<Message, Record>) {
        if self.is(Mutation::DropsAnEffect) && out.len() > 1 {
            out.pop();
        }
        match input {
            Input::Request { id, op, options } => self.on_request(now, id, op, options, out),
            Input::Cancel { id } => self.asked.retain(|_, asked| asked.id != id),
            Input::Message { from, message } => self.on_message(from, message, out),
            Input::PeerUp { peer, .. } => {
                self.connected.insert(peer, ());
            }
            Input::PeerDown { peer } => {
                self.connected.remove(&peer);
            }
            Input::Persisted { up_to } => self.on_persisted(up_to, out),
            Input::CheckpointWritten { covers } => self.store.note_written(covers),
            Input::SnapshotPart { from, .. } => out.end_snapshot(from),
            Input::DiskShort { .. } => self.is_short = true,
            Input::DiskRoom => self.is_short = false,
            Input::Stop => {}
            Input::Timeout => self.on_timeout(now, out),
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let asked = self.asked.values();
        asked.map(|asked| asked.resend_at.min(asked.give_up_at)).min()
    }

    fn open_view(&mut self, scope: ViewScope) -> Option<OpenView> {
        let covers = self.persisted;
        let (id, items) = match scope {
            ViewScope::Changes => self.store.open_changes(covers)?,
            ViewScope::Whole => (self.store.open_whole(), self.store.len()),
        };
        self.forgets_a_key =
            scope == ViewScope::Changes && self.is(Mutation::CheckpointForgetsAKey);
        Some(OpenView { id, covers, metadata: self.metadata(), items })
    }

    fn read_view(&mut self, view: ViewId, bytes_max: usize) -> Option<ViewChunk> {
        let (mut changes, mut bytes) = (Vec::new(), 0);
        let forgets = &mut self.forgets_a_key;
        let read = self.store.read_view(view, |key, item| {
            if !std::mem::take(forgets) {
                bytes += key.as_bytes().len();
                changes.push((key.to_shared(), item.map(|item| item.to_bytes())));
            }
            if bytes < bytes_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Some(ViewChunk { changes, is_last: read == ViewRead::End })
    }

    fn close_view(&mut self, view: ViewId) {
        self.store.close_view(view);
    }

    fn status(&self) -> Status {
        Status {
            engine: Self::NAME.to_owned(),
            node: self.config.node,
            incarnation: self.incarnation,
            cluster_id: None,
            cluster: self.config.cluster.clone(),
            role: Role::Coordinator,
            connected: self.connected.keys().copied().collect(),
            waiting: None,
            positions: Positions { applied: Some(self.version), ..Positions::default() },
            lags: Vec::new(),
            counters: Vec::new(),
        }
    }

    fn fingerprint(&self) -> u64 {
        let items = self.store.after(None);
        let items: Vec<_> = items.map(|(key, item)| (key.clone(), item.clone())).collect();
        digest(&(self.version, self.applied_list(), items).to_bytes())
    }
}

type AppliedList = Vec<((NodeId, Incarnation), (u64, Vec<(u64, u64)>))>;

impl OneCopy {
    fn is(&self, mutation: Mutation) -> bool {
        self.broken == mutation
    }

    fn holder(&self) -> NodeId {
        self.config.cluster.voters()[0]
    }

    fn is_holder(&self) -> bool {
        self.holder() == self.config.node
    }

    fn on_request(
        &mut self,
        now: Now,
        id: RequestId,
        op: Operation,
        options: RequestOptions,
        out: &mut Effects<Message, Record>,
    ) {
        let waits = self.is(Mutation::WaitsForTheDisk);
        if self.is(Mutation::RefusesEverything) {
            out.reply(id, Outcome::NotDone(NotDone::Waiting(Waiting::Joining)));
        } else if let Operation::Dump(dump) = &op {
            out.reply(id, self.dump(dump));
        } else if self.is_holder() && self.is_short && !op.is_read_only() && !waits {
            // What others forward waits for the disk.
            let node = self.config.node;
            out.reply(id, Outcome::NotDone(NotDone::Waiting(Waiting::DiskFull { node })));
        } else if self.is_holder() {
            self.execute(&op, (None, 0), Some(id), out);
        } else if self.asked.len() >= self.config.limits.requests_max {
            let limit = u64::try_from(self.config.limits.requests_max).unwrap();
            out.reply(id, Outcome::NotDone(NotDone::Overloaded { limit }));
        } else if self.connected.contains_key(&self.holder()) {
            let number = self.next_number;
            self.next_number += 1;
            let asked = Asked {
                id,
                op,
                give_up_at: now.mono.saturating_add(options.timeout),
                options,
                sent: false,
                resend_at: now.mono,
                backoff: self.config.timing.resend_min,
            };
            self.asked.insert(number, asked);
        } else {
            let node = self.holder();
            out.reply(id, Outcome::NotDone(NotDone::Waiting(Waiting::Sequencer { node })));
        }
    }

    fn on_message(&mut self, from: NodeId, message: Message, out: &mut Effects<Message, Record>) {
        let known = self.config.cluster.contains(from) && from != self.config.node;
        if self.is(Mutation::PanicsOnAStranger) {
            assert!(known, "a message from server {from}");
        }
        match message {
            Message::Ask { ticket, settled_below, op, .. }
                if known && self.is_holder() && ticket.from == from =>
            {
                self.on_ask(ticket, settled_below, &op, out);
            }
            Message::Answer { ticket, outcome }
                if ticket.incarnation == self.incarnation && from == self.holder() && known =>
            {
                if let Some(asked) = self.asked.remove(&ticket.number) {
                    out.reply(asked.id, outcome);
                }
            }
            Message::Ask { .. } | Message::Answer { .. } => {}
        }
    }

    /// The holder's side: a request is executed once, however often it comes.
    fn on_ask(
        &mut self,
        ticket: Ticket,
        settled_below: u64,
        op: &Operation,
        out: &mut Effects<Message, Record>,
    ) {
        let applied = self.applied.get(&(ticket.from, ticket.incarnation));
        let applied = applied.cloned().unwrap_or_default();
        let dedup = !self.is(Mutation::ExecutesADuplicateAgain);
        let mut unsynced = self.unsynced.values();
        if dedup && ticket.number < applied.settled_below {
            return;
        }
        if let Some(version) = applied.versions.get(&ticket.number).filter(|_| dedup) {
            if self.is(Mutation::HaltsOnADuplicate) {
                let (peer, index) = (ticket.from, *version);
                out.halt(HaltReason::LogsDiffer { peer, index });
            }
            let outcome = message::written(*version);
            out.send(ticket.from, Message::Answer { ticket, outcome });
        } else if !unsynced.any(|(record, _)| record.ticket == Some(ticket)) {
            self.execute(op, (Some(ticket), settled_below), None, out);
        }
    }

    fn execute(
        &mut self,
        op: &Operation,
        (ticket, settled_below): (Option<Ticket>, u64),
        id: Option<RequestId>,
        out: &mut Effects<Message, Record>,
    ) {
        let (key, value) = match self.writes(op) {
            Ok(write) => write,
            Err(outcome) => {
                self.answer(ticket, id, outcome, out);
                return;
            }
        };
        let version = self.next_version;
        self.next_version += 1;
        let record = Record {
            ticket,
            settled_below,
            version,
            key: key.detached(),
            value: value.map(|value| value.detached()),
        };
        out.persist(self.next_seq, record.clone());
        if self.is(Mutation::RepliesBeforePersisted) {
            self.answer(ticket, id, record.outcome(), out);
            self.unsynced.insert(self.next_seq, (Record { ticket: None, ..record }, None));
        } else {
            self.unsynced.insert(self.next_seq, (record, id));
        }
        self.next_seq = self.next_seq.next();
    }

    /// The key and its new value, or the outcome of what is no write.
    fn writes(&self, op: &Operation) -> Result<(Key, Option<Value>), Outcome> {
        let batch = match op {
            Operation::Batch(batch) => batch,
            Operation::Scan(_) => return Err(refused(Feature::Scan)),
            Operation::OpenSession => return Err(refused(Feature::Sessions)),
            Operation::Lead { .. } => return Err(refused(Feature::Lead)),
            Operation::Dump(dump) => return Err(self.dump(dump)),
        };
        let asked = self.config.cluster.write_quorum();
        let command = batch.single().ok_or_else(|| refused(Feature::Transactions))?;
        match command {
            Command::Get { key } => Err(message::read(self.store.get(key), self.version)),
            _ if asked > 1 => {
                let error = QuorumError::TooMany { asked, nodes: 1 };
                Err(Outcome::NotDone(NotDone::Quorum(error)))
            }
            Command::Put { key, value, time_to_live: None } => {
                Ok((key.clone(), Some(value.clone())))
            }
            Command::Delete { key } => Ok((key.clone(), None)),
            Command::Put { .. }
            | Command::Expire { .. }
            | Command::TimeToLive { .. }
            | Command::Rewrite { .. }
            | Command::ExpireAt { .. }
            | Command::Expiry { .. } => Err(refused(Feature::TimeToLive)),
            Command::Increment { .. } => Err(refused(Feature::Increment)),
            Command::Append { .. } => Err(refused(Feature::Append)),
        }
    }

    fn on_persisted(&mut self, up_to: PersistSeq, out: &mut Effects<Message, Record>) {
        while let Some(entry) = self.unsynced.first_entry().filter(|e| *e.key() <= up_to) {
            let (seq, (record, id)) = entry.remove_entry();
            self.persisted = seq;
            self.apply(&record);
            if record.ticket.is_some() || id.is_some() {
                self.answer(record.ticket, id, record.outcome(), out);
            }
        }
    }

    fn apply(&mut self, record: &Record) {
        self.version = record.version;
        match &record.value {
            Some(value) => {
                let key = record.key.clone();
                self.store.insert(key, (value.clone(), record.version));
            }
            None => self.store.remove(&record.key),
        }
        if let Some(ticket) = record.ticket {
            let applied = self.applied.entry((ticket.from, ticket.incarnation)).or_default();
            applied.settled_below = applied.settled_below.max(record.settled_below);
            applied.versions.insert(ticket.number, record.version);
            applied.versions = applied.versions.split_off(&applied.settled_below);
        }
    }

    fn answer(
        &self,
        ticket: Option<Ticket>,
        id: Option<RequestId>,
        outcome: Outcome,
        out: &mut Effects<Message, Record>,
    ) {
        if let Some(ticket) = ticket {
            out.send(ticket.from, Message::Answer { ticket, outcome });
        } else if let Some(id) = id {
            if self.is(Mutation::RepliesTwice) {
                out.reply(id, outcome.clone());
            }
            out.reply(id, outcome);
        }
    }

    fn on_timeout(&mut self, now: Now, out: &mut Effects<Message, Record>) {
        if self.is(Mutation::DeadlineStands) {
            return;
        }
        let late = self.asked.iter().filter(|(_, asked)| asked.give_up_at <= now.mono);
        let late: Vec<u64> = late.map(|(number, _)| *number).collect();
        for asked in late.iter().filter_map(|number| self.asked.remove(number)).collect::<Vec<_>>()
        {
            if !self.is(Mutation::KeepsSilentAtTheTimeout) {
                out.reply(asked.id, give_up(&asked, self.broken));
            }
        }
        let holder = self.holder();
        let settled_below = self.asked.keys().next().copied().unwrap_or(self.next_number);
        let resends = !self.is(Mutation::NeverResends);
        let due = self.asked.iter_mut();
        for (number, asked) in due.filter(|(_, asked)| asked.resend_at <= now.mono) {
            let ticket =
                Ticket { from: self.config.node, incarnation: self.incarnation, number: *number };
            let message = Message::Ask {
                ticket,
                settled_below,
                op: asked.op.clone(),
                options: asked.options.clone(),
            };
            asked.sent = true;
            asked.resend_at = if resends { now.mono + asked.backoff } else { asked.give_up_at };
            asked.backoff = (2 * asked.backoff).min(self.config.timing.resend_max);
            out.send(holder, message);
        }
    }

    fn dump(&self, dump: &Dump) -> Outcome {
        let limit = self.config.limits.page_entries_max;
        let limit = limit.min(usize::try_from(dump.limit).unwrap()).max(1);
        let limit = if self.is(Mutation::DumpsEverythingAtOnce) { usize::MAX } else { limit };
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut next = None;
        for (key, (value, version)) in self.store.after(dump.after.as_ref()) {
            if entries.len() >= limit || (bytes > PAGE_BYTES && limit < usize::MAX) {
                next = entries.last().map(|(key, _): &(Key, Versioned)| key.clone());
                break;
            }
            bytes += key.as_bytes().len() + value.as_bytes().len();
            let version = Version::Log(*version + noise(self.broken));
            let value = value.clone();
            entries.push((key.clone(), Versioned { value, version }));
        }
        Outcome::Done(Done {
            answer: Answer::Page(Page { entries, next }),
            version: None,
            served: Served::Local,
        })
    }

    fn metadata(&self) -> Bytes {
        (self.persisted, self.version, self.applied_list()).to_bytes()
    }

    fn applied_list(&self) -> AppliedList {
        let incarnations = self.applied.iter();
        let incarnations = incarnations.map(|(incarnation, applied)| {
            let versions = applied.versions.iter().map(|(n, version)| (*n, *version));
            (*incarnation, (applied.settled_below, versions.collect()))
        });
        incarnations.collect()
    }

    fn install(&mut self, checkpoint: Checkpoint) -> Result<(), kv_core::DecodeError> {
        let (persisted, version, applied) =
            <(PersistSeq, u64, AppliedList)>::from_bytes(checkpoint.metadata)?;
        (self.persisted, self.version) = (persisted, version);
        for (incarnation, (settled_below, versions)) in applied {
            let versions = versions.into_iter().collect();
            let applied = Applied { settled_below, versions };
            self.applied.insert(incarnation, applied);
        }
        for (key, item) in checkpoint.items {
            let key = Key::new(key).map_err(kv_core::DecodeError::from)?;
            self.store.insert(key, Wire::from_bytes(item)?);
        }
        Ok(())
    }
}

fn refused(feature: Feature) -> Outcome {
    Outcome::NotDone(NotDone::NotSupported(feature))
}

/// The outcome of a request that was not answered in time.
fn give_up(asked: &Asked, mutation: Mutation) -> Outcome {
    let definite = asked.op.is_read_only() || !asked.sent;
    if definite || mutation == Mutation::CallsAnUnknownWriteNotDone {
        let (answered, needed) = (0, 1);
        Outcome::NotDone(NotDone::TimedOut { answered, needed })
    } else {
        let (acks, needed) = (0, 1);
        Outcome::Unknown(Unknown { version: None, acks, needed })
    }
}

/// A number that no input decides, for the mutation that wants one.
fn noise(mutation: Mutation) -> u64 {
    if mutation == Mutation::CountsBesidesItsInputs {
        NOISE.fetch_add(1, Ordering::Relaxed)
    } else {
        0
    }
}

static NOISE: AtomicU64 = AtomicU64::new(0);

const PAGE_BYTES: usize = 1 << 20;
