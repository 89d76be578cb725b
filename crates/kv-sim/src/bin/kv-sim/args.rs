//! The command line of `kv-sim`.

use std::fmt;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use kv_sim::command::SweepArgs;

/// Runs an engine in simulated clusters under random faults, and judges what clients saw.
///
/// One seed decides a whole run. Exit code 0: every run passed; 1: one did not, or it is undecided;
/// 2: wrong usage, or a file that cannot be read or written.
///
/// With --history it judges files instead. Exit code 0: linearizable; 1: not; 3: undecided.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Args {
    /// Which engine
    #[arg(long, value_enum, required_unless_present_any = ["history", "mutation"])]
    pub(crate) engine: Option<Engine>,

    /// Which seeds, and how.
    #[command(flatten)]
    pub(crate) sweep: SweepArgs,

    /// Break a rule of the engine, its driver or its disks, run seeds (100 if nothing is said) up
    /// to the first that fails, and then ask the checker that is named for the rule. `list` shows
    /// all rules, without --engine those of both engines. Needs a build with `--features mutations`
    #[arg(long, value_name = "NAME")]
    pub(crate) mutation: Option<String>,

    /// Judge histories instead: files of JSON lines as this command writes them, one by one, and
    /// the logs of a cluster's servers (`output_log1.txt` ...), all together
    #[arg(
        long,
        value_name = "FILE",
        num_args = 1..,
        conflicts_with_all = ["engine", "seed", "seeds", "time", "jobs", "mutation", "trace", "keep_history", "shrink", "scenario"]
    )]
    pub(crate) history: Vec<PathBuf>,

    /// By how many milliseconds the clocks of the logs' servers may differ
    #[arg(long, value_name = "MS", requires = "history", default_value_t = 0)]
    pub(crate) widen_ms: u64,

    /// Nothing put the same value on a key twice. Without this, what a killed server's log does not
    /// explain is undecided if such a put, whose lines are lost, would explain it
    #[arg(long, requires = "history")]
    pub(crate) unique_values: bool,

    /// After how many seconds a history is undecided
    #[arg(long, value_name = "SECONDS", requires = "history", default_value_t = 60)]
    pub(crate) time_limit: u64,
}

impl Args {
    /// The command that runs a seed again, without the seed.
    pub(crate) fn again(&self) -> String {
        let engine = self.engine.map(|engine| engine.to_string()).unwrap_or_default();
        match &self.mutation {
            None => format!("cargo run --release -p kv-sim -- --engine {engine}"),
            Some(name) => format!(
                "cargo run --release -p kv-sim --features mutations -- --engine {engine} --mutation {name}"
            ),
        }
    }
}

/// An engine by its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// Leaderless, last writer wins
    Eventual,
    /// One order for all servers
    #[value(alias = "linearizability")]
    Linearizable,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eventual => "eventual",
            Self::Linearizable => "linearizable",
        })
    }
}
