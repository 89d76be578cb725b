//! No version names two writes.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::{Key, RequestId, Value, Version};

use super::finding::OracleFinding;
use crate::evidence::{Action, Call, End, Evidence, VersionScope};

/// A write as far as clients know it: its key and value, which is `None` for a delete.
type Write<'a> = (&'a Key, Option<&'a Value>);

/// A batch writes several keys under one version: of keys that some batch writes together with
/// others, versions are compared key by key. So are all where their order reaches no further.
pub(super) fn judge(evidence: &Evidence) -> Result<(), OracleFinding> {
    let (together, changed) = (written_together(evidence), evidence.changed_keys());
    let mut writes: BTreeMap<(Version, Option<&Key>), Write<'_>> = BTreeMap::new();
    for (version, write) in evidence.calls.iter().filter_map(named) {
        let (key, value) = write;
        // What a change made of the key is not known to whoever made it.
        let write = (key, value.filter(|_| !changed.contains(key)));
        let by_key = evidence.versions == VersionScope::Key;
        let apart = Some(key).filter(|key| by_key || together.contains(*key));
        let first = writes.entry((version, apart)).or_insert(write);
        if *first != write {
            let keys = [first.0.clone(), write.0.clone()];
            return Err(OracleFinding::VersionTwice { version, keys });
        }
    }
    Ok(())
}

/// The keys that some call writes together with another key.
fn written_together(evidence: &Evidence) -> BTreeSet<&Key> {
    let mut first: BTreeMap<RequestId, &Key> = BTreeMap::new();
    let mut together = BTreeSet::new();
    for call in evidence.calls.iter().filter(|call| call.action != Action::Get) {
        let first = *first.entry(call.id).or_insert(&call.key);
        if *first != call.key {
            together.extend([first, &call.key]);
        }
    }
    together
}

/// The write that a call made or shows, with its version.
fn named(call: &Call) -> Option<(Version, Write<'_>)> {
    let (_, end) = call.end.as_ref()?;
    match end {
        End::Read { shown, .. } => {
            shown.as_ref().map(|shown| (shown.version, (&call.key, Some(&shown.value))))
        }
        End::Written { version, .. } | End::Unknown { version: Some(version) } => {
            let value = match &call.action {
                Action::Put(value) => Some(value),
                Action::Delete | Action::Change => None,
                Action::Get => return None,
            };
            Some((*version, (&call.key, value)))
        }
        End::NotDone | End::Unknown { version: None } => None,
    }
}
