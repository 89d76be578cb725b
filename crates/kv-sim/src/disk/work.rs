//! Servers' disks: syncs, layouts and checkpoints that begin, end and are held, and what fails.

use bytes::Bytes;
use kv_core::{
    CheckpointChange, ConsistencyEngine, NodeId, PersistSeq, Shortage, ViewScope, Wire,
    read_whole_view,
};
use kv_storage::{DiskAction, JournalError, MemoryCheckpoint, Mutation, Room, SimDisk};

use super::damage;
use super::{DiskWork, Items, Progress};
use crate::cluster::Cluster;
use crate::cluster::event::Event;
use crate::config::draw;
use crate::fault::Fault;
use crate::server::arrival::Arrival;
use crate::violation::{Breach, Violation};

impl<E: ConsistencyEngine> Cluster<E> {
    /// Lets nothing end on a server's disk from here on: no sync, no layout of a segment and no
    /// checkpoint.
    pub fn hold_disk(&mut self, node: NodeId) {
        self.server_mut(node).storage.is_held = true;
    }

    /// Lets things end again; what should have ended meanwhile ends now.
    pub fn release_disk(&mut self, node: NodeId) {
        let now = self.now;
        let server = self.server_mut(node);
        server.storage.is_held = false;
        let starts = server.starts;
        for work in std::mem::take(&mut server.storage.held_back) {
            self.queue.push(now, Event::DiskWorkEnds { node, starts, work });
        }
    }

    /// Lets the next sync on a server's disk fail: the process ends by it, as the real server's
    /// does, since the kernel may have dropped what was to be written.
    pub fn fail_next_sync(&mut self, node: NodeId) {
        self.server_mut(node).storage.arm(SimDisk::fail_next_sync);
    }

    /// Lets the next write on a server's disk fail halfway: the process ends by it.
    pub fn fail_next_write(&mut self, node: NodeId) {
        self.server_mut(node).storage.arm(SimDisk::fail_next_write);
    }

    /// Lets power be lost on a server after so many operations on its disk, those of a recovery
    /// included.
    pub fn lose_power_after(&mut self, node: NodeId, operations: u64) {
        self.server_mut(node).storage.arm(|disk| disk.stop_after(operations));
    }

    /// Lets a server's disk have no more than so many bytes free: once its journal cannot be
    /// extended the server refuses writes.
    pub fn fill_disk(&mut self, node: NodeId, free_bytes: u64) {
        let disk = &self.server(node).storage.disk;
        disk.set_quota(Some(disk.used_bytes() + free_bytes));
    }

    /// Lets no checkpoint of a server be written: each fails after so many parts, or at its end.
    pub fn fail_checkpoints(&mut self, node: NodeId, parts: u64) {
        self.server_mut(node).storage.checkpoints_fail_after = Some(parts);
    }

    /// Lets a server's checkpoints be written again.
    pub fn write_checkpoints(&mut self, node: NodeId) {
        self.server_mut(node).storage.checkpoints_fail_after = None;
    }

    /// Whether the last checkpoint that a running server took could not be written.
    #[must_use]
    pub fn owes_checkpoint(&self, node: NodeId) -> bool {
        self.server(node).storage.owes_checkpoint()
    }

    /// Whether a server's checkpoint is being taken or is on its way to the disk.
    pub(crate) fn writes_checkpoint(&self, node: NodeId) -> bool {
        self.server(node).storage.drafts.is_under_way()
    }

    /// Makes room on a server's disk.
    pub fn free_disk(&mut self, node: NodeId) {
        self.server(node).storage.disk.set_quota(None);
    }

    /// Flips a bit on a server's disk, in a segment's header or in a record that a later one knows
    /// to be on disk, so that the damage can be told from a torn tail; `choice` decides which.
    /// False if there is no such bit. The server must not start again with it.
    pub fn flip_bit(&mut self, node: NodeId, choice: u64) -> bool {
        let Some((name, bit)) = damage::choose(&self.server(node).storage.disk, choice) else {
            return false;
        };
        let server = self.server_mut(node);
        server.disk_damaged |= server.storage.disk.flip_bit(&name, bit);
        self.counts.note(Fault::FlippedBit);
        self.note(node, 9, |out| bit.encode(out), || format!("bit {bit} of {name} flips"));
        true
    }

    /// Something ends on a disk, well or not.
    pub(crate) fn on_disk_work_ends(
        &mut self,
        node: NodeId,
        starts: u64,
        work: DiskWork,
    ) -> Result<(), Violation> {
        let now = self.now;
        let server = self.server_mut(node);
        if server.starts != starts || !server.is_running() {
            return Ok(());
        }
        if server.storage.is_held {
            server.storage.held_back.push(work);
            return Ok(());
        }
        let ended = match work {
            DiskWork::Sync(number) => server.storage.end_sync(number),
            DiskWork::Layout => server.storage.end_layout(now),
            DiskWork::Chunk(number) | DiskWork::Checkpoint(number) => {
                let is_last = matches!(work, DiskWork::Checkpoint(_));
                return self.on_checkpoint_work_ends(node, number, is_last);
            }
        };
        match ended {
            Ok(()) => self.use_disk(node),
            Err(error) => self.on_disk_error(node, error),
        }
    }

    /// A process looks at its disk by itself, as it does when it lacks room.
    pub(crate) fn on_disk_look(&mut self, node: NodeId, starts: u64) -> Result<(), Violation> {
        let server = self.server_mut(node);
        if server.starts != starts || !server.is_running() {
            return Ok(());
        }
        server.storage.look_at = None;
        self.use_disk(node)
    }

    /// Hands over the records that were taken, begins what there is to do on the disk, and tells
    /// the driver what has become of it.
    pub(crate) fn use_disk(&mut self, node: NodeId) -> Result<(), Violation> {
        let now = self.now;
        if !self.server(node).is_running() {
            return Ok(());
        }
        match self.server_mut(node).storage.advance(now) {
            Ok(progress) => self.on_disk_progress(node, progress),
            Err(error) => return self.on_disk_error(node, error),
        }
        Ok(())
    }

    fn on_disk_progress(&mut self, node: NodeId, progress: Progress) {
        let Progress { sync_begun, layout_begun, persisted, room } = progress;
        if let Some(number) = sync_begun {
            if self.driver_stream.chance(500) {
                self.server_mut(node).storage.run_sync_early(number);
            }
            self.begin_disk_work(node, DiskWork::Sync(number));
        }
        if layout_begun {
            self.begin_disk_work(node, DiskWork::Layout);
        }
        if let Some(up_to) = persisted {
            self.arrive(node, Arrival::Persisted { up_to });
        }
        if let Some(room) = room {
            let shortage = room.shortage().map(|shortage| match shortage {
                kv_storage::Shortage::Space if room.takes_deletes() => Shortage::SpaceForData,
                kv_storage::Shortage::Space => Shortage::Space,
                kv_storage::Shortage::OpenFiles => Shortage::OpenFiles,
            });
            self.arrive(node, Arrival::Room { shortage });
        }
        match room {
            Some(Room::Low { .. }) => {
                self.counts.note(Fault::FullDisk);
                self.note(node, 10, |_| {}, || "the disk is full".to_owned());
            }
            Some(Room::Enough) => {
                self.note(node, 10, |_| {}, || "there is room on the disk again".to_owned());
            }
            None => {}
        }
        let server = self.server_mut(node);
        let wake_at = server.storage.wake_at();
        if let Some(at) = wake_at
            && server.storage.look_at.is_none_or(|look_at| look_at > at)
        {
            server.storage.look_at = Some(at);
            let starts = server.starts;
            self.queue.push(at.max(self.now), Event::DiskLook { node, starts });
        }
    }

    fn begin_disk_work(&mut self, node: NodeId, work: DiskWork) {
        let delay = match work {
            DiskWork::Sync(_) | DiskWork::Layout => &self.config.disk.sync_delay,
            DiskWork::Chunk(_) | DiskWork::Checkpoint(_) => &self.config.disk.checkpoint_delay,
        };
        let at = self.now + draw(&mut self.driver_stream, delay);
        let starts = self.server(node).starts;
        self.queue.push(at, Event::DiskWorkEnds { node, starts, work });
    }

    /// The driver begins a checkpoint.
    pub(crate) fn begin_checkpoint(
        &mut self,
        node: NodeId,
        covers: PersistSeq,
        metadata: Bytes,
    ) -> Result<(), Violation> {
        self.note(node, 8, |_| {}, || "takes a checkpoint".to_owned());
        let durable = self.server(node).storage.promised();
        if covers > durable {
            return Err(self.violation(node, Breach::CheckpointAhead { covers, durable }));
        }
        let server = self.server_mut(node);
        let whole = server
            .engine_mut()
            .and_then(|engine| read_whole_view(engine, ViewScope::Whole).map(Items::of_whole));
        let begun = server.storage.begin_checkpoint(covers, metadata, whole);
        begun.or_else(|error| self.on_disk_error(node, error))
    }

    /// The driver hands over a part of the checkpoint that it began.
    pub(crate) fn write_changes(
        &mut self,
        node: NodeId,
        changes: Vec<CheckpointChange>,
        is_last: bool,
    ) -> Result<(), Violation> {
        let storage = &mut self.server_mut(node).storage;
        let number = storage.drafts.last();
        if !storage.write_changes(changes) {
            return Ok(());
        }
        if !is_last {
            self.begin_disk_work(node, DiskWork::Chunk(number));
            return Ok(());
        }
        let ahead = self.ahead_of_the_disk(node);
        let finished = self.server_mut(node).storage.finish_checkpoint(ahead);
        finished.map_err(|breach| self.violation(node, breach))?;
        self.begin_disk_work(node, DiskWork::Checkpoint(number));
        Ok(())
    }

    /// Of a driver that breaks this rule: a checkpoint of all that is written, synced or not.
    fn ahead_of_the_disk(&self, node: NodeId) -> Option<MemoryCheckpoint> {
        if !self.config.disk.broken.is(Mutation::CheckpointBeforeRecords) {
            return None;
        }
        let server = self.server(node);
        let written = server.storage.written_records().ok()?;
        let config = server.engine_config(&self.config);
        let mut ahead = E::recover(config, server.storage.checkpoint.read(), written).ok()?;
        let changes = read_whole_view(&mut ahead, ViewScope::Changes)?;
        Some(server.storage.checkpoint.followed_by(changes))
    }

    /// A part of a checkpoint is written, or the whole of it; or it cannot be.
    fn on_checkpoint_work_ends(
        &mut self,
        node: NodeId,
        number: u64,
        is_last: bool,
    ) -> Result<(), Violation> {
        let storage = &mut self.server_mut(node).storage;
        if storage.drafts.has_failed(number) {
            return Ok(());
        }
        if storage.fails_checkpoint(number, is_last) {
            return self.on_checkpoint_fails(node);
        }
        if is_last {
            return self.on_checkpoint_ends(node);
        }
        self.arrive(node, Arrival::ChangesTaken);
        Ok(())
    }

    fn on_checkpoint_fails(&mut self, node: NodeId) -> Result<(), Violation> {
        self.counts.note(Fault::FailedCheckpoint);
        self.note(node, 8, |out| 0_u8.encode(out), || "the checkpoint fails".to_owned());
        if let Err(error) = self.server_mut(node).storage.fail_checkpoint() {
            return self.on_disk_error(node, error);
        }
        self.arrive(node, Arrival::CheckpointFailed);
        Ok(())
    }

    /// A checkpoint is on disk, where the records that it reflects must be, too.
    fn on_checkpoint_ends(&mut self, node: NodeId) -> Result<(), Violation> {
        let durable = self.server(node).storage.promised();
        match self.server_mut(node).storage.end_checkpoint() {
            Ok(Some(covers)) if covers > durable => {
                Err(self.violation(node, Breach::CheckpointAhead { covers, durable }))
            }
            Ok(Some(covers)) => {
                self.note(node, 8, |out| covers.encode(out), || "checkpoint on disk".to_owned());
                self.arrive(node, Arrival::CheckpointWritten);
                self.use_disk(node)
            }
            Ok(None) => Ok(()),
            Err(error) => self.on_disk_error(node, error),
        }
    }

    /// The disk has failed a process, which ends by it; a violation if nobody made it fail.
    fn on_disk_error(&mut self, node: NodeId, error: JournalError) -> Result<(), Violation> {
        if self.server(node).storage.disk.has_stopped() {
            self.counts.note(Fault::PowerLossAtDisk);
            self.note(node, 10, |_| {}, || format!("power is lost: {error}"));
            self.end_by_crash(node);
            return Ok(());
        }
        if let JournalError::NotDense { expected, found } = error {
            return Err(self.violation(node, Breach::SeqNotDense { expected, found }));
        }
        let fault = if failed_at(&error, DiskAction::Sync) {
            Fault::FailedSync
        } else if failed_at(&error, DiskAction::Write) {
            Fault::FailedWrite
        } else {
            return Err(self.violation(node, Breach::Journal(Box::new(error))));
        };
        self.counts.note(fault);
        self.note(node, 10, |_| {}, || format!("stops: {error}"));
        self.end_by_kill(node);
        Ok(())
    }
}

fn failed_at(error: &JournalError, action: DiskAction) -> bool {
    matches!(error, JournalError::Failed(cause) if cause.action == action)
}
