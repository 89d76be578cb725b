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

#[path = "../src/bin/kv-sim/engines.rs"]
mod engines;
#[path = "../src/bin/kv-sim/mutation/mod.rs"]
mod mutation;

use std::collections::BTreeMap;
use std::time::Instant;

use kv_sim::Declaration;
use kv_sim::oracle::{Call, End, Promise};
use kv_storage::{Broken, Mutation};
use mutation::{
    Caught, Checker, DiskChecker, Eventual, Linear, Opinion, Row, Run, SEEDS_MAX, Scenario, Subject,
};

/// How many seeds each row of a table needed; panics for a row that nobody caught.
fn catch_all<E: Subject>(rows: &[Row<E::Mutation>]) -> u64 {
    let mut missed = Vec::new();
    let mut most = CONTROL_SEEDS_MIN;
    for Row { mutation, checker } in rows {
        let began = Instant::now();
        E::break_rule(Some(*mutation));
        let found = checker.find::<E>(SEEDS_MAX).unwrap();
        E::break_rule(None);
        let ms = began.elapsed().as_millis();
        match found {
            Some(Caught { seed, finding }) => {
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
fn control<E: Subject>(rows: &[Row<E::Mutation>], seeds: u64) {
    E::break_rule(None);
    let began = Instant::now();
    let mut by_scenario: BTreeMap<Scenario, Vec<Checker>> = BTreeMap::new();
    let mut clauses = Vec::new();
    let mut sweeps = false;
    for Row { checker, .. } in rows {
        sweeps |= matches!(checker, Checker::Sweep(_));
        match checker.scenario() {
            Some(scenario) => by_scenario.entry(scenario).or_default().push(*checker),
            None if !matches!(checker, Checker::Sweep(_)) => clauses.push(*checker),
            None => {}
        }
    }
    clauses.sort_unstable();
    clauses.dedup();
    for clause in clauses {
        assert_eq!(clause.find::<E>(seeds).unwrap(), None, "{}", E::NAME);
    }
    for seed in (1..=seeds).filter(|_| sweeps) {
        let result = mutation::sweep::<E>(seed);
        assert!(result.is_ok(), "{} seed {seed}: {}", E::NAME, result.unwrap_err());
    }
    for (scenario, mut checkers) in by_scenario {
        checkers.sort_unstable();
        checkers.dedup();
        let mut done = 0;
        for seed in 1..=seeds {
            let run = scenario.run::<E>(seed).unwrap();
            done += run.evidence.calls.iter().filter(|call| is_done(call)).count();
            for checker in &checkers {
                let opinion = checker.judge(&run);
                assert_eq!(opinion, Opinion::Right, "{} {checker:?}, seed {seed}", E::NAME);
            }
            promises::<E>(scenario, &run, seed);
        }
        let per_seed = done / usize::try_from(seeds).unwrap();
        println!("{:<13}control: {scenario:?}, {seeds} seeds, {per_seed} done in each", E::NAME);
        assert!(per_seed >= 5, "{scenario:?}: only {done} requests were done");
    }
    println!("{:<13}control: {} ms", E::NAME, began.elapsed().as_millis());
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
    let rows = rows(Eventual::rows(), &[3, 9]);
    let seeds = catch_all::<Eventual>(&rows);
    control::<Eventual>(&rows, seeds);
}

#[test]
fn every_mutation_of_the_linearizable_engine_is_caught() {
    let rows = rows(Linear::rows(), &[5, 13]);
    let seeds = catch_all::<Linear>(&rows);
    control::<Linear>(&rows, seeds);
}

/// Every broken rule of the disks is noticed in whole runs of an engine, which pass on the same
/// seeds if none is broken.
fn catch_on_disks<E: Subject>(declaration: &Declaration) {
    let mutations = if cfg!(debug_assertions) { &Mutation::ALL[..1] } else { &Mutation::ALL[..] };
    let mut missed = Vec::new();
    let mut most = CONTROL_SEEDS_MIN;
    for &mutation in mutations {
        let began = Instant::now();
        let checker = DiskChecker::of(mutation);
        let found = checker.find::<E>(mutation, declaration, SEEDS_MAX);
        let ms = began.elapsed().as_millis();
        let (name, checker) = (format!("{mutation:?}"), format!("{checker:?}"));
        match found {
            Some(Caught { seed, finding }) => {
                most = most.max(seed);
                println!("{:<13}{name:<26}{checker:<38}{seed:>5}{ms:>7} ms  {finding}", E::NAME);
            }
            None => {
                println!("{:<13}{name} by {checker}: NOT CAUGHT, {ms} ms", E::NAME);
                missed.push(mutation);
            }
        }
    }
    assert!(missed.is_empty(), "within {SEEDS_MAX} seeds nobody noticed {missed:?}");
    for seed in 1..=most {
        let passed = mutation::disks::run::<E>(seed, Broken::NONE, declaration);
        assert_eq!(passed, Ok(()), "{} on unbroken disks, seed {seed}", E::NAME);
    }
    println!("{:<13}control: unbroken disks, {most} seeds", E::NAME);
}

#[test]
fn every_mutation_of_the_disks_is_caught_under_the_eventual_engine() {
    catch_on_disks::<Eventual>(&engines::eventual());
}

#[test]
fn every_mutation_of_the_disks_is_caught_under_the_linearizable_engine() {
    catch_on_disks::<Linear>(&engines::linearizable());
}

const CONTROL_SEEDS_MIN: u64 = if cfg!(debug_assertions) { 5 } else { 200 };
