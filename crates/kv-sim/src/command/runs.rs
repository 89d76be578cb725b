//! Runs of one seed or many.

use std::cell::Cell;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter};
use std::num::NonZeroUsize;
use std::ops::{ControlFlow, RangeInclusive};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use kv_core::{ConsistencyEngine, RequestId};

use super::args::SweepArgs;
use super::scenarios::{run_scenario, shrink};
use super::screen::{Progress, complain, say, summarize};
use super::stopwatch::Stopwatch;
use super::trace_filter::{TraceFilter, request_of};
use crate::cluster::holders::probe::Probe;
use crate::config::SimConfig;
use crate::scenario::Trial;
use crate::simulation::{Declaration, Plan, Report, Simulation, SimulationFailure};
use crate::sometimes::Sometimes;
use crate::sweep::{in_order, not_reached};

/// What is run.
#[derive(Debug)]
pub struct Subject<'a, E: ConsistencyEngine> {
    /// What the engine survives.
    pub declaration: &'a Declaration,
    /// What it says of what it holds.
    pub probe: Option<Probe<E>>,
    /// The states that runs must reach.
    pub sometimes: &'a [Sometimes<E>],
    /// The command that runs a seed again, without the seed.
    pub again: String,
}

impl<E: ConsistencyEngine> Subject<'_, E> {
    fn trial<'a>(&'a self, alter: &'a dyn Fn(&mut SimConfig)) -> Trial<'a, E> {
        Trial { declaration: self.declaration, probe: self.probe, alter }
    }
}

/// Runs all seeds that were asked for, in clusters in which `break_rule` breaks a rule or none;
/// whether all passed and every state was reached that must be.
///
/// # Errors
/// If a file cannot be written.
pub fn run<E: ConsistencyEngine>(
    args: &SweepArgs,
    subject: &Subject<'_, E>,
    break_rule: impl Fn(&mut SimConfig) + Sync,
) -> io::Result<bool> {
    if let Some(scenario) = &args.scenario {
        return Ok(run_scenario(scenario, args, &subject.trial(&break_rule)));
    }
    run_until(args, subject, (args.seeds_or(1..=1), FAILURES_MAX, args.threads()), break_rule)
}

/// Like [`run`], up to the first seed that fails, on this thread, and with these seeds where none
/// were asked for.
///
/// # Errors
/// Like [`run`].
pub fn run_in_turn<E: ConsistencyEngine>(
    args: &SweepArgs,
    subject: &Subject<'_, E>,
    seeds: RangeInclusive<u64>,
    break_rule: impl Fn(&mut SimConfig) + Sync,
) -> io::Result<bool> {
    if let Some(scenario) = &args.scenario {
        return Ok(run_scenario(scenario, args, &subject.trial(&break_rule)));
    }
    run_until(args, subject, (args.seeds_or(seeds), 1, NonZeroUsize::MIN), break_rule)
}

/// Like [`run`], with these seeds, up to so many that fail, and on so many threads.
///
/// # Errors
/// Like [`run`].
fn run_until<E: ConsistencyEngine>(
    args: &SweepArgs,
    subject: &Subject<'_, E>,
    (seeds, failures_max, jobs): (RangeInclusive<u64>, u64, NonZeroUsize),
    break_rule: impl Fn(&mut SimConfig) + Sync,
) -> io::Result<bool> {
    say(format_args!("the {} engine {}", E::NAME, subject.declaration));
    let stopwatch = Stopwatch::start();
    let progress = Progress::new((seeds.end() - seeds.start()).saturating_add(1));
    let is_over = || args.time.is_some_and(|time| stopwatch.elapsed() >= time.0);
    let (mut total, mut failed, done) = (Report::default(), 0, Cell::new(0));
    let run = |seed| run_one::<E>(args, subject, &break_rule, seed);
    in_order(seeds, jobs, is_over, run, |seed, report| {
        done.set(done.get() + 1);
        progress.show(done.get(), stopwatch.elapsed());
        match report {
            Some(report) => total.add(&report),
            None => {
                failed += 1;
                if args.shrink && failed == 1 {
                    progress.clear();
                    shrink(args, &subject.again, seed, &subject.trial(&break_rule));
                }
            }
        }
        if failed == failures_max {
            complain(format_args!("stopped after {failed} failed run(s)"));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    progress.clear();
    if total.runs > 0 {
        summarize(&total, subject.sometimes, stopwatch.elapsed());
    }
    say(format_args!("runs that failed     {failed}"));
    let missing: Vec<&str> = not_reached(&total, subject.sometimes).collect();
    for name in &missing {
        complain(format_args!("too few of {} runs reached: {name}", total.runs));
    }
    Ok(failed == 0 && missing.is_empty())
}

/// Runs one seed; `None` if it fails, which is said.
fn run_one<E: ConsistencyEngine>(
    args: &SweepArgs,
    subject: &Subject<'_, E>,
    break_rule: impl Fn(&mut SimConfig),
    seed: u64,
) -> Option<Report> {
    let made = Plan::of(seed, subject.declaration).map_err(SimulationFailure::from);
    let made = made.and_then(|mut plan| {
        break_rule(&mut plan.cluster);
        Simulation::<E>::with_plan(plan, subject.declaration)
    });
    let mut simulation = match made {
        Ok(simulation) => simulation,
        Err(failure) => {
            complain_of(&subject.again, seed, &failure);
            return None;
        }
    };
    if let Some(probe) = subject.probe {
        simulation.probe(probe);
    }
    simulation.watch_for(subject.sometimes);
    if args.trace {
        simulation.keep_trace(TRACE_LINES_MAX);
    }
    // An engine whose own assertion fails must not end the sweep.
    let result = catch_unwind(AssertUnwindSafe(|| simulation.run()));
    if args.trace {
        say(format_args!("{:#?}", simulation.plan()));
        show_trace(args, &simulation);
    }
    let report = match result {
        Ok(Ok(report)) => Some(report),
        Ok(Err(failure)) => {
            complain_of(&subject.again, seed, &failure);
            None
        }
        Err(_) => {
            complain_of(&subject.again, seed, &"the engine panicked; its message stands above");
            None
        }
    };
    if (report.is_none() || args.keep_history)
        && let Err(error) = write_history(args, seed, &simulation)
    {
        complain(format_args!("no history in {}: {error}", args.out.display()));
    }
    report
}

/// The trace, each request with the client of the history that put it.
fn show_trace<E: ConsistencyEngine>(args: &SweepArgs, simulation: &Simulation<E>) {
    let (callers, mut filter) = (simulation.callers(), TraceFilter::new(args));
    for line in simulation.cluster().trace_lines().filter(|line| filter.shows(line)) {
        match request_of(line).and_then(|id| callers.get(&RequestId(id))) {
            Some(process) => say(format_args!("{line} [client {}]", process.0)),
            None => say(format_args!("{line}")),
        }
    }
}

/// Whether histories can be written.
///
/// # Errors
/// If not.
pub fn check_out(args: &SweepArgs) -> io::Result<()> {
    let probe = args.out.join(format!(".kv-sim-{}", std::process::id()));
    File::create(&probe)?;
    std::fs::remove_file(probe)
}

fn complain_of(again: &str, seed: u64, failure: &dyn Display) {
    complain(format_args!(
        "\nseed {seed}: {failure}\nagain: {again} --seed {seed} --trace\n\
         smaller: {again} --seed {seed} --shrink"
    ));
}

fn write_history<E: ConsistencyEngine>(
    args: &SweepArgs,
    seed: u64,
    simulation: &Simulation<E>,
) -> io::Result<()> {
    let history = simulation.history();
    let name = E::NAME.replace(' ', "-");
    let path =
        |ending: &str| -> PathBuf { args.out.join(format!("history-{name}-{seed}.{ending}")) };
    let (json, edn) = (path("jsonl"), path("edn"));
    history.write_json_lines(&mut BufWriter::new(File::create(&json)?))?;
    history.write_edn(&mut BufWriter::new(File::create(&edn)?))?;
    complain(format_args!("history: {} and {}", json.display(), edn.display()));
    Ok(())
}

const FAILURES_MAX: u64 = 10;
const TRACE_LINES_MAX: usize = 10_000_000;
