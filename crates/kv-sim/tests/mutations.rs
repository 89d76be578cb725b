//! Each way to break an engine is caught by the checker that is named for it, and the engine as
//! it is passes every one of these checkers on the same seeds.
//!
//! In release the whole table is run (`cargo test --release -p kv-sim --test mutations`); without
//! optimisation a few rows of it, since the rest takes too long. The command breaks the same rules:
//! `cargo run --release -p kv-sim --features mutations -- --engine eventual --mutation list`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test's helpers may panic, and the table is printed, with how long it took"
)]

#[path = "mutations/directed.rs"]
mod directed;
#[allow(dead_code, reason = "the command says which states were reached")]
#[path = "../src/bin/kv-sim/engines.rs"]
mod engines;
#[path = "../src/bin/kv-sim/mutation/mod.rs"]
mod mutation;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display};
use std::time::Instant;

use kv_check::evidence::{Call, End};
use kv_check::oracle::Promise;
use kv_core::driver;
use kv_sim::{Declaration, conformance};
use kv_storage::{Broken, Mutation};
use mutation::{
    Caught, Checker, DiskChecker, DriverChecker, Eventual, Linear, Opinion, Row, Run, SEEDS_MAX,
    Scenario, Subject,
};

/// The rows of a table, printed at once, as tests that run beside each other print theirs.
struct Table(String);

impl Table {
    fn of(what: &str) -> Self {
        Self(format!("{what}\n"))
    }

    fn add(&mut self, line: impl Display) {
        self.0.push_str(&format!("{line}\n"));
    }

    fn add_caught(
        &mut self,
        (engine, mutation, checker): (&str, impl Debug, impl Debug),
        Caught { seed, finding }: Caught,
        ms: u128,
    ) {
        let (mutation, checker) = (format!("{mutation:?}"), format!("{checker:?}"));
        self.add(format_args!(
            "{engine:<13}{mutation:<26} {checker:<37}{seed:>5}{ms:>7} ms  {finding}"
        ));
    }
}

/// Also what a test had found before it panicked is shown.
impl Drop for Table {
    fn drop(&mut self) {
        print!("{}", self.0);
    }
}

/// What an engine as it is must pass: all checkers that rows name, each on the seeds that it took,
/// where it looked, to notice a broken rule there.
#[derive(Default)]
struct Control {
    clauses: BTreeSet<Checker>,
    sweep_seeds: u64,
    scenarios: BTreeMap<Scenario, (u64, BTreeSet<Checker>)>,
}

impl Control {
    /// Asks that a checker pass on seeds up to the one at which it noticed something.
    fn add(&mut self, checker: Checker, seed: u64) {
        let seeds = seed.max(CONTROL_SEEDS_MIN);
        match (checker, checker.scenario()) {
            (Checker::Sweep(_), _) => self.sweep_seeds = self.sweep_seeds.max(seeds),
            (_, Some(scenario)) => {
                let (most, checkers) = self.scenarios.entry(scenario).or_default();
                *most = seeds.max(*most);
                checkers.insert(checker);
            }
            (_, None) => {
                self.clauses.insert(checker);
            }
        }
    }

    /// Finds nothing in the engine as it is.
    fn run<E: Subject>(&self, table: &mut Table) {
        E::break_rule(None);
        let began = Instant::now();
        for clause in &self.clauses {
            assert_eq!(clause.find::<E>(SEEDS_MAX).unwrap(), None, "{}", E::NAME);
        }
        for seed in 1..=self.sweep_seeds {
            let result = mutation::sweep::<E>(seed);
            assert!(result.is_ok(), "{} seed {seed}: {}", E::NAME, result.unwrap_err());
        }
        if self.sweep_seeds > 0 {
            table.add(format_args!(
                "{:<13}control: the sweep, {} seeds",
                E::NAME,
                self.sweep_seeds
            ));
        }
        for (scenario, (seeds, checkers)) in &self.scenarios {
            let per_seed = pass::<E>(*scenario, *seeds, checkers);
            table.add(format_args!(
                "{:<13}control: {scenario:?}, {seeds} seeds, {per_seed} done in each",
                E::NAME
            ));
            assert!(per_seed >= 5, "{scenario:?}: only {per_seed} requests were done in each");
        }
        table.add(format_args!("{:<13}control: {} ms", E::NAME, began.elapsed().as_millis()));
    }
}

/// The engine as it is passes a scenario; how many requests were done in each run of it.
fn pass<E: Subject>(scenario: Scenario, seeds: u64, checkers: &BTreeSet<Checker>) -> usize {
    let mut done = 0;
    for seed in 1..=seeds {
        let run = scenario.run::<E>(seed).unwrap();
        done += run.evidence.calls.iter().filter(|call| is_done(call)).count();
        for checker in checkers {
            let opinion = checker.judge(&run);
            assert_eq!(opinion, Opinion::Right, "{} {checker:?}, seed {seed}", E::NAME);
        }
        promises::<E>(scenario, &run, seed);
    }
    done / usize::try_from(seeds).unwrap()
}

/// Each row is noticed by its checker, and the engine as it is passes them all.
fn catch_all<E: Subject>(rows: &[Row<E::Mutation>]) {
    let mut table = Table::of(&format!("\nthe rules of the {} engine", E::NAME));
    let (mut missed, mut control) = (Vec::new(), Control::default());
    for Row { mutation, checker } in rows {
        let began = Instant::now();
        E::break_rule(Some(*mutation));
        let found = checker.find::<E>(SEEDS_MAX).unwrap();
        E::break_rule(None);
        let ms = began.elapsed().as_millis();
        match found {
            Some(caught) => {
                control.add(*checker, caught.seed);
                table.add_caught((E::NAME, mutation, checker), caught, ms);
            }
            None => {
                missed.push(*mutation);
                table.add(format_args!("{mutation:?} by {checker:?}: NOT CAUGHT, {ms} ms"));
            }
        }
    }
    control.run::<E>(&mut table);
    assert!(missed.is_empty(), "within {SEEDS_MAX} seeds nobody noticed {missed:?}");
}

fn is_done(call: &Call) -> bool {
    matches!(call.end, Some((_, End::Read { .. } | End::Written { .. })))
}

/// What the engine promises beyond the checkers that a row names.
fn promises<E: Subject>(scenario: Scenario, run: &Run, seed: u64) {
    // A linearizable cluster whose sequencer was lost serves no more.
    let at_rest = scenario != Scenario::Sequencer;
    let promises =
        if E::LINEARIZABLE { Promise::LINEARIZABLE.as_slice() } else { &Promise::EVENTUAL };
    for promise in promises {
        let about_rest =
            [Promise::Convergence, Promise::AcknowledgedWritesKept, Promise::DeletesStay];
        if at_rest || !about_rest.contains(promise) {
            let finding = promise.judge(&run.evidence).err();
            assert_eq!(finding, None, "{} {scenario:?} {promise:?}, seed {seed}", E::NAME);
        }
    }
    if E::LINEARIZABLE {
        let opinion = mutation::linearizable(run);
        assert_eq!(opinion, Opinion::Right, "{} {scenario:?}, seed {seed}", E::NAME);
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
    let mut chosen = rows(Eventual::rows(), &[3, 9]);
    // In random runs it shows too seldom: the next pull brings what one of them owes.
    chosen.retain(|row| row.mutation != kv_eventual::Mutation::OwesNothing);
    catch_all::<Eventual>(&chosen);
}

#[test]
fn every_mutation_of_the_linearizable_engine_is_caught() {
    let mut chosen = rows(Linear::rows(), &[5, 14]);
    // These show in schedules of their own.
    chosen.retain(|row| !directed::is_in_a_schedule(row.mutation));
    catch_all::<Linear>(&chosen);
}

#[test]
fn rules_that_random_runs_show_too_seldom_are_caught_in_schedules() {
    directed::catch_all();
}

/// Each row is noticed by its checker. Returns the highest seed that one of them needed.
fn catch_rows<R: Copy + Debug, C: Copy + Debug>(
    (table, engine): (&mut Table, &str),
    rows: &[(R, C)],
    find: impl Fn(R, C) -> Option<Caught>,
) -> u64 {
    let rows_max = if cfg!(debug_assertions) { 1 } else { rows.len() };
    let (mut missed, mut most) = (Vec::new(), 1);
    for &(rule, checker) in rows.iter().take(rows_max) {
        let began = Instant::now();
        let found = find(rule, checker);
        let ms = began.elapsed().as_millis();
        match found {
            Some(caught) => {
                most = most.max(caught.seed);
                table.add_caught((engine, rule, checker), caught, ms);
            }
            None => {
                missed.push(rule);
                table.add(format_args!("{rule:?} by {checker:?}: NOT CAUGHT, {ms} ms"));
            }
        }
    }
    assert!(missed.is_empty(), "within {SEEDS_MAX} seeds nobody noticed {missed:?}");
    most
}

/// Every broken rule of the disks is noticed in whole runs of an engine, which pass on the same
/// seeds if none is broken.
fn catch_on_disks<E: Subject>(declaration: &Declaration) {
    let mut table = Table::of(&format!("\nthe rules of the disks under the {} engine", E::NAME));
    let rows = Mutation::ALL.map(|mutation| (mutation, DiskChecker::of(mutation)));
    let most = catch_rows((&mut table, E::NAME), &rows, |mutation, checker| {
        checker.find::<E>(mutation, declaration, SEEDS_MAX)
    });
    let most = most.max(CONTROL_SEEDS_MIN);
    let began = Instant::now();
    for seed in 1..=most {
        let passed = mutation::disks::run::<E>(seed, Broken::NONE, declaration);
        assert_eq!(passed, Ok(()), "{} on unbroken disks, seed {seed}", E::NAME);
    }
    let ms = began.elapsed().as_millis();
    table.add(format_args!("{:<13}control: unbroken disks, {most} seeds, {ms} ms", E::NAME));
}

/// The same for the rules of the driver.
fn catch_in_drivers<E: Subject>() {
    let mut table = Table::of(&format!("\nthe rules of the driver of the {} engine", E::NAME));
    let most = catch_rows((&mut table, E::NAME), &DriverChecker::rows::<E>(), |rule, checker| {
        checker.find::<E>(rule, SEEDS_MAX)
    });
    let most = most.max(CONTROL_SEEDS_MIN);
    let began = Instant::now();
    let passed = conformance::refuses_at_once_what_a_full_disk_cannot_keep::<E>();
    assert_eq!(passed, Ok(()), "{}", E::NAME);
    for seed in 1..=most {
        let passed = mutation::drivers::run::<E>(seed, driver::Broken::NONE);
        assert_eq!(passed, Ok(()), "{} under an unbroken driver, seed {seed}", E::NAME);
    }
    let ms = began.elapsed().as_millis();
    table.add(format_args!("{:<13}control: an unbroken driver, {most} seeds, {ms} ms", E::NAME));
}

#[test]
fn every_mutation_of_the_disks_is_caught_under_the_eventual_engine() {
    catch_on_disks::<Eventual>(&engines::eventual());
}

#[test]
fn every_mutation_of_the_disks_is_caught_under_the_linearizable_engine() {
    catch_on_disks::<Linear>(&engines::linearizable());
}

#[test]
fn every_mutation_of_the_driver_is_caught_with_the_eventual_engine() {
    catch_in_drivers::<Eventual>();
}

#[test]
fn every_mutation_of_the_driver_is_caught_with_the_linearizable_engine() {
    catch_in_drivers::<Linear>();
}

/// A minute without optimisation, and a second with it.
#[cfg(not(debug_assertions))]
#[test]
fn the_readme_shows_what_a_seed_of_a_broken_engine_shrinks_to() {
    use kv_sim::scenario::{Scenario, Trial};
    let declaration = engines::linearizable();
    let trial =
        Trial { probe: Some(<Linear as engines::Holder>::probe()), ..Trial::new(&declaration) };
    Linear::break_rule(Some(kv_linear::Mutation::ReadsLocally));
    let (scenario, _) = Scenario::of_seed(5, &trial).unwrap();
    let shrunk = scenario.shrink(&trial, 4_000, &|| false).unwrap();
    Linear::break_rule(None);
    let shown = format!("seed 5, made smaller: {shrunk}\n");
    assert!(
        include_str!("../README.md").contains(&shown),
        "the README shows another than\n{shown}"
    );
    assert_eq!(shrunk.scenario.run(&trial), Ok(()));
}

const CONTROL_SEEDS_MIN: u64 = if cfg!(debug_assertions) { 5 } else { 120 };
