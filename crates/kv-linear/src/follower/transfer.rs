//! A checkpoint being written to a follower's disk.

use kv_core::{CheckpointItem, Outcome, StagedCheckpoint, Unknown};

use crate::core::{Core, Out};
use crate::durable::journal::Durable;
use crate::durable::record::Record;
use crate::log::epoch::Epoch;
use crate::recovery::checkpoint::{self, Metadata};
use crate::replica::Replica;

/// A state that came from the sequencer and is being written to disk. The follower switches to
/// it when it is there, and takes no entries until then.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    epoch: Epoch,
    replica: Replica,
}

impl Transfer {
    /// Begins to write a checkpoint; `None` if it is malformed.
    pub(crate) fn begin(
        core: &mut Core,
        metadata: Metadata,
        staged: StagedCheckpoint,
        out: &mut Out,
    ) -> Option<Self> {
        let epoch = metadata.epoch;
        let Ok(replica) = checkpoint::replica(metadata, staged.items.iter().cloned()) else {
            core.counters.malformed += 1;
            return None;
        };
        let parts = stage(core, staged.items, out);
        let record = Record::Installed { parts, metadata: staged.metadata };
        core.persist(record, Durable::Installed { epoch }, out);
        Some(Self { epoch, replica })
    }

    /// Switches to the state of the checkpoint, which is on disk.
    pub(crate) fn switch(self, core: &mut Core, out: &mut Out) {
        let Self { epoch, mut replica } = self;
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
