//! The engine: what it keeps, and which input goes where.

use std::collections::BTreeSet;
use std::time::Duration;

use kv_core::{
    Checkpoint, CheckpointItem, ConsistencyEngine, DecodeError, Effects, EngineConfig, HybridTime,
    Incarnation, Input, NodeId, NotDone, Now, OpenView, Outcome, PersistSeq, RecoverError,
    RequestId, SeedStream, Shortage, Status, ViewChunk, ViewId, ViewScope, Waiting,
};

use crate::checkpoint;
use crate::clock::{Clock, millis};
use crate::coordinator::Writes;
use crate::counters::Counters;
use crate::deadline::{Deadlines, Due};
use crate::join::{Membership, Phase};
use crate::journal::{Journal, Then};
use crate::message::{Message, Part};
use crate::mutation::{Broken, Mutation};
use crate::outbox::Outbox;
use crate::peer::{Meeting, Peers, Slot};
use crate::reader::Reads;
use crate::record::{Record, Write};
use crate::state::State;

/// The eventual engine; see the crate's documentation for what it promises.
#[derive(Clone, Debug)]
pub struct EventualEngine {
    pub(crate) config: EngineConfig,
    pub(crate) state: State,
    pub(crate) journal: Journal,
    pub(crate) clock: Clock,
    pub(crate) peers: Peers,
    pub(crate) membership: Membership,
    /// Requests whose client still waits.
    pub(crate) requests: BTreeSet<RequestId>,
    pub(crate) writes: Writes,
    pub(crate) reads: Reads,
    pub(crate) outbox: Outbox,
    pub(crate) deadlines: Deadlines,
    pub(crate) counters: Counters,
    /// What the disk lacks.
    pub(crate) shortage: Option<Shortage>,
}

/// One step's clocks, and where its effects go.
pub(crate) struct Step<'a> {
    pub(crate) now: Now,
    pub(crate) out: &'a mut Effects<Message, Record>,
}

impl ConsistencyEngine for EventualEngine {
    const NAME: &'static str = "eventual";

    const SHARED_QUORUMS: bool = false;

    type Message = Message;
    type Record = Record;

    fn recover(
        config: EngineConfig,
        checkpoint: Option<Checkpoint>,
        records: impl IntoIterator<Item = (PersistSeq, Record)>,
    ) -> Result<Self, RecoverError> {
        Self::recover_broken(Broken::default(), config, checkpoint, records)
    }

    fn step(&mut self, now: Now, input: Input<Message>, out: &mut Effects<Message, Record>) {
        let step = &mut Step { now, out };
        self.begin_if_new(step);
        match input {
            Input::Request { id, op, options } => self.on_request(step, id, op, &options),
            Input::Cancel { id } => {
                self.requests.remove(&id);
            }
            Input::Message { from, message } => self.on_message(step, from, message),
            Input::PeerUp { peer, incarnation } => self.on_peer_up(step, peer, incarnation),
            Input::PeerDown { peer } => self.on_peer_down(step, peer),
            Input::Persisted { up_to } => self.on_persisted(step, up_to),
            Input::CheckpointWritten { covers } => self.state.store.note_written(covers),
            Input::SnapshotPart { from, .. } => {
                // Servers of this engine send each other none.
                self.bad_message(from, "snapshot");
                step.out.end_snapshot(from);
            }
            Input::DiskShort { shortage } => self.shortage = Some(shortage),
            Input::DiskRoom => self.shortage = None,
            Input::Timeout => self.on_timeout(step),
        }
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        if self.membership.is_new() {
            return Some(Duration::ZERO);
        }
        [self.outbox.due(), self.deadlines.first()].into_iter().flatten().min()
    }

    fn open_view(&mut self, scope: ViewScope) -> Option<OpenView> {
        let covers = self.journal.persisted();
        checkpoint::open(&mut self.state, &self.config.cluster, covers, scope)
    }

    fn read_view(&mut self, view: ViewId, bytes_max: usize) -> Option<ViewChunk> {
        checkpoint::read(&mut self.state, view, bytes_max)
    }

    fn close_view(&mut self, view: ViewId) {
        checkpoint::close(&mut self.state, view);
    }

    fn status(&self) -> Status {
        self.describe()
    }

    fn fingerprint(&self) -> u64 {
        self.state.fingerprint()
    }
}

impl EventualEngine {
    /// The write that an item of a checkpoint holds.
    ///
    /// # Errors
    /// [`DecodeError`] if it is no item of this engine's checkpoints.
    pub fn read_checkpoint_item(item: CheckpointItem) -> Result<Write, DecodeError> {
        checkpoint::read_item(item)
    }

    /// [`ConsistencyEngine::recover`] for an engine that breaks a rule from its start on.
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "mutations")]
    pub fn recover_mutated(
        mutation: Option<Mutation>,
        config: EngineConfig,
        checkpoint: Option<Checkpoint>,
        records: impl IntoIterator<Item = (PersistSeq, Record)>,
    ) -> Result<Self, RecoverError> {
        Self::recover_broken(Broken::by(mutation), config, checkpoint, records)
    }

    fn recover_broken(
        broken: Broken,
        config: EngineConfig,
        checkpoint: Option<Checkpoint>,
        records: impl IntoIterator<Item = (PersistSeq, Record)>,
    ) -> Result<Self, RecoverError> {
        let mut peers = Peers::new(config.node, config.cluster.voters())
            .ok_or(RecoverError::OtherConfiguration)?;
        let (state, last) = checkpoint::recover(&config, checkpoint, records, broken)?;
        for (&node, &life) in &state.lives {
            if let Some(slot) = peers.slot(node) {
                peers.meet(slot, life);
            }
        }
        let forgets = broken.is(Mutation::ClockReissued);
        let clock_bound = if forgets { HybridTime::ZERO } else { state.clock_bound };
        let first_phase = match state.life {
            Incarnation::UNKNOWN => Phase::Unborn,
            _ if broken.is(Mutation::LifeResumed) => Phase::Serving,
            Incarnation(_) => Phase::Returning,
        };
        let mut seeds = SeedStream::new(config.seed);
        Ok(Self {
            journal: Journal::after(last),
            clock: Clock::recovered(clock_bound),
            membership: Membership::new(first_phase, seeds.next_u64()),
            requests: BTreeSet::new(),
            reads: Reads::new(seeds.next_u64()),
            writes: Writes::default(),
            outbox: Outbox::new(config.cluster.voters().len(), config.limits.message_bytes_max),
            deadlines: Deadlines::default(),
            counters: Counters::default(),
            shortage: None,
            peers,
            state,
            config,
        })
    }

    /// Why this server cannot keep a write, if it cannot.
    pub(crate) fn check_disk(&self) -> Result<(), NotDone> {
        let node = self.config.node;
        self.shortage.map_or(Ok(()), |shortage| {
            Err(NotDone::Waiting(match shortage {
                Shortage::Space => Waiting::DiskFull { node },
                Shortage::OpenFiles => Waiting::TooManyOpenFiles { node },
            }))
        })
    }

    /// The rule that this engine breaks for a test.
    pub(crate) const fn broken(&self) -> Broken {
        self.state.broken
    }

    /// Asks for a record to be persisted; `then` happens once it is.
    pub(crate) fn persist(&mut self, step: &mut Step<'_>, record: Record, then: Then) {
        let seq = self.journal.push(record.clone(), then);
        step.out.persist(seq, record);
    }

    /// Puts a part into the outbox.
    pub(crate) fn send(&mut self, step: &mut Step<'_>, to: Slot, part: Part) {
        if let Some(full) = self.outbox.push(step.now.mono, to, part) {
            self.emit(step, to, full);
        }
    }

    /// Answers a request if its client still waits.
    pub(crate) fn reply(&mut self, step: &mut Step<'_>, id: RequestId, outcome: Outcome) {
        if self.requests.remove(&id) {
            step.out.reply(id, outcome);
        }
    }

    /// Learns in which life a peer is, and keeps that.
    pub(crate) fn meet(&mut self, step: &mut Step<'_>, slot: Slot, life: Incarnation) -> Meeting {
        let meeting = self.peers.meet(slot, life);
        if meeting == Meeting::New
            && let Some(peer) = self.peers.get(slot)
        {
            let record = Record::PeerLife { peer: peer.node, incarnation: life };
            self.persist(step, record, Then::Rest);
        }
        meeting
    }

    pub(crate) fn bad_message(&mut self, from: NodeId, what: &'static str) {
        self.counters.bad_messages += 1;
        tracing::warn!(%from, what, "dropped a bad message");
    }

    fn on_message(&mut self, step: &mut Step<'_>, from: NodeId, message: Message) {
        let Some(slot) = self.peers.slot(from) else {
            return self.bad_message(from, "sender is no peer");
        };
        if !is_plausible_life(message.sender) {
            return self.bad_message(from, "life");
        }
        let is_stale = self.meet(step, slot, message.sender) == Meeting::Stale;
        for part in message.parts {
            match part {
                Part::Hello(hello) => self.on_hello(step, slot, hello),
                Part::Welcome(welcome) => self.on_welcome(step, slot, welcome, message.wall_ms),
                // A server in a life that was followed by another, or that does not know yet
                // that it must begin another: what it says must wait until it has.
                Part::Write(_)
                | Part::Ack(_)
                | Part::Reject(_)
                | Part::Query(_)
                | Part::Answer(_)
                | Part::Repair(_)
                    if is_stale =>
                {
                    self.counters.stale_messages += 1;
                }
                Part::Write(write) => self.on_write(step, slot, &write),
                Part::Ack(id) => self.on_ack(step, slot, id),
                Part::Reject(id) => self.on_reject(step, slot, id),
                Part::Query(query) => self.on_query(step, slot, query),
                Part::Answer(answer) => self.on_answer(step, slot, answer),
                Part::Repair(write) => self.on_repair(step, &write),
            }
        }
    }

    fn on_persisted(&mut self, step: &mut Step<'_>, up_to: PersistSeq) {
        if up_to > self.journal.asked() {
            self.counters.bad_inputs += 1;
            tracing::error!(%up_to, "persisted is more than was asked for; ignored");
            return;
        }
        while let Some((record, then)) = self.journal.pop(up_to) {
            self.state.apply(record);
            match then {
                Then::Rest => {}
                Then::Begin => self.on_life_persisted(step),
                Then::OwnWrite(id) => self.on_own_write_persisted(step, id),
                Then::Acknowledge(slot, id) => self.send(step, slot, Part::Ack(id)),
                Then::Repaired(_) => self.counters.repairs_applied += 1,
            }
        }
    }

    fn on_timeout(&mut self, step: &mut Step<'_>) {
        while let Some(due) = self.deadlines.pop_due(step.now.mono) {
            match due {
                Due::Join => self.on_join_timeout(step),
                Due::Hello(slot) => self.on_hello_timeout(step, slot),
                Due::Queued(place) => self.on_queue_timeout(step, place),
                Due::Write(id) => self.on_write_timeout(step, id),
                Due::Read(id) => self.on_read_timeout(step, id),
            }
        }
        for (to, parts) in self.outbox.take() {
            self.emit(step, to, parts);
        }
    }

    fn emit(&self, step: &mut Step<'_>, to: Slot, parts: Vec<Part>) {
        let Some(peer) = self.peers.get(to) else {
            return;
        };
        let message = Message { sender: self.state.life, wall_ms: millis(step.now.wall), parts };
        step.out.send(peer.node, message);
    }

    fn check_invariants(&self) {
        assert!(self.requests.len() <= self.in_hand(), "every client that waits is waited for");
        assert!(self.in_hand() <= self.config.limits.requests_max, "the bound of requests is kept");
        assert!(
            !self.membership.is_serving() || self.membership.queue_len() == 0,
            "a server that takes writes has none in its queue"
        );
        let timers =
            self.in_hand() + self.writes.trailing_len() + self.peers.others().iter().count();
        assert!(self.deadlines.len() <= timers + 1, "a deadline belongs to something that waits");
    }
}

/// Whether a life can be one: damage could otherwise use up all the numbers for lives.
pub(crate) const fn is_plausible_life(life: Incarnation) -> bool {
    life.counter() < LIVES_END
}

const LIVES_END: u64 = 1 << 31;
