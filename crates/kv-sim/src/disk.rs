//! Servers' disks: syncs that begin, end and are held, and checkpoints.

use kv_core::{ConsistencyEngine, NodeId};

use crate::cluster::Cluster;
use crate::config::draw;
use crate::event::Event;
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
