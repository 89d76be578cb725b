//! Whether the order of the versions explains what each session saw.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::{Key, Version};

use super::finding::OracleFinding;
use crate::evidence::{Action, End, Evidence};

/// What is known of the writes of one key.
#[derive(Debug, Default)]
struct Writes {
    /// Each version that is known to be in effect, and whether it is a put.
    known: BTreeMap<Version, bool>,
    /// Whether a delete may be in effect at any place.
    may_be_missing: bool,
}

/// Goes through the calls of each session in the order in which they began, and gives each the
/// first place in the order of the versions that explains it and is not before the last one.
pub(super) fn judge(evidence: &Evidence) -> Result<(), OracleFinding> {
    let writes = writes(evidence);
    let mut places = BTreeMap::new();
    for call in &evidence.calls {
        let reached = places.get(&call.session).copied();
        let before = reached.map(|(version, _)| version);
        // What a batch writes to several keys it writes at once.
        let same = reached.is_some_and(|(_, id)| id == call.id);
        let place = match &call.end {
            Some((_, End::Written { version, .. })) => {
                let after = |before| before < *version || (same && before == *version);
                Some(*version).filter(|_| before.is_none_or(after))
            }
            Some((_, End::Read { shown, .. })) => {
                let of_key = writes.get(&call.key);
                let shown = shown.as_ref().map(|shown| shown.version);
                match of_key.map_or(Some(before), |writes| writes.place(shown, before)) {
                    // Nothing was seen yet, and nothing is.
                    Some(None) => continue,
                    Some(place) => place,
                    None => None,
                }
            }
            Some((_, End::NotDone | End::Unknown { .. })) | None => continue,
        };
        match (place, reached) {
            (Some(place), _) => {
                places.insert(call.session, (place, call.id));
            }
            (None, Some((known, before))) => {
                let key = call.key.clone();
                return Err(OracleFinding::OutOfVersionOrder { call: call.id, key, before, known });
            }
            (None, None) => {}
        }
    }
    Ok(())
}

impl Writes {
    /// The first place that is not before `from` and shows this version, or a missing key for
    /// `None`. The outer `None` if there is no such place, the inner one for the beginning.
    fn place(&self, shown: Option<Version>, from: Option<Version>) -> Option<Option<Version>> {
        let Some(version) = shown else {
            return self.missing(from);
        };
        let place = from.map_or(version, |from| from.max(version));
        let next = self.known.keys().find(|other| **other > version);
        next.is_none_or(|next| place < *next).then_some(Some(place))
    }

    fn missing(&self, from: Option<Version>) -> Option<Option<Version>> {
        let upto = from.and_then(|from| self.known.range(..=from).next_back());
        let is_put = upto.is_some_and(|(_, is_put)| *is_put);
        if !is_put || self.may_be_missing {
            return Some(from);
        }
        let deletes = self.known.iter().filter(|(_, is_put)| !**is_put);
        let later = deletes.map(|(version, _)| *version).find(|version| Some(*version) > from);
        later.map(Some)
    }
}

fn writes(evidence: &Evidence) -> BTreeMap<&Key, Writes> {
    let mut writes: BTreeMap<&Key, Writes> = BTreeMap::new();
    let shown: BTreeSet<(&Key, Version)> = evidence
        .calls
        .iter()
        .filter_map(|call| Some((&call.key, call.shown()??.version)))
        .collect();
    for (key, version) in shown {
        writes.entry(key).or_default().known.insert(version, true);
    }
    for call in &evidence.calls {
        let of_key = writes.entry(&call.key).or_default();
        match &call.end {
            Some((_, End::Written { version, .. })) => {
                of_key.known.insert(*version, call.action != Action::Delete);
            }
            Some((_, End::Unknown { .. })) | None => {
                of_key.may_be_missing |= call.action == Action::Delete;
            }
            Some((_, End::Read { .. } | End::NotDone)) => {}
        }
    }
    writes
}
