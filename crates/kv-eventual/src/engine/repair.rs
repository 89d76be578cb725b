//! Writes that this server takes over because another one was seen to hold them.

use crate::coordinator::reads::Repair;
use crate::core::Step;
use crate::engine::EventualEngine;
use crate::ids::Slot;
use crate::message::Part;
use crate::state::journal::Then;
use crate::state::record::{Record, Write};

impl EventualEngine {
    pub(crate) fn on_repair(&mut self, step: &mut Step<'_>, write: &Write) {
        if self.core.is_legal(&write.entry) {
            self.take_repair(step, write);
        } else {
            self.core.counters.bad_messages += 1;
        }
    }

    /// Takes over a legal write that another server was seen to hold.
    fn take_repair(&mut self, step: &mut Step<'_>, write: &Write) {
        if self.core.is_journal_full(write.size_bytes()) {
            self.core.counters.dropped_writes += 1;
        } else {
            self.merge(step, write);
        }
    }

    /// Brings a write to where it was seen to be missing.
    pub(crate) fn repair(&mut self, step: &mut Step<'_>, Repair { to, write }: Repair) {
        if to == self.core.peers.me() {
            self.take_repair(step, &write);
        } else {
            self.core.counters.repairs_sent += 1;
            self.core.send(step, to, Part::Repair(write));
        }
    }

    fn merge(&mut self, step: &mut Step<'_>, write: &Write) {
        let id = write.entry.id();
        if id.origin == self.core.config.node {
            self.check_own_write(step, write);
        }
        if self.core.state.vector.contains(id) {
            return;
        }
        let held = self.core.state.get(&write.key);
        if !write.entry.wins_over(held, self.core.broken())
            || self.core.journal.has_foreign(id)
            || self.writes.is_in_flight(id)
        {
            return;
        }
        self.core.observe_stamp(step, write.entry.stamp.time);
        self.core.fence(id.origin, id.incarnation);
        self.core.persist(step, Record::Write(write.detached()), Then::Repaired(id));
    }

    /// Takes a write of whichever server that a read shows, and acknowledges it once it is on disk.
    pub(crate) fn on_keep(&mut self, step: &mut Step<'_>, slot: Slot, write: &Write) {
        let id = write.entry.id();
        if !self.core.is_legal(&write.entry) {
            self.core.counters.bad_messages += 1;
            return;
        }
        if self.core.state.vector.contains(id) {
            return self.core.send(step, slot, Part::Ack(id));
        }
        // What is on its way to the disk is acknowledged when it comes again.
        if self.core.journal.has_foreign(id) || self.writes.is_in_flight(id) {
            return;
        }
        if self.core.is_journal_full(write.size_bytes()) {
            self.core.counters.dropped_writes += 1;
            return;
        }
        if id.origin == self.core.config.node {
            self.check_own_write(step, write);
        }
        self.core.observe_stamp(step, write.entry.stamp.time);
        self.core.fence(id.origin, id.incarnation);
        let held = self.core.state.get(&write.key);
        let record = if write.entry.wins_over(held, self.core.broken()) {
            Record::Write(write.detached())
        } else {
            Record::Superseded(id)
        };
        self.core.persist(step, record, Then::Acknowledge(slot, id));
    }

    /// A write under this server's name that comes back from another one was made by an incarnation
    /// before this one, or by this one. Else two incarnations could be taken for one.
    pub(crate) fn check_own_write(&mut self, step: &mut Step<'_>, write: &Write) {
        let id = write.entry.id();
        self.identity.meet(&mut self.core, step, id.incarnation);
        // After a restart, others may well hold what this server's disk never had of its former
        // incarnation, and the next one is being written.
        if self.identity.is_serving()
            && id.incarnation == self.core.state.incarnation
            && id.seq > self.writes.last_seq()
        {
            tracing::error!(
                "this server's disk has forgotten a write that another server holds; \
                 it begins a new incarnation"
            );
            self.identity.abandon(&mut self.core, step);
        }
    }
}
