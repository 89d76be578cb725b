//! The contract of [`kv_core::ConsistencyEngine`] as tests that every engine passes.
//!
//! A test file of an engine's crate, `tests/conformance.rs`, is one line, and each clause is a
//! test with its name:
//!
//! ```ignore
//! kv_sim::conformance_suite!(kv_eventual::EventualEngine);
//! ```
//!
//! Each test is a function here, generic over the trait; its doc says what it shows and what it
//! cannot show without knowing the engine. A [`Failure`] names the clause and the seed.

mod checkpoints;
mod durability;
mod failure;
mod pages;
mod replay;
mod replies;
mod retransmission;
mod scenario;
mod shortage;
mod totality;

pub use checkpoints::checkpoints_sum_up_to_the_state;
pub use durability::{
    a_checkpoint_stands_for_its_records, acknowledged_writes_survive_a_crash,
    recovers_from_any_prefix, withholds_until_persisted,
};
pub use failure::{Failure, Finding};
pub use pages::dumps_come_in_pages;
pub use replay::{only_appends_effects, same_inputs_give_same_effects};
pub use replies::{answers_once_and_honestly, halts_never_without_cause};
pub use retransmission::{deadlines_move_on, retransmits_what_was_lost};
pub use shortage::{refuses_at_once_if_driven_by, refuses_at_once_what_a_full_disk_cannot_keep};
pub use totality::survives_any_input;

use kv_core::ConsistencyEngine;

use crate::schedule::{Smallest, explore};
use crate::simulation::Declaration;

/// Holds an engine to every clause, one after the other.
///
/// # Errors
/// [`Failure`] of the first clause that it does not keep.
pub fn every_clause<E: ConsistencyEngine>() -> Result<(), Failure> {
    withholds_until_persisted::<E>()?;
    only_appends_effects::<E>()?;
    survives_any_input::<E>()?;
    retransmits_what_was_lost::<E>()?;
    deadlines_move_on::<E>()?;
    answers_once_and_honestly::<E>()?;
    same_inputs_give_same_effects::<E>()?;
    recovers_from_any_prefix::<E>()?;
    a_checkpoint_stands_for_its_records::<E>()?;
    checkpoints_sum_up_to_the_state::<E>()?;
    acknowledged_writes_survive_a_crash::<E>()?;
    halts_never_without_cause::<E>()?;
    dumps_come_in_pages::<E>()?;
    refuses_at_once_what_a_full_disk_cannot_keep::<E>()
}

/// Holds an engine to all that the suite asks: every clause, and so many schedules.
///
/// With each rule of an engine broken in turn, by `kv_core::Broken::during`, this is the table that
/// shows that nothing which the engine does could be left out unnoticed; `crates/kv-abd` has one.
///
/// # Errors
/// [`NotPassed`], by the first clause or schedule that it does not pass.
pub fn whole_suite<E: ConsistencyEngine>(
    declaration: &Declaration,
    schedules: u32,
) -> Result<(), NotPassed> {
    every_clause::<E>()?;
    explore::<E>(declaration, schedules).map_err(NotPassed::Schedule)
}

/// What an engine does not pass.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotPassed {
    /// A clause of the contract.
    #[error(transparent)]
    Clause(#[from] Failure),
    /// A schedule, made smaller.
    #[error("{0}")]
    Schedule(Box<Smallest>),
}

/// Makes a test of each clause for an engine; with a [`Declaration`](crate::Declaration) behind it
/// also one of random schedules of the faults that the engine survives, which shrink. How many is
/// [`SCHEDULES`](crate::schedule::SCHEDULES), or a third argument.
#[macro_export]
macro_rules! conformance_suite {
    ($engine:ty, $declaration:expr) => {
        $crate::conformance_suite!($engine, $declaration, $crate::schedule::SCHEDULES);
    };
    ($engine:ty, $declaration:expr, $schedules:expr) => {
        $crate::conformance_suite!($engine);

        #[test]
        fn passes_schedules_of_requests_and_faults() {
            let schedules: u32 = $schedules;
            if let Err(smallest) = $crate::schedule::explore::<$engine>(&$declaration, schedules) {
                panic!("{smallest}");
            }
        }
    };
    ($engine:ty) => {
        $crate::conformance_suite!(@tests $engine,
            withholds_until_persisted,
            only_appends_effects,
            survives_any_input,
            retransmits_what_was_lost,
            deadlines_move_on,
            answers_once_and_honestly,
            same_inputs_give_same_effects,
            recovers_from_any_prefix,
            a_checkpoint_stands_for_its_records,
            checkpoints_sum_up_to_the_state,
            acknowledged_writes_survive_a_crash,
            halts_never_without_cause,
            dumps_come_in_pages,
            refuses_at_once_what_a_full_disk_cannot_keep,
        );
    };
    (@tests $engine:ty, $($clause:ident,)*) => {
        $(
            #[test]
            fn $clause() {
                if let Err(failure) = $crate::conformance::$clause::<$engine>() {
                    panic!("{failure}");
                }
            }
        )*
    };
}
