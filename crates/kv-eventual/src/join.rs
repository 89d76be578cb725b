//! How a server that starts takes a life of its own, with what its former one left or with nothing,
//! and how lives are compared whenever two servers meet.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{Incarnation, NotDone, Outcome, RequestId, SeedStream, Waiting};

use crate::deadline::Due;
use crate::engine::{EventualEngine, Step, is_plausible_life};
use crate::journal::Then;
use crate::peer::{Slot, SlotSet};
use crate::record::Record;
use crate::request::Task;

/// Where this server stands in taking a life.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    phase: Phase,
    /// Random, for this start of the process; tells its hellos from those of an earlier one.
    run: u64,
    seeds: SeedStream,
    /// The highest life of this server that a peer has told of.
    highest: Incarnation,
    queue: BTreeMap<QueuePlace, Queued>,
    last_place: QueuePlace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It holds nothing and has not been stepped yet, so that it knows no time to count from.
    Unborn,
    /// It holds what its former life left, and has not been stepped yet. Writes of that life may
    /// be with others that its own disk has forgotten, so their numbers must not be given again:
    /// it takes the life that follows.
    Returning,
    /// It asks its peers for the highest life that they know of it.
    Asking {
        /// The peers that have answered or cannot be reached.
        resolved: SlotSet,
        armed: Option<Duration>,
    },
    /// Its new life is on its way to the disk.
    Beginning,
    /// It takes writes.
    Serving,
}

/// The place of a request in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueuePlace(u64);

#[derive(Clone, Debug)]
struct Queued {
    id: RequestId,
    task: Task,
    expires: Duration,
    armed: Option<Duration>,
}

impl Membership {
    pub(crate) const fn new(phase: Phase, run: u64) -> Self {
        Self {
            phase,
            run,
            seeds: SeedStream::new(run),
            highest: Incarnation::UNKNOWN,
            queue: BTreeMap::new(),
            last_place: QueuePlace(0),
        }
    }

    /// Whether it has not been stepped yet and must take a life.
    pub(crate) const fn is_new(&self) -> bool {
        matches!(self.phase, Phase::Unborn | Phase::Returning)
    }

    /// What it waits for before it takes writes.
    pub(crate) const fn waiting(&self) -> Option<Waiting> {
        match self.phase {
            Phase::Unborn | Phase::Asking { .. } => Some(Waiting::Joining),
            Phase::Returning | Phase::Beginning => Some(Waiting::OwnDisk),
            Phase::Serving => None,
        }
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    pub(crate) fn queue_len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) const fn run(&self) -> u64 {
        self.run
    }

    /// A peer can be reached again and may have something to tell.
    pub(crate) const fn unresolve(&mut self, slot: Slot) {
        if let Phase::Asking { resolved, .. } = &mut self.phase {
            resolved.remove(slot);
        }
    }
}

impl EventualEngine {
    /// Whether it can say what it holds: it knows who it is, if only from its former life.
    pub(crate) fn serves_reads(&self) -> bool {
        self.state.life != Incarnation::UNKNOWN
    }

    /// Begins at the first step: to ask, or its next life.
    pub(crate) fn begin_if_new(&mut self, step: &mut Step<'_>) {
        match self.membership.phase {
            Phase::Unborn => self.begin_to_ask(step),
            Phase::Returning => self.begin_life(step),
            Phase::Asking { .. } | Phase::Beginning | Phase::Serving => {}
        }
    }

    fn begin_to_ask(&mut self, step: &mut Step<'_>) {
        let until = step.now.mono.saturating_add(self.config.timing.join_wait);
        let mut armed = None;
        self.deadlines.arm(&mut armed, until, Due::Join);
        self.membership.phase = Phase::Asking { resolved: SlotSet::default(), armed };
        self.begin_if_resolved(step);
    }

    /// Puts a request that came while joining into the queue.
    pub(crate) fn enqueue(&mut self, id: RequestId, task: Task, expires: Duration) {
        let place = QueuePlace(self.membership.last_place.0 + 1);
        self.membership.last_place = place;
        let mut armed = None;
        self.deadlines.arm(&mut armed, expires, Due::Queued(place));
        let queued = Queued { id, task, expires, armed };
        self.membership.queue.insert(place, queued);
    }

    pub(crate) fn on_queue_timeout(&mut self, step: &mut Step<'_>, place: QueuePlace) {
        let waiting = self.membership.waiting();
        if let Some(queued) = self.membership.queue.remove(&place) {
            let reason = NotDone::Waiting(waiting.unwrap_or(Waiting::Joining));
            self.reply(step, queued.id, Outcome::NotDone(reason));
        }
    }

    pub(crate) fn on_join_timeout(&mut self, step: &mut Step<'_>) {
        if let Phase::Asking { armed, .. } = &mut self.membership.phase {
            *armed = None;
            self.begin_life(step);
        }
    }

    /// Learns of a life of this very server. One that is not followed by the current one, and is
    /// not the current one, means that this server must begin another: two lives could not be
    /// told apart by their numbers.
    pub(crate) fn meet_own_life(&mut self, step: &mut Step<'_>, life: Incarnation) {
        if !is_plausible_life(life) {
            self.counters.bad_messages += 1;
            return;
        }
        let current = self.state.life;
        self.membership.highest = self.membership.highest.max(life);
        if life != current && life.counter() >= current.counter() && self.membership.is_serving() {
            tracing::warn!(%life, %current, "another life of this server is known; begins a new one");
            self.begin_life(step);
        }
    }

    /// Begins a new life because the numbers of this one's writes cannot be trusted any more.
    pub(crate) fn abandon_life(&mut self, step: &mut Step<'_>) {
        self.begin_life(step);
    }

    pub(crate) fn on_life_persisted(&mut self, step: &mut Step<'_>) {
        let (highest, life) = (self.membership.highest, self.state.life);
        if highest != life && highest.counter() >= life.counter() {
            return self.begin_life(step);
        }
        self.counters.lives += 1;
        self.writes.begin_life();
        self.membership.phase = Phase::Serving;
        tracing::info!(%life, "serves");
        while let Some((place, mut queued)) = self.membership.queue.pop_first() {
            self.deadlines.disarm(&mut queued.armed, Due::Queued(place));
            self.start(step, queued.id, queued.task, queued.expires);
        }
    }

    /// A peer has answered, or cannot be reached: joining waits for it no longer.
    pub(crate) fn resolve(&mut self, step: &mut Step<'_>, slot: Slot) {
        if let Phase::Asking { resolved, .. } = &mut self.membership.phase {
            resolved.insert(slot);
            self.begin_if_resolved(step);
        }
    }

    fn begin_if_resolved(&mut self, step: &mut Step<'_>) {
        if let Phase::Asking { resolved, .. } = self.membership.phase
            && self.peers.others().without(resolved).is_empty()
        {
            self.begin_life(step);
        }
    }

    fn begin_life(&mut self, step: &mut Step<'_>) {
        if let Phase::Asking { armed, .. } = &mut self.membership.phase {
            self.deadlines.disarm(armed, Due::Join);
        }
        let highest = self.membership.highest.max(self.state.life);
        let nonce = u32::try_from(self.membership.seeds.below(1 << 32)).unwrap_or(0);
        let record = Record::Life {
            node: self.config.node,
            incarnation: Incarnation::following(highest, nonce),
            cluster: self.config.cluster.clone(),
        };
        self.membership.phase = Phase::Beginning;
        self.persist(step, record, Then::Begin);
    }
}
