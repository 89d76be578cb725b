//! A server's state from what its disk holds.

use std::collections::BTreeMap;

use kv_core::{
    Checkpoint, CheckpointItem, ClusterConfig, Effects, EngineConfig, Incarnation, NodeId,
    Operation, PersistSeq, RecoverError, Wire,
};

use crate::checkpoint;
use crate::core::{Core, Identity};
use crate::entry::Entry;
use crate::epoch::{Epoch, LogIndex};
use crate::journal::Journal;
use crate::mutation::Broken;
use crate::record::Record;
use crate::replica::Replica;

/// The state as far as the records have been replayed.
#[derive(Debug)]
pub(crate) struct Recovery {
    core: Core,
    lives: BTreeMap<NodeId, Incarnation>,
    staged: Vec<Vec<CheckpointItem>>,
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
            lives: BTreeMap::new(),
            staged: Vec::new(),
            last: PersistSeq(0),
        };
        if let Some(checkpoint) = checkpoint {
            recovery.load(checkpoint)?;
        }
        Ok(recovery)
    }

    /// The state, and the lives of the peers that the sequencer knew.
    pub(crate) fn finish(mut self) -> (Core, BTreeMap<NodeId, Incarnation>) {
        self.core.journal = Journal::following(self.last);
        (self.core, self.lives)
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
                self.lives.extend(members);
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
            Record::PeerLife { peer, incarnation } => {
                self.lives.insert(peer, incarnation);
            }
            Record::Opened { epoch } => {
                self.core.identity.as_mut().ok_or(wrong)?.epoch = epoch;
            }
            Record::Entries { commit, entries } => {
                self.append(entries, commit).ok_or(wrong)?;
            }
            Record::Staged { part, items } => {
                let part = usize::try_from(part).map_err(|_| wrong)?;
                if part > self.staged.len() {
                    return Err(wrong);
                }
                self.staged.truncate(part);
                self.staged.push(items);
            }
            Record::Installed { parts, metadata } => {
                let parts = usize::try_from(parts).map_err(|_| wrong)?;
                let mut staged = std::mem::take(&mut self.staged);
                if staged.len() < parts {
                    return Err(wrong);
                }
                staged.truncate(parts);
                let metadata = checkpoint::metadata(&metadata).map_err(|_| wrong)?;
                let items = staged.into_iter().flatten();
                let replica = checkpoint::replica(metadata.ok_or(wrong)?, items);
                self.switch_to(replica.map_err(|_| wrong)?);
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
        self.lives.extend(metadata.lives.iter().copied());
        self.identify(metadata.cluster, metadata.incarnation, metadata.sequencer, metadata.epoch);
        let replica = checkpoint::replica(metadata, checkpoint.items);
        self.switch_to(replica.map_err(RecoverError::Checkpoint)?);
        Ok(())
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
        self.core.identity =
            Some(Identity { cluster, incarnation, epoch, sequencer, unwritten: 0 });
    }

    fn switch_to(&mut self, mut replica: Replica) {
        replica.note_durable(replica.log().last().index);
        self.core.replica = replica;
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
            let operation = Operation::from_bytes(entry.operation().clone()).ok();
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
