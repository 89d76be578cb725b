//! The rules of the engines that can be broken, each with the checker that must notice.
//!
//! One table for the command (`--mutation`, in builds with the feature `mutations`) and for the
//! test that runs all of it (`tests/mutations.rs`).

mod breakable;
pub(crate) mod disks;
pub(crate) mod drivers;
mod holders;
mod logs;
mod scenario;
mod sent;
mod subject;
mod subjects;
mod table;
mod watch;

pub(crate) use breakable::{Eventual, Linear};
pub(crate) use disks::DiskChecker;
pub(crate) use drivers::DriverChecker;
pub(crate) use scenario::{Run, Scenario};
pub(crate) use subject::{Row, Subject};

use std::panic::{AssertUnwindSafe, catch_unwind};

use kv_check::oracle::Promise;
use kv_check::{Budget, Verdict, linearizability};
use kv_sim::conformance;
use kv_sim::{Breach, Report, Simulation, SimulationFailure, Violation};

/// Who must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Checker {
    /// A clause of the contract, by the conformance suite.
    Clause(Clause),
    /// The linearizability checker, in a scenario.
    Linearizability(Scenario),
    /// An oracle, in a scenario.
    Oracle(Scenario, Promise),
    /// No server halts, in a scenario.
    NoHalt(Scenario),
    /// Servers that have applied as much hold the same, in a scenario.
    EqualStates(Scenario),
    /// W disks hold what is committed, in a scenario.
    Held(Scenario),
    /// What is committed is equal everywhere and known to each later sequencer, after each step of
    /// a scenario.
    Logs(Scenario),
    /// What servers promise and acknowledge is on their disks, after each step of a scenario.
    Founded(Scenario),
    /// A law of whole runs, in the sweep that every engine gets.
    Sweep(Law),
}

/// What whole runs are held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Law {
    /// The history is linearizable.
    Linearizability,
    /// A page is an answer to its scan.
    OrderlyPages,
    /// W disks hold what is acknowledged.
    Holders,
    /// What was put for a time goes when that is over.
    Expiry,
    /// All servers come to hold the same.
    Converges,
    /// A promise of the engine.
    Promise(Promise),
}

impl Law {
    /// Whether a run failed by it.
    fn is_broken_by(self, failure: &SimulationFailure) -> bool {
        match self {
            Self::Linearizability => matches!(failure, SimulationFailure::NotLinearizable { .. }),
            Self::OrderlyPages => matches!(failure, SimulationFailure::Disorderly { .. }),
            Self::Expiry => matches!(failure, SimulationFailure::NotExpired { .. }),
            Self::Holders => matches!(
                failure,
                SimulationFailure::Contract(Violation { breach: Breach::ThinlyHeld { .. }, .. })
            ),
            Self::Converges => matches!(failure, SimulationFailure::NotConverged { .. }),
            Self::Promise(promise) => matches!(
                failure,
                SimulationFailure::Promise { promise: broken, .. } if *broken == promise
            ),
        }
    }
}

/// A clause of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Clause {
    /// 1: the engine withholds.
    Withholds,
    /// 4: it retransmits.
    Retransmits,
    /// 8: its checkpoints sum up to its state.
    SumsUp,
}

/// The first seed that shows something, with what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caught {
    pub(crate) seed: u64,
    pub(crate) finding: String,
}

/// What a checker says of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opinion {
    /// Nothing is wrong.
    Right,
    /// Something is.
    Wrong(String),
    /// It could not find out. This is no "right".
    Undecided,
}

impl Checker {
    /// The first seed up to `seeds_max` that shows something; a clause has seeds of its own.
    ///
    /// # Errors
    /// [`Violation`] of the contract, where it is another checker that is asked.
    pub(crate) fn find<E: Subject>(self, seeds_max: u64) -> Result<Option<Caught>, Violation> {
        if let Self::Sweep(law) = self {
            let by_law = |seed| {
                let failure = sweep::<E>(seed).err().filter(|failure| law.is_broken_by(failure))?;
                Some(Caught { seed, finding: failure.to_string() })
            };
            return Ok((1..=seeds_max).find_map(by_law));
        }
        let Some(scenario) = self.scenario() else {
            return Ok(self.find_by_clause::<E>());
        };
        for seed in 1..=seeds_max {
            // An assertion of the broken engine that fails is no finding of this checker.
            let run = catch_unwind(AssertUnwindSafe(|| scenario.run::<E>(seed)));
            if let Ok(run) = run
                && let Opinion::Wrong(finding) = self.judge(&run?)
            {
                return Ok(Some(Caught { seed, finding }));
            }
        }
        Ok(None)
    }

    /// What it says of a run of its scenario.
    pub(crate) fn judge(self, run: &Run) -> Opinion {
        let finding = match self {
            Self::Clause(_) | Self::Sweep(_) => None,
            Self::Linearizability(_) => return linearizable(run),
            Self::Oracle(_, promise) => promise.judge(&run.evidence).err().map(|f| f.to_string()),
            Self::NoHalt(_) => (run.halted > 0).then(|| format!("{} servers halted", run.halted)),
            Self::EqualStates(_) => run.differs_at.map(|at| format!("states differ at {at}")),
            Self::Held(_) => run.thinly_held.clone(),
            Self::Logs(_) => run.found.logs.clone(),
            Self::Founded(_) => run.found.unfounded.clone(),
        };
        finding.map_or(Opinion::Right, Opinion::Wrong)
    }

    /// The scenario in which it looks; `None` for a clause and for the sweep, which bring their own.
    pub(crate) const fn scenario(self) -> Option<Scenario> {
        match self {
            Self::Clause(_) | Self::Sweep(_) => None,
            Self::Linearizability(scenario)
            | Self::Oracle(scenario, _)
            | Self::NoHalt(scenario)
            | Self::EqualStates(scenario)
            | Self::Held(scenario)
            | Self::Logs(scenario)
            | Self::Founded(scenario) => Some(scenario),
        }
    }

    fn find_by_clause<E: Subject>(self) -> Option<Caught> {
        let failure = match self {
            Self::Clause(Clause::Withholds) => conformance::withholds_until_persisted::<E>(),
            Self::Clause(Clause::Retransmits) => conformance::retransmits_what_was_lost::<E>(),
            Self::Clause(Clause::SumsUp) => conformance::checkpoints_sum_up_to_the_state::<E>(),
            Self::Linearizability(_)
            | Self::Oracle(..)
            | Self::NoHalt(_)
            | Self::EqualStates(_)
            | Self::Held(_)
            | Self::Logs(_)
            | Self::Founded(_)
            | Self::Sweep(_) => Ok(()),
        };
        let failure = failure.err()?;
        Some(Caught { seed: failure.seed(), finding: failure.to_string() })
    }
}

/// The run that the command makes of a seed.
pub(crate) fn sweep<E: Subject>(seed: u64) -> Result<Report, SimulationFailure> {
    let mut run = Simulation::<E>::new(seed, &E::declaration())?;
    run.probe(E::probe());
    run.run()
}

/// Carries out a run of an engine that may panic.
///
/// # Errors
/// Why it does not pass; nothing if the engine panicked.
fn attempt(
    run: impl FnOnce() -> Result<Report, SimulationFailure>,
) -> Result<(), Option<SimulationFailure>> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(passed) => passed.map(drop).map_err(Some),
        Err(_) => Err(None),
    }
}

/// Whether the history of a run is linearizable.
pub(crate) fn linearizable(run: &Run) -> Opinion {
    match linearizability(&run.history, Budget::default()) {
        Ok(Verdict::Linearizable) => Opinion::Right,
        Ok(Verdict::NotLinearizable(smallest)) => {
            Opinion::Wrong(format!("{} calls have no order", smallest.calls.len()))
        }
        Ok(Verdict::Undecided { .. }) => Opinion::Undecided,
        Err(error) => Opinion::Wrong(error.to_string()),
    }
}

/// How many seeds a checker may need to notice its mutation.
pub(crate) const SEEDS_MAX: u64 = 2_000;
