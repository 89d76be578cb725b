//! Runs of one seed or many.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use kv_core::{ConsistencyEngine, RequestId};
use kv_sim::{Declaration, Oracle, Plan, Report, SimConfig, Simulation, SimulationFailure};

use crate::args::Args;
use crate::engines::Holder;
use crate::screen::{Progress, complain, say, summarize};
use crate::stopwatch::Stopwatch;

/// Runs all seeds that were asked for, in clusters in which `break_rule` breaks a rule or none;
/// whether all passed.
pub(crate) fn run<E: Holder>(
    args: &Args,
    declaration: &Declaration,
    break_rule: impl Fn(&mut SimConfig),
) -> io::Result<bool> {
    say(format_args!("the {} engine {declaration}", E::NAME));
    let stopwatch = Stopwatch::start();
    let seeds = args.seeds();
    let progress = Progress::new((seeds.end() - seeds.start()).saturating_add(1));
    let mut total = Report::default();
    let mut failed = 0;
    for (done, seed) in (0..).zip(seeds) {
        progress.show(done, stopwatch.elapsed());
        match run_one::<E>(args, declaration, &break_rule, seed)? {
            Some(report) => total.add(&report),
            None => failed += 1,
        }
        let failures_max = if args.mutation.is_some() { 1 } else { FAILURES_MAX };
        if failed == failures_max {
            complain(format_args!("stopped after {failed} failed run(s)"));
            break;
        }
    }
    progress.clear();
    if total.runs > 0 {
        summarize(&total, stopwatch.elapsed());
    }
    say(format_args!("runs that failed     {failed}"));
    let has_sequencer = declaration.oracle == Oracle::Linearizability;
    let shows_enough =
        if has_sequencer { total.chooses_sequencers_enough() } else { total.loses_disks_enough() };
    if !shows_enough {
        let what =
            if has_sequencer { "a sequencer was chosen anew" } else { "servers lost their disks" };
        complain(format_args!("{what} in too few runs to show how that is borne"));
    }
    Ok(failed == 0 && shows_enough)
}

/// Runs one seed; `None` if it fails, which is said.
fn run_one<E: Holder>(
    args: &Args,
    declaration: &Declaration,
    break_rule: impl Fn(&mut SimConfig),
    seed: u64,
) -> io::Result<Option<Report>> {
    let made = Plan::of(seed, declaration).map_err(SimulationFailure::from);
    let made = made.and_then(|mut plan| {
        break_rule(&mut plan.cluster);
        Simulation::<E>::with_plan(plan, declaration)
    });
    let mut simulation = match made {
        Ok(simulation) => simulation,
        Err(failure) => {
            complain_of(args, seed, &failure);
            return Ok(None);
        }
    };
    simulation.probe(E::probe());
    if args.trace {
        simulation.keep_trace(TRACE_LINES_MAX);
    }
    // An engine whose own assertion fails must not end the sweep.
    let result = catch_unwind(AssertUnwindSafe(|| simulation.run()));
    if args.trace {
        say(format_args!("{:#?}", simulation.plan()));
        show_trace(&simulation);
    }
    let report = match result {
        Ok(Ok(report)) => Some(report),
        Ok(Err(failure)) => {
            complain_of(args, seed, &failure);
            None
        }
        Err(_) => {
            complain_of(args, seed, &"the engine panicked; its message stands above");
            None
        }
    };
    if (report.is_none() || args.keep_history)
        && let Err(error) = write_history(args, seed, &simulation)
    {
        complain(format_args!("no history in {}: {error}", args.out.display()));
    }
    Ok(report)
}

/// The trace, each request with the client of the history that put it.
fn show_trace<E: ConsistencyEngine>(simulation: &Simulation<E>) {
    let callers = simulation.callers();
    for line in simulation.cluster().trace_lines() {
        let request = line
            .split_once(" request ")
            .and_then(|(_, rest)| rest.split([':', ' ']).next()?.parse().ok().map(RequestId));
        match request.and_then(|id| callers.get(&id)) {
            Some(process) => say(format_args!("{line} [client {}]", process.0)),
            None => say(format_args!("{line}")),
        }
    }
}

/// Whether histories can be written.
pub(crate) fn check_out(args: &Args) -> io::Result<()> {
    let probe = args.out.join(format!(".kv-sim-{}", std::process::id()));
    File::create(&probe)?;
    std::fs::remove_file(probe)
}

fn complain_of(args: &Args, seed: u64, failure: &dyn Display) {
    complain(format_args!("\nseed {seed}: {failure}"));
    let engine = args.engine.map(|engine| engine.to_string()).unwrap_or_default();
    match &args.mutation {
        None => complain(format_args!(
            "again: cargo run --release -p kv-sim -- --engine {engine} --seed {seed} --trace"
        )),
        Some(name) => complain(format_args!(
            "again: cargo run --release -p kv-sim --features mutations -- --engine {engine} \
             --mutation {name} --seed {seed} --trace"
        )),
    }
}

fn write_history<E: Holder>(args: &Args, seed: u64, simulation: &Simulation<E>) -> io::Result<()> {
    let history = simulation.history();
    let path =
        |ending: &str| -> PathBuf { args.out.join(format!("history-{}-{seed}.{ending}", E::NAME)) };
    let (json, edn) = (path("jsonl"), path("edn"));
    history.write_json_lines(&mut BufWriter::new(File::create(&json)?))?;
    history.write_edn(&mut BufWriter::new(File::create(&edn)?))?;
    complain(format_args!("history: {} and {}", json.display(), edn.display()));
    Ok(())
}

const FAILURES_MAX: u64 = 10;
const TRACE_LINES_MAX: usize = 10_000_000;
