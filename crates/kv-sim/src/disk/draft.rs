//! The checkpoint that is being taken, until it is on disk or has failed.

use bytes::Bytes;
use kv_core::{CheckpointChange, CheckpointDelta, PersistSeq, Wire};
use kv_storage::{JournalError, MemoryCheckpoint, Mutation};

use super::{Items, Storage};
use crate::violation::Breach;

/// The checkpoints of a process.
#[derive(Debug, Default)]
pub(crate) struct Drafts {
    /// The one that is being taken.
    draft: Option<Draft>,
    /// One that was taken and is not on disk.
    taken: Option<MemoryCheckpoint>,
    /// How many were begun.
    begun: u64,
    /// How many parts of the last one the writer has taken.
    parts: u64,
    /// The last one that could not be written.
    failed: Option<u64>,
    /// It could not be written, and none was written since.
    is_owed: bool,
}

#[derive(Debug)]
struct Draft {
    covers: PersistSeq,
    metadata: Bytes,
    changes: Vec<CheckpointChange>,
    whole: Option<Items>,
}

impl Drafts {
    /// The number of the last one.
    pub(super) const fn last(&self) -> u64 {
        self.begun
    }

    /// Whether one is being taken or is on its way to the disk.
    pub(crate) const fn is_under_way(&self) -> bool {
        self.draft.is_some() || self.taken.is_some()
    }

    /// Whether this one could not be written, and what is left of it is passed over.
    pub(super) fn has_failed(&self, number: u64) -> bool {
        self.failed == Some(number)
    }

    /// Forgets them with the process; whether one was under way.
    pub(super) fn forget(&mut self) -> bool {
        let is_drafted = self.draft.take().is_some();
        self.is_owed = false;
        self.taken.take().is_some() || is_drafted
    }
}

impl<R: Wire> Storage<R> {
    /// Begins a checkpoint; `whole` is what the disk must hold with it.
    ///
    /// # Errors
    /// [`JournalError`], only of a driver that breaks a rule.
    pub(crate) fn begin_checkpoint(
        &mut self,
        covers: PersistSeq,
        metadata: Bytes,
        whole: Option<Items>,
    ) -> Result<(), JournalError> {
        let drafts = &mut self.drafts;
        drafts.draft = Some(Draft { covers, metadata, changes: Vec::new(), whole });
        (drafts.begun, drafts.parts) = (drafts.begun + 1, 0);
        if self.journal_config.broken.is(Mutation::PrunedBeforeCheckpoint) {
            return self.remove_through(covers);
        }
        Ok(())
    }

    /// Takes a part of the checkpoint that was begun; false if there is none, since it has failed.
    pub(crate) fn write_changes(&mut self, changes: Vec<CheckpointChange>) -> bool {
        let draft = self.drafts.draft.as_mut();
        draft.is_some_and(|draft| {
            draft.changes.extend(changes);
            true
        })
    }

    /// The checkpoint that was begun is dropped.
    pub(crate) fn abandon_checkpoint(&mut self) {
        self.drafts.draft = None;
    }

    /// Sends the checkpoint that was begun on its way to the disk, or `instead` of it.
    ///
    /// # Errors
    /// [`Breach::CheckpointsDoNotSumUp`] if what will be on disk is not the whole state.
    pub(crate) fn finish_checkpoint(
        &mut self,
        instead: Option<MemoryCheckpoint>,
    ) -> Result<(), Breach> {
        let Some(Draft { covers, metadata, changes, whole }) = self.drafts.draft.take() else {
            return Ok(());
        };
        let changes = Box::new(changes.into_iter());
        let next = self.checkpoint.followed_by(CheckpointDelta { covers, metadata, changes });
        if whole.is_some() && next.read().map(Items::of) != whole {
            return Err(Breach::CheckpointsDoNotSumUp { covers });
        }
        self.drafts.taken = Some(instead.unwrap_or(next));
        Ok(())
    }

    /// Puts the checkpoint on disk, in one step, and lets go of the records that it covers; which
    /// these are.
    ///
    /// # Errors
    /// [`JournalError`] if they cannot be removed.
    pub(crate) fn end_checkpoint(&mut self) -> Result<Option<PersistSeq>, JournalError> {
        let Some(checkpoint) = self.drafts.taken.take() else {
            return Ok(None);
        };
        self.drafts.is_owed = false;
        self.checkpoint = checkpoint;
        let covers = self.checkpoint.covers();
        self.witness.forget_through(covers);
        self.remove_through(covers)?;
        Ok(Some(covers))
    }

    /// Whether a checkpoint fails once a part of it, or the whole of it, was to be written.
    pub(crate) fn fails_checkpoint(&mut self, number: u64, is_last: bool) -> bool {
        let drafts = &mut self.drafts;
        if number != drafts.begun || !drafts.is_under_way() {
            return false;
        }
        drafts.parts += 1;
        self.checkpoints_fail_after.is_some_and(|parts| is_last || drafts.parts > parts)
    }

    /// The checkpoint that is being taken cannot be written: the one on disk stays, and so do the
    /// records after it.
    ///
    /// # Errors
    /// [`JournalError`], only of a driver that breaks a rule.
    pub(crate) fn fail_checkpoint(&mut self) -> Result<(), JournalError> {
        let drafts = &mut self.drafts;
        let draft = drafts.draft.take().map(|draft| draft.covers);
        let covers = drafts.taken.take().map(|taken| taken.covers()).or(draft);
        (drafts.failed, drafts.is_owed) = (Some(drafts.begun), true);
        match covers {
            Some(covers)
                if self.journal_config.broken.is(Mutation::PrunedAfterFailedCheckpoint) =>
            {
                self.remove_through(covers)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a checkpoint could not be written and none was written since.
    pub(crate) const fn owes_checkpoint(&self) -> bool {
        self.drafts.is_owed
    }

    fn remove_through(&mut self, covers: PersistSeq) -> Result<(), JournalError> {
        self.commit.as_mut().map_or(Ok(()), |commit| commit.remove_through(covers))
    }
}
