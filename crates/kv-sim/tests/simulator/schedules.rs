//! Schedules of requests and faults, drawn at random: every engine passes, and a broken one fails by
//! a schedule that a person can follow.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what went wrong by panicking, and shows what it found"
)]

use kv_core::ConsistencyEngine;
use kv_eventual::EventualEngine;
use kv_linear::LinearEngine;
use kv_sim::schedule::{Move, Smallest, explore};
use kv_sim::{Declaration, OperationKind, SimulationFailure};

use super::engines;
use super::one_copy::{self, Mutation, OneCopy, broken_by};

fn passes<E: ConsistencyEngine>(declaration: &Declaration) {
    if let Err(smallest) = explore::<E>(declaration, CASES) {
        panic!("{smallest}");
    }
}

fn smallest(mutation: Mutation) -> Smallest {
    let found = broken_by(mutation, || explore::<OneCopy>(&one_copy::declaration(), 500));
    let smallest = *found.err().unwrap_or_else(|| panic!("{mutation:?} was not seen"));
    println!("{mutation:?}: {smallest}\n");
    smallest
}

#[test]
fn the_linearizable_engine_passes() {
    passes::<LinearEngine>(&engines::linearizable());
}

#[test]
fn the_eventual_engine_passes() {
    passes::<EventualEngine>(&engines::eventual());
}

/// A write, and a crash after which it is to be read from disk.
#[test]
fn a_forgotten_record_shrinks_to_a_write_and_a_crash() {
    let Smallest { schedule, failure, .. } = smallest(Mutation::ForgetsARecord);
    let broken = matches!(
        failure,
        Some(SimulationFailure::NotLinearizable { .. } | SimulationFailure::Promise { .. })
    );
    assert!(broken, "{failure:?}");
    let writes = |next: &Move| {
        matches!(next, Move::Ask { kind: OperationKind::Put | OperationKind::Delete, .. })
    };
    let crashes = |next: &Move| {
        let ends = matches!(next, Move::Crash(_) | Move::CrashAfter(..) | Move::Kill(_));
        ends || matches!(next, Move::Restart(_) | Move::Stop(_))
    };
    assert!(schedule.moves.iter().any(writes), "{schedule}");
    assert!(schedule.moves.iter().any(crashes), "{schedule}");
    assert!(schedule.moves.len() <= 4, "{schedule}");
}

/// The engine refuses whatever it is asked: not one move is needed to see that.
#[test]
fn an_engine_that_does_nothing_shrinks_to_nothing() {
    let Smallest { schedule, failure, .. } = smallest(Mutation::RefusesEverything);
    assert!(matches!(failure, Some(SimulationFailure::NeverServes { .. })), "{failure:?}");
    assert_eq!(schedule.moves, []);
}

const CASES: u32 = if cfg!(debug_assertions) { 40 } else { 500 };
