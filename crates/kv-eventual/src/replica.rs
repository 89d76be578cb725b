//! Writes of others that this server holds, and its answers to their reads.

use kv_core::{HybridTime, Incarnation, NodeId};

use crate::clock::{MAX_SKEW, is_plausible, millis};
use crate::core::{Core, Step};
use crate::ids::{Slot, WriteSeq, is_plausible_incarnation};
use crate::message::{Answer, Part, Query, Report};
use crate::mutation::Mutation;
use crate::state::journal::Then;
use crate::state::record::{Record, Write};
use crate::state::stamp::Entry;

impl Core {
    /// Takes a write from its coordinator, whose wall clock showed `wall_ms`.
    pub(crate) fn on_write(
        &mut self,
        step: &mut Step<'_>,
        slot: Slot,
        write: &Write,
        wall_ms: u64,
    ) {
        let id = write.entry.id();
        let is_own = self.peers.get(slot).is_some_and(|peer| peer.node == id.origin);
        if !is_own || !self.is_legal(&write.entry) {
            self.counters.bad_messages += 1;
            return;
        }
        if self.state.vector.contains(id) {
            // That version or a newer one is on disk.
            return self.send(step, slot, Part::Ack(id));
        }
        if self.journal.has_foreign(id) {
            return;
        }
        if self.is_journal_full(write.size_bytes()) {
            self.counters.dropped_writes += 1;
            return;
        }
        self.fence(id.origin, id.incarnation);
        let held = self.state.rival(&write.key, write.entry.stamp.time);
        if !write.entry.wins_over(held, self.broken()) {
            // What is held is on disk, and this name is not. Acknowledged before it is, it would be
            // lacking after a crash, which looks like a disk that lost data.
            return self.persist(step, Record::Superseded(id), Then::Acknowledge(slot, id));
        }
        if !self.observe_from(step, write.entry.stamp.time, wall_ms) {
            self.counters.rejected_writes += 1;
            return self.send(step, slot, Part::Reject(id));
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
        let answer = Answer {
            read: query.read,
            entry: self.state.get(&query.key).cloned(),
            key: query.key,
            counts: self.counts(step.now.mono),
        };
        self.send(step, slot, Part::Answer(answer));
    }

    /// Moves the clock by a stamp that came by any other way than a write.
    pub(crate) fn observe_stamp(&mut self, step: &Step<'_>, time: HybridTime) {
        if !self.clock.observe(time, step.now.wall) {
            self.counters.skewed_stamps += 1;
            tracing::warn!(%time, "a stamp is too far in the future; the clock stays");
        }
    }

    /// Moves the clock by a stamp of a server whose wall clock showed `wall_ms` when it sent; false
    /// if the stamp is not to be believed. One that is far ahead is, if the present wall clocks
    /// agree: stamps are logical, and may run ahead of all clocks after these went back.
    pub(crate) fn observe_from(&mut self, step: &Step<'_>, time: HybridTime, wall_ms: u64) -> bool {
        if !is_plausible(time) {
            return false;
        }
        if self.clock.observe(time, step.now.wall) {
            return true;
        }
        let agree = wall_ms.abs_diff(millis(step.now.wall)) <= millis(MAX_SKEW);
        if agree {
            self.clock.follow(time);
        }
        agree
    }

    /// Whether an entry can be one of this cluster's.
    pub(crate) fn is_legal(&self, entry: &Entry) -> bool {
        let stamp = entry.stamp;
        self.peers.is_voter(stamp.origin)
            && is_plausible(stamp.time)
            && is_plausible_incarnation(stamp.incarnation)
            && stamp.incarnation.counter() > 0
            && entry.seq > WriteSeq(0)
    }

    /// Whether a report can be of one of this cluster's servers. An incarnation beyond all that a
    /// server can have reached would fence it for good.
    pub(crate) fn is_legal_report(&self, report: &Report) -> bool {
        let is_legal = |(origin, incarnation): (NodeId, Incarnation)| {
            self.peers.is_voter(origin) && is_plausible_incarnation(incarnation)
        };
        report.vector.origins().all(is_legal)
            && is_plausible_incarnation(report.cut.incarnation)
            && is_plausible(report.cut.time)
            && is_plausible(report.floor)
    }

    /// Whether too many writes of others wait for the disk to take so much more.
    pub(crate) fn is_journal_full(&self, more_bytes: usize) -> bool {
        let limits = self.config.limits;
        let bytes = self.journal.foreign_bytes();
        self.journal.foreign_len() >= limits.hold_back_entries_max
            || (bytes > 0 && bytes + more_bytes > limits.window_bytes_max)
    }
}
