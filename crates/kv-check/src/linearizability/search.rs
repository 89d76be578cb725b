//! The search for an order in which all calls could have taken effect.
//!
//! Wing & Gong, *Testing and Verifying Concurrent Objects* (1993), with Lowe's memoisation and
//! just-in-time linearization (*Testing for linearizability*, 2017): a call is given its place
//! only when a return forces it. A configuration is therefore the place in the history, the open
//! calls that have taken effect already, and the state; each is visited once.

use std::collections::BTreeSet;

use super::budget::{Bound, Meter};
use super::foresight::Standing;
use super::layout::Layout;
use super::partition::{Moment, Partition};
use super::register::States;
use super::slots::Slots;
use super::ties::Ties;

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is an order.
    Order,
    /// There is none; no order gets beyond this place in [`Partition::moments`].
    NoOrder { stuck_at: usize },
}

/// Searches a partition; the memory that it takes is given back to the meter at the end.
///
/// # Errors
/// What it ran out of.
pub(super) fn search(partition: &Partition, meter: &mut Meter<'_>) -> Result<Found, Bound> {
    let bytes = meter.bytes_left();
    let found = search_within(partition, meter);
    meter.give_back(bytes - meter.bytes_left());
    found
}

fn search_within(partition: &Partition, meter: &mut Meter<'_>) -> Result<Found, Bound> {
    let layout = Layout::of(partition, meter)?;
    if layout.slots <= 128 {
        Search::<u128>::new(partition, &layout).run(meter)
    } else {
        Search::<Vec<u64>>::new(partition, &layout).run(meter)
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

    fn run(mut self, meter: &mut Meter<'_>) -> Result<Found, Bound> {
        let start = Configuration {
            at: 0,
            done: S::empty(),
            state: self.states.number(vec![None; self.partition.keys.len()]).0,
        };
        // Each frame holds what can still be tried, the best last, and what it takes.
        let mut stack: Vec<(Vec<Configuration<S>>, usize)> = vec![(vec![start], 0)];
        while let Some((choices, bytes)) = stack.last_mut() {
            let Some(choice) = choices.pop() else {
                meter.give_back(*bytes);
                stack.pop();
                continue;
            };
            let reached = self.advance(choice, meter)?;
            if reached.at == self.partition.moments.len() {
                return Ok(Found::Order);
            }
            self.stuck_at = self.stuck_at.max(reached.at);
            let key = (reached.done.clone(), reached.state);
            meter.take(VISITED_BYTES + reached.done.bytes_beside())?;
            if self.visited.get_mut(reached.at).is_some_and(|visited| visited.insert(key)) {
                let choices = self.choices(&reached, meter)?;
                let bytes = frame_bytes(&choices);
                meter.take(bytes)?;
                stack.push((choices, bytes));
            }
        }
        Ok(Found::NoOrder { stuck_at: self.stuck_at })
    }

    /// Goes on to the next return of a call that has not taken effect, or to the end.
    fn advance(
        &self,
        mut config: Configuration<S>,
        meter: &mut Meter<'_>,
    ) -> Result<Configuration<S>, Bound> {
        while let Some(moment) = self.partition.moments.get(config.at) {
            match moment {
                Moment::Invoke(place) => {
                    meter.spend(self.layout.weight)?;
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
        Ok(config)
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
    fn choices(
        &mut self,
        config: &Configuration<S>,
        meter: &mut Meter<'_>,
    ) -> Result<Vec<Configuration<S>>, Bound> {
        let Some(&Moment::Return(wanted)) = self.partition.moments.get(config.at) else {
            return Ok(Vec::new());
        };
        let layout = self.layout;
        let open = layout.open_at.get(config.at).map(Vec::as_slice).unwrap_or_default();
        let mut candidates = self.candidates(config, open);
        if let Some(ties) = &layout.ties {
            candidates = self.connected(ties, candidates, wanted, config, open);
        }
        candidates = self.foreseen(candidates, wanted, config, open);
        let mut choices = Vec::with_capacity(candidates.len());
        for place in candidates {
            if let Some(next) = self.effect(config, place, open, meter)? {
                let promise = if next.done.contains(layout.slot(wanted)) {
                    2
                } else {
                    u8::from(!layout.class_of.contains_key(&place))
                };
                choices.push((promise, next));
            }
        }
        choices.sort_by_key(|(promise, _)| *promise);
        Ok(choices.into_iter().map(|(_, next)| next).collect())
    }

    /// The writes that are open and have not taken effect.
    fn candidates(&self, config: &Configuration<S>, open: &[usize]) -> Vec<usize> {
        let layout = self.layout;
        let mut classes = BTreeSet::new();
        let mut candidates = Vec::new();
        for place in self.undone(config, open) {
            let writes = self.partition.ops.get(place).is_some_and(|op| !op.changes_nothing());
            // Of those that do the same and may wait for ever, the order does not matter.
            let class = layout.class_of.get(&place);
            if writes && class.is_none_or(|class| classes.insert(*class)) {
                candidates.push(place);
            }
        }
        candidates
    }

    /// The calls that are open and have not taken effect.
    fn undone<'b>(
        &'b self,
        config: &'b Configuration<S>,
        open: &'b [usize],
    ) -> impl Iterator<Item = usize> + 'b {
        let layout = self.layout;
        let begun = layout.endless_begun.get(config.at).copied().unwrap_or_default();
        let endless = layout.endless.iter().take(begun);
        let calls = open.iter().chain(endless).copied();
        calls.filter(|place| !config.done.contains(layout.slot(*place)))
    }

    /// Leaves out those writes that the awaited call has nothing to do with: a persistent set
    /// (Godefroid, *Partial-Order Methods*, 1996).
    ///
    /// In any order that goes on from here, look at the calls up to the awaited one; all of them
    /// are open. Those connected with it by the keys that calls among them share have no key in
    /// common with the rest, so the rest may as well take effect right after the awaited call. A
    /// call that only reads connects its keys too, as it sees them at one moment.
    fn connected(
        &self,
        ties: &Ties,
        mut candidates: Vec<usize>,
        wanted: usize,
        config: &Configuration<S>,
        open: &[usize],
    ) -> Vec<usize> {
        let keys = ties.connected(wanted, self.undone(config, open));
        candidates.retain(|place| ties.touches(*place, &keys));
        candidates
    }

    /// Leaves out those writes that need not be tried next, by what later calls see: if one may as
    /// well go first, all others; or else those that must wait.
    fn foreseen(
        &mut self,
        mut candidates: Vec<usize>,
        wanted: usize,
        config: &Configuration<S>,
        open: &[usize],
    ) -> Vec<usize> {
        let foresight = &self.layout.foresight;
        let Some(state) = self.states.state(config.state) else {
            return candidates;
        };
        let complex = if foresight.has_complex {
            let undone = self.undone(config, open);
            undone.filter(|place| foresight.is_complex(*place)).collect()
        } else {
            Vec::new()
        };
        let standing = Standing { at: config.at, wanted, complex, state };
        let may_go_first = candidates.iter().filter(|w| foresight.may_go_first(**w, &standing));
        let mut may_go_first = may_go_first.copied().peekable();
        if let Some(&any) = may_go_first.peek() {
            let helping = may_go_first.find(|write| foresight.helps(*write, wanted));
            return vec![helping.unwrap_or(any)];
        }
        drop(may_go_first);
        let mut stuck_at = self.stuck_at;
        candidates.retain(|write| {
            let read = foresight.must_wait_for(*write, &standing);
            // Without that read it need not wait.
            stuck_at = stuck_at.max(read.unwrap_or_default());
            read.is_none()
        });
        self.stuck_at = stuck_at;
        candidates
    }

    /// The configuration after a call took effect, and all that could be seen of it was seen.
    fn effect(
        &mut self,
        config: &Configuration<S>,
        place: usize,
        open: &[usize],
        meter: &mut Meter<'_>,
    ) -> Result<Option<Configuration<S>>, Bound> {
        meter.spend(self.layout.weight)?;
        let Some(op) = self.partition.ops.get(place) else {
            return Ok(None);
        };
        let before = self.states.state(config.state);
        let Some(after) = before.and_then(|state| op.call.apply(&op.end, state)) else {
            return Ok(None);
        };
        let bytes = op.call.bytes_made(&after);
        meter.spend(u64::try_from(bytes / 1_024).unwrap_or(u64::MAX))?;
        let (state, is_new) = self.states.number(after);
        if is_new {
            meter.take(STATE_BYTES + HELD_BYTES * self.partition.keys.len() + bytes)?;
        }
        let mut next = Configuration { at: config.at, done: config.done.clone(), state };
        if self.layout.leaves_trace(place) {
            next.done.insert(self.layout.slot(place));
        }
        for &other in open {
            meter.spend(self.layout.weight)?;
            if self.is_seen_now(other, next.state) {
                next.done.insert(self.layout.slot(other));
            }
        }
        Ok(Some(next))
    }
}

fn frame_bytes<S: Slots>(choices: &[Configuration<S>]) -> usize {
    let each = choices.iter().map(|c| size_of::<Configuration<S>>() + c.done.bytes_beside());
    FRAME_BYTES + each.sum::<usize>()
}

/// A list of choices without them.
const FRAME_BYTES: usize = 48;

/// A configuration in a set whose nodes are two thirds full.
const VISITED_BYTES: usize = 52;

/// A state beside its values: it stands in a list, and in a tree whose nodes are two thirds full.
const STATE_BYTES: usize = 100;

/// What a key holds, beside the value's bytes.
const HELD_BYTES: usize = 48;
