//! Clauses 2 and 7: effects depend on the inputs alone.

use kv_core::{ConsistencyEngine, Effect, Effects, NotDone, Outcome, RecoverError, RequestId};

use super::failure::{Failure, Finding};
use super::scenario::{Scenario, seeds};
use crate::cluster::tape::{TapedBatch, TapedIncarnation};
use crate::disk::Items;

/// Clause 2: an engine appends to the effects that wait and leaves those alone; the same inputs
/// give the same effects whether these are drained after each step or after a batch.
///
/// # Errors
/// [`Failure`] with the seed that shows it.
pub fn only_appends_effects<E: ConsistencyEngine>() -> Result<(), Failure> {
    replay_all::<E>(2, Drain::AfterEachBatch)
}

/// Clause 7: two runs of one seed do the same byte for byte, and an engine that is given the
/// inputs of another gives its effects.
///
/// An engine that looks at a clock, at global state or at the order of a hash map is found as far
/// as that shows in effects.
///
/// # Errors
/// [`Failure`] with the seed that shows it.
pub fn same_inputs_give_same_effects<E: ConsistencyEngine>() -> Result<(), Failure> {
    for seed in seeds(10) {
        let hash = || Ok::<_, Failure>(scenario(seed).run::<E>()?.trace_hash());
        if hash()? != hash()? {
            return Err(Finding::RunsDiffer.of(7, seed));
        }
    }
    replay_all::<E>(7, Drain::AfterEachStep)
}

/// When a replay takes the effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    AfterEachStep,
    AfterEachBatch,
}

fn replay_all<E: ConsistencyEngine>(clause: u8, drain: Drain) -> Result<(), Failure> {
    for seed in seeds(15) {
        let cluster = scenario(seed).run::<E>()?;
        for node in cluster.nodes() {
            let incarnations = cluster.tape(node).map(|tape| tape.incarnations.as_slice());
            for incarnation in incarnations.unwrap_or_default() {
                let same = replays::<E>(incarnation, drain);
                if same != Ok(true) {
                    let finding = match drain {
                        Drain::AfterEachStep => Finding::EffectsDiffer { node },
                        Drain::AfterEachBatch => Finding::EffectsDisturbed { node },
                    };
                    return Err(finding.of(clause, seed));
                }
            }
        }
    }
    Ok(())
}

/// Whether a new engine does what the tape says.
fn replays<E: ConsistencyEngine>(
    incarnation: &TapedIncarnation<E::Message, E::Record>,
    drain: Drain,
) -> Result<bool, RecoverError> {
    let checkpoint = incarnation.checkpoint.clone().map(Items::checkpoint);
    let mut engine =
        E::recover(incarnation.config.clone(), checkpoint, incarnation.records.clone())?;
    let last = incarnation.batches.len().saturating_sub(1);
    Ok(incarnation.batches.iter().enumerate().all(|(index, batch)| {
        let effects = replay(&mut engine, batch, drain);
        // A crash may have kept the last effects from being carried out.
        if index == last { effects.starts_with(&batch.effects) } else { effects == batch.effects }
    }))
}

fn replay<E: ConsistencyEngine>(
    engine: &mut E,
    batch: &TapedBatch<E::Message, E::Record>,
    drain: Drain,
) -> Vec<Effect<E::Message, E::Record>> {
    let mut taken = Vec::new();
    let mut out = Effects::new();
    if drain == Drain::AfterEachBatch {
        // Waits in front of all others, and has to be there untouched in the end.
        out.reply(RequestId(u64::MAX), marker());
    }
    for input in &batch.inputs {
        engine.step(batch.now, input.clone(), &mut out);
        if drain == Drain::AfterEachStep {
            taken.extend(out.drain());
        }
    }
    taken.extend(out.drain());
    if drain == Drain::AfterEachBatch {
        let first = (!taken.is_empty()).then(|| taken.remove(0));
        let (id, outcome) = (RequestId(u64::MAX), marker());
        if first != Some(Effect::Reply { id, outcome }) {
            taken.clear();
            taken.push(Effect::Reply { id, outcome: marker() });
        }
    }
    taken
}

const fn marker() -> Outcome {
    Outcome::NotDone(NotDone::Overloaded { limit: 0 })
}

const fn scenario(seed: u64) -> Scenario {
    Scenario { seed, requests: 50, process_faults: true, tapes: true }
}
