//! What later calls see of the writes of each key.
//!
//! On a key that is only put, deleted and read, the reads to come decide most choices, and all of
//! them where each value is put once (Gibbons & Korach, *Testing Shared Memories*, 1997).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::observation::observed;
use super::partition::{Moment, Op, Partition};
use super::register::{Action, End, State, Test, value_held};
use crate::history::Seen;

/// Who writes and who sees each value of each key.
#[derive(Debug)]
pub(super) struct Foresight {
    deeds: Vec<Deeds>,
    values: Vec<Uses>,
    numbers: BTreeMap<(usize, Option<Bytes>), usize>,
    keys: Vec<KeyUses>,
    /// Whether any call is complex.
    pub(super) has_complex: bool,
}

/// What one call sees of keys and does to them.
#[derive(Debug, Default)]
struct Deeds {
    /// The number of the value that it writes, if it is one write of one key and sees nothing.
    blind: Option<usize>,
    /// Whether it sees anything and is more than a read of one key.
    is_complex: bool,
    /// The keys that it sees, each with the number of the value, or `None` if that may be any.
    seen: Vec<(usize, Option<usize>)>,
    overwritten: Vec<usize>,
}

/// How a value of a key is used.
#[derive(Debug)]
struct Uses {
    key: usize,
    /// How often the key comes to hold it; a missing key is missing from the beginning.
    writes: u64,
    /// Where the last call that may see it begins.
    seen_last: Option<usize>,
    /// Where the calls that must see it begin and return, in the order in which they begin.
    reads: Vec<(usize, usize)>,
}

#[derive(Clone, Debug, Default)]
struct KeyUses {
    /// Where the last call begins that may see any value of the key.
    any_seen_last: Option<usize>,
    /// Whether calls do more to the key than to put, delete and read it.
    is_left_out: bool,
}

/// Where a search stands.
pub(super) struct Standing<'a> {
    /// The moment, a return.
    pub(super) at: usize,
    /// Whose return that is.
    pub(super) wanted: usize,
    /// The open calls that have not taken effect, as far as they are complex.
    pub(super) complex: Vec<usize>,
    pub(super) state: &'a State,
}

impl Foresight {
    pub(super) fn of(partition: &Partition) -> Self {
        let mut foresight = Self {
            deeds: Vec::with_capacity(partition.ops.len()),
            values: Vec::new(),
            numbers: BTreeMap::new(),
            keys: vec![KeyUses::default(); partition.keys.len()],
            has_complex: false,
        };
        for key in 0..partition.keys.len() {
            foresight.count_write(key, None);
        }
        for (op, span) in partition.ops.iter().zip(spans(partition)) {
            foresight.add(op, span);
        }
        foresight.values.iter_mut().for_each(|uses| uses.reads.sort_unstable());
        foresight
    }

    /// Whether a call sees anything, and is more than a read of one key.
    pub(super) fn is_complex(&self, call: usize) -> bool {
        self.deeds.get(call).is_some_and(|deeds| deeds.is_complex)
    }

    /// Whether a blind write may as well take effect next, if there is an order that goes on from
    /// here.
    ///
    /// In such an order, take the first other call that sees or overwrites the key. It does not see
    /// it, for it would see what the key holds: a read of this key alone that can has taken effect,
    /// no other open call does, and a call to begin comes after the awaited one, so that it is the
    /// first only if that leaves the key alone, and then it does not see this value either. So it
    /// overwrites the key, and nobody before it sees the write. In its old place only open reads
    /// of this key alone see the write, and they may as well take effect right after it here.
    pub(super) fn may_go_first(&self, write: usize, standing: &Standing<'_>) -> bool {
        let Some((value, uses)) = self.blindly_written(write) else {
            return false;
        };
        let (key, at) = (uses.key, standing.at);
        if self.is_seen_after(key, Some(value), at) {
            return false;
        }
        let is_awaited = self.deeds.get(standing.wanted).is_some_and(|deeds| deeds.concern(key));
        if is_awaited && standing.complex.is_empty() {
            return true;
        }
        let held = self.numbers.get(&(key, value_held(standing.state, key).cloned())).copied();
        let sees = |call: &usize| {
            let deeds = self.deeds.get(*call);
            deeds.is_some_and(|deeds| {
                deeds.may_see(key, value) || held.is_some_and(|held| deeds.may_see(key, held))
            })
        };
        !standing.complex.iter().any(sees) && (is_awaited || !self.is_seen_after(key, held, at))
    }

    /// Whether the awaited call is the write, or may see what it writes.
    pub(super) fn helps(&self, write: usize, wanted: usize) -> bool {
        let value = self.deeds.get(write).and_then(|deeds| deeds.blind);
        let sees = |deeds: &Deeds| {
            let key = value.and_then(|value| self.values.get(value)).map(|uses| uses.key);
            key.zip(value).is_some_and(|(key, value)| deeds.may_see(key, value))
        };
        write == wanted || self.deeds.get(wanted).is_some_and(sees)
    }

    /// Where the call returns for whose sake a write cannot take effect before the awaited call.
    ///
    /// The write is blind and the only one of its value, which a call to begin must see. But the
    /// awaited call overwrites the key, or sees something else in it, so that another call
    /// overwrites it before: the value would be lost.
    pub(super) fn must_wait_for(&self, write: usize, standing: &Standing<'_>) -> Option<usize> {
        let (_, uses) = self.blindly_written(write)?;
        let overwrites = self.deeds.get(standing.wanted)?.concern(uses.key);
        if uses.writes > 1 || !overwrites || self.helps(write, standing.wanted) {
            return None;
        }
        let later = uses.reads.partition_point(|(begin, _)| *begin <= standing.at);
        uses.reads.get(later).map(|(_, returned)| *returned)
    }

    /// The number of what a blind write writes, and how that is used.
    fn blindly_written(&self, write: usize) -> Option<(usize, &Uses)> {
        let value = self.deeds.get(write)?.blind?;
        let uses = self.values.get(value)?;
        self.keys.get(uses.key).is_some_and(|key| !key.is_left_out).then_some((value, uses))
    }

    /// Whether a call that begins after a moment may see a key hold a value.
    fn is_seen_after(&self, key: usize, value: Option<usize>, at: usize) -> bool {
        let any = self.keys.get(key).and_then(|key| key.any_seen_last);
        let this = value.and_then(|value| self.values.get(value)).and_then(|uses| uses.seen_last);
        any.max(this).is_some_and(|last| last > at)
    }

    fn add(&mut self, op: &Op, (begin, end): (usize, Option<usize>)) {
        self.leave_out(op);
        let mut deeds = Deeds::default();
        for (key, value) in observed(op) {
            let number = value.map(|value| self.number(key, value));
            deeds.seen.push((key, number));
            match number.and_then(|number| self.values.get_mut(number)) {
                Some(uses) => {
                    uses.seen_last = uses.seen_last.max(Some(begin));
                    if let Some(end) = end {
                        uses.reads.push((begin, end));
                    }
                }
                None => {
                    if let Some(uses) = self.keys.get_mut(key) {
                        uses.any_seen_last = uses.any_seen_last.max(Some(begin));
                    }
                }
            }
        }
        if !op.changes_nothing() {
            let writes = op.call.commands.iter().filter_map(|(key, action)| match action {
                Action::Put(value) => Some((*key, Some(value.clone()))),
                Action::Delete => Some((*key, None)),
                Action::Get
                | Action::PutForATime(_)
                | Action::Increment(_)
                | Action::Append(_)
                | Action::Rewrite(_)
                | Action::SetUntil(_)
                | Action::ReadUntil
                | Action::Time => None,
            });
            for (key, value) in writes {
                let number = self.count_write(key, value);
                deeds.overwritten.push(key);
                deeds.blind = Some(number).filter(|_| is_blind(op));
            }
        }
        let reads_one_key = op.changes_nothing() && is_of_one_key(op);
        deeds.is_complex = !deeds.seen.is_empty() && !reads_one_key;
        self.has_complex |= deeds.is_complex;
        self.deeds.push(deeds);
    }

    fn leave_out(&mut self, op: &Op) {
        let tests = op.call.conditions.iter();
        let tests = tests.filter(|(_, test)| matches!(test, Test::Until(_))).map(|(key, _)| *key);
        let actions = op.call.commands.iter().filter(|(_, action)| match action {
            Action::Get | Action::Put(_) | Action::Delete | Action::Time => false,
            Action::PutForATime(_)
            | Action::Increment(_)
            | Action::Append(_)
            | Action::Rewrite(_)
            | Action::SetUntil(_)
            | Action::ReadUntil => true,
        });
        for key in tests.chain(actions.map(|(key, _)| *key)) {
            if let Some(uses) = self.keys.get_mut(key) {
                uses.is_left_out = true;
            }
        }
    }

    fn count_write(&mut self, key: usize, value: Option<Bytes>) -> usize {
        let number = self.number(key, value);
        if let Some(uses) = self.values.get_mut(number) {
            uses.writes += 1;
        }
        number
    }

    fn number(&mut self, key: usize, value: Option<Bytes>) -> usize {
        *self.numbers.entry((key, value)).or_insert_with(|| {
            self.values.push(Uses { key, writes: 0, seen_last: None, reads: Vec::new() });
            self.values.len() - 1
        })
    }
}

impl Deeds {
    fn may_see(&self, key: usize, value: usize) -> bool {
        self.seen.iter().any(|(seen, of)| *seen == key && of.is_none_or(|of| of == value))
    }

    /// Whether the call sees or overwrites a key.
    fn concern(&self, key: usize) -> bool {
        self.overwritten.contains(&key) || self.seen.iter().any(|(seen, _)| *seen == key)
    }
}

/// Where each call begins and returns.
fn spans(partition: &Partition) -> Vec<(usize, Option<usize>)> {
    let mut spans = vec![(0, None); partition.ops.len()];
    for (at, moment) in partition.moments.iter().enumerate() {
        let (Moment::Invoke(place) | Moment::Return(place)) = moment;
        if let Some(span) = spans.get_mut(*place) {
            match moment {
                Moment::Invoke(_) => span.0 = at,
                Moment::Return(_) => span.1 = Some(at),
            }
        }
    }
    spans
}

fn is_of_one_key(op: &Op) -> bool {
    let conditions = op.call.conditions.iter().map(|(key, _)| *key);
    let mut keys = conditions.chain(op.call.commands.iter().map(|(key, _)| *key));
    let first = keys.next();
    keys.all(|key| Some(key) == first)
}

/// Whether a call is one write without conditions, so that it can take effect at any time.
fn is_blind(op: &Op) -> bool {
    let fits = match &op.end {
        End::Open => true,
        End::Ok(seen) => matches!(seen.as_slice(), [Seen::Written | Seen::Unnoted]),
        End::Refused(_) => false,
    };
    fits && op.call.conditions.is_empty() && op.call.commands.len() == 1
}
