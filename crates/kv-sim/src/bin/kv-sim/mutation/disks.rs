//! The rules of storage and its driver that can be broken, and what runs of an engine must then
//! fail by.

use kv_core::ConsistencyEngine;
use kv_sim::{Breach, Declaration, Plan, Simulation, SimulationFailure};
use kv_storage::{Broken, Mutation};

use super::{Caught, attempt};

/// Who must notice, in whole runs of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskChecker {
    /// A restart finds all that was said to be persisted.
    PromisesKept,
    /// A restart goes on with an undamaged disk, and from no other records than were written last.
    Restarts,
    /// A restart does not go on with a damaged disk.
    DamageSeen,
    /// A checkpoint that comes onto the disk reflects only records that are on it.
    CheckpointsBehind,
}

impl DiskChecker {
    /// The checker named for a broken rule.
    pub(crate) const fn of(mutation: Mutation) -> Self {
        match mutation {
            Mutation::SaidBeforeSync
            | Mutation::UnsyncedTailTrusted
            | Mutation::FailedSyncRetried => Self::PromisesKept,
            Mutation::TornTailKept
            | Mutation::PrunedBeforeCheckpoint
            | Mutation::PrunedAfterFailedCheckpoint => Self::Restarts,
            Mutation::DurableThroughIgnored => Self::DamageSeen,
            Mutation::CheckpointBeforeRecords => Self::CheckpointsBehind,
        }
    }

    /// The first seed up to `seeds_max` in which it notices.
    pub(crate) fn find<E: ConsistencyEngine>(
        self,
        mutation: Mutation,
        declaration: &Declaration,
        seeds_max: u64,
    ) -> Option<Caught> {
        (1..=seeds_max).find_map(|seed| {
            let finding = run::<E>(seed, Broken::by(mutation), declaration).err()?;
            let is_mine = finding.as_ref().is_some_and(|failure| self.is_named(failure));
            finding.filter(|_| is_mine).map(|finding| Caught { seed, finding: finding.to_string() })
        })
    }

    const fn is_named(self, failure: &SimulationFailure) -> bool {
        let SimulationFailure::Contract(violation) = failure else {
            return false;
        };
        match (self, &violation.breach) {
            (Self::PromisesKept, Breach::PromiseBroken { .. })
            | (Self::Restarts, Breach::Journal(_) | Breach::RecordChanged { .. })
            | (Self::DamageSeen, Breach::DamageServed)
            | (Self::CheckpointsBehind, Breach::CheckpointAhead { .. }) => true,
            (
                Self::PromisesKept | Self::Restarts | Self::DamageSeen | Self::CheckpointsBehind,
                _,
            ) => false,
        }
    }
}

/// Runs a seed on disks that break a rule, or none.
///
/// # Errors
/// Why it does not pass; nothing if the engine panicked.
pub(crate) fn run<E: ConsistencyEngine>(
    seed: u64,
    broken: Broken,
    declaration: &Declaration,
) -> Result<(), Option<SimulationFailure>> {
    attempt(|| {
        let mut plan = Plan::of(seed, declaration)?;
        plan.cluster.disk.broken = broken;
        Simulation::<E>::with_plan(plan, declaration)?.run()
    })
}
