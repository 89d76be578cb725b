//! What was called "not done" is shown to nobody.

use std::collections::BTreeMap;

use kv_core::{Key, RequestId, Value};

use super::finding::OracleFinding;
use crate::evidence::{Action, End, Evidence};

/// Keys on which something depends on what they held before are left out.
pub(super) fn judge(evidence: &Evidence) -> Result<(), OracleFinding> {
    let changed = evidence.changed_keys();
    let mut puts: BTreeMap<(&Key, &Value), (RequestId, bool)> = BTreeMap::new();
    for call in &evidence.calls {
        if let Action::Put(value) = &call.action {
            let refused = matches!(call.end, Some((_, End::NotDone)));
            puts.insert((&call.key, value), (call.id, refused));
        }
    }
    for call in &evidence.calls {
        let Some(Some(shown)) = call.shown().filter(|_| !changed.contains(&call.key)) else {
            continue;
        };
        match puts.get(&(&call.key, &shown.value)) {
            None => {
                let (read, value) = (call.id, shown.value.clone());
                return Err(OracleFinding::Invented { read, value });
            }
            Some((write, true)) => {
                return Err(OracleFinding::RefusedShown { read: call.id, write: *write });
            }
            Some((_, false)) => {}
        }
    }
    Ok(())
}
