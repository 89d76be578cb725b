//! The command that runs seeds: this crate's own is made of it, and one for an engine from outside
//! is one line, [`cli`].

mod args;
mod runs;
mod scenarios;
mod screen;
mod stopwatch;
mod trace_filter;

use std::process::ExitCode;

use clap::Parser;
use kv_core::ConsistencyEngine;

pub use args::{Seeds, SeedsError, SweepArgs, Time, TimeError};
pub use runs::{Subject, check_out, run, run_in_turn};
pub use screen::{complain, is_cut_off, say};
pub use stopwatch::Stopwatch;

use crate::cluster::holders::probe::Probe;
use crate::simulation::Declaration;
use crate::sometimes::Sometimes;

/// The `main` of a command that runs seeds of one engine: with a line that replays what failed, files
/// of what clients saw, caught panics, several threads, and an end by time.
///
/// Exit code 0: all runs passed, and every state was reached that must be; 1: not; 2: wrong usage.
#[must_use]
pub fn cli<E: ConsistencyEngine>(
    declaration: &Declaration,
    probe: Option<Probe<E>>,
    sometimes: &[Sometimes<E>],
) -> ExitCode {
    let args = SweepArgs::parse();
    let program = std::env::args().next().unwrap_or_default();
    let subject = Subject { declaration, probe, sometimes, again: program };
    if let Err(error) = check_out(&args) {
        complain(format_args!("cannot write histories into {}: {error}", args.out.display()));
        return ExitCode::from(2);
    }
    match run(&args, &subject, |_| {}) {
        Ok(true) if !is_cut_off() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            complain(format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}
