//! What clients were told, call by call, and what the servers held.

mod call;
mod kept_write;
mod loss;
mod rest;

use std::collections::BTreeSet;

use kv_core::{Key, NodeId};

pub use call::{Action, Call, End, Shown};
pub use kept_write::KeptWrite;
pub use loss::Loss;
pub use rest::Rest;

/// Everything that is known of a run from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// N.
    pub nodes: u16,
    /// What was read and written of single keys, in the order in which it began. A batch that
    /// touches several keys is several calls of one id.
    pub calls: Vec<Call>,
    /// What the servers hold in the end, if the run was brought to rest.
    pub rest: Option<Rest>,
    /// Which server was asked to keep which write, crashes or not. Empty of an engine that does
    /// not say so.
    pub kept: BTreeSet<(KeptWrite, NodeId)>,
    /// When servers lost their disks, or an older copy took their place.
    pub losses: Vec<Loss>,
    /// W as the servers are configured, by which one that lost its disk makes up for it; 0 if that
    /// is not known.
    pub write_quorum: u16,
    /// How far the order of the versions reaches.
    pub versions: VersionScope,
}

/// How far the order of an engine's versions reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VersionScope {
    /// Over all keys: each version names one write of the store.
    #[default]
    Store,
    /// Over the writes of one key: those of two keys may have the same.
    Key,
}

impl Evidence {
    /// The keys that some call touches.
    pub(crate) fn keys(&self) -> BTreeSet<&Key> {
        self.calls.iter().map(|call| &call.key).collect()
    }

    /// The keys that hold something that no client wrote as it is.
    pub(crate) fn changed_keys(&self) -> BTreeSet<&Key> {
        let changes = self.calls.iter().filter(|call| call.action == Action::Change);
        changes.map(|call| &call.key).collect()
    }
}
