//! No version names two writes.

use std::collections::BTreeMap;

use kv_core::{Key, Value, Version};

use super::evidence::{Action, Call, End, Evidence};
use super::finding::OracleFinding;

/// A write as far as clients know it: its key and value, which is `None` for a delete.
type Write<'a> = (&'a Key, Option<&'a Value>);

pub(super) fn judge(evidence: &Evidence) -> Result<(), OracleFinding> {
    let mut writes: BTreeMap<Version, Write<'_>> = BTreeMap::new();
    for (version, write) in evidence.calls.iter().filter_map(named) {
        let first = writes.entry(version).or_insert(write);
        if *first != write {
            let keys = [first.0.clone(), write.0.clone()];
            return Err(OracleFinding::VersionTwice { version, keys });
        }
    }
    Ok(())
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
                Action::Delete => None,
                Action::Get => return None,
            };
            Some((*version, (&call.key, value)))
        }
        End::NotDone | End::Unknown { version: None } => None,
    }
}
