//! A follower takes over the sequencer's state instead of the log that led to it.

use kv_core::{CheckpointItem, NodeId, Outcome, StagedCheckpoint, Unknown};

use crate::checkpoint;
use crate::core::{Core, Out};
use crate::follower::Follower;
use crate::journal::Durable;
use crate::record::Record;
use crate::replica::Replica;

/// A state that came from the sequencer and is on its way to the disk. The follower switches to
/// it when it is there, and takes no entries until then.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    replica: Replica,
}

impl Follower {
    /// A checkpoint came. It is taken if it is the sequencer's and ahead of this server's log.
    pub(crate) fn on_checkpoint(
        &mut self,
        core: &mut Core,
        from: NodeId,
        staged: StagedCheckpoint,
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
            && metadata.epoch == core.epoch()
            && metadata.applied.index > core.replica.log().last().index
            && self.transfer.is_none();
        if !usable {
            core.counters.stray_messages += 1;
            return;
        }
        let Ok(replica) = checkpoint::replica(metadata, staged.items.iter().cloned()) else {
            core.counters.malformed += 1;
            return;
        };
        self.held.clear();
        self.transfer = Some(Transfer { replica });
        let parts = stage(core, staged.items, out);
        let record = Record::Installed { parts, metadata: staged.metadata };
        core.persist(record, Durable::Installed, out);
    }

    /// The checkpoint is on disk: the follower switches to it.
    pub(crate) fn on_installed(&mut self, core: &mut Core, out: &mut Out) {
        let Some(Transfer { mut replica }) = self.transfer.take() else {
            return;
        };
        replica.note_durable(replica.log().last().index);
        core.replica = replica;
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
        Self::acknowledge(core, out);
    }
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
            core.persist(Record::Staged { part: parts, items }, Durable::Staged, out);
            parts += 1;
            size_bytes = 0;
        }
    }
    if !part.is_empty() {
        let record = Record::Staged { part: parts, items: part };
        core.persist(record, Durable::Staged, out);
        parts += 1;
    }
    parts
}

const PART_BYTES: usize = 1 << 20;
