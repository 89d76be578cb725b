//! What W + R > N gives: a read shows what was acknowledged before it began.

use super::finding::OracleFinding;
use crate::evidence::{Call, End, Evidence};

pub(super) fn judge(evidence: &Evidence) -> Result<(), OracleFinding> {
    for read in &evidence.calls {
        let Some((ended, End::Read { shown, quorum })) = &read.end else {
            continue;
        };
        let version = shown.as_ref().map(|shown| shown.version);
        let mut writes = evidence.calls.iter().filter(|write| write.key == read.key);
        let stale = writes.find(|write| {
            before(write, read, evidence.nodes, *quorum).is_some_and(|written| {
                let hides = |call: &Call| call.may_hide(&read.key, written, *ended);
                version
                    .map_or_else(|| !evidence.calls.iter().any(hides), |version| version < written)
            })
        });
        if let Some((write, (_, written, _))) = stale.and_then(|w| Some((w, w.acknowledged()?))) {
            return Err(OracleFinding::Stale {
                read: read.id,
                write: write.id,
                key: read.key.clone(),
                shown: version,
                version: written,
            });
        }
    }
    Ok(())
}

/// The version of a write that the read must know of.
fn before(write: &Call, read: &Call, nodes: u16, answered: u16) -> Option<kv_core::Version> {
    let (at, version, acknowledged) = write.acknowledged()?;
    let overlap = acknowledged.saturating_add(answered) > nodes;
    (at < read.begin && overlap).then_some(version)
}
