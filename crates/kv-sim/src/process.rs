//! Servers' processes: they crash, start again, pause and go on.

use kv_core::{ConsistencyEngine, HaltReason, NodeId};

use crate::cluster::Cluster;
use crate::request::RequestState;
use crate::server::Server;
use crate::tape::{Tape, TapedLife};
use crate::violation::Violation;

/// What a server finds on its disk when it starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Everything that was synced.
    Intact,
    /// Nothing, as when it runs in memory or lost its disk.
    Wiped,
}

impl<E: ConsistencyEngine> Cluster<E> {
    /// Ends a server's process. What it did not sync is lost, but for a random number of records
    /// that had reached the disk by themselves; requests that it had not answered are
    /// [`RequestState::Lost`]. Nothing if it is down.
    pub fn crash(&mut self, node: NodeId) {
        let server = self.server(node);
        let unsynced = server.journal.last().0 - server.journal.durable().0;
        let kept = self.driver_stream.below(unsynced + 1);
        self.end_process(node, |server| server.crash(kept));
    }

    /// Ends a server's process right before it carries out the effect after the next `effects`
    /// ones, as a crash between any two effects does.
    pub fn crash_after_effects(&mut self, node: NodeId, effects: u64) {
        self.server_mut(node).effects_to_live = Some(effects);
    }

    /// Starts a server again; if it runs, it crashes first.
    ///
    /// # Errors
    /// [`Violation`] if the engine cannot go on from its own disk.
    pub fn restart(&mut self, node: NodeId, disk: Restart) -> Result<(), Violation> {
        self.crash(node);
        if disk == Restart::Wiped {
            self.server_mut(node).wipe();
        }
        self.start(node)
    }

    /// Whether a server's process runs: it neither crashed nor halted.
    #[must_use]
    pub fn is_running(&self, node: NodeId) -> bool {
        self.server(node).is_running()
    }

    /// The servers that halted by themselves in their present life, and why.
    pub fn halted(&self) -> impl Iterator<Item = (NodeId, HaltReason)> + '_ {
        let servers = self.servers.iter();
        servers.filter_map(|(node, server)| Some((*node, server.halted?)))
    }

    /// Stops a process without ending it: it takes messages and does nothing with them.
    pub fn pause(&mut self, node: NodeId) {
        self.server_mut(node).paused = true;
    }

    /// Lets a paused process go on.
    pub fn resume(&mut self, node: NodeId) {
        self.server_mut(node).paused = false;
        self.schedule_work(node);
    }

    /// Starts a server's process on what its disk holds.
    pub(crate) fn start(&mut self, node: NodeId) -> Result<(), Violation> {
        let (now, config) = (self.now, self.config.clone());
        let started = self.server_mut(node).start(now, &config);
        started.map_err(|breach| self.violation(node, breach))?;
        self.tape_start(node);
        self.note(node, 1, |_| {}, || "starts".to_owned());
        self.connections.forget(node);
        self.hint_everybody();
        Ok(())
    }

    /// Ends a server's process by `end`, and the requests that it had in hand.
    pub(crate) fn end_process(&mut self, node: NodeId, end: impl FnOnce(&mut Server<E>)) {
        if !self.is_running(node) {
            return;
        }
        end(self.server_mut(node));
        let at = self.now;
        let requests = self.requests.values_mut();
        for request in requests.filter(|request| request.node == node && !request.has_ended()) {
            request.state = RequestState::Lost { at };
        }
        self.note(node, 2, |_| {}, || "crashes".to_owned());
        self.hint_everybody();
    }

    /// Counts down to a crash that the test has set; true if it comes now.
    pub(crate) fn dies_here(&mut self, node: NodeId) -> bool {
        match &mut self.server_mut(node).effects_to_live {
            Some(0) => {
                self.crash(node);
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    /// Begins a new life on the server's tape.
    pub(crate) fn tape_start(&mut self, node: NodeId) {
        if !self.config.keep_tapes {
            return;
        }
        let server = self.server(node);
        let covers = server.checkpoint.covers();
        let checkpoint = server.checkpoint.read();
        let records = server.journal.records().flatten();
        let life = TapedLife {
            config: server.engine_config(&self.config),
            checkpoint: checkpoint.map(|checkpoint| (covers, checkpoint.into())),
            records: records.filter(|(seq, _)| *seq > covers).collect(),
            batches: Vec::new(),
        };
        let tape = self.tapes.entry(node).or_insert(Tape { lives: Vec::new() });
        tape.lives.push(life);
    }
}
