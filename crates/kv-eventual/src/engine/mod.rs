//! The engine: what it keeps, and how it comes back from its disk.

mod dispatch;
mod identity;
mod repair;
mod report;

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{
    Checkpoint, CheckpointItem, ConsistencyEngine, DecodeError, Effects, EngineConfig, HybridTime,
    IdSet, Incarnation, Input, Now, OpenView, PersistSeq, RecoverError, SeedStream, Status,
    ViewChunk, ViewId, ViewScope,
};

use self::identity::{Identity, Phase};
use crate::clock::Clock;
use crate::coordinator::queue::Queue;
use crate::coordinator::reads::Reads;
use crate::coordinator::scans::Scans;
use crate::coordinator::writes::Writes;
use crate::core::{Core, Step};
use crate::counters::Counters;
use crate::deadline::Deadlines;
use crate::ids::SlotSet;
use crate::message::Message;
use crate::mutation::{Broken, Mutation};
use crate::peers::Peers;
use crate::peers::outbox::Outbox;
use crate::standing::Standing;
use crate::state::checkpoint;
use crate::state::journal::Journal;
use crate::state::record::{Record, Write};
use crate::sync::Sync;
use crate::sync::comparison::Comparisons;
use crate::sync::knowledge::Peerage;

/// The eventual engine; see the crate's documentation for what it promises.
#[derive(Clone, Debug)]
pub struct EventualEngine {
    pub(crate) core: Core,
    pub(crate) identity: Identity,
    pub(crate) queue: Queue,
    pub(crate) writes: Writes,
    pub(crate) reads: Reads,
    pub(crate) scans: Scans,
    pub(crate) sync: Sync,
    pub(crate) comparisons: Comparisons,
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
        if self.identity.is_new() {
            let members = self.core.other_members();
            self.core.expect(now.mono, members);
        }
        self.identity.begin_if_new(&mut self.core, step);
        match input {
            Input::Request { id, op, options } => self.on_request(step, id, op, &options),
            Input::Cancel { id } => {
                self.core.requests.remove(&id);
            }
            Input::Message { from, message } => self.on_message(step, from, message),
            Input::PeerUp { peer, incarnation } => self.on_peer_up(step, peer, incarnation),
            Input::PeerDown { peer } => self.on_peer_down(step, peer),
            Input::Persisted { up_to } => self.on_persisted(step, up_to),
            Input::CheckpointWritten { covers } => {
                checkpoint::note_written(&mut self.core.state, covers);
            }
            Input::SnapshotPart { from, .. } => {
                // Servers of this engine send each other none.
                self.core.bad_message(from, "snapshot");
                step.out.end_snapshot(from);
            }
            Input::DiskShort { shortage } => self.core.shortage = Some(shortage),
            Input::DiskRoom => self.core.shortage = None,
            // Every server coordinates, and nobody waits for this one.
            Input::Stop => {}
            Input::Timeout => {
                checkpoint::tidy(&mut self.core.state, step.now.mono);
                self.on_timeout(step);
            }
        }
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        if self.identity.is_new() {
            return Some(Duration::ZERO);
        }
        let Core { outbox, deadlines, state, .. } = &self.core;
        [outbox.due(), deadlines.first(), state.tidy_at].into_iter().flatten().min()
    }

    fn open_view(&mut self, scope: ViewScope) -> Option<OpenView> {
        let Core { state, config, journal, .. } = &mut self.core;
        checkpoint::open(state, &config.cluster, journal.persisted(), scope)
    }

    fn read_view(&mut self, view: ViewId, bytes_max: usize) -> Option<ViewChunk> {
        checkpoint::read(&mut self.core.state, view, bytes_max)
    }

    fn close_view(&mut self, view: ViewId) {
        checkpoint::close(&mut self.core.state, view);
    }

    fn status(&self) -> Status {
        self.describe()
    }

    fn fingerprint(&self) -> u64 {
        self.core.state.fingerprint()
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
        for (&node, &incarnation) in &state.incarnations {
            if let Some(slot) = peers.slot(node) {
                peers.meet(slot, incarnation);
            }
        }
        let forgets = broken.is(Mutation::ClockReissued);
        let clock_bound = if forgets { HybridTime::ZERO } else { state.clock_bound };
        let first_phase = match state.incarnation {
            Incarnation::UNKNOWN => Phase::Unborn,
            _ if broken.is(Mutation::IncarnationResumed) => Phase::Serving,
            Incarnation(_) => Phase::Returning,
        };
        let vectors = state.peer_vectors.iter();
        let peerage = vectors.filter_map(|(node, vector)| {
            Some((peers.slot(*node)?, Peerage::recovered(vector.clone())))
        });
        let peerage = peerage.collect();
        let mut seeds = SeedStream::new(config.seed);
        let run = seeds.next_u64();
        let core = Core {
            run,
            journal: Journal::after(last),
            clock: Clock::recovered(clock_bound),
            requests: IdSet::default(),
            outbox: Outbox::new(config.cluster.voters().len(), config.limits.message_bytes_max),
            deadlines: Deadlines::default(),
            counters: Counters::default(),
            shortage: None,
            standing: Standing::default(),
            peerage,
            cuts: BTreeMap::new(),
            heard_of: SlotSet::EMPTY,
            is_burying: false,
            peers,
            state,
            config,
        };
        Ok(Self {
            core,
            identity: Identity::new(first_phase, run),
            queue: Queue::default(),
            writes: Writes::default(),
            reads: Reads::new(seeds.next_u64()),
            sync: Sync::new(seeds.next_u64()),
            comparisons: Comparisons::new(seeds.next_u64()),
            // The last, so that all others draw what they drew before there were scans.
            scans: Scans::new(seeds.next_u64()),
        })
    }

    /// How many requests are worked on, those included whose client has gone.
    pub(crate) fn pending(&self) -> usize {
        self.queue.len() + self.writes.waiting_len() + self.reads.len() + self.scans.len()
    }

    fn check_invariants(&self) {
        assert!(
            self.core.requests.len() <= self.pending(),
            "every client that waits is waited for"
        );
        assert!(
            self.pending() <= self.core.config.limits.requests_max,
            "the bound of requests is kept"
        );
        assert!(
            !self.identity.is_serving() || !self.core.standing.is_clear() || self.queue.len() == 0,
            "a server that takes writes, and waits for nobody, has no requests in its queue"
        );
        let timers = self.pending() + self.core.peers.others().iter().count();
        assert!(
            self.core.deadlines.len() <= timers + 4,
            "a deadline belongs to something that waits"
        );
    }
}
