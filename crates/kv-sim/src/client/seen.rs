//! What a client has seen, and tells servers so that answers do not go back behind it.

use std::collections::BTreeMap;

use kv_core::{Answer, CommandResult, Done, Key, Operation, Version};

/// The newest versions that a client has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Where all versions are places in one order.
    newest: Option<Version>,
    /// Where they are compared key by key.
    of_keys: BTreeMap<Key, Version>,
}

impl Seen {
    /// Takes in an answer.
    pub(crate) fn learn(&mut self, op: &Operation, done: &Done) {
        if let Some(Version::Log(_)) = done.version {
            self.newest = self.newest.max(done.version);
            return;
        }
        let Some(key) = op.single_key() else {
            return;
        };
        let shown = match &done.answer {
            Answer::Results(results) => match results.as_slice() {
                [CommandResult::Value(Some(found))] => Some(found.version),
                _ => None,
            },
            Answer::Page(_) => None,
        };
        if let Some(version @ Version::Stamp { .. }) = shown.or(done.version) {
            let known = self.of_keys.entry(key.clone()).or_insert(version);
            *known = version.max(*known);
        }
    }

    /// What an answer to a request must not go back behind. What is known of the key alone counts only
    /// if `by_key`.
    pub(crate) fn of(&self, op: &Operation, by_key: bool) -> Option<Version> {
        let of_key = || self.of_keys.get(op.single_key()?).copied();
        self.newest.or_else(|| by_key.then(of_key).flatten())
    }
}
