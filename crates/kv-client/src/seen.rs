//! What a client has seen: what it tells servers so that no answer goes back behind it.
//!
//! The guarantees of a session (Terry et al., *Session Guarantees for Weakly Consistent Replicated
//! Data*, 1994), kept by the client so that they hold whichever server it is connected to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use kv_core::{Answer, CommandResult, Done, Key, Level, Operation, Unknown, Version};

/// The newest versions of all answers.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Of the linearizable engine, where one order is over all keys.
    newest: AtomicU64,
    /// Of the eventual engine, where versions are compared key by key; `None` if nobody wants to know.
    of_keys: Option<Mutex<Versions>>,
}

/// The keys of the last answers: of [`KEYS_KEPT`] at least, and of twice as many at most.
#[derive(Debug, Default)]
struct Versions {
    recent: HashMap<Key, Known>,
    former: HashMap<Key, Known>,
}

/// What is known of one key.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// What was shown, or written and acknowledged.
    seen: Option<Version>,
    /// The last write of which it is not known whether it takes effect: no read needs to show it, and
    /// a later write comes after it.
    tried: Option<Version>,
}

impl Seen {
    pub(crate) fn new(by_key: bool) -> Self {
        Self { newest: AtomicU64::new(0), of_keys: by_key.then(Mutex::default) }
    }

    /// What the answer to a request must not go back behind. [`Level::Sequential`] asks for that in the
    /// linearizable engine, whose reads show the newest otherwise.
    pub(crate) fn of(&self, op: &Operation, level: Option<Level>) -> Option<Version> {
        let number = level.map_or(0, |_| self.newest.load(Ordering::Acquire));
        if number > 0 {
            return Some(Version::Log(number));
        }
        let versions = self.of_keys.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let known = versions.of(op.single_key()?);
        if op.is_read_only() { known.seen } else { known.seen.max(known.tried) }
    }

    /// The key of which an answer to this may say a version.
    pub(crate) fn key_of(&self, op: &Operation) -> Option<Key> {
        self.of_keys.as_ref().and(op.single_key()).cloned()
    }

    /// Takes in the answer to a request for `key` alone.
    pub(crate) fn learn(&self, key: Option<Key>, done: &Done) {
        if let Some(Version::Log(number)) = done.version {
            self.newest.fetch_max(number, Ordering::AcqRel);
        }
        let Some((key, versions)) = key.zip(self.of_keys.as_ref()) else {
            return;
        };
        if let Some(version @ Version::Stamp { .. }) = shown(&done.answer).or(done.version) {
            let mut versions = versions.lock().unwrap_or_else(PoisonError::into_inner);
            versions.learn(&key, Known { seen: Some(version), tried: None });
        }
    }

    /// Takes in that it is not known whether a write of `key` alone takes effect.
    pub(crate) fn learn_unknown(&self, key: Option<Key>, unknown: &Unknown) {
        if let Some((key, versions)) = key.zip(self.of_keys.as_ref())
            && let Some(version @ Version::Stamp { .. }) = unknown.version
        {
            let mut versions = versions.lock().unwrap_or_else(PoisonError::into_inner);
            versions.learn(&key, Known { seen: None, tried: Some(version) });
        }
    }

    /// Forgets it all, as a new client would know nothing.
    pub(crate) fn forget(&self) {
        self.newest.store(0, Ordering::Release);
        if let Some(versions) = &self.of_keys {
            *versions.lock().unwrap_or_else(PoisonError::into_inner) = Versions::default();
        }
    }
}

impl Versions {
    fn of(&self, key: &Key) -> Known {
        self.recent.get(key).or_else(|| self.former.get(key)).copied().unwrap_or_default()
    }

    fn learn(&mut self, key: &Key, more: Known) {
        if let Some(known) = self.recent.get_mut(key) {
            known.join(more);
            return;
        }
        let mut known = self.former.remove(key).unwrap_or_default();
        known.join(more);
        if self.recent.len() >= KEYS_KEPT {
            self.former = std::mem::take(&mut self.recent);
        }
        // The key as it came would keep the whole buffer that it was read into.
        self.recent.insert(key.detached(), known);
    }
}

impl Known {
    fn join(&mut self, other: Self) {
        self.seen = self.seen.max(other.seen);
        self.tried = self.tried.max(other.tried);
    }
}

/// The version of the value that a read of one key brought.
fn shown(answer: &Answer) -> Option<Version> {
    match answer {
        Answer::Results(results) => match results.as_slice() {
            [CommandResult::Value(found)] => found.as_ref().map(|found| found.version),
            _ => None,
        },
        Answer::Page(_) => None,
    }
}

/// Of so many keys a client remembers what it has seen at the least.
const KEYS_KEPT: usize = 8_192;

#[cfg(test)]
mod tests {
    use kv_core::{HybridTime, Incarnation, NodeId, Served, Value, Versioned};

    use super::*;

    fn name(number: usize) -> Key {
        Key::new(number.to_string()).unwrap()
    }

    fn stamp(millis: u64) -> Version {
        let time = HybridTime::from_millis(millis);
        Version::Stamp { time, origin: NodeId::FIRST, incarnation: Incarnation(1) }
    }

    fn known(millis: u64) -> Known {
        Known { seen: Some(stamp(millis)), tried: None }
    }

    fn done(result: CommandResult, version: Option<Version>) -> Done {
        let answer = Answer::Results(vec![result]);
        Done { answer, version, served: Served::Quorum { servers: 1 } }
    }

    fn of(seen: &Seen, number: usize) -> Option<Version> {
        seen.of(&Operation::get(name(number)), None)
    }

    #[test]
    fn what_was_written_shown_or_deleted_is_remembered_key_by_key() {
        let seen = Seen::new(true);
        let learn = |number, done: &Done| {
            seen.learn(seen.key_of(&Operation::get(name(number))), done);
        };
        learn(1, &done(CommandResult::Written, Some(stamp(5))));
        let value = Value::new("v").unwrap();
        let found = Versioned { value, version: stamp(7) };
        learn(2, &done(CommandResult::Value(Some(found)), None));
        learn(3, &done(CommandResult::Value(None), Some(stamp(9))));
        learn(4, &done(CommandResult::Value(None), None));
        let known = [1, 2, 3, 4].map(|number| of(&seen, number));
        assert_eq!(known, [Some(stamp(5)), Some(stamp(7)), Some(stamp(9)), None]);
        learn(2, &done(CommandResult::Written, Some(stamp(6))));
        assert_eq!(of(&seen, 2), Some(stamp(7)), "an answer that came late");
    }

    #[test]
    fn the_keys_of_the_last_answers_are_kept_and_no_more_than_twice_as_many() {
        let mut versions = Versions::default();
        for number in 0..10 * KEYS_KEPT {
            versions.learn(&name(number), known(1));
            versions.learn(&name(0), known(2));
        }
        let known = versions.recent.len() + versions.former.len();
        assert!((KEYS_KEPT..=2 * KEYS_KEPT).contains(&known), "{known}");
        let last = 9 * KEYS_KEPT + 1..10 * KEYS_KEPT;
        assert!(last.clone().all(|number| versions.of(&name(number)).seen == Some(stamp(1))));
        assert_eq!(versions.of(&name(0)).seen, Some(stamp(2)), "it was asked for again and again");
    }

    #[test]
    fn a_late_answer_forgets_nothing_where_keys_are_let_go_of() {
        let mut versions = Versions::default();
        versions.learn(&name(0), known(9));
        (1..2 * KEYS_KEPT).for_each(|number| versions.learn(&name(number), known(1)));
        assert_eq!(versions.recent.len(), KEYS_KEPT);
        versions.learn(&name(0), known(5));
        assert_eq!(versions.of(&name(0)).seen, Some(stamp(9)));
    }

    #[test]
    fn a_write_that_may_take_effect_counts_for_writes_alone() {
        let seen = Seen::new(true);
        let get = Operation::get(name(1));
        let put = Operation::put(name(1), Value::new("v").unwrap());
        let unknown = Unknown { version: Some(stamp(5)), acks: 1, needed: 2 };
        seen.learn_unknown(seen.key_of(&put), &unknown);
        assert_eq!([seen.of(&get, None), seen.of(&put, None)], [None, Some(stamp(5))]);
        seen.forget();
        assert_eq!(seen.of(&put, None), None);
    }

    #[test]
    fn places_in_the_one_log_count_for_reads_with_a_level() {
        let seen = Seen::new(true);
        let write = done(CommandResult::Written, Some(Version::Log(8)));
        seen.learn(seen.key_of(&Operation::get(name(1))), &write);
        let get = Operation::get(name(2));
        assert_eq!(seen.of(&get, None), None);
        assert_eq!(seen.of(&get, Some(Level::Sequential)), Some(Version::Log(8)));
    }

    #[test]
    fn nothing_is_kept_of_keys_where_nobody_wants_to_know() {
        let seen = Seen::new(false);
        let get = Operation::get(name(1));
        assert_eq!(seen.key_of(&get), None);
        seen.learn(Some(name(1)), &done(CommandResult::Written, Some(stamp(5))));
        assert_eq!(seen.of(&get, None), None);
    }
}
