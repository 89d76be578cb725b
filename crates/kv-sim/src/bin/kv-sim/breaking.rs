//! Runs of an engine of which a rule is broken, or of its driver or disks.

use std::fmt::Debug;
use std::io;

use kv_core::driver::{self, DriverRule};
use kv_sim::command::{Subject as Swept, complain, run_in_turn, say};
use kv_sim::{Declaration, SimConfig};
use kv_storage::{Broken, Mutation};

use crate::args::{Args, Engine};
use crate::mutation::{self, Caught, Checker, DiskChecker, DriverChecker, Row, SEEDS_MAX, Subject};

/// Shows the rules of an engine, or of both, those of the driver and those of the disks.
pub(crate) fn list(engine: Option<Engine>) -> u8 {
    if engine != Some(Engine::Linearizable) {
        show::<mutation::Eventual>();
    }
    if engine != Some(Engine::Eventual) {
        show::<mutation::Linear>();
    }
    let either = "checker that must notice, with either engine";
    say(format_args!("{:<34}{either}", "rule of the disks"));
    for mutation in Mutation::ALL {
        let checker = DiskChecker::of(mutation);
        say(format_args!("{:<34}{checker:?}", format!("{mutation:?}")));
    }
    0
}

fn show<E: Subject>() {
    let rule = format!("rule of the {} engine", E::NAME);
    say(format_args!("{rule:<34}checker that must notice"));
    for Row { mutation, checker } in E::rows() {
        say(format_args!("{:<34}{checker:?}", format!("{mutation:?}")));
    }
    let rule = format!("rule of the {} engine's driver", E::NAME);
    say(format_args!("{rule:<34}checker that must notice"));
    for (rule, checker) in DriverChecker::rows::<E>() {
        say(format_args!("{:<34}{checker:?}", format!("{rule:?}")));
    }
}

/// Breaks the rule with this name, runs the seeds that were asked for, and asks the checker that is
/// named for the rule; whether nobody noticed anything. `None` if there is no such rule, which is
/// said.
pub(crate) fn run<E: Subject>(
    args: &Args,
    name: &str,
    declaration: &Declaration,
) -> Option<io::Result<bool>> {
    let of_disks = |mutation: &Mutation| plain(&format!("{mutation:?}")) == plain(name);
    if let Some(mutation) = Mutation::ALL.into_iter().find(of_disks) {
        let checker = DiskChecker::of(mutation);
        let break_rule = |config: &mut SimConfig| config.disk.broken = Broken::by(mutation);
        let find = || checker.find::<E>(mutation, declaration, SEEDS_MAX);
        return Some(run_in::<E>((args, declaration), (mutation, checker), break_rule, find));
    }
    let drivers = DriverChecker::rows::<E>();
    let of_drivers = |(rule, _): &&(DriverRule, _)| plain(&format!("{rule:?}")) == plain(name);
    if let Some(&(rule, checker)) = drivers.iter().find(of_drivers) {
        let broken = driver::Broken::by(rule);
        let break_rule = |config: &mut SimConfig| config.driver_broken = broken;
        let find = || checker.find::<E>(rule, SEEDS_MAX);
        return Some(run_in::<E>((args, declaration), (rule, checker), break_rule, find));
    }
    let rows = E::rows();
    let named = |row: &&Row<E::Mutation>| plain(&format!("{:?}", row.mutation)) == plain(name);
    let Some(Row { mutation, checker }) = rows.iter().find(named).copied() else {
        let of_disks = Mutation::ALL.iter().map(|mutation| format!("{mutation:?}"));
        let of_drivers = drivers.iter().map(|(rule, _)| format!("{rule:?}"));
        let names = rows.iter().map(|row| format!("{:?}", row.mutation));
        let names = names.chain(of_drivers).chain(of_disks);
        let distance = |other: &String| strsim::damerau_levenshtein(&plain(other), &plain(name));
        let nearest = names.min_by_key(distance).unwrap_or_default();
        complain(format_args!(
            "neither the {} engine nor its driver nor the disks have a rule {name:?}; {nearest} is the \
             nearest, and `--mutation list` shows all",
            E::NAME
        ));
        return None;
    };
    Some(run_broken::<E>(args, mutation, checker, declaration))
}

fn run_broken<E: Subject>(
    args: &Args,
    mutation: E::Mutation,
    checker: Checker,
    declaration: &Declaration,
) -> io::Result<bool> {
    E::break_rule(Some(mutation));
    say(format_args!("broken: {mutation:?}"));
    let passed = run_seeds::<E>(args, declaration, |_| {})?;
    let found = checker.find::<E>(SEEDS_MAX);
    E::break_rule(None);
    match &found {
        Ok(Some(Caught { seed, finding })) => {
            say(format_args!("{checker:?} notices at its seed {seed}: {finding}"));
        }
        Ok(None) => say(format_args!("{checker:?} notices nothing within {SEEDS_MAX} seeds")),
        Err(violation) => say(format_args!("{checker:?} came to no end: {violation}")),
    }
    Ok(passed && found == Ok(None))
}

/// Breaks a rule of the disks or of the driver, runs the seeds that were asked for, and asks the
/// checker that is named for the rule.
fn run_in<E: Subject>(
    (args, declaration): (&Args, &Declaration),
    (rule, checker): (impl Debug, impl Debug),
    break_rule: impl Fn(&mut SimConfig) + Sync,
    find: impl FnOnce() -> Option<Caught>,
) -> io::Result<bool> {
    say(format_args!("broken: {rule:?}"));
    let passed = run_seeds::<E>(args, declaration, break_rule)?;
    let found = find();
    match &found {
        Some(Caught { seed, finding }) => {
            say(format_args!("{checker:?} notices at its seed {seed}: {finding}"));
        }
        None => say(format_args!("{checker:?} notices nothing within {SEEDS_MAX} seeds")),
    }
    Ok(passed && found.is_none())
}

/// Runs seeds up to the first that fails, on this thread: a rule is broken for one thread.
fn run_seeds<E: Subject>(
    args: &Args,
    declaration: &Declaration,
    break_rule: impl Fn(&mut SimConfig) + Sync,
) -> io::Result<bool> {
    let subject =
        Swept { declaration, probe: Some(E::probe()), sometimes: &[], again: args.again() };
    run_in_turn(&args.sweep, &subject, 1..=SEEDS, break_rule)
}

/// So many, if nothing is said.
const SEEDS: u64 = 100;

/// A name without what people write differently.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
