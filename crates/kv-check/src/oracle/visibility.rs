//! What W + R > N gives: a read shows what was acknowledged before it began.
//!
//! Servers may lose their disks meanwhile, fewer of them than acknowledged the write, and fewer than
//! the W by which they make up for it.

use std::collections::BTreeSet;
use std::time::Duration;

use kv_core::NodeId;

use super::finding::OracleFinding;
use crate::evidence::{Call, End, Evidence, Loss};

pub(super) fn judge(evidence: &Evidence) -> Result<(), OracleFinding> {
    for read in &evidence.calls {
        let Some((ended, End::Read { shown, quorum, .. })) = &read.end else {
            continue;
        };
        let version = shown.as_ref().map(|shown| shown.version);
        let mut writes = evidence.calls.iter().filter(|write| write.key == read.key);
        let stale = writes.find(|write| {
            before(write, read, evidence.nodes, *quorum).is_some_and(|(written, acks)| {
                if is_excused(evidence, write, acks, (read.begin, *ended)) {
                    return false;
                }
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

/// The version of a write that the read must know of, and how many servers acknowledged it.
fn before(write: &Call, read: &Call, nodes: u16, answered: u16) -> Option<(kv_core::Version, u16)> {
    let (at, version, acknowledged) = write.acknowledged()?;
    let overlap = acknowledged.saturating_add(answered) > nodes;
    (at < read.begin && overlap).then_some((version, acknowledged))
}

/// Whether so many disks were lost that the read need not know of the write.
fn is_excused(
    evidence: &Evidence,
    write: &Call,
    acknowledged: u16,
    (begun, ended): (Duration, Duration),
) -> bool {
    let since = write.begin.saturating_sub(MADE_UP_WITHIN);
    let losses = || evidence.losses.iter().filter(|loss| (since..=ended).contains(&loss.at));
    let lost: BTreeSet<NodeId> = losses().map(|loss| loss.node).collect();
    // A server that starts on an older copy of its disk cannot know that before it meets others, and
    // until then another one that makes up for a loss may take it for sound.
    let misleads = |loss: &Loss| {
        let knows = loss.noticed.is_some_and(|noticed| noticed <= begun);
        loss.is_set_back && !(knows && lost.len() == 1)
    };
    // Servers that are left and have never met do not ask each other.
    if losses().any(|loss| loss.has_strangers || misleads(loss)) {
        return true;
    }
    // Servers make up for a loss by the W that they are configured with.
    let may_be_lost = if acknowledged < evidence.write_quorum {
        0
    } else {
        acknowledged.min(evidence.write_quorum.max(1)) - 1
    };
    lost.len() > usize::from(may_be_lost)
}

/// A server that lost its disk shortly before the write may not have made up for that when another
/// one loses its own; together they do not know whom they must ask.
const MADE_UP_WITHIN: Duration = Duration::from_secs(10);
