//! A follower takes over the sequencer's state instead of the log that led to it.

use std::time::Duration;

use kv_core::{CheckpointItem, NodeId, Outcome, StagedCheckpoint, Unknown};

use crate::checkpoint;
use crate::core::{Core, Out};
use crate::epoch::{Epoch, LogIndex};
use crate::follower::Follower;
use crate::journal::Durable;
use crate::record::Record;
use crate::replica::Replica;

/// A state that came from the sequencer and is on its way to the disk. The follower switches to
/// it when it is there, and takes no entries until then.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    epoch: Epoch,
    replica: Replica,
}

impl Follower {
    /// A checkpoint came. It is taken if it is the sequencer's and ahead of this server's log, or,
    /// if it is of a later epoch, of what is known to be committed; one that is not ahead is
    /// answered with what this server has.
    ///
    /// It holds its epoch's whole starting log: the sequencer had all of that on disk before it
    /// opened the epoch.
    pub(crate) fn on_checkpoint(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, staged): (NodeId, StagedCheckpoint),
        out: &mut Out,
    ) {
        let own = core.identity;
        let metadata = match checkpoint::metadata(&staged.metadata) {
            Ok(Some(metadata)) => metadata,
            Ok(None) | Err(_) => {
                core.counters.malformed += 1;
                return;
            }
        };
        let usable = from == core.sequencer()
            && own.is_some_and(|own| own.cluster == metadata.cluster)
            && metadata.configuration == core.configuration_hash
            && !self.is_switching();
        if !usable {
            core.counters.stray_messages += 1;
            return;
        }
        if !self.hear(core, now, metadata.epoch) {
            return;
        }
        if metadata.applied.index <= behind(core, metadata.epoch) {
            // What this server said of an earlier copy was lost.
            self.show(core, out);
            return;
        }
        let epoch = metadata.epoch;
        let Ok(replica) = checkpoint::replica(metadata, staged.items.iter().cloned()) else {
            core.counters.malformed += 1;
            return;
        };
        self.held.clear();
        self.starting = None;
        self.transfer = Some(Transfer { epoch, replica });
        let parts = stage(core, staged.items, out);
        let record = Record::Installed { parts, metadata: staged.metadata };
        core.persist(record, Durable::Installed { epoch }, out);
    }

    /// The checkpoint is on disk: the follower switches to it.
    pub(crate) fn on_installed(&mut self, core: &mut Core, out: &mut Out) {
        let Some(Transfer { epoch, mut replica }) = self.transfer.take() else {
            return;
        };
        replica.note_durable(replica.log().last().index);
        core.replica.replace(replica, core.broken);
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

/// Writes the items in parts of about 1 MiB; gives how many there are.
fn stage(core: &mut Core, items: Vec<CheckpointItem>, out: &mut Out) -> u32 {
    let mut parts = 0;
    let mut part = Vec::new();
    let mut size_bytes = 0;
    for (key, held) in items {
        size_bytes += key.len() + held.len();
        part.push((key, held));
        if size_bytes >= PART_BYTES {
            let items = std::mem::take(&mut part);
            core.stage(Record::Staged { part: parts, items }, out);
            parts += 1;
            size_bytes = 0;
        }
    }
    if !part.is_empty() {
        core.stage(Record::Staged { part: parts, items: part }, out);
        parts += 1;
    }
    parts
}

const PART_BYTES: usize = 1 << 20;
