//! The engine: who a server is, and which of its parts takes which input.

mod dispatch;
mod durability;
mod report;
mod request;

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{
    Checkpoint, CheckpointItem, ConsistencyEngine, DecodeError, Effects, EngineConfig, Incarnation,
    Input, Key, NodeId, Now, OpenView, PersistSeq, RecoverError, Shortage, SnapshotPart, Status,
    Versioned, ViewChunk, ViewId, ViewScope, Waiting,
};

use crate::core::{Core, Out};
use crate::durable::journal::Durable;
use crate::durable::record::Record;
use crate::durable::view;
use crate::follower::Follower;
use crate::founding::Founding;
use crate::founding::joining::Joining;
use crate::message::{Body, Message};
use crate::mutation::{Broken, Mutation};
use crate::recovery::Recovery;
use crate::recovery::checkpoint;
use crate::sequencer::Sequencer;

/// One server of a linearizable cluster.
///
/// The lowest of the voters is the sequencer. It founds the cluster when it starts empty and
/// enough of its peers are empty too; the others join it. When it restarts with its disk, it
/// continues in a new generation of its epoch. No other server takes its place for now: while it
/// is away, the cluster serves nothing, and if it lost its memory, nothing until all servers
/// restart empty.
#[derive(Clone, Debug)]
pub struct LinearEngine {
    pub(crate) core: Core,
    pub(crate) role: Role,
    /// The peers' incarnations as the disk has them.
    pub(crate) incarnations: BTreeMap<NodeId, Incarnation>,
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
    /// A sequencer that may not continue.
    Retired(Waiting),
}

impl ConsistencyEngine for LinearEngine {
    const NAME: &'static str = "linearizable";

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
        self.start(now.mono, out);
        match input {
            Input::Request { id, op, options } => {
                self.on_request(now.mono, (id, op, &options), out)
            }
            Input::Cancel { id } => self.core.forwarder.cancel(id),
            Input::Message { from, message } => self.on_message(now.mono, from, message, out),
            Input::PeerUp { peer, .. } => self.on_peer_up(now.mono, peer, out),
            Input::PeerDown { peer } => self.on_peer_down(now.mono, peer, out),
            Input::Persisted { up_to } => self.on_persisted(now.mono, up_to, out),
            // The log is trimmed by its size alone.
            Input::CheckpointWritten { covers } => checkpoint::note_written(&mut self.core, covers),
            Input::SnapshotPart { from, part } => {
                self.on_snapshot_part(now.mono, from, part, out);
            }
            Input::DiskShort { shortage } => self.on_disk_short(shortage, out),
            Input::DiskRoom => self.core.shortage = None,
            Input::Timeout => self.on_timeout(now, out),
        }
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
            Role::Sequencer(sequencer) => sequencer.next_deadline(),
            Role::Follower(_) | Role::Retired(_) => None,
        };
        let gathered = self.core.flush_at;
        let requests = self.core.forwarder.next_alarm();
        let tidy = self.core.tidy_at;
        role.into_iter().chain(gathered).chain(requests).chain(tidy).min()
    }

    fn open_view(&mut self, scope: ViewScope) -> Option<OpenView> {
        let incarnations = self.known_incarnations();
        view::open(&mut self.core, incarnations, scope)
    }

    fn read_view(&mut self, view: ViewId, bytes_max: usize) -> Option<ViewChunk> {
        view::read(&mut self.core, view, bytes_max)
    }

    fn close_view(&mut self, view: ViewId) {
        view::close(&mut self.core, view);
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
        self.core.replica.note_durable(last);
        self.core.replica.note_commit(last);
        self.core.deliver(&mut Effects::new());
    }

    /// What an item of a checkpoint says of a key; `None` for one that is of the log.
    ///
    /// # Errors
    /// [`DecodeError`] if it is no item of this engine's checkpoints.
    pub fn read_checkpoint_item(
        item: CheckpointItem,
    ) -> Result<Option<(Key, Versioned)>, DecodeError> {
        checkpoint::read_key(item)
    }

    /// [`ConsistencyEngine::recover`] for an engine that breaks a rule from its start on.
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "mutations")]
    pub fn recover_mutated(
        mutation: Option<Mutation>,
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
        let (core, incarnations) = recovery.finish();
        Ok(Self { core, role: Role::Unstarted, incarnations })
    }

    /// Takes up a role, at the first step of this process.
    fn start(&mut self, now: Duration, out: &mut Out) {
        if !matches!(self.role, Role::Unstarted) {
            return;
        }
        let core = &mut self.core;
        let is_sequencer = core.node() == core.sequencer();
        self.role = match core.identity {
            None if is_sequencer => Role::Founding(Founding::start(core, now)),
            None => Role::Joining(Joining::start(core, now)),
            Some(_) if is_sequencer => return self.restart_sequencer(now, out),
            Some(identity) => {
                core.renew(identity.incarnation, out);
                Role::Follower(Box::new(Follower::new(identity.epoch)))
            }
        };
        self.try_to_found(now, out);
    }

    /// A sequencer restarts with its disk. It must not continue in its epoch, since its peers may
    /// hold entries of it that never came to its disk; a new generation, which starts with what
    /// it has, lacks nothing that was committed.
    fn restart_sequencer(&mut self, now: Duration, out: &mut Out) {
        let core = &mut self.core;
        if !core.broken.is(Mutation::EpochResumed) {
            let (Some(epoch), Some(identity)) =
                (core.epoch().next_generation(), core.identity.as_mut())
            else {
                self.role = Role::Retired(Waiting::RestartsUsedUp { node: core.node() });
                return;
            };
            identity.epoch = epoch;
            core.persist(Record::Opened { epoch }, Durable::Opened { epoch }, out);
            core.renew(Incarnation::UNKNOWN, out);
            tracing::info!(%epoch, "opening an epoch");
        }
        let sequencer = Sequencer::start(core, now, &self.incarnations, Vec::new());
        self.role = Role::Sequencer(Box::new(sequencer));
    }

    pub(crate) fn try_to_found(&mut self, now: Duration, out: &mut Out) {
        let Role::Founding(founding) = &self.role else {
            return;
        };
        let Some(members) = founding.found(&mut self.core, out) else {
            return;
        };
        let incarnations = members.iter().map(|member| (member.node, member.incarnation));
        self.incarnations = incarnations.collect();
        let sequencer = Sequencer::start(&self.core, now, &self.incarnations, members);
        self.role = Role::Sequencer(Box::new(sequencer));
    }

    fn on_peer_up(&mut self, now: Duration, peer: NodeId, out: &mut Out) {
        if !self.is_peer(peer) {
            return;
        }
        let core = &mut self.core;
        core.links.up(peer);
        match &mut self.role {
            Role::Founding(founding) => founding.on_peer_up(core, peer, out),
            Role::Joining(joining) => joining.on_peer_up(core, peer, out),
            Role::Sequencer(sequencer) => sequencer.on_peer_up(core, now, peer),
            Role::Follower(follower) if peer == core.sequencer() => {
                follower.report(core, out);
                core.forwarder.send_all_again(now);
                core.flush_soon(now);
            }
            Role::Retired(waiting) => {
                let waiting = *waiting;
                core.send(peer, Body::NotServing { waiting }, out);
            }
            Role::Follower(_) | Role::Unstarted => {}
        }
    }

    fn on_peer_down(&mut self, now: Duration, peer: NodeId, out: &mut Out) {
        if !self.is_peer(peer) {
            return;
        }
        self.core.links.down(peer);
        match &mut self.role {
            Role::Founding(founding) => founding.on_peer_away(peer),
            Role::Sequencer(sequencer) => {
                sequencer.on_peer_down(peer);
                self.core.flush_soon(now);
            }
            Role::Follower(follower) => {
                follower.abandon_transfer(&mut self.core, peer);
                follower.forward(&mut self.core, out);
            }
            Role::Joining(_) | Role::Retired(_) | Role::Unstarted => {}
        }
        self.try_to_found(now, out);
    }

    fn on_snapshot_part(&mut self, now: Duration, from: NodeId, part: SnapshotPart, out: &mut Out) {
        match &mut self.role {
            Role::Follower(follower) => {
                follower.on_snapshot_part(&mut self.core, now, (from, part), out);
            }
            Role::Unstarted
            | Role::Founding(_)
            | Role::Joining(_)
            | Role::Sequencer(_)
            | Role::Retired(_) => {
                self.core.counters.stray_messages += 1;
                out.end_snapshot(from);
            }
        }
    }

    /// The disk takes nothing more. What waits for a log position gets none: it would wait for the
    /// disk until its time was over.
    fn on_disk_short(&mut self, shortage: Shortage, out: &mut Out) {
        self.core.shortage = Some(shortage);
        if let Role::Sequencer(sequencer) = &mut self.role {
            sequencer.refuse_queued_writes(&mut self.core, out);
        }
    }

    fn on_timeout(&mut self, now: Now, out: &mut Out) {
        self.expire(now.mono, out);
        let core = &mut self.core;
        core.tidy(now.mono);
        match &mut self.role {
            Role::Founding(founding) => founding.on_timeout(core, now.mono, out),
            Role::Joining(joining) => joining.on_timeout(core, now.mono, out),
            Role::Sequencer(sequencer) => {
                sequencer.sequence(core, now.wall, out);
                sequencer.on_timeout(core, now.mono, out);
                sequencer.replicate(core, now.mono, out);
            }
            Role::Follower(follower) => follower.forward(core, out),
            Role::Retired(_) | Role::Unstarted => {}
        }
        self.try_to_found(now.mono, out);
        // All that had gathered is sent, as far as it may be.
        self.core.flush_at = None;
    }

    /// Answers the requests whose time is up.
    fn expire(&mut self, now: Duration, out: &mut Out) {
        while let Some((_, pending)) = self.core.forwarder.pop_expired(now) {
            // Only the sequencer knows who holds what; a request without a position is held by
            // nobody.
            let acks = match (&self.role, pending.position) {
                (Role::Sequencer(sequencer), Some(position)) => {
                    sequencer.holders(&self.core, position)
                }
                (
                    Role::Unstarted
                    | Role::Founding(_)
                    | Role::Joining(_)
                    | Role::Sequencer(_)
                    | Role::Follower(_)
                    | Role::Retired(_),
                    None | Some(_),
                ) => 0,
            };
            self.core.reply_expired(&pending, acks, out);
        }
    }

    /// What this server waits for, if it does not serve.
    pub(crate) fn waiting(&self) -> Option<Waiting> {
        match &self.role {
            Role::Unstarted => Some(Waiting::Joining),
            Role::Founding(founding) => Some(founding.waiting(&self.core)),
            Role::Joining(joining) => Some(joining.waiting(&self.core)),
            // Until its founding is on disk, requests wait in its queue.
            Role::Sequencer(_) => None,
            Role::Follower(follower) => follower.waiting(&self.core),
            Role::Retired(waiting) => Some(*waiting),
        }
    }

    pub(crate) fn is_peer(&self, node: NodeId) -> bool {
        node != self.core.node() && self.core.config.cluster.contains(node)
    }

    /// The peers' incarnations as the disk has them, ascending.
    fn known_incarnations(&self) -> Vec<(NodeId, Incarnation)> {
        self.incarnations.iter().map(|(peer, incarnation)| (*peer, *incarnation)).collect()
    }
}
