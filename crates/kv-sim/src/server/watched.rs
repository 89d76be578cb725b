//! An engine whose inputs and effects are watched.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{
    Checkpoint, ConsistencyEngine, Effect, Effects, EngineConfig, Input, Now, OpenView, PersistSeq,
    RecoverError, RequestId, Status, ViewChunk, ViewId, ViewScope,
};

use crate::cluster::tape::TapedBatch;
use crate::violation::Breach;

/// An engine that notes what it was given and gave, and how it keeps its contract, while the server's
/// own driver drives it.
#[derive(Clone, Debug)]
pub(crate) struct Watched<E: ConsistencyEngine> {
    pub(crate) engine: E,
    notes: Notes<E::Message, E::Record>,
}

#[derive(Clone, Debug)]
struct Notes<M, R> {
    steps: u64,
    breach: Option<Breach>,
    /// The requests that were given, and whether each was answered.
    requests: BTreeMap<RequestId, bool>,
    /// What was given and came of it, if that is kept.
    batch: Option<TapedBatch<M, R>>,
}

impl<E: ConsistencyEngine> Watched<E> {
    /// `keeps` decides whether inputs and effects are kept.
    pub(crate) fn new(engine: E, keeps: bool) -> Self {
        let batch = keeps.then(TapedBatch::default);
        let requests = BTreeMap::new();
        Self { engine, notes: Notes { steps: 0, breach: None, requests, batch } }
    }

    /// How many steps there were since this was asked last.
    pub(crate) const fn take_steps(&mut self) -> u64 {
        std::mem::replace(&mut self.notes.steps, 0)
    }

    /// How the contract was broken, if it was.
    pub(crate) const fn take_breach(&mut self) -> Option<Breach> {
        self.notes.breach.take()
    }

    /// What happened since this was asked last, if that is kept.
    pub(crate) fn take_batch(&mut self) -> Option<TapedBatch<E::Message, E::Record>> {
        self.notes.batch.as_mut().map(std::mem::take)
    }
}

impl<M, R> Notes<M, R> {
    fn look_at_reply(&mut self, id: RequestId) {
        let breach = match self.requests.insert(id, true) {
            Some(false) => return,
            Some(true) => Breach::SecondReply { id },
            None => Breach::StrayReply { id },
        };
        self.breach.get_or_insert(breach);
    }
}

impl<E: ConsistencyEngine> ConsistencyEngine for Watched<E> {
    const NAME: &'static str = E::NAME;
    const SHARED_QUORUMS: bool = E::SHARED_QUORUMS;
    const SESSIONS: bool = E::SESSIONS;

    type Message = E::Message;
    type Record = E::Record;

    fn recover(
        config: EngineConfig,
        checkpoint: Option<Checkpoint>,
        records: impl IntoIterator<Item = (PersistSeq, Self::Record)>,
    ) -> Result<Self, RecoverError> {
        E::recover(config, checkpoint, records).map(|engine| Self::new(engine, false))
    }

    fn step(
        &mut self,
        now: Now,
        input: Input<Self::Message>,
        out: &mut Effects<Self::Message, Self::Record>,
    ) {
        self.notes.steps += 1;
        let is_timeout = matches!(input, Input::Timeout);
        let before = out.len();
        let taped = self.notes.batch.is_some().then(|| input.clone());
        if let Input::Request { id, .. } = &input {
            self.notes.requests.insert(*id, false);
        }
        self.engine.step(now, input, out);
        for effect in out.iter().skip(before) {
            if let Effect::Reply { id, .. } = effect {
                self.notes.look_at_reply(*id);
            }
        }
        if let (Some(batch), Some(input)) = (&mut self.notes.batch, taped) {
            let given: Vec<Effect<_, _>> = out.iter().skip(before).cloned().collect();
            batch.note(now, input, given);
        }
        let next = self.engine.next_deadline();
        if let Some(deadline) = next.filter(|due| is_timeout && *due <= now.mono) {
            self.notes.breach = Some(Breach::DeadlineNotLater { deadline, now: now.mono });
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        // Whoever breaks that rule is not stepped again and again.
        let is_broken = matches!(self.notes.breach, Some(Breach::DeadlineNotLater { .. }));
        if is_broken { None } else { self.engine.next_deadline() }
    }

    fn open_view(&mut self, scope: ViewScope) -> Option<OpenView> {
        self.engine.open_view(scope)
    }

    fn read_view(&mut self, view: ViewId, bytes_max: usize) -> Option<ViewChunk> {
        self.engine.read_view(view, bytes_max)
    }

    fn close_view(&mut self, view: ViewId) {
        self.engine.close_view(view);
    }

    fn status(&self) -> Status {
        self.engine.status()
    }

    fn fingerprint(&self) -> u64 {
        self.engine.fingerprint()
    }
}
