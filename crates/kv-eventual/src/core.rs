//! What all parts of a server share.

use std::collections::BTreeMap;

use kv_core::{
    Effects, EngineConfig, IdSet, Incarnation, NodeId, NotDone, Now, Outcome, RequestId, Shortage,
    Waiting,
};

use crate::clock::{Clock, millis};
use crate::counters::Counters;
use crate::deadline::Deadlines;
use crate::ids::{Slot, SlotSet};
use crate::message::{Message, Part};
use crate::mutation::Broken;
use crate::peers::outbox::Outbox;
use crate::peers::{Meeting, Peers};
use crate::standing::Standing;
use crate::state::State;
use crate::state::journal::{Journal, Then};
use crate::state::record::Record;
use crate::sync::knowledge::Peerage;
use crate::vector::cuts::CutProgress;

/// A server's state apart from what it coordinates and from which incarnation it takes.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    pub(crate) config: EngineConfig,
    /// Random, for this start of the process; tells its hellos from those of an earlier one.
    pub(crate) run: u64,
    pub(crate) state: State,
    pub(crate) journal: Journal,
    pub(crate) clock: Clock,
    pub(crate) peers: Peers,
    /// Requests whose client still waits.
    pub(crate) requests: IdSet<RequestId>,
    pub(crate) outbox: Outbox,
    pub(crate) deadlines: Deadlines,
    pub(crate) counters: Counters,
    /// What the disk lacks.
    pub(crate) shortage: Option<Shortage>,
    pub(crate) standing: Standing,
    /// What each peer has told of itself.
    pub(crate) peerage: BTreeMap<Slot, Peerage>,
    /// How far each server's writes are known to be everywhere.
    pub(crate) cuts: BTreeMap<NodeId, CutProgress>,
    /// Servers that others have seen, which may not be on this disk yet.
    pub(crate) heard_of: SlotSet,
    /// That some deletes are forgotten is being written to disk.
    pub(crate) is_burying: bool,
}

/// One step's clocks, and where its effects go.
pub(crate) struct Step<'a> {
    pub(crate) now: Now,
    pub(crate) out: &'a mut Effects<Message, Record>,
}

impl Core {
    /// The rule that this engine breaks for a test.
    pub(crate) const fn broken(&self) -> Broken {
        self.state.broken
    }

    /// Asks for a record to be persisted; `then` happens once it is.
    pub(crate) fn persist(&mut self, step: &mut Step<'_>, record: Record, then: Then) {
        let seq = self.journal.push(record.clone(), then);
        step.out.persist(seq, record);
    }

    /// Puts a part into the outbox.
    pub(crate) fn send(&mut self, step: &mut Step<'_>, to: Slot, part: Part) {
        if let Some(full) = self.outbox.push(step.now.mono, to, part) {
            self.emit(step, to, full);
        }
    }

    /// Answers a request if its client still waits.
    pub(crate) fn reply(&mut self, step: &mut Step<'_>, id: RequestId, outcome: Outcome) {
        if self.requests.remove(&id) {
            step.out.reply(id, outcome);
        }
    }

    /// Learns in which incarnation a peer is, and keeps that.
    pub(crate) fn meet(
        &mut self,
        step: &mut Step<'_>,
        slot: Slot,
        incarnation: Incarnation,
    ) -> Meeting {
        let meeting = self.peers.meet(slot, incarnation);
        if meeting == Meeting::New
            && let Some(peer) = self.peers.get(slot)
        {
            let record = Record::PeerIncarnation { peer: peer.node, incarnation };
            self.persist(step, record, Then::Nothing);
        }
        meeting
    }

    /// Takes no more messages of a server's incarnations before this one. Whoever has an entry for an
    /// incarnation in its vector is taken to have done so before that reached its disk, so this comes
    /// before any record that makes an entry is asked to be persisted.
    pub(crate) fn fence(&mut self, origin: NodeId, incarnation: Incarnation) {
        if let Some(slot) = self.peers.slot(origin) {
            self.peers.meet(slot, incarnation);
        }
    }

    /// Whether it can say what it holds: it knows who it is, if only from its former incarnation.
    pub(crate) fn serves_reads(&self) -> bool {
        self.state.incarnation != Incarnation::UNKNOWN
    }

    /// Why this server cannot keep a write, or a delete, if it cannot.
    pub(crate) fn check_disk(&self, is_delete: bool) -> Result<(), NotDone> {
        let node = self.config.node;
        let lacking = self.shortage.filter(|lack| *lack != Shortage::SpaceForData || !is_delete);
        lacking.map_or(Ok(()), |shortage| {
            Err(NotDone::Waiting(match shortage {
                Shortage::SpaceForData | Shortage::Space => Waiting::DiskFull { node },
                Shortage::OpenFiles => Waiting::TooManyOpenFiles { node },
            }))
        })
    }

    pub(crate) fn overloaded(&self) -> NotDone {
        let limit = self.config.limits.requests_max;
        NotDone::Overloaded { limit: u64::try_from(limit).unwrap_or(u64::MAX) }
    }

    pub(crate) fn bad_message(&mut self, from: NodeId, what: &'static str) {
        self.counters.bad_messages += 1;
        tracing::warn!(%from, what, "dropped a bad message");
    }

    pub(crate) fn bad_message_from(&mut self, slot: Slot, what: &'static str) {
        if let Some(from) = self.peers.get(slot).map(|peer| peer.node) {
            self.bad_message(from, what);
        }
    }

    /// Sends a message with these parts.
    pub(crate) fn emit(&self, step: &mut Step<'_>, to: Slot, parts: Vec<Part>) {
        let Some(peer) = self.peers.get(to) else {
            return;
        };
        let message =
            Message { sender: self.state.incarnation, wall_ms: millis(step.now.wall), parts };
        step.out.send(peer.node, message);
    }
}
