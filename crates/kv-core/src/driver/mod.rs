//! The driver of an engine as a state machine: everything between an engine and its sockets, disk
//! and clients, without any of them.
//!
//! A server, [`crate::local`] and the simulator of `kv-sim` all drive an engine by this one, so that
//! what is simulated is what runs. Use it to run an engine over sockets and a disk of your own.
//!
//! ```
//! use kv_core::driver::{DriverConfig, DriverCore, Output};
//! use kv_core::{ConsistencyEngine, Now, Operation, RequestOptions};
//!
//! /// Puts one request to an engine without a disk and without peers, and carries out what it takes.
//! fn ask<E: ConsistencyEngine>(engine: E, now: Now, op: Operation) {
//!     let mut driver = DriverCore::new(engine, [], DriverConfig::MEMORY);
//!     let session = driver.open_session(1);
//!     driver.request(now, session, 7, op, RequestOptions::default());
//!     driver.turn(now);
//!     while let Some(output) = driver.next_output() {
//!         if let Output::Reply(reply) = output {
//!             println!("request {}: {:?}", reply.tag, reply.outcome);
//!         }
//!     }
//! }
//! ```
//!
//! One turn of an owner with sockets and a disk, which are left to closures:
//!
//! ```
//! use kv_core::driver::{DriverCore, Output, PeerFrame, Reply};
//! use kv_core::{ConsistencyEngine, HaltReason, NodeId, Now, PersistSeq};
//!
//! /// Carries out everything that came in since the last turn.
//! fn take_turn<E: ConsistencyEngine>(
//!     driver: &mut DriverCore<E>,
//!     now: Now,
//!     mut append: impl FnMut(Vec<(PersistSeq, E::Record)>),
//!     mut send: impl FnMut(NodeId, PeerFrame<E::Message>),
//!     mut answer: impl FnMut(Reply),
//!     mut checkpoint: impl FnMut(Output<E::Message, E::Record>),
//! ) -> Result<(), HaltReason> {
//!     driver.turn(now);
//!     while let Some(output) = driver.next_output() {
//!         match output {
//!             Output::Persist(records) => append(records),
//!             Output::Send { to, frame } => send(to, frame),
//!             Output::Reply(reply) => answer(reply),
//!             Output::BeginCheckpoint { .. }
//!             | Output::WriteChanges { .. }
//!             | Output::AbandonCheckpoint => checkpoint(output),
//!             Output::Halt(reason) => return Err(reason),
//!         }
//!     }
//!     Ok(())
//! }
//! ```

mod config;
mod disk;
mod output;
mod peer;
mod requests;
mod rule;
mod session;
mod session_snapshot;
mod snapshot;
mod streams;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::cluster::id::{Incarnation, NodeId, PersistSeq};
use crate::engine::effect::{Effect, Effects, HaltReason};
use crate::engine::{ConsistencyEngine, Input, Now, Shortage};
use disk::DiskState;
use peer::Peer;
use session::Sessions;
use session_snapshot::SessionSnapshot;

pub use config::{CheckpointPolicy, DriverConfig, DriverDisk};
pub use output::{Output, PeerFrame, Reply, SnapshotFrame};
pub use rule::{Broken, DriverRule};
pub use session::SessionId;
pub use session_snapshot::SessionPart;
pub use view::DriverCounters;

/// An engine with the requests in flight and whose they are, the order of persisting, sending and
/// answering, and the snapshots and checkpoints under way.
///
/// Its owner calls it for everything that happens: `on_*` methods and [`request`](Self::request) as
/// things come in, then [`turn`](Self::turn) once nothing more waits, and then
/// [`next_output`](Self::next_output) until there is none. What comes in between two turns is
/// carried out together: one batch of records, and what goes to one peer in a row. The owner sees
/// to it that there is a turn once [`next_deadline`](Self::next_deadline) has come.
///
/// All methods are total, whatever peers and clients sent. None takes longer than one step of the
/// engine or one part of a snapshot, but for `turn`, which takes as long as what came in.
#[derive(Clone, Debug)]
pub struct DriverCore<E: ConsistencyEngine> {
    engine: E,
    config: DriverConfig,
    effects: Effects<E::Message, E::Record>,
    sessions: Sessions,
    peers: BTreeMap<NodeId, Peer>,
    disk: DiskState,
    /// Records of this turn.
    batch: Vec<(PersistSeq, E::Record)>,
    sends: VecDeque<(NodeId, PeerFrame<E::Message>)>,
    replies: VecDeque<Reply>,
    /// What the checkpoint's writer is to do.
    checkpoint: VecDeque<Output<E::Message, E::Record>>,
    /// The last record that an engine without a disk asked for, until it is told.
    persisted_at_once: Option<PersistSeq>,
    session_snapshots: Vec<SessionSnapshot>,
    last_snapshot: u64,
    stop_by: Option<Duration>,
    halted: Option<HaltReason>,
    halt_told: bool,
    /// More is to be done at once, after what waits.
    has_work: bool,
    counters: DriverCounters,
}

impl<E: ConsistencyEngine> DriverCore<E> {
    /// Takes an engine under way. `peers` are those that frames may go to.
    #[must_use]
    pub fn new(engine: E, peers: impl IntoIterator<Item = NodeId>, config: DriverConfig) -> Self {
        let disk = config.disk.map_or_else(
            || DiskState::new(CheckpointPolicy::default(), PersistSeq(0), PersistSeq(0), 0),
            |disk| {
                DiskState::new(disk.checkpoints, disk.persisted, disk.covers, disk.journal_bytes)
            },
        );
        Self {
            engine,
            config,
            effects: Effects::new(),
            sessions: Sessions::default(),
            peers: peers.into_iter().map(|peer| (peer, Peer::default())).collect(),
            disk,
            batch: Vec::new(),
            sends: VecDeque::new(),
            replies: VecDeque::new(),
            checkpoint: VecDeque::new(),
            persisted_at_once: None,
            session_snapshots: Vec::new(),
            last_snapshot: 0,
            stop_by: None,
            halted: None,
            halt_told: false,
            has_work: true,
            counters: DriverCounters::default(),
        }
    }

    /// A peer is connected.
    pub fn on_peer_up(&mut self, now: Now, peer: NodeId, incarnation: Incarnation) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.set_up(true);
        }
        // The peer may have begun to send over this connection already: it is to begin again.
        self.refuse_snapshots(peer);
        self.step(now, Input::PeerUp { peer, incarnation });
    }

    /// A peer is not connected, or an attempt to connect has failed.
    pub fn on_peer_down(&mut self, now: Now, peer: NodeId) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.drop_incoming();
            known.set_up(false);
        }
        self.end_outgoing(peer);
        self.step(now, Input::PeerDown { peer });
    }

    /// Whether the connection to a peer takes more for now. What is sent to one that does not is
    /// dropped and counted: engines send again what matters.
    pub fn set_congested(&mut self, peer: NodeId, is_congested: bool) {
        if !is_congested && self.config.broken.is(DriverRule::CongestionKept) {
            return;
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            let was_congested = std::mem::replace(&mut known.is_congested, is_congested);
            // A snapshot may have waited for that.
            self.has_work |= was_congested && !is_congested;
        }
    }

    /// Something came from a peer.
    pub fn on_frame(&mut self, now: Now, from: NodeId, frame: PeerFrame<E::Message>) {
        match frame {
            PeerFrame::Message(message) => self.step(now, Input::Message { from, message }),
            PeerFrame::Snapshot(frame) => self.on_snapshot_frame(now, from, frame),
        }
    }

    /// Records up to this one are on disk.
    pub fn on_persisted(&mut self, now: Now, up_to: PersistSeq) {
        self.disk.persisted = self.disk.persisted.max(up_to);
        self.step(now, Input::Persisted { up_to });
        self.acknowledge_parts(up_to);
    }

    /// How many bytes the journal has written since the start; best told before each turn.
    pub fn note_journal_bytes(&mut self, written_bytes: u64) {
        self.disk.note_written_bytes(written_bytes);
    }

    /// The disk is short of something, or of nothing any more.
    pub fn on_room(&mut self, now: Now, shortage: Option<Shortage>) {
        let before = std::mem::replace(&mut self.disk.shortage, shortage);
        if before == shortage || self.config.broken.is(DriverRule::ShortageKept) {
            return;
        }
        self.step(
            now,
            match shortage {
                Some(shortage) => Input::DiskShort { shortage },
                None => Input::DiskRoom,
            },
        );
    }

    /// Takes no further requests, has the engine hand over what another server does after it, and
    /// answers the requests in flight, as far as that takes no longer than
    /// [`DriverConfig::drain_max`]. [`is_stopped`](Self::is_stopped) tells when that is done.
    pub fn stop(&mut self, now: Now) {
        if self.stop_by.is_none() {
            self.stop_by = Some(now.mono.saturating_add(self.config.drain_max));
            self.step(now, Input::Stop);
        }
    }

    /// Whether it was told to stop and has nothing more to wait for.
    #[must_use]
    pub fn is_stopped(&self, now: Now) -> bool {
        let is_drained =
            self.sessions.in_flight() == 0 && self.replies.is_empty() && self.engine.may_stop();
        self.stop_by.is_some_and(|by| is_drained || by <= now.mono)
    }

    /// Why the engine halted, if it has.
    #[must_use]
    pub const fn halted(&self) -> Option<HaltReason> {
        self.halted
    }

    /// When the next turn is due, whatever happens until then; may be past.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        if self.halted.is_some() {
            return None;
        }
        if self.has_work {
            return Some(Duration::ZERO);
        }
        let disk = self.config.disk.and_then(|_| {
            let due = [self.disk.checkpoint_due(), self.disk.look_due()];
            due.into_iter().flatten().min()
        });
        let snapshots = self.peers.values().filter_map(Peer::next_deadline).min();
        let deadlines = [self.engine.next_deadline(), self.stop_by, disk, snapshots];
        deadlines.into_iter().flatten().min()
    }

    /// Carries out what came in, and steps the engine through a deadline that is due.
    pub fn turn(&mut self, now: Now) {
        if self.halted.is_some() {
            return;
        }
        self.has_work = false;
        self.carry_out(now);
        if self.halted.is_none() {
            self.stage_parts();
            self.advance_snapshots(now);
            self.advance_checkpoint(now);
        }
    }

    /// The next thing to do: the batch of records first, then what goes to peers, to sessions and
    /// to the checkpoint. To be asked until there is none.
    pub fn next_output(&mut self) -> Option<Output<E::Message, E::Record>> {
        if self.halt_told {
            return None;
        }
        if !self.batch.is_empty() {
            return Some(Output::Persist(std::mem::take(&mut self.batch)));
        }
        if let Some((to, frame)) = self.sends.pop_front() {
            return Some(Output::Send { to, frame });
        }
        if let Some(reply) = self.replies.pop_front() {
            return Some(Output::Reply(reply));
        }
        if let Some(output) = self.checkpoint.pop_front() {
            return Some(output);
        }
        self.halt_told = self.halted.is_some();
        self.halted.map(Output::Halt)
    }

    fn step(&mut self, now: Now, input: Input<E::Message>) {
        if self.halted.is_none() {
            self.engine.step(now, input, &mut self.effects);
        }
    }

    /// Takes the effects until the engine wants nothing more at this moment.
    fn carry_out(&mut self, now: Now) {
        for _ in 0..ROUNDS_MAX {
            while let Some(effect) = self.effects.pop() {
                self.take_effect(now, effect);
                if self.halted.is_some() {
                    return;
                }
            }
            if let Some(up_to) = self.persisted_at_once.take() {
                self.on_persisted(now, up_to);
            } else if self.engine.next_deadline().is_some_and(|due| due <= now.mono) {
                self.step(now, Input::Timeout);
            } else if self.effects.is_empty() {
                return;
            }
        }
        // The rest waits for the next turn, so that an engine in a loop holds up nothing else.
        self.has_work = true;
    }

    fn take_effect(&mut self, now: Now, effect: Effect<E::Message, E::Record>) {
        match effect {
            Effect::Persist { seq, record } => {
                self.disk.asked = seq;
                let at_once = self.config.broken.is(DriverRule::PersistedAtHandOver);
                if self.config.disk.is_some() {
                    self.batch.push((seq, record));
                }
                if self.config.disk.is_none() || at_once {
                    self.persisted_at_once = Some(seq);
                }
            }
            Effect::Send { to, message } => self.send(to, PeerFrame::Message(message)),
            Effect::BeginSnapshot { to } => self.begin_snapshot(now, to),
            Effect::EndSnapshot { peer } => self.refuse_snapshots(peer),
            Effect::Reply { id, outcome } => self.reply(id, outcome),
            Effect::Halt { reason } => self.halted = Some(reason),
        }
    }

    fn send(&mut self, to: NodeId, frame: PeerFrame<E::Message>) {
        match self.peers.get(&to) {
            Some(peer) if peer.takes_frames() => self.sends.push_back((to, frame)),
            Some(_) | None => self.counters.messages_dropped += 1,
        }
    }
}

/// How often the engine may want something more within one turn.
const ROUNDS_MAX: usize = 1_000;
