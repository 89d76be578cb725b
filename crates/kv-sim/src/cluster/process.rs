//! Servers' processes: they crash, start again, pause and go on.

use kv_check::RequestState;
use kv_check::evidence::Loss;
use kv_core::{
    ClusterConfig, ConsistencyEngine, Counter, HaltReason, NodeId, PersistSeq, RecoverError,
};
use kv_storage::JournalError;

use crate::cluster::Cluster;
use crate::cluster::tape::{Tape, TapedIncarnation};
use crate::disk::Items;
use crate::fault::Fault;
use crate::server::arrival::Arrival;
use crate::violation::{Breach, Violation};

/// What a server finds on its disk when it starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Everything that was synced.
    Intact,
    /// Nothing, as when it runs in memory or lost its disk.
    Wiped,
    /// The copy that [`Cluster::copy_disk`] took; everything that was synced if there is none.
    SetBack,
}

/// How a server's start went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// It runs.
    Runs,
    /// Its journal is damaged; it needs an empty disk, and its peers.
    DiskDamaged(JournalError),
    /// Its disk was used under another configuration.
    Refused(RecoverError),
    /// Power was lost while it recovered.
    PowerLost,
}

impl<E: ConsistencyEngine> Cluster<E> {
    /// Ends a server's process by a loss of power. What becomes of what it did not sync is left to
    /// chance, as far as [`crate::DiskConfig::crash_habits`] allow; requests that it had not
    /// answered are [`RequestState::Lost`]. Nothing if it is down.
    pub fn crash(&mut self, node: NodeId) {
        if self.is_running(node) {
            self.counts.note(Fault::Crash);
        }
        self.end_by_crash(node);
    }

    /// Ends a server's process and nothing else: what it had written is there for the next one,
    /// synced or not. Nothing if it is down.
    pub fn kill(&mut self, node: NodeId) {
        if self.is_running(node) {
            self.counts.note(Fault::Kill);
        }
        self.end_by_kill(node);
    }

    /// Ends a server's process right before it carries out the effect after the next `effects`
    /// ones, as a crash between any two effects does.
    pub fn crash_after_effects(&mut self, node: NodeId, effects: u64) {
        self.server_mut(node).effects_to_live = Some(effects);
    }

    /// Starts a server again under the cluster's configuration; if it runs, it crashes first. It is
    /// down if power is lost meanwhile, as [`Cluster::lose_power_after`] may have it.
    ///
    /// # Errors
    /// [`Violation`] if the engine cannot go on from its own disk, for whatever reason.
    pub fn restart(&mut self, node: NodeId, disk: Restart) -> Result<(), Violation> {
        let breach = match self.start_again(node, disk, None)? {
            Started::Runs => return Ok(()),
            Started::DiskDamaged(error) => Breach::Journal(Box::new(error)),
            Started::Refused(error) => Breach::NotRecovered(error),
            Started::PowerLost => return Ok(()),
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
        let is_set_back = disk == Restart::SetBack && server.set_back();
        server.own_config = own_config;
        if is_set_back {
            self.counts.note(Fault::SetBackDisk);
            self.note_loss(node, true);
        }
        if disk == Restart::Wiped {
            self.counts.note(Fault::WipedDisk);
            self.note_loss(node, false);
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
        if self.server(node).storage.disk.has_stopped() {
            self.counts.note(Fault::InterruptedRecovery);
            self.lose_power(node);
            return Ok(Started::PowerLost);
        }
        // Whoever does not start has ended: its locks are gone, and its files.
        self.server_mut(node).storage.kill();
        if let (Breach::Journal(error), true) = (&violation.breach, damaged) {
            return Ok(Started::DiskDamaged((**error).clone()));
        }
        if let (Breach::NotRecovered(error), true) = (&violation.breach, moved) {
            return Ok(Started::Refused(*error));
        }
        Err(violation)
    }

    /// Takes a copy of a server's disk, for [`Restart::SetBack`].
    pub fn copy_disk(&mut self, node: NodeId) {
        self.note(node, 15, |_| {}, || "its disk is copied".to_owned());
        self.server_mut(node).storage.take_copy();
    }

    /// The same, unless there is a copy already that the server was not set back to.
    pub(crate) fn copy_disk_if_none(&mut self, node: NodeId) {
        if !self.has_copy_of_disk(node) {
            self.copy_disk(node);
        }
    }

    /// Whether there is a copy of a server's disk that it was not set back to.
    pub(crate) fn has_copy_of_disk(&self, node: NodeId) -> bool {
        self.server(node).storage.has_copy()
    }

    /// Whether a server's disk is an older copy of it, which it may not have noticed.
    pub(crate) fn is_on_older_disk(&self, node: NodeId) -> bool {
        let last = self.losses.iter().rfind(|loss| loss.node == node);
        last.is_some_and(|loss| loss.is_set_back)
    }

    /// Whether a server has lost its disk, or an older copy took its place.
    #[must_use]
    pub fn has_lost_disks(&self) -> bool {
        !self.losses.is_empty()
    }

    fn note_loss(&mut self, node: NodeId, is_set_back: bool) {
        let has_strangers = self.has_strangers_without(node);
        let noticed = (!is_set_back).then_some(self.now);
        self.losses.push(Loss { at: self.now, node, is_set_back, noticed, has_strangers });
        self.unnoticed.remove(&node);
        if is_set_back {
            self.unnoticed.insert(node, self.losses.len() - 1);
        }
    }

    /// Notes which servers have noticed by now that they were set back: those that say so of the
    /// process which found the older disk.
    pub(super) fn look_at_losses(&mut self) {
        let has_noticed = |node: NodeId| {
            let status = self.status(node);
            status.and_then(|status| status.counter(Counter::DiskLosses)) > Some(0)
        };
        let unnoticed = self.unnoticed.keys().copied();
        let noticed: Vec<NodeId> = unnoticed.filter(|node| has_noticed(*node)).collect();
        for node in noticed {
            let loss = self.unnoticed.remove(&node);
            if let Some(loss) = loss.and_then(|place| self.losses.get_mut(place)) {
                loss.noticed = Some(self.now);
            }
        }
    }

    /// Takes away what would end a server's process before long. One that was told to stop cannot be
    /// spared: it ends now.
    pub(crate) fn spare_process(&mut self, node: NodeId) {
        if self.server(node).is_stopping {
            self.end_by_stop(node);
        }
        let server = self.server_mut(node);
        server.effects_to_live = None;
        server.storage.spare();
    }

    /// Whether a server's journal was damaged since its disk was new.
    pub(crate) fn has_damaged_disk(&self, node: NodeId) -> bool {
        self.server(node).disk_damaged
    }

    /// Whether something is on a server's disk.
    pub(crate) fn has_used_disk(&self, node: NodeId) -> bool {
        self.server(node).storage.is_used()
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

    /// The servers that halted by themselves since their last start, and why.
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

    /// Ends a process as a loss of power does; nothing if it is down.
    pub(crate) fn end_by_crash(&mut self, node: NodeId) {
        if self.is_running(node) {
            self.lose_power(node);
            self.end_process(node);
        }
    }

    /// Ends a process alone; nothing if it is down.
    pub(crate) fn end_by_kill(&mut self, node: NodeId) {
        if self.is_running(node) {
            if self.server_mut(node).storage.kill() {
                self.counts.note(Fault::LostCheckpoint);
            }
            self.end_process(node);
        }
    }

    /// Takes the power from a server's disk; what is left on it is drawn.
    fn lose_power(&mut self, node: NodeId) {
        let (loss, loses_checkpoint) = self.server_mut(node).storage.lose_power();
        let came_to_pass = [
            (Fault::TornWrite, loss.torn > 0),
            (Fault::ReorderedWrites, loss.reordered > 0),
            (Fault::LostCheckpoint, loses_checkpoint),
        ];
        for (fault, _) in came_to_pass.into_iter().filter(|(_, passed)| *passed) {
            self.counts.note(fault);
        }
        self.note(node, 14, |_| {}, || format!("power is lost: {loss:?}"));
    }

    /// Tells a server to stop: it takes no further requests, answers those in flight as far as that
    /// takes no longer than a second, and ends. Nothing if it is down.
    pub fn stop(&mut self, node: NodeId) {
        if self.arrive(node, Arrival::Stop) {
            self.server_mut(node).is_stopping = true;
            self.counts.note(Fault::Stop);
        }
    }

    /// Ends a process that was told to stop and has nothing more to wait for.
    pub(crate) fn end_by_stop(&mut self, node: NodeId) {
        if self.is_running(node) {
            self.server_mut(node).storage.kill();
            self.end_process(node);
        }
    }

    /// Starts a server's process on what its disk holds.
    pub(crate) fn start(&mut self, node: NodeId) -> Result<(), Violation> {
        let (now, config) = (self.now, self.config.clone());
        let started = self.server_mut(node).start(now, &config);
        let records = started.map_err(|breach| self.violation(node, breach))?;
        self.tape_start(node, records);
        self.note(node, 1, |_| {}, || "starts".to_owned());
        self.connections.forget(node);
        self.hint_everybody();
        self.use_disk(node)
    }

    /// Ends a server's process, and the requests that it had in hand.
    fn end_process(&mut self, node: NodeId) {
        self.unnoticed.remove(&node);
        self.server_mut(node).end();
        self.lose_copies(node, None);
        let at = self.now;
        let requests = self.requests.values_mut();
        for request in requests.filter(|request| request.node == node && !request.has_ended()) {
            request.state = RequestState::Lost { at };
        }
        self.note(node, 2, |_| {}, || "ends".to_owned());
        self.hint_everybody();
    }

    /// Ends a process that asked for it.
    pub(crate) fn halt(&mut self, node: NodeId, reason: HaltReason) {
        self.server_mut(node).storage.kill();
        self.end_process(node);
        self.server_mut(node).halted = Some(reason);
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

    /// Begins a new incarnation on the server's tape.
    fn tape_start(&mut self, node: NodeId, records: Vec<(PersistSeq, E::Record)>) {
        if !self.config.keep_tapes {
            return;
        }
        let server = self.server(node);
        let incarnation = TapedIncarnation {
            config: server.engine_config(&self.config),
            checkpoint: server.storage.checkpoint.read().map(Items::of),
            records,
            batches: Vec::new(),
        };
        let tape = self.tapes.entry(node).or_insert(Tape { incarnations: Vec::new() });
        tape.incarnations.push(incarnation);
    }
}
