//! Whether one order of all calls, which keeps that of each session, explains what was seen.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::{Key, Value};

use crate::evidence::{Action, Call, End, Evidence};
use crate::history::Process;

/// What is known of an order of all calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// There is one.
    Found,
    /// There is none.
    None,
    /// The search was ended before that was known. This is no "found".
    Undecided,
}

/// Searches for an order that keeps that of each session and explains every answer, looking at
/// `steps_max` configurations at most.
///
/// The problem is NP-complete (Gibbons & Korach, *Testing Shared Memories*, 1997), and it cannot
/// be cut by key as linearizability can: what several keys allow one by one, they may not allow
/// together. Histories of some dozens of calls are decided at once. A write that is open or of
/// unknown outcome takes its session's place in the order at any time, or never.
#[must_use]
pub fn sequential_consistency(evidence: &Evidence, steps_max: u64) -> Order {
    let sessions = sessions(evidence);
    let mut seen = BTreeSet::new();
    let start = Configuration { places: vec![0; sessions.len()], held: BTreeMap::new() };
    let mut stack = vec![start.after_reads(&sessions)];
    let mut steps = 0;
    while let Some(configuration) = stack.pop() {
        if configuration.is_whole(&sessions) {
            return Order::Found;
        }
        if !seen.insert(configuration.clone()) {
            continue;
        }
        steps += 1;
        if steps > steps_max {
            return Order::Undecided;
        }
        for session in 0..sessions.len() {
            stack.extend(configuration.next(&sessions, session));
        }
    }
    Order::None
}

/// How far each session has come, and what the keys hold then.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration<'a> {
    places: Vec<usize>,
    held: BTreeMap<&'a Key, &'a Value>,
}

impl<'a> Configuration<'a> {
    fn call<'b>(&self, sessions: &'b [Vec<&'a Call>], session: usize) -> Option<&'b &'a Call> {
        sessions.get(session)?.get(*self.places.get(session)?)
    }

    /// Whether all that was answered is in the order.
    fn is_whole(&self, sessions: &[Vec<&'a Call>]) -> bool {
        (0..sessions.len()).all(|session| {
            let call = self.call(sessions, session);
            call.is_none_or(|call| !is_certain(call))
        })
    }

    /// The configurations after the next call of a session.
    fn next(&self, sessions: &[Vec<&'a Call>], session: usize) -> Vec<Self> {
        let Some(call) = self.call(sessions, session) else {
            return Vec::new();
        };
        let mut next = self.clone();
        next.advance(session);
        match &call.action {
            // A read that can be taken was taken.
            // Keys with changes are left out.
            Action::Get | Action::Change => return Vec::new(),
            Action::Put(value) => next.held.insert(&call.key, value),
            Action::Delete => next.held.remove(&call.key),
        };
        let mut after = vec![next.after_reads(sessions)];
        if !is_certain(call) {
            let mut never = self.clone();
            never.advance(session);
            after.push(never.after_reads(sessions));
        }
        after
    }

    /// Takes every read that fits what is held: that it is taken early hinders no other call.
    fn after_reads(mut self, sessions: &[Vec<&'a Call>]) -> Self {
        for session in 0..sessions.len() {
            while let Some(call) = self.call(sessions, session)
                && let Some(shown) = call.shown()
                && shown.map(|shown| &shown.value) == self.held.get(&call.key).copied()
            {
                self.advance(session);
            }
        }
        self
    }

    fn advance(&mut self, session: usize) {
        if let Some(place) = self.places.get_mut(session) {
            *place += 1;
        }
    }
}

/// The calls of each session that say something or may have had an effect.
fn sessions(evidence: &Evidence) -> Vec<Vec<&Call>> {
    let mut sessions: BTreeMap<Process, Vec<&Call>> = BTreeMap::new();
    let changed = evidence.changed_keys();
    for call in evidence.calls.iter().filter(|call| !changed.contains(&call.key)) {
        let refused = matches!(call.end, Some((_, End::NotDone)));
        let says_nothing = call.action == Action::Get && call.shown().is_none();
        if !refused && !says_nothing {
            sessions.entry(call.session).or_default().push(call);
        }
    }
    sessions.into_values().collect()
}

/// Whether a call is known to have taken effect.
const fn is_certain(call: &Call) -> bool {
    matches!(call.end, Some((_, End::Read { .. } | End::Written { .. })))
}
