//! Servers' disks: syncs that begin, end and are held, and checkpoints.

use kv_core::{ConsistencyEngine, Input, NodeId, PersistSeq, Wire};

use crate::cluster::Cluster;
use crate::config::draw;
use crate::event::Event;
use crate::fault::Fault;
use crate::violation::Violation;

impl<E: ConsistencyEngine> Cluster<E> {
    /// Lets no sync end on a server's disk from here on.
    pub fn hold_disk(&mut self, node: NodeId) {
        self.server_mut(node).disk_held = true;
    }

    /// Lets syncs end again; all that was appended is synced at once.
    pub fn release_disk(&mut self, node: NodeId) {
        let server = self.server_mut(node);
        server.disk_held = false;
        let (life, up_to) = (server.life, server.journal.last());
        self.queue.push(self.now, Event::Synced { node, life, up_to });
    }

    /// Lets the next sync on a server's disk fail: the process ends by it, as the real server's
    /// does, since the kernel may have dropped what was to be written.
    pub fn fail_next_sync(&mut self, node: NodeId) {
        self.server_mut(node).sync_fails = true;
    }

    /// Lets a server's disk be full: the process ends at the next record that it wants to write.
    pub fn fill_disk(&mut self, node: NodeId) {
        self.server_mut(node).disk_full = true;
    }

    /// Makes room on a server's disk.
    pub fn free_disk(&mut self, node: NodeId) {
        self.server_mut(node).disk_full = false;
    }

    /// Flips a bit of a record in a server's journal that a later record knows to be on disk;
    /// `choice` decides which. False if there is none. The server does not start again with it.
    pub fn flip_bit(&mut self, node: NodeId, choice: u64) -> bool {
        let server = self.server_mut(node);
        let flipped = server.journal.flip_bit(choice);
        server.disk_damaged |= flipped.is_some();
        if let Some(seq) = flipped {
            self.counts.note(Fault::FlippedBit);
            self.note(node, 9, |out| seq.encode(out), || format!("a bit of record {seq} flips"));
        }
        flipped.is_some()
    }

    /// A sync ends, well or not.
    pub(crate) fn on_synced(&mut self, node: NodeId, life: u64, up_to: PersistSeq) {
        let server = self.server_mut(node);
        if server.life != life || server.disk_held || up_to <= server.journal.durable() {
            return;
        }
        if server.sync_fails {
            self.die_of(node, Fault::FailedSync);
        } else {
            let up_to = server.journal.sync_through(up_to);
            self.give(node, Input::Persisted { up_to });
        }
    }

    /// Ends a process because of its disk.
    pub(crate) fn die_of(&mut self, node: NodeId, fault: Fault) {
        self.counts.note(fault);
        self.note(node, 10, |_| {}, || format!("stops: {fault}"));
        self.end_by_crash(node);
    }

    /// Begins a sync of what was appended, and writes a checkpoint when it is time.
    pub(crate) fn sync_and_checkpoint(&mut self, node: NodeId) -> Result<(), Violation> {
        let every = self.config.disk.checkpoint_every;
        let server = self.server_mut(node);
        let (life, up_to) = (server.life, server.journal.last());
        if server.is_running() && up_to > server.sync_asked {
            server.sync_asked = up_to;
            let at = self.now + draw(&mut self.driver_stream, &self.config.disk.sync_delay);
            self.queue.push(at, Event::Synced { node, life, up_to });
        }
        let written = self.server_mut(node).checkpoint_if_due(every);
        if written.map_err(|breach| self.violation(node, breach))? {
            self.note(node, 8, |_| {}, || "checkpoint written".to_owned());
            self.schedule_work(node);
        }
        Ok(())
    }
}
