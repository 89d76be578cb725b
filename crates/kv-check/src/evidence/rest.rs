//! What the servers hold when faults are over and everything has settled.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::{Key, NodeId, Version};

/// The state in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// The fingerprint of each server.
    pub fingerprints: BTreeMap<NodeId, u64>,
    /// The version that each server shows of each key; `None` for a missing key, nothing where it
    /// did not answer.
    pub shown: BTreeMap<(NodeId, Key), Option<Version>>,
}

impl Rest {
    /// Whether all servers hold the same.
    #[must_use]
    pub fn is_one_state(&self) -> bool {
        self.fingerprints.values().collect::<BTreeSet<_>>().len() <= 1
    }
}
