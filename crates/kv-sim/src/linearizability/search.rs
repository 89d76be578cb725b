//! The search for an order in which all calls could have taken effect.
//!
//! Wing & Gong, *Testing and Verifying Concurrent Objects* (1993), with Lowe's memoisation and
//! just-in-time linearization (*Testing for linearizability*, 2017): a call is given its place
//! only when a return forces it. A configuration is therefore the place in the history, the open
//! calls that have taken effect already, and the state; each is visited once.

use std::collections::{BTreeMap, BTreeSet};

use super::partition::{Moment, Partition};
use super::register::{Call, End, States};

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is an order.
    Order,
    /// There is none; no order gets beyond this place in [`Partition::moments`].
    NoOrder { stuck_at: usize },
    /// The budget was used up.
    Nothing,
}

/// Searches a partition; takes what it used from `steps_left`.
pub(super) fn search(partition: &Partition, steps_left: &mut u64) -> Found {
    let layout = Layout::of(partition);
    if layout.slots <= 128 {
        Search::<u128>::new(partition, &layout).run(steps_left)
    } else {
        Search::<Vec<u64>>::new(partition, &layout).run(steps_left)
    }
}

/// A set of slots.
trait Slots: Clone + Ord {
    fn empty() -> Self;
    fn contains(&self, slot: u32) -> bool;
    fn insert(&mut self, slot: u32);
    fn remove(&mut self, slot: u32);
}

impl Slots for u128 {
    fn empty() -> Self {
        0
    }

    fn contains(&self, slot: u32) -> bool {
        self & (1 << slot) != 0
    }

    fn insert(&mut self, slot: u32) {
        *self |= 1 << slot;
    }

    fn remove(&mut self, slot: u32) {
        *self &= !(1 << slot);
    }
}

impl Slots for Vec<u64> {
    fn empty() -> Self {
        Self::new()
    }

    fn contains(&self, slot: u32) -> bool {
        let (word, bit) = word_and_bit(slot);
        self.get(word).is_some_and(|word| word & bit != 0)
    }

    fn insert(&mut self, slot: u32) {
        let (word, bit) = word_and_bit(slot);
        if self.len() <= word {
            self.resize(word + 1, 0);
        }
        if let Some(word) = self.get_mut(word) {
            *word |= bit;
        }
    }

    fn remove(&mut self, slot: u32) {
        let (word, bit) = word_and_bit(slot);
        if let Some(word) = self.get_mut(word) {
            *word &= !bit;
        }
        // Equal sets must be equal vectors.
        while self.last() == Some(&0) {
            self.pop();
        }
    }
}

fn word_and_bit(slot: u32) -> (usize, u64) {
    (usize::try_from(slot / 64).unwrap_or(usize::MAX), 1 << (slot % 64))
}

/// What is known of a partition before the search.
#[derive(Debug)]
struct Layout {
    /// A number for each call that is unique among the calls open at one time.
    slot_of: Vec<u32>,
    slots: u32,
    /// For each moment that is a return: the calls that have an end and are open then.
    open_at: Vec<Vec<usize>>,
    /// The calls without an end, in the order in which they begin.
    endless: Vec<usize>,
    /// For each moment: how many calls of `endless` have begun.
    endless_begun: Vec<usize>,
    /// Calls without an end that do the same are one class.
    class_of: BTreeMap<usize, usize>,
}

impl Layout {
    fn of(partition: &Partition) -> Self {
        let mut layout = Self {
            slot_of: vec![0; partition.ops.len()],
            slots: 0,
            open_at: Vec::with_capacity(partition.moments.len()),
            endless: Vec::new(),
            endless_begun: Vec::with_capacity(partition.moments.len()),
            class_of: BTreeMap::new(),
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
                    open_at.clone_from(&open);
                    open.retain(|other| other != place);
                    free.extend(layout.slot_of.get(*place));
                }
            }
            layout.open_at.push(open_at);
            layout.endless_begun.push(layout.endless.len());
        }
        layout
    }

    fn slot(&self, place: usize) -> u32 {
        self.slot_of.get(place).copied().unwrap_or_default()
    }
}

/// A place in the history with what has taken effect before it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration<S> {
    at: usize,
    /// The open calls that have taken effect.
    done: S,
    state: u32,
}

struct Search<'a, S> {
    partition: &'a Partition,
    layout: &'a Layout,
    states: States,
    /// For each moment, the configurations that were stuck at it.
    visited: Vec<BTreeSet<(S, u32)>>,
    stuck_at: usize,
}

impl<'a, S: Slots> Search<'a, S> {
    fn new(partition: &'a Partition, layout: &'a Layout) -> Self {
        Self {
            partition,
            layout,
            states: States::default(),
            visited: vec![BTreeSet::new(); partition.moments.len()],
            stuck_at: 0,
        }
    }

    fn run(mut self, steps_left: &mut u64) -> Found {
        let start = Configuration {
            at: 0,
            done: S::empty(),
            state: self.states.number(vec![None; self.partition.keys.len()]),
        };
        // Each frame holds what can still be tried, the best last.
        let mut stack: Vec<Vec<Configuration<S>>> = vec![vec![start]];
        while let Some(choices) = stack.last_mut() {
            let Some(choice) = choices.pop() else {
                stack.pop();
                continue;
            };
            let Some(spent) = steps_left.checked_sub(1) else {
                return Found::Nothing;
            };
            *steps_left = spent;
            let reached = self.advance(choice);
            if reached.at == self.partition.moments.len() {
                return Found::Order;
            }
            self.stuck_at = self.stuck_at.max(reached.at);
            let key = (reached.done.clone(), reached.state);
            if self.visited.get_mut(reached.at).is_some_and(|visited| visited.insert(key)) {
                stack.push(self.choices(&reached));
            }
        }
        Found::NoOrder { stuck_at: self.stuck_at }
    }

    /// Goes on to the next return of a call that has not taken effect, or to the end.
    fn advance(&self, mut config: Configuration<S>) -> Configuration<S> {
        while let Some(moment) = self.partition.moments.get(config.at) {
            match moment {
                Moment::Invoke(place) => {
                    if self.is_seen_now(*place, config.state) {
                        config.done.insert(self.layout.slot(*place));
                    }
                }
                Moment::Return(place) => {
                    let slot = self.layout.slot(*place);
                    if !config.done.contains(slot) {
                        break;
                    }
                    config.done.remove(slot);
                }
            }
            config.at += 1;
        }
        config
    }

    /// Whether a call changes nothing and can take effect in the state. To let it do so at once
    /// loses nothing, so that there is no need to try otherwise.
    fn is_seen_now(&self, place: usize, state: u32) -> bool {
        let Some((op, state)) = self.partition.ops.get(place).zip(self.states.state(state)) else {
            return false;
        };
        op.changes_nothing() && op.call.apply(&op.end, state).is_some()
    }

    /// What can take effect next so that the return at `config.at` comes nearer; the most
    /// promising last.
    fn choices(&mut self, config: &Configuration<S>) -> Vec<Configuration<S>> {
        let Some(Moment::Return(wanted)) = self.partition.moments.get(config.at) else {
            return Vec::new();
        };
        let layout = self.layout;
        let open = layout.open_at.get(config.at).map(Vec::as_slice).unwrap_or_default();
        let begun = layout.endless_begun.get(config.at).copied().unwrap_or_default();
        let endless = layout.endless.iter().take(begun);
        let mut classes = BTreeSet::new();
        let mut choices = Vec::new();
        for &place in open.iter().chain(endless) {
            if config.done.contains(layout.slot(place)) {
                continue;
            }
            // Of those that do the same and may wait for ever, the order does not matter.
            let class = layout.class_of.get(&place);
            if class.is_some_and(|class| !classes.insert(*class)) {
                continue;
            }
            if let Some(next) = self.effect(config, place, open) {
                let promise = if next.done.contains(layout.slot(*wanted)) {
                    2
                } else {
                    u8::from(class.is_none())
                };
                choices.push((promise, next));
            }
        }
        choices.sort_by_key(|(promise, _)| *promise);
        choices.into_iter().map(|(_, next)| next).collect()
    }

    /// The configuration after a call took effect, and all that could be seen of it was seen.
    fn effect(
        &mut self,
        config: &Configuration<S>,
        place: usize,
        open: &[usize],
    ) -> Option<Configuration<S>> {
        let op = self.partition.ops.get(place)?;
        if op.changes_nothing() {
            return None;
        }
        let after = op.call.apply(&op.end, self.states.state(config.state)?)?;
        let mut next = Configuration {
            at: config.at,
            done: config.done.clone(),
            state: self.states.number(after),
        };
        next.done.insert(self.layout.slot(place));
        for &other in open {
            if self.is_seen_now(other, next.state) {
                next.done.insert(self.layout.slot(other));
            }
        }
        Some(next)
    }
}
