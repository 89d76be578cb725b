//! What a session may rely on.

use std::collections::BTreeMap;

use kv_core::{Key, RequestId, Version};

use super::finding::{Guarantee, OracleFinding};
use crate::evidence::{Call, Evidence};
use crate::history::Process;

/// The greatest version that each session knows of each key, with the call that it is from.
type Known<'a> = BTreeMap<(Process, &'a Key), (Version, RequestId)>;

/// Goes through the calls in the order in which they began; a session has one at a time.
pub(super) fn judge(evidence: &Evidence, guarantee: Guarantee) -> Result<(), OracleFinding> {
    let mut known = Known::new();
    for call in &evidence.calls {
        if let (Some(_), Some((ended, _))) = (call.shown(), &call.end) {
            let version = call.version_shown();
            if let Some((knew, before)) = known.get(&(call.session, &call.key)).copied() {
                let hides = |other: &Call| other.may_hide(&call.key, knew, *ended);
                let went_back = version
                    .map_or_else(|| !evidence.calls.iter().any(hides), |version| version < knew);
                if went_back {
                    return Err(OracleFinding::SessionWentBack {
                        guarantee,
                        read: call.id,
                        before,
                        key: call.key.clone(),
                        shown: version,
                        known: knew,
                    });
                }
            }
        }
        let learned = match guarantee {
            Guarantee::ReadYourWrites => call.acknowledged().map(|(_, version, _)| version),
            Guarantee::MonotonicReads => call.version_shown(),
        };
        if let Some(version) = learned {
            let known = known.entry((call.session, &call.key)).or_insert((version, call.id));
            if version > known.0 {
                *known = (version, call.id);
            }
        }
    }
    Ok(())
}

/// Goes through the calls in the order in which they began.
pub(super) fn judge_writes(evidence: &Evidence) -> Result<(), OracleFinding> {
    let mut known = Known::new();
    for call in &evidence.calls {
        let written = call.acknowledged().map(|(_, version, _)| version);
        let Some(version) = written.or_else(|| call.version_shown()) else {
            continue;
        };
        let place = (call.session, &call.key);
        let before = known.get(&place).copied();
        if let Some((known, before)) = before.filter(|(known, _)| version <= *known)
            && written.is_some()
        {
            let (write, key) = (call.id, call.key.clone());
            return Err(OracleFinding::WriteBehindSession { write, before, key, version, known });
        }
        if before.is_none_or(|(known, _)| version > known) {
            known.insert(place, (version, call.id));
        }
    }
    Ok(())
}
