//! Which seeds to run, and how.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;

use crate::scenario::Scenario;

/// Runs seeds of an engine in simulated clusters, and judges what clients saw.
#[derive(Clone, Debug, Parser)]
pub struct SweepArgs {
    /// The seed of one run; 1 if nothing is said
    #[arg(long, conflicts_with = "seeds", allow_negative_numbers = true)]
    pub seed: Option<u64>,

    /// A sweep of many seeds, both ends included: 1..2000
    #[arg(long, allow_hyphen_values = true)]
    pub seeds: Option<Seeds>,

    /// How many seeds run at a time; as many as there are processors if nothing is said
    #[arg(long, value_name = "COUNT")]
    pub jobs: Option<NonZeroUsize>,

    /// Begin no further seed after this time, such as 90s, 10m or 2h; without --seeds, from 1 on
    #[arg(long = "for", value_name = "TIME")]
    pub time: Option<Time>,

    /// Print everything that happens in a run
    #[arg(long, conflicts_with_all = ["seeds", "time"])]
    pub trace: bool,

    /// Of a trace, print the lines of this server alone
    #[arg(long, value_name = "ID", requires = "trace")]
    pub trace_server: Option<u16>,

    /// Of a trace, print the lines that name this key, and what became of requests that do
    #[arg(long, value_name = "KEY", requires = "trace")]
    pub trace_key: Option<String>,

    /// Of a trace, print what happens from this second on
    #[arg(long, value_name = "SECONDS", requires = "trace")]
    pub trace_from: Option<f64>,

    /// Of a trace, print what happens up to this second
    #[arg(long, value_name = "SECONDS", requires = "trace")]
    pub trace_until: Option<f64>,

    /// The folder for the histories of runs that fail: JSON lines, and EDN for Jepsen's checkers
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub out: PathBuf,

    /// Make the first seed that fails smaller: fewer clients, calls, faults and servers, as far as it
    /// still fails by the same kind of finding. Takes up to a minute, and writes a file for --scenario
    #[arg(long, conflicts_with = "trace")]
    pub shrink: bool,

    /// Run what --shrink has written, in place of seeds; with --trace, print all that happens in it
    #[arg(
        long,
        value_name = "FILE",
        value_parser = scenario,
        conflicts_with_all = ["seed", "seeds", "time", "jobs", "shrink", "keep_history"]
    )]
    pub scenario: Option<Scenario>,

    /// Write the history of a run that passes, too
    #[arg(long, conflicts_with_all = ["seeds", "time"])]
    pub keep_history: bool,
}

impl SweepArgs {
    /// The seeds that were asked for; these where none were.
    #[must_use]
    pub fn seeds_or(&self, default: RangeInclusive<u64>) -> RangeInclusive<u64> {
        match (&self.seeds, self.seed, self.time) {
            (Some(Seeds(seeds)), ..) => seeds.clone(),
            (None, Some(seed), _) => seed..=seed,
            (None, None, Some(_)) => 1..=u64::MAX - 1,
            (None, None, None) => default,
        }
    }

    /// On how many threads.
    #[must_use]
    pub fn threads(&self) -> NonZeroUsize {
        let processors = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.jobs.unwrap_or_else(processors)
    }
}

/// The scenario in a file.
fn scenario(path: &str) -> Result<Scenario, Box<dyn std::error::Error + Send + Sync>> {
    Ok(std::fs::read_to_string(path)?.parse()?)
}

/// How long a sweep goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

impl FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let seconds = match text.get(digits.len()..) {
            Some("s") => 1,
            Some("m") => 60,
            Some("h") => 3_600,
            Some(_) | None => return Err(TimeError),
        };
        let count: u64 = digits.parse().map_err(|_| TimeError)?;
        count.checked_mul(seconds).map(|all| Self(Duration::from_secs(all))).ok_or(TimeError)
    }
}

/// The text is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time is a whole number with s, m or h behind it: 90s, 10m")]
pub struct TimeError;

/// Some seeds that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds(pub RangeInclusive<u64>);

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
pub struct SeedsError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        assert_eq!("90s".parse(), Ok(Time(Duration::from_secs(90))));
        assert_eq!("10m".parse(), Ok(Time(Duration::from_secs(600))));
        assert_eq!("2h".parse(), Ok(Time(Duration::from_secs(7_200))));
        for text in ["", "s", "10", "10d", "-1s", "1.5s", "99999999999999999999h"] {
            assert_eq!(text.parse::<Time>(), Err(TimeError), "{text}");
        }
    }

    #[test]
    fn seeds_are_a_range_with_both_ends() {
        assert_eq!("1..3".parse(), Ok(Seeds(1..=3)));
        assert_eq!("7..=7".parse(), Ok(Seeds(7..=7)));
        for text in ["", "1", "3..1", "a..b", "1..", "-1..2"] {
            assert_eq!(text.parse::<Seeds>(), Err(SeedsError), "{text}");
        }
    }
}
