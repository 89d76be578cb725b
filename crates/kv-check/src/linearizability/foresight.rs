//! What later calls see of the writes of a register.
//!
//! On a key that is only put, deleted and read, the reads to come decide most choices, and all of
//! them where each value is put once (Gibbons & Korach, *Testing Shared Memories*, 1997).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::observation::observed;
use super::partition::{Moment, Op, Partition};
use super::register::{Action, End};
use crate::history::Seen;

/// The reads of each value of a register.
#[derive(Debug)]
pub(super) struct Foresight {
    /// For each call: the number of the value that it writes.
    written: Vec<Option<usize>>,
    /// For each call that changes nothing: the number of a value that it shows.
    shown: Vec<Option<usize>>,
    values: Vec<Uses>,
}

#[derive(Debug, Default)]
struct Uses {
    /// How often the key comes to hold it; a missing key is missing from the beginning.
    writes: u64,
    /// The moments at which its reads begin and return, in the order in which they begin.
    reads: Vec<(usize, usize)>,
}

impl Foresight {
    /// `None` unless all calls either write one key and see nothing of it, or show one value.
    pub(super) fn of(partition: &Partition) -> Option<Self> {
        if partition.keys.len() > 1 {
            return None;
        }
        let mut spans: Vec<(Option<usize>, Option<usize>)> =
            vec![(None, None); partition.ops.len()];
        for (at, moment) in partition.moments.iter().enumerate() {
            match moment {
                Moment::Invoke(place) => spans.get_mut(*place)?.0 = Some(at),
                Moment::Return(place) => spans.get_mut(*place)?.1 = Some(at),
            }
        }
        let mut foresight = Self { written: Vec::new(), shown: Vec::new(), values: Vec::new() };
        let mut numbers: BTreeMap<Option<Bytes>, usize> = BTreeMap::new();
        let missing = foresight.number(&mut numbers, None);
        foresight.values.get_mut(missing)?.writes += 1;
        for (op, span) in partition.ops.iter().zip(&spans) {
            let (mut written, mut shown) = (None, None);
            if op.changes_nothing() {
                for (_, value) in observed(op) {
                    let number = foresight.number(&mut numbers, value?);
                    foresight.values.get_mut(number)?.reads.push((span.0?, span.1?));
                    shown = Some(number);
                }
            } else {
                let number = foresight.number(&mut numbers, blindly_written(op)?);
                foresight.values.get_mut(number)?.writes += 1;
                written = Some(number);
            }
            foresight.written.push(written);
            foresight.shown.push(shown);
        }
        foresight.values.iter_mut().for_each(|uses| uses.reads.sort_unstable());
        Some(foresight)
    }

    /// The return of the first read to begin after a moment that shows what a call writes.
    pub(super) fn read_later(&self, place: usize, at: usize) -> Option<usize> {
        let reads = &self.values.get(self.value_written(place)?)?.reads;
        let later = reads.partition_point(|(begin, _)| *begin <= at);
        reads.get(later).map(|(_, returned)| *returned)
    }

    /// Whether the key comes to hold what a call writes by this call alone.
    pub(super) fn is_only_write(&self, place: usize) -> bool {
        let uses = self.value_written(place).and_then(|value| self.values.get(value));
        uses.is_some_and(|uses| uses.writes == 1)
    }

    /// Whether the read at `read` shows what the call at `write` writes.
    pub(super) fn shows(&self, read: usize, write: usize) -> bool {
        let shown = self.shown.get(read).copied().flatten();
        shown.is_some() && shown == self.value_written(write)
    }

    fn value_written(&self, place: usize) -> Option<usize> {
        self.written.get(place).copied().flatten()
    }

    fn number(
        &mut self,
        numbers: &mut BTreeMap<Option<Bytes>, usize>,
        value: Option<Bytes>,
    ) -> usize {
        *numbers.entry(value).or_insert_with(|| {
            self.values.push(Uses::default());
            self.values.len() - 1
        })
    }
}

/// What a call of one write without conditions leaves; `None` for any other call.
fn blindly_written(op: &Op) -> Option<Option<Bytes>> {
    let fits = match &op.end {
        End::Open => true,
        End::Ok(seen) => matches!(seen.as_slice(), [Seen::Written | Seen::Unnoted]),
        End::Refused(_) => false,
    };
    match op.call.commands.as_slice() {
        _ if !fits || !op.call.conditions.is_empty() => None,
        [(_, Action::Put(value))] => Some(Some(value.clone())),
        [(_, Action::Delete)] => Some(None),
        _ => None,
    }
}
