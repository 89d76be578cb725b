//! The few calls of a history that cannot be put in order.

use std::fmt;

use kv_core::{Batch, Key, KeyExpiry};

use super::budget::Meter;
use super::call_text::CallText;
use super::partition::{Moment, Partition};
use super::register::End;
use super::search::{Found, search};
use crate::brief::Brief;
use crate::history::{Process, Refusal, Seen};

/// Calls that no order explains. They are a part of the history that is not linearizable by
/// itself, and no larger than could be found; the whole history is then not linearizable either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample {
    /// The keys that the calls touch.
    pub keys: Vec<Key>,
    /// The calls, in the order in which they began.
    pub calls: Vec<CounterexampleCall>,
}

/// One call of a counterexample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterexampleCall {
    /// Who called.
    pub process: Process,
    /// What was asked.
    pub batch: Batch,
    /// What came of it; `None` if that is unknown.
    pub end: Option<Result<Vec<Seen>, Refusal>>,
    /// When it began: the place among all begins and ends of the counterexample, from 0.
    pub invoked: usize,
    /// When it ended, likewise; `None` if it never did, or after all the others.
    pub returned: Option<usize>,
}

/// Takes away what is not needed for the calls to have no order, as far as the meter allows.
pub(super) fn shrink(
    partition: &Partition,
    stuck_at: usize,
    meter: &mut Meter<'_>,
) -> Counterexample {
    let one_key = (partition.keys.len() > 1).then(|| one_key(partition, meter)).flatten();
    let mut smallest = one_key.unwrap_or_else(|| partition.up_to(stuck_at));
    let mut chunk = smallest.ops.len().div_ceil(2).max(1);
    loop {
        let mut from = 0;
        while from < smallest.ops.len() {
            let end = from + chunk;
            let tried = smallest.without_superfluous(from..end);
            let removed = smallest.ops.len() - tried.ops.len();
            let found = meter.spend(count(&smallest)).and_then(|()| search(&tried, meter));
            match found {
                Err(_) => return counterexample(&smallest),
                Ok(Found::NoOrder { stuck_at }) if removed > 0 => smallest = tried.up_to(stuck_at),
                Ok(Found::NoOrder { .. } | Found::Order) => from = end,
            }
        }
        if chunk == 1 {
            return counterexample(&smallest);
        }
        chunk = chunk.div_ceil(2);
    }
}

/// What has no order by what it says of one key alone, so that few calls are needed to show it.
fn one_key(partition: &Partition, meter: &mut Meter<'_>) -> Option<Partition> {
    (0..partition.keys.len()).find_map(|key| {
        let alone = partition.onto(key);
        meter.spend(count(partition)).ok()?;
        match search(&alone, meter) {
            Ok(Found::NoOrder { stuck_at }) => Some(alone.up_to(stuck_at)),
            Ok(Found::Order) | Err(_) => None,
        }
    })
}

fn counterexample(partition: &Partition) -> Counterexample {
    let position = |moment: Moment| partition.moments.iter().position(|other| *other == moment);
    let calls = partition.ops.iter().enumerate().map(|(place, op)| CounterexampleCall {
        process: op.process,
        batch: op.batch.clone(),
        end: match &op.told {
            End::Ok(seen) => Some(Ok(seen.clone())),
            End::Refused(refusal) => Some(Err(refusal.clone())),
            End::Open => None,
        },
        invoked: position(Moment::Invoke(place)).unwrap_or_default(),
        returned: position(Moment::Return(place)),
    });
    Counterexample { keys: partition.keys.clone(), calls: calls.collect() }
}

fn count(partition: &Partition) -> u64 {
    u64::try_from(partition.ops.len()).unwrap_or(u64::MAX)
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for call in &self.calls {
            write!(f, "{call}")?;
        }
        Ok(())
    }
}

/// One line: when, who, what, and what came of it.
impl fmt::Display for CounterexampleCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let returned = self.returned.map_or_else(|| "...".to_owned(), |at| at.to_string());
        write!(f, "[{:>3} to {returned:>3}] client {:>3}:", self.invoked, self.process.0)?;
        write!(f, "{}", CallText(&self.batch))?;
        match &self.end {
            None => f.write_str(" -> unknown\n"),
            Some(Err(_)) => f.write_str(" -> refused\n"),
            Some(Ok(seen)) => {
                f.write_str(" ->")?;
                for seen in seen {
                    match seen {
                        Seen::Value(Some(value)) => write!(f, " {}", Brief(value))?,
                        Seen::Value(None) => f.write_str(" nothing")?,
                        Seen::Written | Seen::Unnoted => f.write_str(" ok")?,
                        Seen::Number(number) => write!(f, " {number}")?,
                        Seen::Length(length) => write!(f, " {length} bytes")?,
                        Seen::Expiry(KeyExpiry::Missing) => f.write_str(" nothing")?,
                        Seen::Expiry(KeyExpiry::Never) => f.write_str(" never")?,
                        Seen::Expiry(KeyExpiry::At(at)) => write!(f, " at {} ms", at.0)?,
                    }
                }
                f.write_str("\n")
            }
        }
    }
}
