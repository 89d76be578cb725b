//! One simulated server: a process that comes and goes, and a disk that stays.

pub(crate) mod clock;

use std::collections::VecDeque;
use std::time::Duration;

use kv_core::{
    ClusterConfig, ConsistencyEngine, Effect, Effects, EngineConfig, HaltReason, Input, NodeId,
    Now, Operation, PersistSeq, SeedStream, StagedCheckpoint,
};
use kv_storage::MemoryCheckpoint;

use crate::config::SimConfig;
use crate::disk::Storage;
use crate::violation::Breach;
use clock::Clock;

/// A server of the cluster, running or not.
#[derive(Debug)]
pub(crate) struct Server<E: ConsistencyEngine> {
    pub(crate) node: NodeId,
    /// How often the server was started.
    pub(crate) incarnation: u64,
    /// The engine while the process runs.
    pub(crate) engine: Option<E>,
    pub(crate) halted: Option<HaltReason>,
    pub(crate) paused: bool,
    /// When the engine wants its timeout, in virtual time.
    pub(crate) wake_at: Option<Duration>,
    pub(crate) work_scheduled: bool,
    /// The process dies before it carries out this many more effects.
    pub(crate) effects_to_live: Option<u64>,
    pub(crate) storage: Storage<E::Record>,
    /// A bit of the journal was flipped, so that it must be refused.
    pub(crate) disk_damaged: bool,
    /// What the server is told at its start in place of the cluster's configuration.
    pub(crate) own_config: Option<ClusterConfig>,
    /// The configuration under which the disk was last used.
    pub(crate) disk_config: Option<ClusterConfig>,
    checkpoint_tried: PersistSeq,
    /// When a checkpoint was last taken for lack of room.
    checkpoint_not_before: Duration,
    pub(crate) clock: Clock,
    inbox: VecDeque<Input<E::Message>>,
    effects: Effects<E::Message, E::Record>,
}

/// What one batch of steps was given.
#[derive(Debug)]
pub(crate) struct Stepped<M> {
    pub(crate) now: Now,
    /// All inputs in order, the timeout at the end included. Empty unless asked for.
    pub(crate) inputs: Vec<Input<M>>,
    /// How many inputs there were.
    pub(crate) steps: u64,
}

impl<E: ConsistencyEngine> Server<E> {
    pub(crate) fn new(node: NodeId, config: &SimConfig) -> Self {
        Self {
            node,
            incarnation: 0,
            engine: None,
            halted: None,
            paused: false,
            wake_at: None,
            work_scheduled: false,
            effects_to_live: None,
            storage: Storage::new(node, config),
            disk_damaged: false,
            own_config: None,
            disk_config: None,
            checkpoint_tried: PersistSeq(0),
            checkpoint_not_before: Duration::ZERO,
            clock: Clock::new(),
            inbox: VecDeque::new(),
            effects: Effects::new(),
        }
    }

    /// Starts the process on what the disk holds; the records on which it started, if they are
    /// wanted.
    ///
    /// # Errors
    /// [`Breach`] if the engine cannot go on from its own disk.
    pub(crate) fn start(
        &mut self,
        at: Duration,
        config: &SimConfig,
    ) -> Result<Vec<(PersistSeq, E::Record)>, Breach> {
        self.incarnation += 1;
        let (checkpoint, records) = self.storage.recover(self.disk_damaged)?;
        let kept = if config.keep_tapes { records.clone() } else { Vec::new() };
        let engine = E::recover(self.engine_config(config), checkpoint, records);
        let engine = engine.map_err(Breach::NotRecovered)?;
        self.clock.start(at);
        self.disk_config = Some(self.cluster(config).clone());
        self.halted = None;
        self.wake_at = engine.next_deadline().map(|d| self.clock.time_of(d));
        self.checkpoint_tried = self.storage.promised();
        self.checkpoint_not_before = at;
        self.engine = Some(engine);
        Ok(kept)
    }

    /// The configuration of the engine in the present incarnation.
    pub(crate) fn engine_config(&self, config: &SimConfig) -> EngineConfig {
        // Two incarnations must not share a seed: an engine may name its incarnation by it.
        let mut stream = SeedStream::new(config.seed ^ (u64::from(self.node.number()) << 48));
        let seed = stream.next_u64() ^ SeedStream::new(self.incarnation).next_u64();
        EngineConfig {
            timing: config.timing,
            limits: config.limits,
            ..EngineConfig::new(self.node, self.cluster(config).clone(), seed)
        }
    }

    /// The configuration of the cluster as this server is told.
    pub(crate) fn cluster<'a>(&'a self, config: &'a SimConfig) -> &'a ClusterConfig {
        self.own_config.as_ref().unwrap_or(&config.cluster)
    }

    /// Ends the process; what is on its disk is another matter.
    pub(crate) fn end(&mut self) {
        self.engine = None;
        self.paused = false;
        self.wake_at = None;
        self.work_scheduled = false;
        self.effects_to_live = None;
        self.inbox.clear();
        self.effects = Effects::new();
    }

    /// Ends the process and loses its disk.
    pub(crate) fn wipe(&mut self) {
        self.end();
        self.storage.wipe();
        self.disk_damaged = false;
        self.disk_config = None;
    }

    /// Changes how the clocks run.
    pub(crate) fn set_clock(&mut self, change: impl FnOnce(&mut Clock)) {
        change(&mut self.clock);
        let deadline = self.engine.as_ref().and_then(E::next_deadline);
        self.wake_at = deadline.map(|d| self.clock.time_of(d));
    }

    pub(crate) fn is_running(&self) -> bool {
        self.engine.is_some()
    }

    /// Puts an input into the inbox; false if the process is down or the inbox is full, and then
    /// it is lost.
    pub(crate) fn receive(&mut self, input: Input<E::Message>) -> bool {
        let taken = self.is_running() && self.inbox.len() < INBOX_MAX;
        if taken {
            self.inbox.push_back(input);
        }
        taken
    }

    /// Steps the engine for everything in the inbox and for a deadline that is due. The effects
    /// wait to be taken by [`Server::next_effect`].
    ///
    /// # Errors
    /// [`Breach::DeadlineNotLater`] if the deadline does not move on.
    pub(crate) fn step_all(
        &mut self,
        at: Duration,
        keep_inputs: bool,
    ) -> Result<Stepped<E::Message>, Breach> {
        let now = self.clock.now(at);
        let mut stepped = Stepped { now, inputs: Vec::new(), steps: 0 };
        let Some(engine) = &mut self.engine else {
            return Ok(stepped);
        };
        let mut step = |engine: &mut E, input: Input<E::Message>| {
            stepped.steps += 1;
            if keep_inputs {
                stepped.inputs.push(input.clone());
            }
            engine.step(now, input, &mut self.effects);
        };
        while let Some(input) = self.inbox.pop_front() {
            step(engine, input);
        }
        if engine.next_deadline().is_some_and(|due| due <= now.mono) {
            step(engine, Input::Timeout);
            if let Some(deadline) = engine.next_deadline().filter(|due| *due <= now.mono) {
                let now = now.mono;
                return Err(Breach::DeadlineNotLater { deadline, now });
            }
        }
        self.wake_at = engine.next_deadline().map(|d| self.clock.time_of(d));
        Ok(stepped)
    }

    /// The next effect to carry out.
    pub(crate) fn next_effect(&mut self) -> Option<Effect<E::Message, E::Record>> {
        self.effects.pop()
    }

    /// Whether the process must refuse this for lack of room: what writes.
    pub(crate) fn refuses_for_room(&self, op: &Operation) -> bool {
        self.storage.room_is_low && !op.is_read_only()
    }

    /// Takes a checkpoint if none is on its way to the disk and enough records were persisted since
    /// the last one, or room is lacking.
    ///
    /// # Errors
    /// [`Breach::CheckpointAhead`] if it reflects more than is on disk;
    /// [`Breach::CheckpointsDoNotSumUp`] if what will be on disk is not the whole state.
    pub(crate) fn checkpoint_if_due(
        &mut self,
        at: Duration,
        every: Option<u64>,
    ) -> Result<Option<MemoryCheckpoint>, Breach> {
        let durable = self.storage.promised();
        let is_time = every.is_some_and(|every| durable.0 >= self.checkpoint_tried.0 + every);
        let lacks_room = self.storage.room_is_low && self.checkpoint_not_before <= at;
        let due = (is_time || lacks_room)
            && !self.storage.writes_checkpoint()
            && durable > self.storage.checkpoint.covers();
        match &mut self.engine {
            Some(engine) if due => {
                self.checkpoint_tried = durable;
                self.checkpoint_not_before = at + CHECKPOINT_INTERVAL_MIN;
                let next = self.storage.checkpoint.followed_by(engine.checkpoint());
                let covers = next.covers();
                if covers > durable {
                    return Err(Breach::CheckpointAhead { covers, durable });
                }
                if next.read().map(StagedCheckpoint::from) != Some(engine.snapshot().into()) {
                    return Err(Breach::CheckpointsDoNotSumUp { covers });
                }
                Ok(Some(next).filter(|_| covers > self.storage.checkpoint.covers()))
            }
            Some(_) | None => Ok(None),
        }
    }
}

/// What comes in beyond this many inputs is lost, as at a real server whose inbox is full.
const INBOX_MAX: usize = 100_000;

/// The least time between two checkpoints that are taken for lack of room, as at a real server.
const CHECKPOINT_INTERVAL_MIN: Duration = Duration::from_secs(1);
