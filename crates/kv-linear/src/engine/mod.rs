//! The engine: who a server is, and which of its parts takes which input.

mod by_role;
mod dispatch;
mod durability;
mod report;
mod request;
mod roles;
mod set_back;

use std::time::Duration;

use kv_core::{
    Checkpoint, CheckpointItem, ConsistencyEngine, DecodeError, Effects, EngineConfig, Input,
    NodeId, NotDone, Now, OpenView, PersistSeq, RecoverError, Shortage, SnapshotPart, Status,
    ViewChunk, ViewId, ViewScope, Waiting,
};

use crate::core::{Core, Out};
use crate::durable::record::Record;
use crate::durable::view;
use crate::follower::Follower;
use crate::founding::Founding;
use crate::founding::joining::Joining;
use crate::message::Message;
use crate::mutation::Broken;
use crate::recovery::Recovery;
use crate::recovery::checkpoint::{self, StoredKey};
use crate::sequencer::Sequencer;

/// One server of a linearizable cluster.
///
/// The lowest of the voters founds the cluster, when it starts empty and enough of its peers are
/// empty too, and is its first sequencer. When the sequencer is lost, another server takes its
/// place, if enough of them are left ([`Quorums`](crate::Quorums)). A sequencer that restarts with
/// its disk before that goes on in an epoch of its own; a server that lost its data, or whose disk
/// is older than it was, counts again once it has caught up.
#[derive(Clone, Debug)]
pub struct LinearEngine {
    pub(crate) core: Core,
    pub(crate) role: Role,
}

/// What a server does in its cluster.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// Nothing was stepped yet.
    Unstarted,
    Founding(Founding),
    Joining(Joining),
    Sequencer(Box<Sequencer>),
    Follower(Box<Follower>),
}

impl ConsistencyEngine for LinearEngine {
    const NAME: &'static str = "linearizable";
    const SESSIONS: bool = true;

    type Message = Message;
    type Record = Record;

    fn recover(
        config: EngineConfig,
        checkpoint: Option<Checkpoint>,
        records: impl IntoIterator<Item = (PersistSeq, Record)>,
    ) -> Result<Self, RecoverError> {
        Self::recover_broken(Broken::default(), config, checkpoint, records)
    }

    fn step(&mut self, now: Now, input: Input<Message>, out: &mut Effects<Message, Record>) {
        if self.core.halted {
            return;
        }
        self.core.wall = now.wall;
        let is_timeout = matches!(input, Input::Timeout);
        self.start(now.mono, out);
        match input {
            Input::Request { id, op, options } => {
                self.on_request(now.mono, (id, op, &options), out)
            }
            Input::Cancel { id } => {
                self.core.forwarder.cancel(id);
                self.core.reads.cancel(id);
                self.core.leads.cancel(id);
            }
            Input::Message { from, message } => self.on_message(now.mono, from, message, out),
            Input::PeerUp { peer, .. } => self.on_peer_up(now.mono, peer, out),
            Input::PeerDown { peer } => self.on_peer_down(now.mono, peer, out),
            Input::Persisted { up_to } => self.on_persisted(now.mono, up_to, out),
            // The log is trimmed by its size alone.
            Input::CheckpointWritten { covers } => view::note_written(&mut self.core, covers),
            Input::SnapshotPart { from, part } => {
                self.on_snapshot_part(now.mono, from, part, out);
            }
            Input::DiskShort { shortage } => self.on_disk_short(now.mono, shortage, out),
            Input::DiskRoom => self.core.shortage = None,
            Input::Stop => self.on_stop(now.mono),
            Input::Timeout => self.on_timeout(now.mono, out),
        }
        if !is_timeout {
            self.try_to_found(now.mono, out);
            self.try_to_lead(now.mono, out);
        }
        self.core.settle_leads(out);
        // An engine that is broken on purpose is for the checkers to catch.
        if cfg!(debug_assertions) && self.core.broken.is_none() {
            self.check_invariants();
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        if self.core.halted {
            return None;
        }
        let role = match &self.role {
            Role::Unstarted => Some(Duration::ZERO),
            Role::Founding(founding) => founding.next_deadline(),
            Role::Joining(joining) => Some(joining.next_deadline()),
            Role::Sequencer(sequencer) => sequencer.next_deadline(&self.core),
            Role::Follower(follower) => Some(follower.next_deadline(&self.core)),
        };
        let gathered = self.core.flush_at;
        let requests = self.core.forwarder.next_alarm();
        let reads = self.core.reads.next_alarm();
        let leads = self.core.leads.next_alarm();
        let tidy = self.core.tidy_at;
        role.into_iter().chain(gathered).chain(requests).chain(reads).chain(leads).chain(tidy).min()
    }

    fn open_view(&mut self, scope: ViewScope) -> Option<OpenView> {
        view::open(&mut self.core, scope)
    }

    fn read_view(&mut self, view: ViewId, bytes_max: usize) -> Option<ViewChunk> {
        view::read(&mut self.core, view, bytes_max)
    }

    fn close_view(&mut self, view: ViewId) {
        view::close(&mut self.core, view);
    }

    fn sequencer(&self) -> Option<NodeId> {
        match &self.role {
            Role::Sequencer(_) => Some(self.core.node()),
            Role::Follower(follower) => follower.sequencer(&self.core),
            Role::Unstarted | Role::Founding(_) | Role::Joining(_) => None,
        }
    }

    fn may_stop(&self) -> bool {
        match &self.role {
            Role::Sequencer(sequencer) => !sequencer.is_handing_over(),
            // Until the next sequencer has been heard, it may lack this server's promise.
            Role::Follower(follower) => {
                let is_handing_over = follower.has_handed_over && self.core.is_stopping;
                !is_handing_over || follower.sequencer(&self.core).is_some()
            }
            Role::Unstarted | Role::Founding(_) | Role::Joining(_) => true,
        }
    }

    fn status(&self) -> Status {
        self.describe()
    }

    fn fingerprint(&self) -> u64 {
        self.hash_log()
    }
}

impl LinearEngine {
    /// Applies the whole log, as if all of it were known to be committed. For tools that read the
    /// disk of a server that does not run: what its last entries brought about would show only
    /// once it met the others again.
    pub fn apply_whole_log(&mut self) {
        let last = self.core.replica.log().last().index;
        self.core.replica.note_commit(last);
        self.core.deliver(&mut Effects::new());
    }

    /// What an item of a checkpoint says of a key; `None` for one that is of the log.
    ///
    /// # Errors
    /// [`DecodeError`] if it is no item of this engine's checkpoints.
    pub fn read_checkpoint_item(item: CheckpointItem) -> Result<Option<StoredKey>, DecodeError> {
        checkpoint::read_key(item)
    }

    /// [`ConsistencyEngine::recover`] for an engine that breaks a rule from its start on.
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "mutations")]
    pub fn recover_mutated(
        mutation: Option<crate::mutation::Mutation>,
        config: EngineConfig,
        checkpoint: Option<Checkpoint>,
        records: impl IntoIterator<Item = (PersistSeq, Record)>,
    ) -> Result<Self, RecoverError> {
        Self::recover_broken(Broken::by(mutation), config, checkpoint, records)
    }

    fn recover_broken(
        broken: Broken,
        config: EngineConfig,
        checkpoint: Option<Checkpoint>,
        records: impl IntoIterator<Item = (PersistSeq, Record)>,
    ) -> Result<Self, RecoverError> {
        let mut recovery = Recovery::new(config, checkpoint, broken)?;
        for (seq, record) in records {
            recovery.replay(seq, record)?;
        }
        Ok(Self { core: recovery.finish(), role: Role::Unstarted })
    }

    fn on_peer_up(&mut self, now: Duration, peer: NodeId, out: &mut Out) {
        if !self.is_peer(peer) {
            return;
        }
        let core = &mut self.core;
        core.links.up(peer);
        match &mut self.role {
            Role::Founding(founding) => founding.on_peer_up(core, peer, out),
            Role::Joining(joining) => joining.ask(core, peer, out),
            Role::Sequencer(sequencer) => sequencer.on_peer_up(core, now, peer),
            Role::Follower(follower) => follower.on_peer_up(core, now, peer, out),
            Role::Unstarted => {}
        }
    }

    fn on_peer_down(&mut self, now: Duration, peer: NodeId, out: &mut Out) {
        if !self.is_peer(peer) {
            return;
        }
        let was_connected = self.core.links.down(peer);
        match &mut self.role {
            Role::Founding(founding) => founding.on_peer_away(peer),
            Role::Sequencer(sequencer) => {
                sequencer.on_peer_down(peer);
                self.core.flush_soon(now);
            }
            Role::Follower(follower) => {
                follower.on_peer_down(&mut self.core, now, (peer, was_connected), out);
            }
            Role::Joining(_) | Role::Unstarted => {}
        }
    }

    fn on_snapshot_part(&mut self, now: Duration, from: NodeId, part: SnapshotPart, out: &mut Out) {
        match &mut self.role {
            Role::Follower(follower) => {
                follower.on_snapshot_part(&mut self.core, now, (from, part), out);
            }
            Role::Unstarted | Role::Founding(_) | Role::Joining(_) | Role::Sequencer(_) => {
                self.core.counters.stray_messages += 1;
                out.end_snapshot(from);
            }
        }
    }

    /// The disk takes nothing more. What waits for a log position gets none: it would wait for the
    /// disk until its time was over.
    fn on_disk_short(&mut self, now: Duration, shortage: Shortage, out: &mut Out) {
        self.core.shortage = Some(shortage);
        if let Role::Sequencer(sequencer) = &mut self.role {
            sequencer.refuse_unkept(&mut self.core, out);
            sequencer.hand_over_to_any(&mut self.core, now);
        }
    }

    /// This server is about to stop: another one takes the sequencer's part before, not after it.
    fn on_stop(&mut self, now: Duration) {
        self.core.is_stopping = true;
        match &mut self.role {
            Role::Sequencer(sequencer) => sequencer.hand_over_to_any(&mut self.core, now),
            Role::Follower(follower) => follower.campaign = None,
            Role::Unstarted | Role::Founding(_) | Role::Joining(_) => {}
        }
    }

    fn on_timeout(&mut self, now: Duration, out: &mut Out) {
        self.expire(now, out);
        let core = &mut self.core;
        core.tidy(now);
        match &mut self.role {
            Role::Founding(founding) => founding.on_timeout(core, now, out),
            Role::Joining(joining) => joining.on_timeout(core, now, out),
            Role::Follower(follower) => follower.on_timeout(core, now, out),
            Role::Sequencer(_) | Role::Unstarted => {}
        }
        self.try_to_found(now, out);
        self.try_to_lead(now, out);
        let core = &mut self.core;
        if let Role::Sequencer(sequencer) = &mut self.role {
            sequencer.advance_hand_over(core, now, out);
            sequencer.sequence(core, out);
            sequencer.tick(core, now, out);
            sequencer.begin_round(core, out);
            sequencer.rewind_due(core, now);
            sequencer.replicate(core, now, out);
            sequencer.show_life(core, now, out);
        }
        // All that had gathered is sent, as far as it may be.
        core.flush_at = None;
    }

    /// Answers the requests whose time is up.
    fn expire(&mut self, now: Duration, out: &mut Out) {
        while let Some(id) = self.core.reads.pop_expired(now) {
            let needed = self.core.config.cluster.read_quorum();
            let timed_out = NotDone::TimedOut { answered: 0, needed };
            // With a full disk, a follower has what is in flight to it and no more.
            let reason = self.core.disk_waiting().unwrap_or(timed_out);
            self.core.refuse(id, reason, out);
        }
        self.core.expire_leads(now, out);
        while let Some((_, pending)) = self.core.forwarder.pop_expired(now) {
            // Only the sequencer knows who holds what; a request without a position is held by
            // nobody.
            let acks = match (&self.role, pending.position) {
                (Role::Sequencer(sequencer), Some(position)) => {
                    sequencer.holders(&self.core, position)
                }
                _ => 0,
            };
            self.core.reply_expired(&pending, acks, out);
        }
    }

    /// What this server waits for, if it does not serve.
    pub(crate) fn waiting(&self) -> Option<Waiting> {
        match &self.role {
            Role::Unstarted => Some(Waiting::Joining),
            Role::Founding(founding) => Some(founding.waiting(&self.core)),
            Role::Joining(_) => Some(Joining::waiting(&self.core)),
            // Until its founding is on disk, requests wait in its queue.
            Role::Sequencer(_) => None,
            Role::Follower(follower) => follower.waiting(&self.core),
        }
    }

    pub(crate) fn is_peer(&self, node: NodeId) -> bool {
        node != self.core.node() && self.core.config.cluster.contains(node)
    }
}
