//! Writes of others that this server holds, and its answers to their reads.

use kv_core::HybridTime;

use crate::clock::{is_beyond_skew, is_plausible};
use crate::core::{Core, Step};
use crate::ids::{Slot, WriteSeq, is_plausible_incarnation};
use crate::message::{Answer, Part, Query};
use crate::mutation::Mutation;
use crate::state::journal::Then;
use crate::state::record::{Record, Write};
use crate::state::stamp::Entry;

impl Core {
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
            && is_plausible_incarnation(stamp.incarnation)
            && stamp.incarnation.counter() > 0
            && entry.seq > WriteSeq(0)
    }

    /// Whether too many writes of others wait for the disk to take another one.
    pub(crate) fn is_journal_full(&self, write: &Write) -> bool {
        let limits = self.config.limits;
        let bytes = self.journal.foreign_bytes();
        self.journal.foreign_len() >= limits.hold_back_entries_max
            || (bytes > 0 && bytes + write.size_bytes() > limits.window_bytes_max)
    }
}
