//! A follower takes over the sequencer's state instead of the log that led to it.

use std::time::Duration;

use bytes::Bytes;
use kv_core::{NodeId, Outcome, SnapshotPart, Unknown};

use crate::checkpoint::{self, Metadata, ReplicaDraft};
use crate::core::{Core, Out};
use crate::epoch::{Epoch, LogIndex};
use crate::follower::Follower;
use crate::journal::Durable;
use crate::record::Record;
use crate::replica::Replica;

/// A state that comes from the sequencer, part by part, and goes to the disk as it comes. Once all
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

impl Transfer {
    pub(crate) const fn is_switching(&self) -> bool {
        self.switch.is_some()
    }
}

impl Follower {
    /// A part of a snapshot came. It is taken if the snapshot is the sequencer's and ahead of this
    /// server's log, or, if it is of a later epoch, of what is known to be committed; one that is
    /// not ahead is answered with what this server has.
    ///
    /// It holds its epoch's whole starting log: the sequencer had all of that on disk before it
    /// opened the epoch.
    pub(crate) fn on_snapshot_part(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, part): (NodeId, SnapshotPart),
        out: &mut Out,
    ) {
        if part.number == 0 && !self.begin_transfer(core, now, (from, &part), out) {
            out.end_snapshot(from);
            return;
        }
        let is_next = |transfer: &Transfer| {
            let due = (transfer.from, transfer.snapshot, transfer.next_number);
            due == (from, part.snapshot, part.number) && !transfer.is_switching()
        };
        let Some(transfer) = self.transfer.take_if(|transfer| is_next(transfer)) else {
            core.counters.stray_messages += 1;
            out.end_snapshot(from);
            return;
        };
        match self.take_snapshot_part(core, transfer, part, out) {
            Some(transfer) => self.transfer = Some(transfer),
            None => {
                self.forget_staged(core);
                out.end_snapshot(from);
            }
        }
    }

    /// The peer that a snapshot comes from is not connected any more.
    pub(crate) fn abandon_transfer(&mut self, core: &mut Core, from: NodeId) {
        let gone =
            self.transfer.take_if(|transfer| transfer.from == from && !transfer.is_switching());
        if gone.is_some() {
            self.forget_staged(core);
        }
    }

    /// Whether a snapshot that begins is of use.
    fn begin_transfer(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, part): (NodeId, &SnapshotPart),
        out: &mut Out,
    ) -> bool {
        let own = core.identity;
        let metadata = match checkpoint::metadata(&part.metadata) {
            Ok(Some(metadata)) => metadata,
            Ok(None) | Err(_) => {
                core.counters.malformed += 1;
                return false;
            }
        };
        let usable = from == core.sequencer()
            && own.is_some_and(|own| own.cluster == metadata.cluster)
            && metadata.configuration == core.configuration_hash
            && !self.is_switching();
        if !usable {
            core.counters.stray_messages += 1;
            return false;
        }
        if !self.hear(core, now, metadata.epoch) {
            return false;
        }
        if metadata.applied.index <= behind(core, metadata.epoch) {
            // What this server said of an earlier copy was lost.
            self.show(core, out);
            return false;
        }
        self.transfer = Some(Transfer {
            from,
            snapshot: part.snapshot,
            next_number: 0,
            metadata,
            metadata_bytes: part.metadata.clone(),
            draft: ReplicaDraft::default(),
            staged: 0,
            switch: None,
        });
        true
    }

    /// Stages a part, and makes the switch with the last one; `None` if the snapshot is of no use
    /// any more.
    fn take_snapshot_part(
        &mut self,
        core: &mut Core,
        mut transfer: Transfer,
        part: SnapshotPart,
        out: &mut Out,
    ) -> Option<Transfer> {
        if transfer.metadata.epoch < self.heard {
            return None;
        }
        for item in &part.items {
            if transfer.draft.add(item.clone()).is_err() {
                core.counters.malformed += 1;
                return None;
            }
        }
        transfer.next_number += 1;
        if !part.items.is_empty() {
            let record = Record::Staged { part: transfer.staged, items: part.items };
            core.stage(record, out);
            transfer.staged += 1;
        }
        if !part.is_last {
            return Some(transfer);
        }
        let epoch = transfer.metadata.epoch;
        if transfer.metadata.applied.index <= behind(core, epoch) {
            // The log has caught up meanwhile.
            self.show(core, out);
            return None;
        }
        let draft = std::mem::take(&mut transfer.draft);
        let Ok(replica) = draft.finish(transfer.metadata.clone()) else {
            core.counters.malformed += 1;
            return None;
        };
        self.held.clear();
        self.starting = None;
        transfer.switch = Some(replica);
        let (parts, metadata) = (transfer.staged, transfer.metadata_bytes.clone());
        core.persist(Record::Installed { parts, metadata }, Durable::Installed { epoch }, out);
        Some(transfer)
    }

    /// What was staged will not be switched to, so that checkpoints may cover it.
    fn forget_staged(&self, core: &mut Core) {
        if self.starting.is_none() {
            core.staged_after = None;
        }
    }

    /// The snapshot is on disk: the follower switches to it.
    pub(crate) fn on_installed(&mut self, core: &mut Core, out: &mut Out) {
        let Some(Transfer { metadata, switch: Some(mut replica), .. }) =
            self.transfer.take_if(|transfer| transfer.is_switching())
        else {
            return;
        };
        let epoch = metadata.epoch;
        replica.note_durable(replica.log().last().index);
        core.replica.replace(replica, core.broken);
        core.tidy_at = Some(Duration::ZERO);
        core.enter(epoch);
        core.counters.checkpoints_installed += 1;
        let acks = core.config.cluster.write_quorum();
        let Some(own) = core.identity.map(|identity| identity.incarnation) else {
            return;
        };
        let (node, dedup) = (core.node(), core.replica.dedup());
        // These took effect, but what they brought is not to be known here.
        let skipped = core.forwarder.settle_if(|number| dedup.contains(node, own, number));
        for pending in skipped {
            if pending.read_only {
                core.reply_expired(&pending, acks, out);
            } else {
                let unknown = Unknown { version: None, acks, needed: acks };
                out.reply(pending.id, Outcome::Unknown(unknown));
            }
        }
    }
}

/// What a checkpoint of an epoch must be ahead of.
fn behind(core: &Core, epoch: Epoch) -> LogIndex {
    if epoch > core.epoch() { core.replica.commit() } else { core.replica.log().last().index }
}
