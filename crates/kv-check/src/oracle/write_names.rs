//! The names and stamps of what servers were asked to keep.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::{Key, NodeId};

use super::finding::OracleFinding;
use crate::evidence::{Evidence, KeptWrite};

/// Looks whether each name is that of one write.
pub(super) fn judge_names(evidence: &Evidence) -> Result<(), OracleFinding> {
    let mut named: BTreeMap<_, &KeptWrite> = BTreeMap::new();
    for (write, _) in &evidence.kept {
        let KeptWrite { origin, incarnation, seq, .. } = *write;
        let first = named.entry((origin, incarnation, seq)).or_insert(write);
        if *first != write {
            let (times, keys) = ([first.time, write.time], [first.key.clone(), write.key.clone()]);
            return Err(OracleFinding::NameTwice { origin, incarnation, seq, times, keys });
        }
    }
    Ok(())
}

/// Goes through the writes of each server by incarnation and number, and notes the highest stamp
/// that another server has.
pub(super) fn judge_stamps(evidence: &Evidence) -> Result<(), OracleFinding> {
    let mut highest: BTreeMap<NodeId, &KeptWrite> = BTreeMap::new();
    let mut sent: Option<&KeptWrite> = None;
    for (write, node) in &evidence.kept {
        let origin = write.origin;
        // The copies of one write stand together.
        if sent != Some(write)
            && let Some(before) = highest.get(&origin)
            && write.time <= before.time
        {
            let named = |write: &KeptWrite| (write.incarnation, write.seq, write.time);
            let (sent, later) = (named(before), named(write));
            return Err(OracleFinding::SentStampReached { origin, sent, later });
        }
        if *node != origin {
            sent = Some(write);
            highest.insert(origin, write);
        }
    }
    Ok(())
}

/// The keys of the writes that servers were asked to keep.
pub(super) fn keys(evidence: &Evidence) -> BTreeSet<&Key> {
    evidence.kept.iter().map(|(write, _)| &write.key).collect()
}
