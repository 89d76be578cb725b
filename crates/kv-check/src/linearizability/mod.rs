//! Whether a history is linearizable.

mod budget;
mod call_text;
mod counterexample;
mod foresight;
mod layout;
mod observation;
mod partition;
mod register;
mod search;
mod slots;
mod ties;

pub use budget::{Bound, Budget};
pub use call_text::CallText;
pub use counterexample::{Counterexample, CounterexampleCall};
pub use partition::HistoryError;

use std::fmt;

use kv_core::Key;

use crate::history::History;
use budget::Meter;
use partition::{Partition, partitions};
use search::{Found, search};

/// Whether the calls of a history could have taken effect one by one, each between its begin and
/// its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They could.
    Linearizable,
    /// They could not.
    NotLinearizable(Counterexample),
    /// The budget was used up before that was known. This is no "yes"; no part of the history
    /// that could be judged is a "no".
    Undecided {
        /// The least key of a part of the history that could not be judged.
        key: Key,
        /// What was used up there.
        bound: Bound,
    },
}

/// Judges a history. Keys that no call connects are judged one by one; calls without an end may
/// take effect at any time after their begin, or never. Every key is missing at first.
///
/// # Errors
/// [`HistoryError`] if the events are no history, or have conditions on versions.
///
/// # Example
/// ```
/// use kv_core::{Batch, Command, Key, Value};
/// use kv_check::{Event, History, Process, Seen, Verdict, Budget, linearizability};
///
/// let key = Key::new("k")?;
/// let get = Batch::new(vec![], vec![Command::Get { key: key.clone() }])?;
/// let put = Command::Put { key, value: Value::new("1")?, time_to_live: None };
/// let put = Batch::new(vec![], vec![put])?;
/// let (a, b) = (Process(0), Process(1));
/// let mut history = History { events: vec![
///     (a, Event::Invoke(put)),
///     (a, Event::Ok(vec![Seen::Written])),
///     (b, Event::Invoke(get)),
///     (b, Event::Ok(vec![Seen::Value(None)])),
/// ] };
/// let stale = linearizability(&history, Budget::default())?;
/// assert!(matches!(stale, Verdict::NotLinearizable(_)));
/// history.events.swap(1, 3);
/// history.events.swap(1, 2);
/// let concurrent = linearizability(&history, Budget::default())?;
/// assert_eq!(concurrent, Verdict::Linearizable);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn linearizability(history: &History, budget: Budget) -> Result<Verdict, HistoryError> {
    linearizability_until(history, budget, &mut || false)
}

/// The same with a bound on time: `is_over` is asked every few thousand steps, and once it says
/// true, what is not decided by then stays so. Whoever looks at a clock does it in there.
///
/// # Errors
/// As [`linearizability`].
pub fn linearizability_until(
    history: &History,
    budget: Budget,
    is_over: &mut dyn FnMut() -> bool,
) -> Result<Verdict, HistoryError> {
    let mut parts = partitions(history)?;
    parts.sort_by_key(|partition| partition.ops.len());
    let mut check = Check { budget, is_over, steps_left: budget.steps_max, undecided: Vec::new() };
    let parts = parts.into_iter().map(|partition| (partition, 0)).collect();
    let no = check.look_at(parts).or_else(|| check.look_again());
    Ok(no.map_or_else(|| check.verdict(), Verdict::NotLinearizable))
}

/// A check under way.
struct Check<'a> {
    budget: Budget,
    is_over: &'a mut dyn FnMut() -> bool,
    steps_left: u64,
    /// With what each was given, and what it ran out of.
    undecided: Vec<(Partition, u64, Bound)>,
}

impl Check<'_> {
    /// Gives each partition its share, if that is more than it was given before.
    fn look_at(&mut self, parts: Vec<(Partition, u64)>) -> Option<Counterexample> {
        let mut left = u64::try_from(parts.len()).unwrap_or(u64::MAX);
        for (partition, given) in parts {
            let share = self.steps_left / left;
            left -= 1;
            if given > 0 && share <= given {
                self.undecided.push((partition, given, Bound::Steps));
                continue;
            }
            let mut meter = Meter::new(share, self.budget.memory_bytes_max, self.is_over);
            let found = search(&partition, &mut meter);
            self.steps_left -= share - meter.steps_left();
            match found {
                Ok(Found::Order) => {}
                Ok(Found::NoOrder { stuck_at }) => return Some(self.shrink(&partition, stuck_at)),
                Err(bound) => self.undecided.push((partition, share, bound)),
            }
        }
        None
    }

    /// Gives what all others left to those that need more steps.
    fn look_again(&mut self) -> Option<Counterexample> {
        let undecided = std::mem::take(&mut self.undecided);
        let (again, rest): (Vec<_>, Vec<_>) =
            undecided.into_iter().partition(|(.., bound)| *bound == Bound::Steps);
        self.undecided = rest;
        self.look_at(again.into_iter().map(|(partition, given, _)| (partition, given)).collect())
    }

    fn shrink(&mut self, partition: &Partition, stuck_at: usize) -> Counterexample {
        let Budget { shrink_steps_max, memory_bytes_max, .. } = self.budget;
        let mut meter = Meter::new(shrink_steps_max, memory_bytes_max, self.is_over);
        counterexample::shrink(partition, stuck_at, &mut meter)
    }

    fn verdict(&self) -> Verdict {
        let keys = self.undecided.iter();
        let keys = keys.filter_map(|(partition, _, bound)| Some((partition.keys.first()?, *bound)));
        match keys.min_by_key(|(key, _)| *key) {
            Some((key, bound)) => Verdict::Undecided { key: key.clone(), bound },
            None => Verdict::Linearizable,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => f.write_str("linearizable"),
            Self::NotLinearizable(counterexample) => {
                write!(f, "not linearizable: no order explains these calls\n{counterexample}")
            }
            Self::Undecided { key, bound } => {
                write!(f, "undecided at key {key:?}: the check ran out of {bound}")
            }
        }
    }
}
