//! The rules of the engines that can be broken, each with the checker that must notice.
//!
//! One table for the command (`--mutation`, in builds with the feature `mutations`) and for the
//! test that runs all of it (`tests/mutations.rs`).

pub(crate) mod disks;
mod holders;
mod scenario;
mod subject;
mod table;

pub(crate) use disks::DiskChecker;
pub(crate) use scenario::{Run, Scenario};
pub(crate) use subject::{Eventual, Linear, Subject};
pub(crate) use table::Row;

use kv_sim::conformance::{self, Failure};
use kv_sim::oracle::Promise;
use kv_sim::{Budget, Verdict, Violation, linearizability};

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
}

/// A clause of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Clause {
    /// 1: the engine withholds.
    Withholds,
    /// 4: it retransmits.
    Retransmits,
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
        let Some(scenario) = self.scenario() else {
            return Ok(self.find_by_clause::<E>());
        };
        for seed in 1..=seeds_max {
            if let Opinion::Wrong(finding) = self.judge(&scenario.run::<E>(seed)?) {
                return Ok(Some(Caught { seed, finding }));
            }
        }
        Ok(None)
    }

    /// What it says of a run of its scenario.
    pub(crate) fn judge(self, run: &Run) -> Opinion {
        let finding = match self {
            Self::Clause(_) => None,
            Self::Linearizability(_) => return linearizable(run),
            Self::Oracle(_, promise) => promise.judge(&run.evidence).err().map(|f| f.to_string()),
            Self::NoHalt(_) => (run.halted > 0).then(|| format!("{} servers halted", run.halted)),
            Self::EqualStates(_) => run.differs_at.map(|at| format!("states differ at {at}")),
            Self::Held(_) => run.thinly_held.clone(),
        };
        finding.map_or(Opinion::Right, Opinion::Wrong)
    }

    /// The scenario in which it looks; `None` for a clause, which brings its own.
    pub(crate) const fn scenario(self) -> Option<Scenario> {
        match self {
            Self::Clause(_) => None,
            Self::Linearizability(scenario)
            | Self::Oracle(scenario, _)
            | Self::NoHalt(scenario)
            | Self::EqualStates(scenario)
            | Self::Held(scenario) => Some(scenario),
        }
    }

    fn find_by_clause<E: Subject>(self) -> Option<Caught> {
        let failure = match self {
            Self::Clause(Clause::Withholds) => conformance::withholds_until_persisted::<E>(),
            Self::Clause(Clause::Retransmits) => conformance::retransmits_what_was_lost::<E>(),
            Self::Linearizability(_)
            | Self::Oracle(..)
            | Self::NoHalt(_)
            | Self::EqualStates(_)
            | Self::Held(_) => Ok(()),
        };
        let failure = failure.err()?;
        let seed = match &failure {
            Failure::Contract(violation) => violation.seed,
            Failure::Clause { seed, .. } => *seed,
            Failure::Config(_) => 0,
        };
        Some(Caught { seed, finding: failure.to_string() })
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
