//! Which values the ends of calls speak of.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::partition::{Op, Partition};
use super::register::{Action, End, Test};
use crate::history::{Refusal, Seen};

/// How many calls of a partition observe each value of each key.
#[derive(Clone, Debug, Default)]
pub(super) struct Observations {
    /// Calls whose end may depend on any value of the key.
    any: BTreeMap<usize, u64>,
    /// Calls whose end depends on the key holding this value, `None` for a missing key.
    values: BTreeMap<(usize, Option<Bytes>), u64>,
}

/// What one call observes of one key: any value, or one.
pub(super) type Observed = (usize, Option<Option<Bytes>>);

impl Observations {
    pub(super) fn of(partition: &Partition) -> Self {
        let mut observations = Self::default();
        partition.ops.iter().for_each(|op| observations.add(op));
        observations
    }

    fn add(&mut self, op: &Op) {
        for (key, value) in observed(op) {
            let count = match value {
                None => self.any.entry(key).or_default(),
                Some(value) => self.values.entry((key, value)).or_default(),
            };
            *count += 1;
        }
    }

    fn remove(&mut self, op: &Op) {
        for (key, value) in observed(op) {
            let count = match value {
                None => self.any.get_mut(&key),
                Some(value) => self.values.get_mut(&(key, value)),
            };
            if let Some(count) = count {
                *count -= 1;
            }
        }
    }

    /// Takes a call out if the others can do without it: then the others have an order exactly
    /// when all of them have one, or, for a call that has an end, at least when all have one.
    ///
    /// That is so for a call that changes nothing, and for a single write of a value that no
    /// other call observes: whoever observes the state between such a write and the next one
    /// would have observed the value.
    pub(super) fn take_out(&mut self, op: &Op) -> bool {
        self.remove(op);
        let superfluous = op.changes_nothing()
            || match op.call.commands.as_slice() {
                [(key, Action::Put(value))] => !self.observe(*key, Some(value)),
                [(key, Action::Delete)] => !self.observe(*key, None),
                _ => false,
            };
        if !superfluous {
            self.add(op);
        }
        superfluous
    }

    fn observe(&self, key: usize, value: Option<&Bytes>) -> bool {
        let some = |count: Option<&u64>| count.is_some_and(|count| *count > 0);
        some(self.any.get(&key)) || some(self.values.get(&(key, value.cloned())))
    }
}

/// What a call observes of each key; nothing where that does not matter to it.
pub(super) fn observed(op: &Op) -> Vec<Observed> {
    let conditions = op.call.conditions.iter().enumerate();
    let conditions = conditions.filter_map(|(index, (key, test))| {
        let by_test = match test {
            Test::Present | Test::Until(_) => None,
            Test::Absent => Some(None),
            Test::Is(value) => Some(Some(value.clone())),
        };
        let value = match &op.end {
            End::Ok(_) | End::Open => by_test,
            End::Refused(Refusal::Condition { index: failed, found }) => {
                match index.cmp(failed) {
                    Ordering::Less => by_test,
                    Ordering::Equal => {
                        found.as_ref().map(|found| found.as_ref().map(|v| v.to_shared()))
                    }
                    // It was not looked at.
                    Ordering::Greater => return None,
                }
            }
            End::Refused(Refusal::NeverTried | Refusal::Command { .. }) => None,
        };
        Some((*key, value))
    });
    let commands = op.call.commands.iter().enumerate();
    let commands = commands.filter_map(|(index, (key, action))| {
        let result = match &op.end {
            End::Ok(results) => results.get(index),
            // Its commands were not carried out.
            End::Refused(Refusal::Condition { .. }) => return None,
            End::Refused(Refusal::NeverTried | Refusal::Command { .. }) => {
                return Some((*key, None));
            }
            End::Open => None,
        };
        match (action, result) {
            (Action::Get, Some(Seen::Value(value))) => {
                Some((*key, Some(value.as_ref().map(|value| value.to_shared()))))
            }
            (Action::Get, Some(Seen::Unnoted) | None)
            | (
                Action::Put(_)
                | Action::PutForATime(_)
                | Action::Rewrite(_)
                | Action::SetUntil(_)
                | Action::Delete
                | Action::Time,
                _,
            ) => None,
            (Action::Get | Action::ReadUntil | Action::Increment(_) | Action::Append(_), _) => {
                Some((*key, None))
            }
        }
    });
    conditions.chain(commands).collect()
}
