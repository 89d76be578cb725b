//! What is known of a partition before the search.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::ExpiryMs;

use super::budget::{Bound, Meter};
use super::foresight::Foresight;
use super::partition::{Moment, Partition};
use super::register::{Action, Call, End, Test, Until};
use super::ties::Ties;

/// What is known of a partition before the search.
#[derive(Debug)]
pub(super) struct Layout {
    /// A number for each call that is unique among the calls open at one time.
    slot_of: Vec<u32>,
    pub(super) slots: u32,
    /// For each moment that is a return: the calls that have an end and are open then.
    pub(super) open_at: Vec<Vec<usize>>,
    /// The calls without an end, in the order in which they begin.
    pub(super) endless: Vec<usize>,
    /// For each moment: how many calls of `endless` have begun.
    pub(super) endless_begun: Vec<usize>,
    /// Calls without an end that do the same are one class.
    pub(super) class_of: BTreeMap<usize, usize>,
    /// Calls without an end that need not be remembered once they took effect: they delete a value that
    /// is put only once, so that they cannot take effect again.
    leave_no_trace: BTreeSet<usize>,
    pub(super) foresight: Foresight,
    pub(super) ties: Option<Ties>,
    /// How many steps it is to try a call in a state.
    pub(super) weight: u64,
}

impl Layout {
    pub(super) fn of(partition: &Partition, meter: &mut Meter<'_>) -> Result<Self, Bound> {
        meter.take(LAYOUT_BYTES.saturating_mul(partition.moments.len()))?;
        let mut layout = Self {
            slot_of: vec![0; partition.ops.len()],
            slots: 0,
            open_at: Vec::with_capacity(partition.moments.len()),
            endless: Vec::new(),
            endless_begun: Vec::with_capacity(partition.moments.len()),
            class_of: BTreeMap::new(),
            leave_no_trace: leave_no_trace(partition),
            foresight: Foresight::of(partition),
            ties: Ties::of(partition),
            weight: 1,
        };
        let mut free: BTreeSet<u32> = BTreeSet::new();
        let mut open: Vec<usize> = Vec::new();
        let mut classes: BTreeMap<&Call, usize> = BTreeMap::new();
        for moment in &partition.moments {
            let mut open_at = Vec::new();
            match moment {
                Moment::Invoke(place) => {
                    let slot = free.pop_first().unwrap_or_else(|| {
                        layout.slots += 1;
                        layout.slots - 1
                    });
                    if let Some(of) = layout.slot_of.get_mut(*place) {
                        *of = slot;
                    }
                    match partition.ops.get(*place) {
                        Some(op) if op.end == End::Open => {
                            let next = classes.len();
                            let class = *classes.entry(&op.call).or_insert(next);
                            layout.class_of.insert(*place, class);
                            layout.endless.push(*place);
                        }
                        Some(_) | None => open.push(*place),
                    }
                }
                Moment::Return(place) => {
                    meter.take(open.len() * size_of::<usize>())?;
                    open_at.clone_from(&open);
                    open.retain(|other| other != place);
                    free.extend(layout.slot_of.get(*place));
                }
            }
            layout.open_at.push(open_at);
            layout.endless_begun.push(layout.endless.len());
        }
        let keys = u64::try_from(partition.keys.len()).unwrap_or(u64::MAX);
        layout.weight += keys / 16 + u64::from(layout.slots) / 1_024;
        Ok(layout)
    }

    /// Whether it makes a difference later that a call took effect, beside what it left.
    pub(super) fn leaves_trace(&self, place: usize) -> bool {
        !self.leave_no_trace.contains(&place)
    }

    pub(super) fn slot(&self, place: usize) -> u32 {
        self.slot_of.get(place).copied().unwrap_or_default()
    }
}

/// The expiries of values that their keys can come to hold by one call alone, and at moments that one
/// call alone sets. There may be one for each
/// put, and all of them stay open: to tell those apart that took effect would double the configurations
/// for each.
fn leave_no_trace(partition: &Partition) -> BTreeSet<usize> {
    let mut puts: BTreeMap<(usize, &[u8]), u64> = BTreeMap::new();
    let mut moments: BTreeMap<(usize, ExpiryMs), u64> = BTreeMap::new();
    let mut computed = BTreeSet::new();
    for (key, action) in partition.ops.iter().flat_map(|op| &op.call.commands) {
        match action {
            Action::Put(value) | Action::PutForATime(value) | Action::Rewrite(value) => {
                *puts.entry((*key, value)).or_default() += 1
            }
            Action::Increment(_) | Action::Append(_) => {
                computed.insert(*key);
            }
            Action::SetUntil(Until::At(at)) => *moments.entry((*key, *at)).or_default() += 1,
            Action::Get
            | Action::Delete
            | Action::SetUntil(Until::Never | Until::Unknown)
            | Action::ReadUntil
            | Action::Time => {}
        }
    }
    let is_once = |key: usize, value: &[u8]| {
        !computed.contains(&key) && puts.get(&(key, value)).is_none_or(|puts| *puts <= 1)
    };
    let expires = |call: &Call| match (&call.conditions[..], &call.commands[..]) {
        ([(held, Test::Is(value))], [(deleted, Action::Delete)]) => {
            held == deleted && is_once(*held, value)
        }
        ([(held, Test::Until(Some(at)))], [(deleted, Action::Delete)]) => {
            held == deleted && moments.get(&(*held, *at)).is_none_or(|sets| *sets <= 1)
        }
        _ => false,
    };
    let ops = partition.ops.iter().enumerate();
    let expiries = ops.filter(|(_, op)| op.end == End::Open && expires(&op.call));
    expiries.map(|(place, _)| place).collect()
}

/// What a moment takes: its place here, and its set of configurations in the search.
const LAYOUT_BYTES: usize = 160;
