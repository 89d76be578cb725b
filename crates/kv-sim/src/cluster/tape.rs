//! All that one engine was given and gave, to be played again.

use kv_core::{Effect, EngineConfig, Input, Now, PersistSeq};

use crate::disk::Items;

/// A server's incarnations as its engine saw them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tape<M, R> {
    /// One after the other; the last may still run.
    pub incarnations: Vec<TapedIncarnation<M, R>>,
}

/// From a start to a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapedIncarnation<M, R> {
    /// What the engine was told at its start.
    pub config: EngineConfig,
    /// The checkpoint that it started on.
    pub checkpoint: Option<Items>,
    /// The records that it started on.
    pub records: Vec<(PersistSeq, R)>,
    /// What it did from then on.
    pub batches: Vec<TapedBatch<M, R>>,
}

/// Some inputs and the effects that they had in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapedBatch<M, R> {
    /// The clocks of every step of the batch.
    pub now: Now,
    /// The inputs in order, timeouts included.
    pub inputs: Vec<Input<M>>,
    /// The effects, in order.
    pub effects: Vec<Effect<M, R>>,
}

impl<M, R> TapedBatch<M, R> {
    pub(crate) fn note(&mut self, now: Now, input: Input<M>, effects: Vec<Effect<M, R>>) {
        self.now = now;
        self.inputs.push(input);
        self.effects.extend(effects);
    }
}

impl<M, R> Default for TapedBatch<M, R> {
    fn default() -> Self {
        Self { now: Now::default(), inputs: Vec::new(), effects: Vec::new() }
    }
}
