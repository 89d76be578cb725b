//! Writes of others that this server holds, and its answers to their reads.

use kv_core::HybridTime;

use crate::clock::{is_beyond_skew, is_plausible};
use crate::engine::{EventualEngine, Step, is_plausible_life};
use crate::journal::Then;
use crate::message::{Answer, Part, Query};
use crate::mutation::Mutation;
use crate::peer::Slot;
use crate::record::{Record, Write};
use crate::stamp::{Entry, WriteSeq};

impl EventualEngine {
    pub(crate) fn on_write(&mut self, step: &mut Step<'_>, slot: Slot, write: &Write) {
        let id = write.entry.id();
        let is_own = self.peers.get(slot).is_some_and(|peer| peer.node == id.origin);
        if !is_own || !self.is_legal(&write.entry) {
            self.counters.bad_messages += 1;
            return;
        }
        let held = self.state.get(&write.key);
        if !write.entry.wins_over(held, self.broken()) {
            // What is held is on disk.
            return self.send(step, slot, Part::Ack(id));
        }
        if is_beyond_skew(write.entry.stamp.time, step.now.wall) {
            self.counters.rejected_writes += 1;
            return self.send(step, slot, Part::Reject(id));
        }
        self.clock.observe(write.entry.stamp.time, step.now.wall);
        if self.journal.has_foreign(id) {
            return;
        }
        if self.is_journal_full(write) {
            self.counters.dropped_writes += 1;
            return;
        }
        if self.broken().is(Mutation::AckBeforePersisted) {
            self.send(step, slot, Part::Ack(id));
        }
        let record = Record::Write(write.detached());
        self.persist(step, record, Then::Acknowledge(slot, id));
    }

    pub(crate) fn on_query(&mut self, step: &mut Step<'_>, slot: Slot, query: Query) {
        if !self.serves_reads() {
            // It cannot say that a key is missing before it knows who it is; the reader asks
            // again.
            self.counters.stale_messages += 1;
            return;
        }
        let answer =
            Answer { read: query.read, entry: self.state.get(&query.key).cloned(), key: query.key };
        self.send(step, slot, Part::Answer(answer));
    }

    pub(crate) fn on_repair(&mut self, step: &mut Step<'_>, write: &Write) {
        if self.is_legal(&write.entry) {
            self.take_repair(step, write);
        } else {
            self.counters.bad_messages += 1;
        }
    }

    /// Takes over a legal write that another server was seen to hold.
    pub(crate) fn take_repair(&mut self, step: &mut Step<'_>, write: &Write) {
        if self.is_journal_full(write) {
            self.counters.dropped_writes += 1;
        } else {
            self.merge(step, write);
        }
    }

    /// Moves the clock by a stamp that came by any other way than a write.
    pub(crate) fn observe_stamp(&mut self, step: &Step<'_>, time: HybridTime) {
        if !self.clock.observe(time, step.now.wall) {
            self.counters.skewed_stamps += 1;
            tracing::warn!(%time, "a stamp is too far in the future; the clock stays");
        }
    }

    /// Whether an entry can be one of this cluster's.
    pub(crate) fn is_legal(&self, entry: &Entry) -> bool {
        let stamp = entry.stamp;
        self.peers.is_voter(stamp.origin)
            && is_plausible(stamp.time)
            && is_plausible_life(stamp.incarnation)
            && stamp.incarnation.counter() > 0
            && entry.seq > WriteSeq(0)
    }

    fn merge(&mut self, step: &mut Step<'_>, write: &Write) {
        let id = write.entry.id();
        if id.origin == self.config.node {
            self.check_own_write(step, write);
        }
        let held = self.state.get(&write.key);
        if !write.entry.wins_over(held, self.broken())
            || self.journal.has_foreign(id)
            || self.writes.is_on_its_way(id)
        {
            return;
        }
        self.observe_stamp(step, write.entry.stamp.time);
        self.persist(step, Record::Write(write.detached()), Then::Repaired(id));
    }

    /// A write under this server's name that comes back from another one was made by a life
    /// before this one, or by this one. Else two lives could be taken for one.
    fn check_own_write(&mut self, step: &mut Step<'_>, write: &Write) {
        let id = write.entry.id();
        self.meet_own_life(step, id.incarnation);
        // After a restart, others may well hold what this server's disk never had of its former
        // life, and the next one is on its way.
        if self.membership.is_serving()
            && id.incarnation == self.state.life
            && id.seq > self.writes.last_seq()
        {
            tracing::error!(
                "this server's disk has forgotten a write that another server holds; \
                 it begins a new life"
            );
            self.abandon_life(step);
        }
    }

    fn is_journal_full(&self, write: &Write) -> bool {
        let limits = self.config.limits;
        let bytes = self.journal.foreign_bytes();
        self.journal.foreign_len() >= limits.hold_back_entries_max
            || (bytes > 0 && bytes + write.size_bytes() > limits.window_bytes_max)
    }
}
