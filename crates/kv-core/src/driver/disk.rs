//! What is on its way to the disk, and when a checkpoint is due.

use std::time::Duration;

use super::config::CheckpointPolicy;
use crate::cluster::id::PersistSeq;
use crate::engine::Shortage;
use crate::store::ViewId;

/// The records that were asked for and those on disk, and the checkpoint that lets them go.
#[derive(Clone, Debug)]
pub(super) struct DiskState {
    /// The last record that the engine asked for.
    pub(super) asked: PersistSeq,
    /// The last record that is on disk.
    pub(super) persisted: PersistSeq,
    pub(super) shortage: Option<Shortage>,
    /// The checkpoint that is being written.
    pub(super) stream: Option<CheckpointStream>,
    policy: CheckpointPolicy,
    /// The last record that the checkpoint on disk reflects.
    covers: PersistSeq,
    /// Bytes of the journal that the last checkpoint does not cover, when it was opened.
    carried_bytes: u64,
    /// What the journal had written by then.
    written_before_bytes: u64,
    written_bytes: u64,
    not_before: Duration,
    looked_at: Duration,
}

/// A checkpoint that is being written.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckpointStream {
    pub(super) view: ViewId,
    pub(super) covers: PersistSeq,
    /// How many more chunks the writer takes now.
    pub(super) room: u32,
    /// All of it was handed over.
    pub(super) is_read: bool,
}

impl DiskState {
    pub(super) const fn new(
        policy: CheckpointPolicy,
        persisted: PersistSeq,
        covers: PersistSeq,
        journal_bytes: u64,
    ) -> Self {
        Self {
            asked: persisted,
            persisted,
            shortage: None,
            stream: None,
            policy,
            covers,
            carried_bytes: journal_bytes,
            written_before_bytes: 0,
            written_bytes: 0,
            not_before: Duration::ZERO,
            looked_at: Duration::ZERO,
        }
    }

    pub(super) const fn covers(&self) -> PersistSeq {
        self.covers
    }

    pub(super) const fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    pub(super) fn note_written_bytes(&mut self, written_bytes: u64) {
        self.written_bytes = self.written_bytes.max(written_bytes);
    }

    /// When the next checkpoint is to be opened, as [`checkpoint_due`](Self::checkpoint_due), and
    /// notes that this was looked at.
    pub(super) fn look(&mut self, now: Duration) -> Option<Duration> {
        self.looked_at = now;
        self.checkpoint_due()
    }

    /// When the next checkpoint is to be opened, as far as is known; may be past.
    pub(super) fn checkpoint_due(&self) -> Option<Duration> {
        let new_bytes = self.written_bytes.saturating_sub(self.written_before_bytes);
        let is_due = self.shortage.is_some()
            || self.carried_bytes.saturating_add(new_bytes) >= self.policy.bytes_max;
        let may = self.stream.is_none() && self.persisted > self.covers;
        (is_due && may).then_some(self.not_before)
    }

    /// When to look again how much the journal has written.
    pub(super) fn look_due(&self) -> Option<Duration> {
        let may_be_due = self.stream.is_none() && self.persisted > self.covers;
        may_be_due.then(|| self.looked_at.saturating_add(LOOK_INTERVAL))
    }

    /// A checkpoint was opened.
    pub(super) fn begin(&mut self, view: ViewId, covers: PersistSeq) {
        self.written_before_bytes = self.written_bytes;
        self.carried_bytes = 0;
        self.stream =
            Some(CheckpointStream { view, covers, room: self.policy.chunks_max, is_read: false });
    }

    /// None could be opened, or it would cover nothing new.
    pub(super) fn put_off(&mut self, now: Duration) {
        self.not_before = now.saturating_add(self.policy.interval_min);
    }

    /// The checkpoint is on disk; gives its view and what it covers.
    pub(super) fn end(&mut self, now: Duration) -> Option<CheckpointStream> {
        self.put_off(now);
        let stream = self.stream.take()?;
        self.covers = stream.covers;
        Some(stream)
    }

    /// The checkpoint was not written; it is as if none had been opened.
    pub(super) fn fail(&mut self, now: Duration) -> Option<CheckpointStream> {
        self.put_off(now);
        self.carried_bytes = self.policy.bytes_max;
        self.stream.take()
    }
}

/// How often the journal's size is looked at while nothing else happens.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
