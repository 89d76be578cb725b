//! The command line of `kv-sim`.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};

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

    /// The seed of one run; 1 if nothing is said
    #[arg(long, conflicts_with = "seeds", allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,

    /// A sweep of many seeds, both ends included: 1..2000
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) seeds: Option<Seeds>,

    /// Break a rule of the engine, its driver or its disks, run seeds (100 if nothing is said) up
    /// to the first that fails, and then ask the checker that is named for the rule. `list` shows
    /// all rules, without --engine those of both engines. Needs a build with `--features mutations`
    #[arg(long, value_name = "NAME")]
    pub(crate) mutation: Option<String>,

    /// Print everything that happens in a run
    #[arg(long, conflicts_with = "seeds")]
    pub(crate) trace: bool,

    /// The folder for the histories of runs that fail: JSON lines, and EDN for Jepsen's checkers
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub(crate) out: PathBuf,

    /// Write the history of a run that passes, too
    #[arg(long, conflicts_with = "seeds")]
    pub(crate) keep_history: bool,

    /// Judge histories instead: files of JSON lines as this command writes them, one by one, and
    /// the logs of a cluster's servers (`output_log1.txt` ...), all together
    #[arg(
        long,
        value_name = "FILE",
        num_args = 1..,
        conflicts_with_all = ["engine", "seed", "seeds", "mutation", "trace", "keep_history"]
    )]
    pub(crate) history: Vec<PathBuf>,

    /// By how many milliseconds the clocks of the logs' servers may differ
    #[arg(long, value_name = "MS", requires = "history", default_value_t = 0)]
    pub(crate) widen_ms: u64,

    /// After how many seconds a history is undecided
    #[arg(long, value_name = "SECONDS", requires = "history", default_value_t = 60)]
    pub(crate) time_limit: u64,
}

impl Args {
    pub(crate) fn seeds(&self) -> RangeInclusive<u64> {
        match (&self.seeds, self.seed) {
            (Some(Seeds(seeds)), _) => seeds.clone(),
            (None, Some(seed)) => seed..=seed,
            (None, None) if self.mutation.is_some() => 1..=100,
            (None, None) => 1..=1,
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

/// Some seeds that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seeds(RangeInclusive<u64>);

impl FromStr for Seeds {
    type Err = SeedsError;

    fn from_str(text: &str) -> Result<Self, SeedsError> {
        let (first, last) = text.split_once("..").ok_or(SeedsError)?;
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| SeedsError);
        let seeds = number(first)?..=number(last.trim_start_matches('='))?;
        if seeds.is_empty() { Err(SeedsError) } else { Ok(Self(seeds)) }
    }
}

/// The text is no range of seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seeds are two numbers, the lesser first: 1..2000")]
pub(crate) struct SeedsError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_with_both_ends() {
        assert_eq!("1..3".parse(), Ok(Seeds(1..=3)));
        assert_eq!("7..=7".parse(), Ok(Seeds(7..=7)));
        for text in ["", "1", "3..1", "a..b", "1..", "-1..2"] {
            assert_eq!(text.parse::<Seeds>(), Err(SeedsError), "{text}");
        }
    }
}
