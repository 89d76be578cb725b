//! A server's state from what its disk holds.

pub(crate) mod checkpoint;

use std::collections::BTreeMap;

use bytes::Bytes;
use kv_core::{
    Checkpoint, CheckpointItem, ClusterConfig, Effects, EngineConfig, Incarnation, NodeId,
    Operation, PersistSeq, RecoverError, Wire,
};

use crate::core::Core;
use crate::durable::journal::Journal;
use crate::durable::record::Record;
use crate::identity::Identity;
use crate::log::entry::Entry;
use crate::log::epoch::{Epoch, LogIndex};
use crate::log::suffix::Suffix;
use crate::mutation::Broken;
use crate::replica::Replica;

/// The state as far as the records have been replayed.
#[derive(Debug)]
pub(crate) struct Recovery {
    core: Core,
    incarnations: BTreeMap<NodeId, Incarnation>,
    staged: Vec<Vec<CheckpointItem>>,
    staged_log: Vec<Vec<Entry>>,
    last: PersistSeq,
}

impl Recovery {
    pub(crate) fn new(
        config: EngineConfig,
        checkpoint: Option<Checkpoint>,
        broken: Broken,
    ) -> Result<Self, RecoverError> {
        if !config.cluster.contains(config.node) {
            return Err(RecoverError::OtherConfiguration);
        }
        let mut recovery = Self {
            core: Core::new(config, PersistSeq(0), broken),
            incarnations: BTreeMap::new(),
            staged: Vec::new(),
            staged_log: Vec::new(),
            last: PersistSeq(0),
        };
        if let Some(checkpoint) = checkpoint {
            recovery.load(checkpoint)?;
        }
        Ok(recovery)
    }

    /// The state, and the incarnations of the peers that the sequencer knew.
    pub(crate) fn finish(mut self) -> (Core, BTreeMap<NodeId, Incarnation>) {
        self.core.journal = Journal::following(self.last);
        self.core.identity_on_disk = self.core.identity;
        (self.core, self.incarnations)
    }

    /// Replays a record.
    pub(crate) fn replay(&mut self, seq: PersistSeq, record: Record) -> Result<(), RecoverError> {
        let wrong = RecoverError::Record { seq };
        if seq != self.last.next() {
            return Err(wrong);
        }
        self.last = seq;
        match record {
            Record::Founded { cluster, configuration, incarnation, members } => {
                self.check_configuration(&configuration)?;
                self.incarnations.extend(members);
                let epoch = Epoch::first(self.core.node());
                self.identify(cluster, incarnation, incarnation, epoch);
            }
            Record::Joined { cluster, configuration, incarnation, sequencer } => {
                self.check_configuration(&configuration)?;
                let epoch = Epoch::first(self.core.sequencer());
                self.identify(cluster, incarnation, sequencer, epoch);
            }
            Record::Renewed { incarnation } => {
                self.core.identity.as_mut().ok_or(wrong)?.incarnation = incarnation;
            }
            Record::PeerIncarnation { peer, incarnation } => {
                self.incarnations.insert(peer, incarnation);
            }
            Record::Opened { epoch } => {
                self.core.identity.as_mut().ok_or(wrong)?.epoch = epoch;
            }
            Record::Entries { commit, entries } => {
                self.append(entries, commit).ok_or(wrong)?;
            }
            Record::Staged { part, items } => {
                stage(&mut self.staged, part, items);
            }
            Record::Installed { parts, metadata } => {
                self.install(parts, &metadata).ok_or(wrong)?;
            }
            Record::StagedLog { part, entries } => {
                stage(&mut self.staged_log, part, entries);
            }
            Record::Started { epoch, base, base_hash, parts } => {
                self.begin_epoch(epoch, (base, base_hash), parts).ok_or(wrong)?;
            }
        }
        Ok(())
    }

    fn load(&mut self, checkpoint: Checkpoint) -> Result<(), RecoverError> {
        self.last = checkpoint.covers;
        let metadata = checkpoint::metadata(&checkpoint.metadata);
        let Some(metadata) = metadata.map_err(RecoverError::Checkpoint)? else {
            return Ok(());
        };
        if metadata.configuration != self.core.configuration_hash {
            return Err(RecoverError::OtherConfiguration);
        }
        self.incarnations.extend(metadata.incarnations.iter().copied());
        self.identify(metadata.cluster, metadata.incarnation, metadata.sequencer, metadata.epoch);
        let replica = checkpoint::replica(metadata, checkpoint.items);
        self.switch_to(replica.map_err(RecoverError::Checkpoint)?);
        checkpoint::note_recovered(&mut self.core);
        Ok(())
    }

    fn install(&mut self, parts: u32, metadata: &Bytes) -> Option<()> {
        let items = take_staged(&mut self.staged, parts)?;
        let metadata = checkpoint::metadata(metadata).ok()??;
        self.core.identity.as_mut()?.epoch = metadata.epoch;
        self.switch_to(checkpoint::replica(metadata, items).ok()?);
        Some(())
    }

    fn begin_epoch(
        &mut self,
        epoch: Epoch,
        (base, base_hash): (LogIndex, u64),
        parts: u32,
    ) -> Option<()> {
        let staged = take_staged(&mut self.staged_log, parts)?;
        let replica = &mut self.core.replica;
        let known = replica.log().position_at(base).filter(|known| known.hash == base_hash);
        let mut suffix = Suffix::after(known.filter(|_| base >= replica.commit())?);
        for entry in staged {
            suffix.append(entry, epoch)?;
        }
        replica.replace_after(base, suffix.into_entries());
        self.core.identity.as_mut()?.epoch = epoch;
        Some(())
    }

    fn check_configuration(&self, configuration: &ClusterConfig) -> Result<(), RecoverError> {
        if configuration.hash() == self.core.configuration_hash {
            Ok(())
        } else {
            Err(RecoverError::OtherConfiguration)
        }
    }

    fn identify(
        &mut self,
        cluster: kv_core::ClusterId,
        incarnation: Incarnation,
        sequencer: Incarnation,
        epoch: Epoch,
    ) {
        self.core.identity = Some(Identity { cluster, incarnation, epoch, sequencer });
    }

    fn switch_to(&mut self, mut replica: Replica) {
        replica.note_durable(replica.log().last().index);
        self.core.replica.replace(replica, self.core.broken);
    }

    /// Appends what the log does not have; `None` if something does not follow.
    fn append(&mut self, entries: Vec<Entry>, commit: LogIndex) -> Option<()> {
        let replica = &mut self.core.replica;
        for entry in entries {
            let last = replica.log().last();
            if entry.index() <= last.index {
                let known = replica.log().hash_at(entry.index());
                if known.is_some_and(|hash| hash != entry.hash()) {
                    return None;
                }
                continue;
            }
            let header = entry.header();
            let follows = header.index == last.index.next()
                && header.previous_hash == last.hash
                && header.log_time_ms >= last.log_time_ms;
            let operation = Operation::from_bytes(entry.operation()).ok();
            replica.append(entry, operation.filter(|_| follows)?);
        }
        let last = replica.log().last().index;
        replica.note_durable(last);
        replica.note_commit(commit.min(last));
        // No client waits for what happened before a restart.
        self.core.deliver(&mut Effects::new());
        Some(())
    }
}

/// Keeps a part; the first one drops what was staged before. One that does not follow is what a
/// checkpoint left of a state that was never switched to.
fn stage<T>(staged: &mut Vec<Vec<T>>, part: u32, items: Vec<T>) {
    match usize::try_from(part).ok().filter(|part| *part <= staged.len()) {
        Some(part) => {
            staged.truncate(part);
            staged.push(items);
        }
        None => staged.clear(),
    }
}

fn take_staged<T>(
    staged: &mut Vec<Vec<T>>,
    parts: u32,
) -> Option<impl Iterator<Item = T> + use<T>> {
    let parts = usize::try_from(parts).ok().filter(|parts| *parts <= staged.len())?;
    Some(std::mem::take(staged).into_iter().take(parts).flatten())
}
