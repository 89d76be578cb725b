//! The stamps of one server's writes rise.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{HybridTime, NodeId, RequestId, Version};

use super::finding::OracleFinding;
use crate::evidence::{End, Evidence};

/// Goes through the writes in the order in which they began, and takes in those that were
/// acknowledged before.
pub(super) fn judge(evidence: &Evidence) -> Result<(), OracleFinding> {
    let mut acknowledged: Vec<(Duration, RequestId, NodeId, HybridTime)> = Vec::new();
    for call in &evidence.calls {
        if let Some((at, version, _)) = call.acknowledged()
            && let Some((origin, time)) = stamp(version)
        {
            acknowledged.push((at, call.id, origin, time));
        }
    }
    acknowledged.sort_unstable();
    let mut ended = acknowledged.into_iter().peekable();
    let mut highest: BTreeMap<NodeId, (HybridTime, RequestId)> = BTreeMap::new();
    for call in &evidence.calls {
        while let Some((_, id, origin, time)) = ended.next_if(|(at, ..)| *at < call.begin) {
            let known = highest.entry(origin).or_insert((time, id));
            *known = (*known).max((time, id));
        }
        let version = match &call.end {
            Some((_, End::Written { version, .. } | End::Unknown { version: Some(version) })) => {
                *version
            }
            Some((_, End::Unknown { version: None } | End::Read { .. } | End::NotDone)) | None => {
                continue;
            }
        };
        if let Some((origin, time)) = stamp(version)
            && let Some((before, id)) = highest.get(&origin)
            && time <= *before
        {
            let (write, before) = (call.id, *id);
            return Err(OracleFinding::StampFell { write, version, before });
        }
    }
    Ok(())
}

/// The server that stamped a version, and its clock then.
const fn stamp(version: Version) -> Option<(NodeId, HybridTime)> {
    match version {
        Version::Stamp { time, origin, .. } => Some((origin, time)),
        Version::Log(_) | Version::Tag { .. } => None,
    }
}
