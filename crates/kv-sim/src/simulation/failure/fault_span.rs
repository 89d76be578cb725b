//! When the faults of a run began and ended.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::injection::Injection;

/// A fault with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpan {
    /// What it was.
    pub injection: Injection,
    /// When it began, in virtual time.
    pub begun: Duration,
    /// When it ended; `None` if it lasted to the end of the run.
    pub ended: Option<Duration>,
}

/// The faults that there were between the calls of a finding. Shown a fault a line, each after a line
/// break, and no more than the last 20.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultsBetween {
    /// In the order in which they began.
    pub faults: Vec<FaultSpan>,
}

impl FaultsBetween {
    /// Those that were there at some time of `time`.
    pub(crate) fn of(faults: &[FaultSpan], time: Option<RangeInclusive<Duration>>) -> Self {
        let Some(time) = time else {
            return Self::default();
        };
        let was_there = |fault: &&FaultSpan| {
            fault.begun <= *time.end() && fault.ended.is_none_or(|ended| ended >= *time.start())
        };
        Self { faults: faults.iter().filter(was_there).cloned().collect() }
    }
}

/// `120ms to 1.5s: server 2 crashes`
impl fmt::Display for FaultSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} to ", self.begun)?;
        match self.ended {
            Some(ended) => write!(f, "{ended:?}: ")?,
            None => f.write_str("the end: ")?,
        }
        self.injection.fmt(f)
    }
}

impl fmt::Display for FaultsBetween {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.faults.is_empty() {
            return Ok(());
        }
        f.write_str("\n  faults between them:")?;
        let left_out = self.faults.len().saturating_sub(SHOWN_MAX);
        if left_out > 0 {
            write!(f, "\n    {left_out} that began before these")?;
        }
        self.faults.iter().skip(left_out).try_for_each(|fault| write!(f, "\n    {fault}"))
    }
}

const SHOWN_MAX: usize = 20;
