//! Runs of an engine of which a rule is broken.

use std::io;

use kv_sim::Declaration;
use kv_storage::{Broken, Mutation};

use crate::args::Args;
use crate::mutation::{Caught, DiskChecker, Row, SEEDS_MAX, Subject};
use crate::screen::{complain, say};
use crate::sweep;

/// Breaks the rule with this name, runs the seeds that were asked for, and asks the checker that is
/// named for the rule; whether nobody noticed anything. `list` shows the rules instead.
pub(crate) fn run<E: Subject>(
    args: &Args,
    name: &str,
    declaration: &Declaration,
) -> io::Result<bool> {
    let rows = E::rows();
    if name == "list" {
        say(format_args!("{:<26}checker that must notice", "rule of the engine"));
        for Row { mutation, checker } in rows {
            say(format_args!("{:<26}{checker:?}", format!("{mutation:?}")));
        }
        say(format_args!("{:<26}checker that must notice", "rule of the disks"));
        for mutation in Mutation::ALL {
            let checker = DiskChecker::of(mutation);
            say(format_args!("{:<26}{checker:?}", format!("{mutation:?}")));
        }
        return Ok(true);
    }
    let of_disks = |mutation: &Mutation| plain(&format!("{mutation:?}")) == plain(name);
    if let Some(mutation) = Mutation::ALL.into_iter().find(of_disks) {
        return run_on_disks::<E>(args, mutation, declaration);
    }
    let named = |row: &Row<E::Mutation>| plain(&format!("{:?}", row.mutation)) == plain(name);
    let Some(Row { mutation, checker }) = rows.into_iter().find(named) else {
        complain(format_args!(
            "neither the {} engine nor the disks have a rule {name:?}: `--mutation list` shows all",
            E::NAME
        ));
        return Ok(false);
    };
    E::break_rule(Some(mutation));
    say(format_args!("broken: {mutation:?}"));
    let passed = sweep::run::<E>(args, declaration, Broken::NONE)?;
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

/// Breaks a rule of the disks, runs the seeds that were asked for, and asks the checker that is
/// named for the rule.
fn run_on_disks<E: Subject>(
    args: &Args,
    mutation: Mutation,
    declaration: &Declaration,
) -> io::Result<bool> {
    say(format_args!("broken: {mutation:?}"));
    let passed = sweep::run::<E>(args, declaration, Broken::by(mutation))?;
    let checker = DiskChecker::of(mutation);
    let found = checker.find::<E>(mutation, declaration, SEEDS_MAX);
    match &found {
        Some(Caught { seed, finding }) => {
            say(format_args!("{checker:?} notices at seed {seed}: {finding}"));
        }
        None => say(format_args!("{checker:?} notices nothing within {SEEDS_MAX} seeds")),
    }
    Ok(passed && found.is_none())
}

/// A name without what people write differently.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
