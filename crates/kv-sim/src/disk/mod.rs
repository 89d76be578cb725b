//! What a simulated server keeps: the real journal on a simulated disk, and a twin of the
//! checkpoint.

mod damage;
mod draft;
mod witness;
mod work;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kv_core::{Checkpoint, CheckpointDelta, CheckpointItem, NodeId, PersistSeq, SeedStream, Wire};
use kv_storage::{
    GroupCommit, Journal, JournalConfig, JournalError, JournalInspection, LayoutJob,
    MemoryCheckpoint, PowerLoss, Room, SimDisk, SimFile, StoreIdentity, SyncDone, SyncJob,
    SyncPolicy,
};

use crate::config::{DiskConfig, SimConfig};
use crate::violation::Breach;
use draft::Drafts;
use witness::Witness;

/// The disk of one server, and the journal while its process runs.
#[derive(Debug)]
pub(crate) struct Storage<R> {
    pub(crate) disk: SimDisk,
    pub(crate) checkpoint: MemoryCheckpoint,
    journal_config: JournalConfig,
    /// While the process runs.
    commit: Option<GroupCommit<SimDisk, R>>,
    /// Records of the steps since the last hand-over.
    batch: Vec<(PersistSeq, R)>,
    /// By their numbers.
    syncs: BTreeMap<u64, Sync>,
    layout: Option<LayoutJob<SimDisk>>,
    pub(crate) drafts: Drafts,
    /// No checkpoint can be written; each fails after so many parts, or at its end.
    pub(crate) checkpoints_fail_after: Option<u64>,
    /// Nothing ends on the disk.
    pub(crate) is_held: bool,
    /// The disk was told to fail before long.
    pub(crate) fails_soon: bool,
    /// What would have ended.
    pub(crate) held_back: Vec<DiskWork>,
    /// When the process looks by itself, if that is scheduled.
    pub(crate) look_at: Option<Duration>,
    pub(crate) witness: Witness,
    copy: Option<DiskCopy>,
}

/// A disk as it once was.
#[derive(Debug)]
struct DiskCopy {
    disk: SimDisk,
    checkpoint: MemoryCheckpoint,
    witness: Witness,
}

/// What an engine goes on from: a checkpoint, and the records after it.
pub(crate) type Recovered<R> = (Option<Checkpoint>, Vec<(PersistSeq, R)>);

/// A whole state at one moment, to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Items {
    /// The records that it reflects.
    pub covers: PersistSeq,
    /// What is not kept by key.
    pub metadata: Bytes,
    /// The items, ascending by key.
    pub items: Vec<CheckpointItem>,
}

impl Items {
    pub(crate) fn of(checkpoint: Checkpoint) -> Self {
        let Checkpoint { covers, metadata, items } = checkpoint;
        Self { covers, metadata, items: items.collect() }
    }

    /// Of a view of everything.
    pub(crate) fn of_whole(view: CheckpointDelta) -> Self {
        let CheckpointDelta { covers, metadata, changes } = view;
        let items = changes.filter_map(|(key, held)| Some((key, held?)));
        Self { covers, metadata, items: items.collect() }
    }

    pub(crate) fn checkpoint(self) -> Checkpoint {
        let Self { covers, metadata, items } = self;
        Checkpoint { covers, metadata, items: Box::new(items.into_iter()) }
    }
}

/// What takes time on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskWork {
    /// The sync with this number since the process started.
    Sync(u64),
    Layout,
    /// A part of the checkpoint with this number.
    Chunk(u64),
    /// The whole of it.
    Checkpoint(u64),
}

/// A sync under way.
#[derive(Debug)]
enum Sync {
    /// What is written until it ends may be on disk, too.
    ToRun(SyncJob<SimFile>),
    /// What was written since it began is not.
    HasRun(SyncDone),
}

/// What has come of the work on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Its number.
    pub(crate) sync_begun: Option<u64>,
    pub(crate) layout_begun: bool,
    pub(crate) persisted: Option<PersistSeq>,
    pub(crate) room: Option<Room>,
}

impl<R: Wire> Storage<R> {
    /// An empty disk.
    pub(crate) fn new(node: NodeId, config: &SimConfig) -> Self {
        let mut stream = SeedStream::new(config.seed ^ (u64::from(node.number()) << 48) ^ DISK);
        let disk = SimDisk::new(stream.next_u64());
        disk.set_crash_habits(config.disk.crash_habits);
        Self {
            disk,
            checkpoint: MemoryCheckpoint::new(),
            journal_config: journal_config(node, stream.next_u64(), &config.disk),
            commit: None,
            batch: Vec::new(),
            syncs: BTreeMap::new(),
            layout: None,
            drafts: Drafts::default(),
            checkpoints_fail_after: None,
            is_held: false,
            fails_soon: false,
            held_back: Vec::new(),
            look_at: None,
            witness: Witness::default(),
            copy: None,
        }
    }

    /// Goes on with what the disk holds, as a server's recovery does: the checkpoint, and the
    /// records after it.
    ///
    /// # Errors
    /// [`Breach`] if that is not readable, or not what was promised, or if it is taken for whole
    /// though a bit of it was flipped.
    pub(crate) fn recover(&mut self, is_damaged: bool) -> Result<Recovered<R>, Breach> {
        let refused = |error| Breach::Journal(Box::new(error));
        let covers = self.checkpoint.covers();
        let (journal, recovery) =
            Journal::recover(self.disk.clone(), self.journal_config.clone(), covers)
                .map_err(refused)?;
        let mut replay = journal.replay::<R>(covers);
        let records: Vec<_> = replay.by_ref().collect();
        replay.finish().map_err(refused)?;
        if is_damaged {
            return Err(Breach::DamageServed);
        }
        self.witness.judge(recovery.last, &records)?;
        self.commit = Some(GroupCommit::new(journal, SyncPolicy::Always));
        Ok((self.checkpoint.read(), records))
    }

    /// Takes a record, to be handed over.
    pub(crate) fn take(&mut self, seq: PersistSeq, record: R, digest: u64) {
        self.witness.note(seq, digest);
        self.batch.push((seq, record));
    }

    /// Does what there is to do now: hands over what was taken, and begins what takes time.
    ///
    /// # Errors
    /// [`JournalError`] if the process must not go on.
    pub(crate) fn advance(&mut self, now: Duration) -> Result<Progress, JournalError> {
        let mut progress = Progress::default();
        let Some(commit) = &mut self.commit else {
            return Ok(progress);
        };
        commit.take(self.batch.drain(..));
        if let Some(job) = commit.advance(now)? {
            progress.sync_begun = Some(job.number());
            self.syncs.insert(job.number(), Sync::ToRun(job));
        }
        progress.persisted = commit.newly_persisted();
        if let Some(job) = commit.begin_layout(now) {
            self.layout = Some(job);
            progress.layout_begun = true;
        }
        progress.room = commit.room_changed(now);
        if let Some(persisted) = progress.persisted {
            self.witness.promise(persisted);
        }
        Ok(progress)
    }

    /// Lets a sync cover just what was written when it began; not on a disk that is about to fail,
    /// so that a process ends at the moment of the failure.
    pub(crate) fn run_sync_early(&mut self, number: u64) {
        if self.fails_soon {
            return;
        }
        let sync = self.syncs.remove(&number).map(|sync| match sync {
            Sync::ToRun(job) => Sync::HasRun(job.run()),
            Sync::HasRun(done) => Sync::HasRun(done),
        });
        self.syncs.extend(sync.map(|sync| (number, sync)));
    }

    /// Ends a sync; one that began before it may still be under way.
    ///
    /// # Errors
    /// [`JournalError`] if it failed, or power went.
    pub(crate) fn end_sync(&mut self, number: u64) -> Result<(), JournalError> {
        let done = match self.syncs.remove(&number) {
            Some(Sync::ToRun(job)) => job.run(),
            Some(Sync::HasRun(done)) => done,
            None => return Ok(()),
        };
        self.commit.as_mut().map_or(Ok(()), |commit| commit.end_sync(done))
    }

    /// Ends the laying out of a segment.
    ///
    /// # Errors
    /// [`JournalError`] if it failed for another reason than a lack of room.
    pub(crate) fn end_layout(&mut self, now: Duration) -> Result<(), JournalError> {
        match (self.layout.take(), &mut self.commit) {
            (Some(job), Some(commit)) => commit.end_layout(now, job.run()),
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// When the process looks at its disk though nothing happens.
    pub(crate) fn wake_at(&self) -> Option<Duration> {
        self.commit.as_ref().and_then(GroupCommit::wake_at)
    }

    /// The last record of which the engine was told that it is persisted.
    pub(crate) const fn promised(&self) -> PersistSeq {
        self.witness.promised()
    }

    /// The records after the checkpoint that a loss of power now could not take.
    ///
    /// # Errors
    /// [`JournalError`] if the journal is damaged.
    pub(crate) fn synced_records(&self) -> Result<Vec<(PersistSeq, R)>, JournalError> {
        self.records_of(self.disk.synced())
    }

    /// The records after the checkpoint as far as they are written.
    ///
    /// # Errors
    /// [`JournalError`] if the journal is damaged.
    pub(crate) fn written_records(&self) -> Result<Vec<(PersistSeq, R)>, JournalError> {
        self.records_of(self.disk.clone())
    }

    fn records_of(&self, disk: SimDisk) -> Result<Vec<(PersistSeq, R)>, JournalError> {
        let covers = self.checkpoint.covers();
        let journal = JournalInspection::open(disk, &self.journal_config.identity, covers)?;
        let mut replay = journal.replay(covers);
        let records = replay.by_ref().collect();
        replay.finish().map(|()| records)
    }

    /// Lets the disk fail before long, in the way that `arm` says.
    pub(crate) fn arm(&mut self, arm: impl FnOnce(&SimDisk)) {
        self.fails_soon = true;
        arm(&self.disk);
    }

    /// Takes away what would make the disk fail before long, and gives it room.
    pub(crate) fn spare(&mut self) {
        self.fails_soon = false;
        self.checkpoints_fail_after = None;
        self.disk.spare();
        self.disk.set_quota(None);
    }

    /// Whether anything is on disk.
    pub(crate) fn is_used(&self) -> bool {
        self.promised() > PersistSeq(0) || self.checkpoint.covers() > PersistSeq(0)
    }

    /// Ends the process by a loss of power; says what that did to the disk, and whether a
    /// checkpoint was under way.
    pub(crate) fn lose_power(&mut self) -> (PowerLoss, bool) {
        let loses_checkpoint = self.forget_process();
        (self.disk.crash(), loses_checkpoint)
    }

    /// Ends the process and nothing else; whether a checkpoint was under way.
    pub(crate) fn kill(&mut self) -> bool {
        let loses_checkpoint = self.forget_process();
        self.disk.kill();
        loses_checkpoint
    }

    /// Takes a copy of what is certain to be on the disk.
    pub(crate) fn take_copy(&mut self) {
        let checkpoint = self.checkpoint.clone();
        let witness = self.witness.clone();
        self.copy = Some(DiskCopy { disk: self.disk.synced(), checkpoint, witness });
    }

    /// Puts the copy that was taken last in the place of the disk, on which no process runs; false
    /// if there is none of this disk.
    pub(crate) fn set_back(&mut self) -> bool {
        let Some(copy) = self.copy.take() else {
            return false;
        };
        self.forget_process();
        self.disk = copy.disk;
        self.checkpoint = copy.checkpoint;
        self.witness = copy.witness;
        true
    }

    /// Whether there is a copy of this disk.
    pub(crate) const fn has_copy(&self) -> bool {
        self.copy.is_some()
    }

    /// Ends the process and empties the disk.
    pub(crate) fn wipe(&mut self) {
        self.copy = None;
        self.forget_process();
        self.disk.wipe();
        self.checkpoint = MemoryCheckpoint::new();
        self.journal_config.identity.store = self.journal_config.identity.store.wrapping_add(1);
        self.witness = Witness::default();
    }

    fn forget_process(&mut self) -> bool {
        self.commit = None;
        self.batch.clear();
        self.syncs.clear();
        self.layout = None;
        self.fails_soon = false;
        self.held_back.clear();
        self.look_at = None;
        self.drafts.forget()
    }
}

fn journal_config(node: NodeId, store: u64, config: &DiskConfig) -> JournalConfig {
    let identity = StoreIdentity { store, node, engine: "simulated".to_owned() };
    JournalConfig {
        segment_bytes: config.segment_bytes,
        reserve_bytes: config.segment_bytes,
        broken: config.broken,
        ..JournalConfig::new(identity)
    }
}

const DISK: u64 = 0x6469_736b;
