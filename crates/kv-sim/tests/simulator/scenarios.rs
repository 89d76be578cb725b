//! A seed becomes a scenario that does the same, and one that fails becomes a small one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

use kv_core::ConsistencyEngine;
use kv_eventual::EventualEngine;
use kv_linear::LinearEngine;
use kv_sim::scenario::{Act, Scenario, Shrunk, Trial};
use kv_sim::{Declaration, Injection, Simulation, SimulationFailure};

use super::engines;
use super::one_copy::{self, Mutation, OneCopy, broken_by};

/// What happens in the run of a seed.
fn trace<E: ConsistencyEngine>(seed: u64, declaration: &Declaration) -> Vec<String> {
    let mut simulation = Simulation::<E>::new(seed, declaration).unwrap();
    simulation.keep_trace(usize::MAX);
    simulation.run().unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    simulation.cluster().trace_lines().map(ToOwned::to_owned).collect()
}

fn does_the_same<E: ConsistencyEngine>(declaration: &Declaration) {
    let trial = Trial::<E>::new(declaration);
    for seed in 1..=SEEDS {
        let (scenario, failure) = Scenario::of_seed(seed, &trial).unwrap();
        assert_eq!(failure, None, "seed {seed}");
        let read: Scenario = scenario.to_text().parse().unwrap();
        assert_eq!(read, scenario);
        let (drawn, again) = (trace::<E>(seed, declaration), read.trace(&trial).unwrap());
        let differs = drawn.iter().zip(&again).find(|(drawn, again)| drawn != again);
        assert_eq!((differs, drawn.len()), (None, again.len()), "{} seed {seed}", E::NAME);
    }
}

#[test]
fn the_scenario_of_a_seed_does_the_same_as_the_seed() {
    does_the_same::<LinearEngine>(&engines::linearizable());
    does_the_same::<EventualEngine>(&engines::eventual());
}

/// The first seed that fails, made smaller.
fn shrunk(mutation: Mutation) -> Shrunk {
    let declaration = one_copy::declaration();
    let trial = Trial::<OneCopy>::new(&declaration);
    let found = broken_by(mutation, || {
        (1..=SEEDS_MAX).find_map(|seed| {
            let (scenario, failure) = Scenario::of_seed(seed, &trial).unwrap();
            failure?;
            let shrunk = scenario.shrink(&trial, RUNS_MAX, &|| false)?;
            // It is a file by now, and fails all the same.
            let again: Scenario = shrunk.scenario.to_text().parse().unwrap();
            assert_eq!(again.run(&trial).err(), shrunk.failure);
            Some(shrunk)
        })
    });
    let shrunk = found.unwrap_or_else(|| panic!("{mutation:?} was not seen"));
    // The fault is the engine's, and not the scenario's.
    assert_eq!(shrunk.scenario.run(&trial), Ok(()), "{}", shrunk.scenario);
    shrunk
}

fn count(scenario: &Scenario, wanted: impl Fn(&Act) -> bool) -> usize {
    scenario.acts.iter().filter(|act| wanted(act)).count()
}

const fn asks(act: &Act) -> bool {
    matches!(act, Act::Ask { .. })
}

const fn begins(act: &Act) -> bool {
    matches!(act, Act::Begin { .. })
}

#[test]
fn a_seed_of_a_forgotten_record_shrinks_to_a_write_and_what_ends_its_server() {
    let Shrunk { scenario, failure, .. } = shrunk(Mutation::ForgetsARecord);
    let broken = matches!(
        failure,
        Some(SimulationFailure::NotLinearizable { .. } | SimulationFailure::Promise { .. })
    );
    assert!(broken, "{failure:?}");
    assert!(count(&scenario, asks) <= 3, "{scenario}");
    assert!((1..=2).contains(&count(&scenario, begins)), "{scenario}");
    let is_around = |act: &Act| {
        let Act::Begin { injection, .. } = act else { return false };
        matches!(injection, Injection::Block { .. } | Injection::SetClock { .. })
    };
    assert_eq!(count(&scenario, is_around), 0, "{scenario}");
}

#[test]
fn a_seed_of_an_engine_that_never_serves_shrinks_to_nothing() {
    let Shrunk { scenario, failure, runs, .. } = shrunk(Mutation::RefusesEverything);
    assert!(matches!(failure, Some(SimulationFailure::NeverServes { .. })), "{failure:?}");
    assert_eq!((count(&scenario, asks), count(&scenario, begins)), (0, 0), "{scenario}");
    assert!(runs < RUNS_MAX);
}

const SEEDS: u64 = if cfg!(debug_assertions) { 12 } else { 200 };
const SEEDS_MAX: u64 = 200;
const RUNS_MAX: u32 = 4_000;
