//! Whether a history is linearizable.

mod counterexample;
mod observation;
mod partition;
mod register;
mod search;

pub use counterexample::{Counterexample, CounterexampleCall};
pub use partition::HistoryError;

use std::fmt;

use kv_core::Key;

use crate::history::History;
use partition::partitions;
use search::{Found, search};

/// Whether the calls of a history could have taken effect one by one, each between its begin and
/// its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They could.
    Linearizable,
    /// They could not.
    NotLinearizable(Counterexample),
    /// The budget was used up before that was known. This is no "yes".
    Undecided {
        /// The least key of the part of the history that was being looked at.
        key: Key,
    },
}

/// How much a check may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How often a call may be tried at a place, in the whole check. A step takes about a
    /// microsecond, and up to a hundred bytes of memory.
    pub steps_max: u64,
    /// The same for making a counterexample smaller.
    pub shrink_steps_max: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps_max: 10_000_000, shrink_steps_max: 2_000_000 }
    }
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
/// use kv_sim::{Event, History, Process, Seen, Verdict, Budget, linearizability};
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
    let mut steps_left = budget.steps_max;
    let mut undecided = None;
    for partition in partitions(history)? {
        match search(&partition, &mut steps_left) {
            Found::Order => {}
            Found::NoOrder { stuck_at } => {
                let mut steps_left = budget.shrink_steps_max;
                let smallest = counterexample::shrink(&partition, stuck_at, &mut steps_left);
                return Ok(Verdict::NotLinearizable(smallest));
            }
            Found::Nothing => {
                undecided = undecided.or_else(|| partition.keys.first().cloned());
            }
        }
    }
    Ok(undecided.map_or(Verdict::Linearizable, |key| Verdict::Undecided { key }))
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => f.write_str("linearizable"),
            Self::NotLinearizable(counterexample) => {
                write!(f, "not linearizable: no order explains these calls\n{counterexample}")
            }
            Self::Undecided { key } => {
                write!(f, "undecided at key {key:?}: raise the budget of the check")
            }
        }
    }
}
