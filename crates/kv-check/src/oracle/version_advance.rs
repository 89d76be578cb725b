//! A new write's version is above what its server held.

use std::collections::BTreeSet;

use kv_core::Key;

use super::finding::OracleFinding;
use crate::evidence::Evidence;

pub(super) fn judge(evidence: &Evidence) -> Result<(), OracleFinding> {
    for call in &evidence.calls {
        if let (Some((_, version, _)), Some(held)) = (call.acknowledged(), call.held)
            && version <= held
        {
            let (write, key) = (call.id, call.key.clone());
            return Err(OracleFinding::BornSuperseded { write, key, version, held });
        }
    }
    Ok(())
}

/// The keys of which it is known what servers held.
pub(super) fn keys(evidence: &Evidence) -> BTreeSet<&Key> {
    let known = evidence.calls.iter().filter(|call| call.held.is_some());
    known.map(|call| &call.key).collect()
}
