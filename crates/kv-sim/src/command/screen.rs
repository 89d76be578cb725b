//! What the command says on its standard output and standard error.

use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kv_core::ConsistencyEngine;

use crate::fault::Fault;
use crate::simulation::Report;
use crate::sometimes::Sometimes;

/// Writes a line.
pub fn say(text: fmt::Arguments<'_>) {
    match writeln!(io::stdout().lock(), "{text}") {
        // Whoever closed the output does not want it any more.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            if !IS_CUT_OFF.swap(true, Ordering::Relaxed) {
                complain(format_args!("cannot write to the standard output: {error}"));
            }
        }
        Ok(()) | Err(_) => {}
    }
}

/// Whether something could not be written that somebody waits for.
#[must_use]
pub fn is_cut_off() -> bool {
    IS_CUT_OFF.load(Ordering::Relaxed)
}

/// Writes a line that is no part of the result: what is wrong, how long it took.
pub fn complain(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A line that shows how far a sweep is, on a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    runs: u64,
    is_shown: bool,
}

impl Progress {
    pub(crate) fn new(runs: u64) -> Self {
        Self { runs, is_shown: runs > 1 && io::stderr().is_terminal() }
    }

    pub(crate) fn show(&self, done: u64, elapsed: Duration) {
        if !self.is_shown {
            return;
        }
        let filled = usize::try_from(done * BAR_LEN / self.runs.max(1)).unwrap_or_default();
        let bar = "#".repeat(filled);
        let width = usize::try_from(BAR_LEN).unwrap_or_default();
        let (runs, seconds) = (self.runs, elapsed.as_secs());
        let mut err = io::stderr().lock();
        let _ = write!(err, "\r[{bar:<width$}] {done} of {runs}, {seconds} s ");
        let _ = err.flush();
    }

    pub(crate) fn clear(&self) {
        if self.is_shown {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

/// Writes what happened in all runs together.
pub(crate) fn summarize<E: ConsistencyEngine>(
    report: &Report,
    sometimes: &[Sometimes<E>],
    elapsed: Duration,
) {
    let per_minute = u128::from(report.steps) * 60_000 / elapsed.as_millis().max(1);
    say(format_args!("runs that passed     {}", report.runs));
    say(format_args!("steps                {}", report.steps));
    say(format_args!("virtual time         {} s", report.virtual_time.as_secs()));
    // What differs from run to run of the same seeds stands apart.
    complain(format_args!(
        "real time            {:.1} s, {}.{} million steps a minute",
        elapsed.as_secs_f64(),
        per_minute / 1_000_000,
        per_minute / 100_000 % 10
    ));
    say(format_args!(
        "operations           {} ok, {} fail, {} info",
        report.ok, report.fail, report.info
    ));
    say(format_args!(
        "slowest heal         {:.1} s of virtual time (seed {})",
        report.slowest_heal.as_secs_f64(),
        report.slowest_heal_seed
    ));
    say(format_args!("hash of all traces   {:016x}", report.trace_hash));
    say(format_args!("disks counted        at {} acknowledged writes", report.holders_counted));
    say(format_args!("backups judged       by {} acknowledged writes", report.backed_up));
    if !sometimes.is_empty() {
        say(format_args!("runs that reached"));
    }
    for Sometimes { name, .. } in sometimes {
        let runs = report.sometimes.get(name).copied().unwrap_or_default();
        say(format_args!("  {name:<46} {runs:>8}"));
    }
    say(format_args!("keys judged by each promise"));
    for (promise, keys) in &report.keys_judged {
        say(format_args!("  {:<22} {keys:>8}", format!("{promise:?}")));
    }
    say(format_args!("faults"));
    for fault in Fault::ALL {
        say(format_args!("  {fault:<21} {:>9}", report.faults.of(fault)));
    }
}

static IS_CUT_OFF: AtomicBool = AtomicBool::new(false);

const BAR_LEN: u64 = 40;
