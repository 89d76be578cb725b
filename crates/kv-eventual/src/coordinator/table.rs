//! Writes under way, as their coordinator keeps them.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{Outcome, RequestId, Unknown};

use crate::deadline::Backoff;
use crate::ids::{SlotSet, WriteId};
use crate::state::record::Write;

/// Writes by their identity, so that the oldest comes first, and the bytes they have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) writes: BTreeMap<WriteId, PendingWrite>,
    pub(crate) bytes: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct PendingWrite {
    pub(crate) write: Write,
    pub(crate) request: RequestId,
    pub(crate) needed: u16,
    /// The servers that hold it on their disks.
    pub(crate) acked: SlotSet,
    /// The servers that will not take it.
    pub(crate) rejected: SlotSet,
    /// Whether it may go to the others: at once if its stamp is below the bound on this server's
    /// disk, else once it is on that disk itself.
    pub(crate) is_sent: bool,
    /// Whether it is on this server's own disk. It is not done before that.
    pub(crate) is_persisted: bool,
    pub(crate) expires: Duration,
    pub(crate) armed: Option<Duration>,
    pub(crate) backoff: Backoff,
}

impl Table {
    pub(crate) fn insert(&mut self, id: WriteId, pending: PendingWrite) {
        self.bytes += pending.write.size_bytes();
        self.writes.insert(id, pending);
    }

    pub(crate) fn remove(&mut self, id: WriteId) -> Option<PendingWrite> {
        let pending = self.writes.remove(&id)?;
        self.bytes -= pending.write.size_bytes();
        Some(pending)
    }

    pub(crate) fn oldest(&self) -> Option<WriteId> {
        self.writes.first_key_value().map(|(id, _)| *id)
    }
}

impl PendingWrite {
    /// What its client is told if it may or may not take effect.
    pub(crate) fn unknown(&self) -> Outcome {
        Outcome::Unknown(Unknown {
            version: Some(self.write.entry.stamp.into()),
            acks: self.acked.len(),
            needed: self.needed,
        })
    }
}
