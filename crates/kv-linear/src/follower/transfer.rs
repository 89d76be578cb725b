//! A snapshot on its way to a follower's disk.

use bytes::Bytes;
use kv_core::{NodeId, Outcome, SnapshotPart, Unknown};

use crate::core::{Core, Out};
use crate::durable::journal::Durable;
use crate::durable::record::Record;
use crate::log::epoch::LogIndex;
use crate::recovery::checkpoint::{Metadata, ReplicaDraft};
use crate::replica::Replica;

/// A state that comes from a peer, part by part, and goes to the disk as it comes. Once all
/// of it is there the follower switches to it; it takes no entries while the last record, which
/// makes the switch, is on its way.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    from: NodeId,
    snapshot: u64,
    next_number: u32,
    metadata: Metadata,
    metadata_bytes: Bytes,
    draft: ReplicaDraft,
    /// Records so far.
    staged: u32,
    /// All of it has come, and the switch is on its way to the disk.
    switch: Option<Replica>,
}

/// A part is not a part of a state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Malformed;

impl Transfer {
    /// A snapshot of which part 0 has come.
    pub(crate) fn new(from: NodeId, part: &SnapshotPart, metadata: Metadata) -> Self {
        Self {
            from,
            snapshot: part.snapshot,
            next_number: 0,
            metadata,
            metadata_bytes: part.metadata.clone(),
            draft: ReplicaDraft::default(),
            staged: 0,
            switch: None,
        }
    }

    pub(crate) const fn from(&self) -> NodeId {
        self.from
    }

    /// The last entry that it reflects.
    pub(crate) const fn applied(&self) -> LogIndex {
        self.metadata.applied.index
    }

    /// Whether the log is about to be replaced.
    pub(crate) const fn is_switching(&self) -> bool {
        self.switch.is_some()
    }

    /// Whether a part is the one that is due.
    pub(crate) fn awaits(&self, from: NodeId, part: &SnapshotPart) -> bool {
        let due = (self.from, self.snapshot, self.next_number);
        due == (from, part.snapshot, part.number) && !self.is_switching()
    }

    /// Writes a part.
    pub(crate) fn stage(
        &mut self,
        core: &mut Core,
        part: SnapshotPart,
        out: &mut Out,
    ) -> Result<(), Malformed> {
        for item in &part.items {
            self.draft.add(item.clone()).map_err(|_| Malformed)?;
        }
        self.next_number += 1;
        if !part.items.is_empty() {
            let record = Record::Staged { part: self.staged, items: part.items };
            core.stage(record, Durable::Staged, out);
            self.staged += 1;
        }
        Ok(())
    }

    /// All parts have come: writes the record that makes the switch.
    pub(crate) fn finish(&mut self, core: &mut Core, out: &mut Out) -> Result<(), Malformed> {
        let draft = std::mem::take(&mut self.draft);
        self.switch = Some(draft.finish(self.metadata.clone()).map_err(|_| Malformed)?);
        let (parts, metadata) = (self.staged, self.metadata_bytes.clone());
        let promised = core.promised();
        let record = Record::Installed { promised, parts, metadata };
        core.persist(record, Durable::Installed { promised }, out);
        Ok(())
    }

    /// Switches to the state, which is on disk.
    pub(crate) fn switch(self, core: &mut Core, out: &mut Out) {
        let Some(replica) = self.switch else {
            return;
        };
        core.replica.replace(replica, core.broken);
        core.staged_after = None;
        core.tidy_soon();
        core.counters.checkpoints_installed += 1;
        let acks = core.config.cluster.write_quorum();
        let own = core.incarnation();
        let (node, dedup) = (core.node(), core.replica.dedup());
        // These took effect, but what they brought is not to be known here.
        let skipped = core.forwarder.settle_if(|number| dedup.contains(node, own, number));
        for pending in skipped {
            let unknown = Unknown { version: None, acks, needed: acks };
            out.reply(pending.id, Outcome::Unknown(unknown));
        }
    }
}
