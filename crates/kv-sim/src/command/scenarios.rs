//! Seeds that fail are made smaller, and what comes of that is run.

use std::fs;
use std::panic;
use std::thread;
use std::time::Duration;

use kv_core::ConsistencyEngine;

use super::args::SweepArgs;
use super::screen::{complain, say};
use super::stopwatch::Stopwatch;
use super::trace_filter::TraceFilter;
use crate::scenario::{Scenario, Trial};

/// Makes a seed that fails smaller, says what it takes, and writes it to a file.
pub(super) fn shrink<E: ConsistencyEngine>(
    args: &SweepArgs,
    again: &str,
    seed: u64,
    trial: &Trial<'_, E>,
) {
    let stopwatch = Stopwatch::start();
    let is_over = || stopwatch.elapsed() >= TIME_MAX;
    // An engine that panics would say so in each run.
    let shrunk = quietly(|| match Scenario::of_seed(seed, trial) {
        Ok((scenario, _)) => scenario.shrink(trial, RUNS_MAX, &is_over),
        Err(_) => None,
    });
    let Some(shrunk) = shrunk else {
        complain(format_args!(
            "seed {seed} cannot be made smaller: it fails while its servers start for the first \
             time, or for what is not asked of a smaller run"
        ));
        return;
    };
    complain(format_args!("\nseed {seed}, made smaller: {shrunk}"));
    let name = format!("scenario-{}-{seed}.txt", E::NAME.replace(' ', "-"));
    let path = args.out.join(name);
    match fs::write(&path, shrunk.scenario.to_text()) {
        Ok(()) => {
            let path = path.display();
            complain(format_args!("again: {again} --scenario {path} --trace"));
        }
        Err(error) => complain(format_args!("no scenario in {}: {error}", path.display())),
    }
}

/// Runs a scenario; whether it passes.
pub(super) fn run_scenario<E: ConsistencyEngine>(
    scenario: &Scenario,
    args: &SweepArgs,
    trial: &Trial<'_, E>,
) -> bool {
    say(format_args!("the {} engine in {scenario}", E::NAME));
    if args.trace {
        let mut filter = TraceFilter::new(args);
        match scenario.trace(trial) {
            Ok(lines) => {
                let shown = lines.iter().filter(|line| filter.shows(line));
                shown.for_each(|line| say(format_args!("{line}")));
            }
            Err(failure) => complain(format_args!("{failure}")),
        }
    }
    match scenario.outcome(trial) {
        None => {
            say(format_args!("passed"));
            true
        }
        Some(failure) => {
            complain(format_args!("{failure}"));
            false
        }
    }
}

/// Runs something without a word of panics in this thread.
fn quietly<T>(run: impl FnOnce() -> T) -> T {
    let (own, former) = (thread::current().id(), std::sync::Arc::new(panic::take_hook()));
    let others = std::sync::Arc::clone(&former);
    panic::set_hook(Box::new(move |info| {
        if thread::current().id() != own {
            others(info);
        }
    }));
    let result = run();
    panic::set_hook(Box::new(move |info| former(info)));
    result
}

const RUNS_MAX: u32 = 4_000;
const TIME_MAX: Duration = Duration::from_secs(60);
