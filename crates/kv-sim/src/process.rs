//! Servers' processes: they crash, start again, pause and go on.

use kv_core::{ClusterConfig, ConsistencyEngine, HaltReason, NodeId, PersistSeq, RecoverError};
use kv_storage::StorageError;

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::request::RequestState;
use crate::server::Server;
use crate::tape::{Tape, TapedLife};
use crate::violation::{Breach, Violation};

/// What a server finds on its disk when it starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Everything that was synced.
    Intact,
    /// Nothing, as when it runs in memory or lost its disk.
    Wiped,
}

/// How a server's start went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// It runs.
    Runs,
    /// Its journal is damaged; it needs an empty disk, and its peers.
    DiskDamaged(StorageError),
    /// Its disk was used under another configuration.
    Refused(RecoverError),
}

impl<E: ConsistencyEngine> Cluster<E> {
    /// Ends a server's process. What it did not sync is lost, but for a random number of records
    /// that had reached the disk by themselves; requests that it had not answered are
    /// [`RequestState::Lost`]. Nothing if it is down.
    pub fn crash(&mut self, node: NodeId) {
        if self.is_running(node) {
            self.counts.note(Fault::Crash);
        }
        self.end_by_crash(node);
    }

    /// Ends a server's process right before it carries out the effect after the next `effects`
    /// ones, as a crash between any two effects does.
    pub fn crash_after_effects(&mut self, node: NodeId, effects: u64) {
        self.server_mut(node).effects_to_live = Some(effects);
    }

    /// Starts a server again under the cluster's configuration; if it runs, it crashes first.
    ///
    /// # Errors
    /// [`Violation`] if the engine cannot go on from its own disk, for whatever reason.
    pub fn restart(&mut self, node: NodeId, disk: Restart) -> Result<(), Violation> {
        let breach = match self.start_again(node, disk, None)? {
            Started::Runs => return Ok(()),
            Started::DiskDamaged(error) => Breach::JournalNotReadable(error),
            Started::Refused(error) => Breach::NotRecovered(error),
        };
        Err(self.violation(node, breach))
    }

    /// Starts a server again, under a configuration of its own if there is one; if it runs, it
    /// crashes first. A disk on which a bit was flipped, and a configuration that is not the one
    /// that the disk was used under, may keep it from starting: then it is down.
    ///
    /// # Errors
    /// [`Violation`] if the engine cannot go on from its own disk without such a reason.
    pub fn start_again(
        &mut self,
        node: NodeId,
        disk: Restart,
        own_config: Option<ClusterConfig>,
    ) -> Result<Started, Violation> {
        self.crash(node);
        let server = self.server_mut(node);
        if disk == Restart::Wiped {
            server.wipe();
        }
        server.own_config = own_config;
        if disk == Restart::Wiped {
            self.counts.note(Fault::WipedDisk);
            self.wiped_at = Some(self.now);
        }
        let server = self.server(node);
        let config = server.cluster(&self.config);
        let moved = server.disk_config.as_ref().is_some_and(|before| before != config);
        let damaged = server.disk_damaged;
        if server.own_config.is_some() {
            self.counts.note(Fault::MixedConfiguration);
        }
        let Err(violation) = self.start(node) else {
            return Ok(Started::Runs);
        };
        if let (Breach::JournalNotReadable(error), true) = (violation.breach, damaged) {
            return Ok(Started::DiskDamaged(error));
        }
        if let (Breach::NotRecovered(error), true) = (violation.breach, moved) {
            return Ok(Started::Refused(error));
        }
        Err(violation)
    }

    /// Takes away what would end a server's process before long.
    pub(crate) fn spare_process(&mut self, node: NodeId) {
        let server = self.server_mut(node);
        server.effects_to_live = None;
        server.sync_fails = false;
        server.disk_full = false;
    }

    /// Whether a server's journal was damaged since its disk was new.
    pub(crate) fn has_damaged_disk(&self, node: NodeId) -> bool {
        self.server(node).disk_damaged
    }

    /// Whether something is on a server's disk.
    pub(crate) fn has_used_disk(&self, node: NodeId) -> bool {
        self.server(node).journal.durable() > PersistSeq(0)
    }

    /// Whether a server has another configuration than the cluster.
    pub(crate) fn is_configured_apart(&self, node: NodeId) -> bool {
        self.server(node).own_config.is_some()
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

    /// Ends a process as a crash does; what is left on its disk is drawn.
    pub(crate) fn end_by_crash(&mut self, node: NodeId) {
        let torn_per_mille = self.config.disk.torn_per_mille;
        let server = self.server(node);
        let unsynced = server.journal.last().0 - server.journal.durable().0;
        let kept = self.driver_stream.below(unsynced + 1);
        // Without torn writes nothing more is drawn, so that they change no other run.
        let torn = (torn_per_mille > 0 && self.driver_stream.chance(torn_per_mille))
            .then(|| usize::try_from(self.driver_stream.below(TORN_BYTES_MAX)).unwrap_or(0));
        let mut was_torn = false;
        self.end_process(node, |server| match torn {
            Some(bytes) => was_torn = server.crash_tearing(kept, bytes),
            None => server.crash(kept),
        });
        if was_torn {
            self.counts.note(Fault::TornWrite);
        }
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
                self.counts.note(Fault::CrashBetweenEffects);
                self.end_by_crash(node);
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

/// A record in the journal has at least this many bytes before its own.
const TORN_BYTES_MAX: u64 = 64;
