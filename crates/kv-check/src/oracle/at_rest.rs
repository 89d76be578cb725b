//! What must hold when faults are over and everything has settled.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{Key, Version};

use super::finding::OracleFinding;
use crate::evidence::{Action, Call, Evidence};

pub(super) fn converged(evidence: &Evidence) -> Result<(), OracleFinding> {
    let rest = evidence.rest.as_ref().ok_or(OracleFinding::NotAtRest)?;
    if rest.fingerprints.len() < usize::from(evidence.nodes) {
        return Err(OracleFinding::NotAtRest);
    }
    if rest.is_one_state() {
        return Ok(());
    }
    Err(OracleFinding::Differ { fingerprints: rest.fingerprints.clone() })
}

/// Looks whether the newest acknowledged write of each key, or something newer, is shown; of
/// deletes or of puts alone.
pub(super) fn judge(evidence: &Evidence, deletes: bool) -> Result<(), OracleFinding> {
    let rest = evidence.rest.as_ref().ok_or(OracleFinding::NotAtRest)?;
    for (key, (version, write)) in newest(evidence) {
        if (write.action == Action::Delete) != deletes {
            continue;
        }
        let of_key = rest.shown.iter().filter(|((_, shown_key), _)| shown_key == key);
        let (answered, nodes) = (of_key.clone().count(), evidence.nodes);
        // What nobody shows cannot be told from what is lost.
        if answered < usize::from(nodes) {
            return Err(OracleFinding::NotReadAtRest { key: key.clone(), answered, nodes });
        }
        for ((node, _), shown) in of_key {
            let hidden = |call: &Call| call.may_hide(key, version, Duration::MAX);
            match shown {
                Some(shown) if *shown >= version => {}
                None if deletes || evidence.calls.iter().any(hidden) => {}
                Some(shown) if deletes => {
                    return Err(OracleFinding::Resurrected {
                        node: *node,
                        delete: write.id,
                        key: key.clone(),
                        shown: *shown,
                        version,
                    });
                }
                Some(_) | None => {
                    return Err(OracleFinding::Lost {
                        node: *node,
                        write: write.id,
                        key: key.clone(),
                        shown: *shown,
                        version,
                    });
                }
            }
        }
    }
    Ok(())
}

fn newest(evidence: &Evidence) -> BTreeMap<&Key, (Version, &Call)> {
    let mut newest: BTreeMap<&Key, (Version, &Call)> = BTreeMap::new();
    for call in &evidence.calls {
        if let Some((_, version, _)) = call.acknowledged() {
            let known = newest.entry(&call.key).or_insert((version, call));
            if version > known.0 {
                *known = (version, call);
            }
        }
    }
    newest
}
