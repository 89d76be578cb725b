//! Each way to break an engine is caught by the checker that is named for it, and the engine as
//! it is passes every one of these checkers on the same seeds.
//!
//! In release the whole table is run (`cargo test --release -p kv-sim --test mutations`); without
//! optimisation a few rows of it, since the rest takes too long.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test's helpers may panic, and the table is printed, with how long it took"
)]

#[path = "mutations/scenario.rs"]
mod scenario;
#[path = "mutations/subject.rs"]
mod subject;

use std::collections::BTreeMap;
use std::time::Instant;

use kv_sim::conformance::{self, Failure};
use kv_sim::oracle::Promise;
use kv_sim::{Budget, Verdict, linearizability};
use scenario::{Run, Scenario};
use subject::{Eventual, Linear, Subject};

/// Who must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Checker {
    /// A clause of the contract, by the conformance suite.
    Clause(u8),
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

impl Checker {
    /// The first seed up to `seeds` that shows something, with what it shows.
    fn find<E: Subject>(self, seeds: u64) -> Option<(u64, String)> {
        match self {
            Self::Clause(clause) => find_by_clause::<E>(clause),
            Self::Linearizability(scenario)
            | Self::Oracle(scenario, _)
            | Self::NoHalt(scenario)
            | Self::EqualStates(scenario)
            | Self::Held(scenario) => (1..=seeds)
                .find_map(|seed| Some((seed, self.finding(&scenario.run::<E>(seed).unwrap())?))),
        }
    }

    fn finding(self, run: &Run) -> Option<String> {
        match self {
            Self::Clause(_) => None,
            Self::Linearizability(_) => {
                match linearizability(&run.history, Budget::default()).unwrap() {
                    Verdict::Linearizable => None,
                    Verdict::NotLinearizable(smallest) => {
                        Some(format!("{} calls have no order", smallest.calls.len()))
                    }
                    Verdict::Undecided { key } => panic!("undecided at {key:?}"),
                }
            }
            Self::Oracle(_, promise) => promise.judge(&run.evidence).err().map(|f| f.to_string()),
            Self::NoHalt(_) => (run.halted > 0).then(|| format!("{} servers halted", run.halted)),
            Self::EqualStates(_) => run.differs_at.map(|at| format!("states differ at {at}")),
            Self::Held(_) => run.thinly_held.clone(),
        }
    }
}

fn find_by_clause<E: Subject>(clause: u8) -> Option<(u64, String)> {
    let failure = match clause {
        1 => conformance::withholds_until_persisted::<E>(),
        4 => conformance::retransmits_what_was_lost::<E>(),
        6 => conformance::answers_once_and_honestly::<E>(),
        other => panic!("no row names clause {other}"),
    };
    let failure = failure.err()?;
    let seed = match &failure {
        Failure::Contract(violation) => violation.seed,
        Failure::Clause { seed, .. } => *seed,
        Failure::Config(error) => panic!("{error}"),
    };
    Some((seed, failure.to_string()))
}

type Row<E> = (<E as Subject>::Mutation, Checker);

fn eventual() -> Vec<Row<Eventual>> {
    use Scenario::{Alone, Quorums};
    use kv_eventual::Mutation as M;
    vec![
        (M::SentBeforePersisted, Checker::Clause(1)),
        (M::AckBeforePersisted, Checker::Clause(1)),
        (M::DoneWithOneFewer, Checker::Clause(1)),
        (M::ReadsOneFewer, Checker::Oracle(Quorums, Promise::QuorumVisibility)),
        (M::ClockReissued, Checker::Oracle(Alone, Promise::UniqueVersions)),
        (M::LastToComeWins, Checker::Oracle(Quorums, Promise::QuorumVisibility)),
        (M::FirstOfATieStays, Checker::Oracle(Quorums, Promise::Convergence)),
        (M::TiesReversed, Checker::Oracle(Quorums, Promise::QuorumVisibility)),
        (M::UnknownToldAsNotDone, Checker::Oracle(Quorums, Promise::HonestRefusals)),
        (M::NeverRepairs, Checker::Oracle(Quorums, Promise::Convergence)),
        (M::DeletesLeaveNothing, Checker::Oracle(Quorums, Promise::DeletesStay)),
        (M::NeverResends, Checker::Clause(4)),
    ]
}

fn linear() -> Vec<Row<Linear>> {
    use Scenario::{Alone, Followers, Generations, Late, Sequencer, Slow};
    use kv_linear::Mutation as M;
    vec![
        (M::AckBeforePersisted, Checker::Clause(1)),
        (M::OwnDiskNotCounted, Checker::Clause(1)),
        (M::CommitsWithOneFewer, Checker::Clause(1)),
        (M::AppliedBeforePersisted, Checker::Linearizability(Alone)),
        (M::AppliedBeforeCommitted, Checker::Clause(1)),
        (M::AppliedOutOfOrder, Checker::Linearizability(Followers)),
        (M::ForwardAppliedTwice, Checker::Linearizability(Followers)),
        (M::RefusedForwardTakenLater, Checker::Linearizability(Slow)),
        (M::FormerLifeCounted, Checker::Oracle(Late, Promise::Convergence)),
        (M::FoundsBesideHolders, Checker::Linearizability(Sequencer)),
        (M::EpochResumed, Checker::NoHalt(Sequencer)),
        (M::OldEpochAcksCounted, Checker::Held(Generations)),
        (M::CommitAcrossEpochs, Checker::Held(Generations)),
        (M::CommitBeforeStart, Checker::NoHalt(Generations)),
        (M::StartAckedBeforeSwitch, Checker::Held(Generations)),
        (M::StartWithoutTruncation, Checker::NoHalt(Generations)),
        (M::PlacedForwardRefused, Checker::Linearizability(Generations)),
        (M::UnknownToldAsNotDone, Checker::Linearizability(Slow)),
        (M::CheckpointWithoutDedup, Checker::EqualStates(Followers)),
        (M::ReadsLocally, Checker::Linearizability(Followers)),
        (M::GapAcknowledged, Checker::Oracle(Followers, Promise::Convergence)),
    ]
}

/// How many seeds each row of a table needed; panics for a row that nobody caught.
fn catch_all<E: Subject>(rows: &[Row<E>]) -> u64 {
    let mut missed = Vec::new();
    let mut most = CONTROL_SEEDS_MIN;
    for (mutation, checker) in rows {
        let began = Instant::now();
        E::break_rule(Some(*mutation));
        let found = checker.find::<E>(SEEDS_MAX);
        E::break_rule(None);
        let ms = began.elapsed().as_millis();
        match found {
            Some((seed, finding)) => {
                most = most.max(seed);
                let name = format!("{mutation:?}");
                let checker = format!("{checker:?}");
                println!("{:<13}{name:<26}{checker:<38}{seed:>5}{ms:>7} ms  {finding}", E::NAME);
            }
            None => {
                println!("{:<13}{mutation:?} by {checker:?}: NOT CAUGHT, {ms} ms", E::NAME);
                missed.push(*mutation);
            }
        }
    }
    assert!(missed.is_empty(), "within {SEEDS_MAX} seeds nobody noticed {missed:?}");
    most
}

/// Every checker that a row names finds nothing in the engine as it is.
fn control<E: Subject>(rows: &[Row<E>], seeds: u64) {
    E::break_rule(None);
    let began = Instant::now();
    let mut by_scenario: BTreeMap<Scenario, Vec<Checker>> = BTreeMap::new();
    let mut clauses = Vec::new();
    for (_, checker) in rows {
        match checker {
            Checker::Clause(clause) => clauses.push(*clause),
            Checker::Linearizability(scenario)
            | Checker::Oracle(scenario, _)
            | Checker::NoHalt(scenario)
            | Checker::EqualStates(scenario)
            | Checker::Held(scenario) => {
                by_scenario.entry(*scenario).or_default().push(*checker);
            }
        }
    }
    clauses.sort_unstable();
    clauses.dedup();
    for clause in clauses {
        assert_eq!(find_by_clause::<E>(clause), None, "{}", E::NAME);
    }
    for (scenario, mut checkers) in by_scenario {
        checkers.sort_unstable();
        checkers.dedup();
        let mut done = 0;
        for seed in 1..=seeds {
            let run = scenario.run::<E>(seed).unwrap();
            done += run.done;
            for checker in &checkers {
                let finding = checker.finding(&run);
                assert_eq!(finding, None, "{} {checker:?}, seed {seed}", E::NAME);
            }
            promises::<E>(scenario, &run, seed);
        }
        let per_seed = done / usize::try_from(seeds).unwrap();
        println!("{:<13}control: {scenario:?}, {seeds} seeds, {per_seed} done in each", E::NAME);
        assert!(per_seed >= 5, "{scenario:?}: only {done} requests were done");
    }
    println!("{:<13}control: {} ms", E::NAME, began.elapsed().as_millis());
}

/// What the engine promises beyond the checkers that a row names.
fn promises<E: Subject>(scenario: Scenario, run: &Run, seed: u64) {
    // A linearizable cluster whose sequencer was lost serves no more.
    let at_rest = scenario != Scenario::Sequencer;
    for promise in E::PROMISES {
        let about_rest =
            [Promise::Convergence, Promise::AcknowledgedWritesKept, Promise::DeletesStay];
        if at_rest || !about_rest.contains(promise) {
            let finding = promise.judge(&run.evidence).err();
            assert_eq!(finding, None, "{} {scenario:?} {promise:?}, seed {seed}", E::NAME);
        }
    }
    if E::LINEARIZABLE {
        let finding = Checker::Linearizability(scenario).finding(run);
        assert_eq!(finding, None, "{} {scenario:?}, seed {seed}", E::NAME);
    }
}

fn rows<R>(all: Vec<R>, small: &[usize]) -> Vec<R> {
    if cfg!(debug_assertions) {
        let rows = all.into_iter().enumerate().filter(|(place, _)| small.contains(place));
        return rows.map(|(_, row)| row).collect();
    }
    all
}

#[test]
fn every_mutation_of_the_eventual_engine_is_caught() {
    assert_eq!(eventual().len(), kv_eventual::Mutation::ALL.len());
    let rows = rows(eventual(), &[3, 9]);
    let seeds = catch_all::<Eventual>(&rows);
    control::<Eventual>(&rows, seeds);
}

#[test]
fn every_mutation_of_the_linearizable_engine_is_caught() {
    assert_eq!(linear().len(), kv_linear::Mutation::ALL.len());
    let rows = rows(linear(), &[5, 13]);
    let seeds = catch_all::<Linear>(&rows);
    control::<Linear>(&rows, seeds);
}

const SEEDS_MAX: u64 = 2_000;
const CONTROL_SEEDS_MIN: u64 = if cfg!(debug_assertions) { 5 } else { 200 };
