//! A server's state from what its disk holds.

pub(crate) mod checkpoint;

use bytes::Bytes;
use kv_core::{
    Checkpoint, CheckpointItem, ClusterConfig, ClusterId, Effects, EngineConfig, Incarnation,
    PersistSeq, RecoverError,
};

use crate::core::Core;
use crate::durable::journal::Journal;
use crate::durable::record::Record;
use crate::durable::view;
use crate::identity::{Identity, Salvaged};
use crate::log::entry::Entry;
use crate::log::epoch::LogIndex;
use crate::mutation::Broken;
use crate::replica::Replica;

/// The state as far as the records have been replayed.
#[derive(Debug)]
pub(crate) struct Recovery {
    core: Core,
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
            staged: Vec::new(),
            last: PersistSeq(0),
        };
        if let Some(checkpoint) = checkpoint {
            recovery.load(checkpoint)?;
        }
        Ok(recovery)
    }

    /// The state of the server.
    pub(crate) fn finish(mut self) -> Core {
        self.core.journal = Journal::following(self.last);
        self.core.identity_on_disk = self.core.identity;
        self.core
    }

    /// Replays a record.
    pub(crate) fn replay(&mut self, seq: PersistSeq, record: Record) -> Result<(), RecoverError> {
        let wrong = RecoverError::Record { seq };
        if seq != self.last.next() {
            return Err(wrong);
        }
        self.last = seq;
        let core = &mut self.core;
        match record {
            Record::Named { nonce } => core.named = Some(nonce),
            Record::Founded { cluster, configuration, incarnation, members } => {
                self.check_configuration(&configuration)?;
                self.core.salvaged = None;
                self.core.known.recover(members);
                self.identify(cluster, incarnation, false);
            }
            Record::Joined { cluster, configuration, incarnation, known, recovering } => {
                self.check_configuration(&configuration)?;
                self.core.known.recover(known);
                self.identify(cluster, incarnation, recovering);
            }
            Record::Renewed { incarnation, recovering } => {
                let identity = core.identity.as_mut().ok_or(wrong)?;
                *identity = Identity { incarnation, recovering, ..*identity };
            }
            Record::Recovered => core.identity.as_mut().ok_or(wrong)?.recovering = false,
            Record::Known { peer, incarnation } => core.known.recover([(peer, incarnation)]),
            Record::Promised { epoch } => core.recover_promise(epoch),
            Record::Opened { entry } => {
                let epoch = entry.header().epoch;
                core.identity.as_mut().ok_or(wrong)?.incarnation = epoch.incarnation;
                core.recover_promise(epoch);
                let previous = entry.index().previous();
                self.append(previous, vec![entry], LogIndex::ZERO).ok_or(wrong)?;
            }
            Record::Entries { promised, commit, previous, entries } => {
                core.recover_promise(promised);
                self.append(previous, entries, commit).ok_or(wrong)?;
            }
            Record::Staged { part, items } => self.stage(part, items),
            Record::Installed { promised, parts, metadata } => {
                self.install(parts, &metadata).ok_or(wrong)?;
                self.core.recover_promise(promised);
            }
            Record::Refuted { peer } => core.refuted = Some(peer),
            Record::FoundedOn { last } => core.founded_on = last,
            Record::Salvaged { cluster } => {
                let incarnation = core.identity.take().ok_or(wrong)?.incarnation;
                let known = std::mem::take(&mut core.known);
                core.salvaged = Some(Salvaged { cluster, incarnation, known });
                core.refuted = None;
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
        self.core.known.recover(metadata.known.iter().copied());
        self.core.recover_promise(metadata.promised);
        self.core.refuted = metadata.refuted;
        self.identify(metadata.cluster, metadata.incarnation, metadata.recovering);
        let replica = checkpoint::replica(metadata, checkpoint.items);
        self.switch_to(replica.map_err(RecoverError::Checkpoint)?);
        view::note_recovered(&mut self.core);
        Ok(())
    }

    fn install(&mut self, parts: u32, metadata: &Bytes) -> Option<()> {
        let parts = usize::try_from(parts).ok().filter(|parts| *parts <= self.staged.len())?;
        let staged = std::mem::take(&mut self.staged).into_iter().take(parts).flatten();
        let metadata = checkpoint::metadata(metadata).ok()??;
        self.core.identity?;
        self.switch_to(checkpoint::replica(metadata, staged).ok()?);
        Some(())
    }

    /// Keeps a part; the first one drops what was staged before. One that does not follow is what a
    /// checkpoint left of a state that was never switched to.
    fn stage(&mut self, part: u32, items: Vec<CheckpointItem>) {
        match usize::try_from(part).ok().filter(|part| *part <= self.staged.len()) {
            Some(part) => {
                self.staged.truncate(part);
                self.staged.push(items);
            }
            None => self.staged.clear(),
        }
    }

    fn check_configuration(&self, configuration: &ClusterConfig) -> Result<(), RecoverError> {
        if configuration.hash() == self.core.configuration_hash {
            Ok(())
        } else {
            Err(RecoverError::OtherConfiguration)
        }
    }

    fn identify(&mut self, cluster: ClusterId, incarnation: Incarnation, recovering: bool) {
        self.core.identity = Some(Identity { cluster, incarnation, recovering });
    }

    fn switch_to(&mut self, replica: Replica) {
        self.core.replica.replace(replica, self.core.broken);
    }

    /// Puts entries after a position, in place of what is there unless it is the same; `None` if
    /// something does not follow.
    fn append(&mut self, previous: LogIndex, entries: Vec<Entry>, commit: LogIndex) -> Option<()> {
        let replica = &mut self.core.replica;
        for entry in entries {
            let index = entry.index();
            if index <= replica.applied().index {
                // A checkpoint that was taken later has it.
                continue;
            }
            if index <= replica.log().last().index {
                if replica.log().hash_at(index) == Some(entry.hash()) {
                    continue;
                }
                if index <= replica.commit() {
                    return None;
                }
                replica.truncate(index.previous());
            }
            if !replica.log().is_next(&entry) {
                return None;
            }
            replica.append(entry);
        }
        if previous > replica.log().last().index {
            return None;
        }
        replica.note_durable(replica.asked());
        replica.note_commit(commit.min(replica.log().last().index));
        // No client waits for what happened before a restart.
        self.core.deliver(&mut Effects::new());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use kv_core::{NodeId, Quorum};

    use super::*;
    use crate::log::Position;
    use crate::log::entry::EntryHeader;
    use crate::log::epoch::Epoch;

    fn config() -> EngineConfig {
        let voters = [1, 2, 3].map(|number| NodeId::new(number).unwrap());
        let cluster = ClusterConfig::new(voters, Quorum::Majority, Quorum::Majority).unwrap();
        EngineConfig::seeded(NodeId::FIRST, cluster, 5)
    }

    fn epoch(round: u32) -> Epoch {
        Epoch { round, ..Epoch::first(NodeId::FIRST, Incarnation(1 << 32)) }
    }

    /// A log with one entry of each round.
    fn log(rounds: &[u32]) -> Vec<Entry> {
        let mut last = Position::default();
        let next = |round: &u32| {
            let header = EntryHeader {
                index: last.index.next(),
                epoch: epoch(*round),
                log_time_ms: 0,
                operations_before: 0,
                operations: 0,
                previous_hash: last.hash,
            };
            let entry = Entry::new(header, &[]);
            last = Position::of(&entry);
            entry
        };
        rounds.iter().map(next).collect()
    }

    fn entries(commit: u64, log: &[Entry], from: usize) -> Record {
        Record::Entries {
            promised: log.last().unwrap().header().epoch,
            commit: LogIndex(commit),
            previous: LogIndex(u64::try_from(from).unwrap()),
            entries: log[from..].to_vec(),
        }
    }

    fn replay(records: Vec<Record>) -> Result<Core, RecoverError> {
        let mut recovery = Recovery::new(config(), None, Broken::default())?;
        let founded = Record::Founded {
            cluster: ClusterId(1),
            configuration: config().cluster,
            incarnation: Incarnation(1 << 32),
            members: Vec::new(),
        };
        for (seq, record) in (1..).map(PersistSeq).zip([founded].into_iter().chain(records)) {
            recovery.replay(seq, record)?;
        }
        Ok(recovery.finish())
    }

    fn assert_log(core: &Core, log: &[Entry]) {
        let found: Vec<Entry> = core.replica.log().from(LogIndex(1)).cloned().collect();
        assert_eq!(found, log);
        assert_eq!(core.replica.durable(), core.replica.log().last().index);
        core.replica.check_invariants();
    }

    #[test]
    fn entries_that_differ_replace_what_was_written_before_after_their_place() {
        let (old, new) = (log(&[0, 0, 0, 0]), log(&[0, 2, 2]));
        let core = replay(vec![entries(1, &old, 0), entries(1, &new, 1)]).unwrap();
        assert_log(&core, &new);
        assert_eq!(core.promised(), epoch(2));
        assert_eq!(core.promised_on_disk(), epoch(2));
    }

    #[test]
    fn entries_that_are_there_already_cut_nothing_off() {
        let whole = log(&[0, 0, 1]);
        let core = replay(vec![entries(0, &whole, 0), entries(0, &whole[..2], 0)]).unwrap();
        assert_log(&core, &whole);
    }

    #[test]
    fn what_was_applied_is_never_replaced() {
        let (old, new) = (log(&[0, 0, 0]), log(&[0, 2, 2]));
        // A checkpoint may have more than a record that is replayed on it.
        let core = replay(vec![entries(2, &old, 0), entries(0, &new[..2], 1)]).unwrap();
        assert_log(&core, &old);
        let replayed = replay(vec![entries(2, &old, 0), entries(0, &new, 1)]);
        assert_eq!(replayed.map(drop), Err(RecoverError::Record { seq: PersistSeq(3) }));
    }

    #[test]
    fn entries_beyond_a_gap_or_of_another_log_are_refused() {
        let (first, other) = (log(&[0, 0]), log(&[1, 1, 1, 1]));
        for (log, from) in [(&other, 2), (&other, 3)] {
            let replayed = replay(vec![entries(0, &first, 0), entries(0, log, from)]);
            assert_eq!(replayed.map(drop), Err(RecoverError::Record { seq: PersistSeq(3) }));
        }
        let beyond = Record::Entries {
            promised: epoch(0),
            commit: LogIndex(0),
            previous: LogIndex(3),
            entries: Vec::new(),
        };
        let replayed = replay(vec![entries(0, &first, 0), beyond]);
        assert_eq!(replayed.map(drop), Err(RecoverError::Record { seq: PersistSeq(3) }));
    }

    #[test]
    fn an_opening_entry_brings_its_promise_and_its_incarnation() {
        let log = log(&[0, 3]);
        let opened = Record::Opened { entry: log[1].clone() };
        let core = replay(vec![entries(0, &log[..1], 0), opened]).unwrap();
        assert_log(&core, &log);
        assert_eq!(core.promised_on_disk(), epoch(3));
        assert_eq!(core.incarnation(), epoch(3).incarnation);
    }
}
