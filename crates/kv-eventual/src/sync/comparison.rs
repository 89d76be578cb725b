//! Comparisons of all that two servers hold, by hashes of ranges of keys (Merkle, *A Digital Signature
//! Based on a Conventional Encryption Function*, 1987; in one level here).
//!
//! Pulls go by vectors: what a vector knows is not asked for again. So they cannot find what a
//! disk lost without a sign, or what a fault in this program left out. A comparison looks at the
//! records themselves. It runs now and then, question by question, with pauses for clients.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{Key, SeedStream};

use crate::core::{Core, Step};
use crate::deadline::Due;
use crate::engine::EventualEngine;
use crate::ids::Slot;
use crate::message::{Compare, Compared, Part, Summary};
use crate::state::journal::Then;
use crate::state::record::{Record, Write};
use crate::sync::pull::pause_after;
use crate::sync::ranges::{self, Differences};
use crate::sync::{TURN_MIN, count};

/// The comparison that this server has begun, and when it begins the next ones.
#[derive(Clone, Debug)]
pub(crate) struct Comparisons {
    seeds: SeedStream,
    /// When each peer is next compared with.
    due: BTreeMap<Slot, Duration>,
    under_way: Option<UnderWay>,
    armed: Option<Duration>,
}

#[derive(Clone, Debug)]
struct UnderWay {
    with: Slot,
    comparison: u64,
    number: u32,
    /// What was compared ends with this key.
    after: Option<Key>,
    /// How many bytes the last question was about.
    bytes: usize,
    /// Whether the peer is to answer; else this server yields to clients.
    is_asked: bool,
}

impl Comparisons {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seeds: SeedStream::new(seed), due: BTreeMap::new(), under_way: None, armed: None }
    }

    pub(crate) fn on_peer_down(&mut self, core: &mut Core, slot: Slot) {
        if self.under_way.as_ref().is_some_and(|under_way| under_way.with == slot) {
            self.give_up(core);
        }
    }

    /// Ends the comparison under way.
    pub(crate) fn give_up(&mut self, core: &mut Core) {
        self.under_way = None;
        core.deadlines.disarm(&mut self.armed, Due::Compare);
    }

    /// Whether to compare with a peer now. The first time is drawn, so that servers that were started
    /// together do not all do so at once.
    fn is_due(&mut self, now: Duration, with: Slot, period: Duration) -> bool {
        if period == Duration::MAX || self.under_way.is_some() {
            return false;
        }
        let seeds = &mut self.seeds;
        let due = self.due.entry(with).or_insert_with(|| {
            let nanos = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
            now.saturating_add(Duration::from_nanos(seeds.below(nanos)))
        });
        let is_due = *due <= now;
        if is_due {
            *due = now.saturating_add(period);
        }
        is_due
    }
}

impl EventualEngine {
    /// Begins to compare with a peer from which everything was pulled just now, if it is time.
    pub(crate) fn begin_comparison_if_due(&mut self, step: &mut Step<'_>, with: Slot) {
        let period = self.core.config.timing.comparison;
        if self.core.state.counts && self.comparisons.is_due(step.now.mono, with, period) {
            let comparison = self.comparisons.seeds.next_u64();
            let under_way =
                UnderWay { with, comparison, number: 0, after: None, bytes: 0, is_asked: false };
            self.comparisons.under_way = Some(under_way);
            self.ask_to_compare(step);
        }
    }

    fn ask_to_compare(&mut self, step: &mut Step<'_>) {
        let Self { core, comparisons, .. } = self;
        let Some(under_way) = &mut comparisons.under_way else {
            return;
        };
        let asked = ranges::hash(&core.state, under_way.after.as_ref());
        (under_way.bytes, under_way.is_asked) = (asked.bytes, true);
        let compare = Compare {
            comparison: under_way.comparison,
            number: under_way.number,
            after: under_way.after.clone(),
            ranges: asked.ranges,
        };
        let at = step.now.mono.saturating_add(ANSWER_WAIT);
        core.deadlines.arm(&mut comparisons.armed, at, Due::Compare);
        core.send(step, under_way.with, Part::Compare(compare));
    }

    /// A pause is over, or no answer came: then the next comparison finds what this one would have.
    pub(crate) fn on_comparison_timeout(&mut self, step: &mut Step<'_>) {
        self.comparisons.armed = None;
        if self.comparisons.under_way.as_ref().is_some_and(|under_way| under_way.is_asked) {
            self.comparisons.give_up(&mut self.core);
        } else {
            self.ask_to_compare(step);
        }
    }

    pub(crate) fn on_compared(&mut self, step: &mut Step<'_>, slot: Slot, compared: &Compared) {
        let under_way = self.comparisons.under_way.as_ref().filter(|under_way| {
            let awaited = (under_way.with, under_way.comparison, under_way.number);
            awaited == (slot, compared.comparison, compared.number) && under_way.is_asked
        });
        let Some(under_way) = under_way else {
            self.core.counters.stale_messages += 1;
            return;
        };
        let gets_on = compared.through.is_none() || compared.through > under_way.after;
        let mut bytes = under_way.bytes;
        let listings = compared.listings.iter();
        let found: Option<Vec<_>> =
            listings.map(|listing| ranges::differences(&self.core.state, listing)).collect();
        let Some(found) = found.filter(|_| gets_on) else {
            self.core.bad_message_from(slot, "comparison");
            return self.comparisons.give_up(&mut self.core);
        };
        for differences in found {
            bytes += self.core.settle(step, slot, differences, compared);
        }
        self.core.deadlines.disarm(&mut self.comparisons.armed, Due::Compare);
        if compared.through.is_none() {
            self.comparisons.under_way = None;
            self.core.counters.comparisons += 1;
        } else if let Some(under_way) = &mut self.comparisons.under_way {
            under_way.after.clone_from(&compared.through);
            (under_way.number, under_way.is_asked) = (under_way.number.wrapping_add(1), false);
            let pause = pause_after(bytes, !self.core.requests.is_empty()).max(TURN_MIN);
            let at = step.now.mono.saturating_add(pause);
            self.core.deadlines.arm(&mut self.comparisons.armed, at, Due::Compare);
        }
    }

    /// Takes a record that this server was seen to lack.
    pub(crate) fn on_mend(&mut self, step: &mut Step<'_>, write: &Write) {
        if !self.core.is_legal(&write.entry) {
            self.core.counters.bad_messages += 1;
            return;
        }
        if !self.core.state.counts {
            // What it lost it pulls.
            self.core.counters.stale_messages += 1;
            return;
        }
        if self.core.is_journal_full(write.size_bytes()) {
            self.core.counters.dropped_writes += 1;
            return;
        }
        let id = write.entry.id();
        let held = self.core.state.get(&write.key);
        let is_newer = write.entry.wins_over(held, self.core.broken());
        if !is_newer || self.core.journal.has_foreign(id) || self.writes.is_in_flight(id) {
            return;
        }
        let should_be_here = self.core.state.vector.contains(id);
        if should_be_here && self.core.is_perhaps_deleted(&Summary::of(&write.key, &write.entry)) {
            self.core.counters.records_left += 1;
            return;
        }
        if id.origin == self.core.config.node {
            self.check_own_write(step, write);
        }
        if should_be_here {
            tracing::warn!(
                key = ?write.key, write = ?id,
                "a record was gone here although the disk had had it; taken from another server"
            );
            self.core.counters.records_mended += 1;
        }
        self.core.observe_stamp(step, write.entry.stamp.time);
        self.core.fence(id.origin, id.incarnation);
        self.core.persist(step, Record::Write(write.detached()), Then::Repaired(id));
    }
}

impl Core {
    pub(crate) fn on_compare(&mut self, step: &mut Step<'_>, slot: Slot, compare: &Compare) {
        if !self.state.counts {
            self.counters.stale_messages += 1;
            return;
        }
        let after = compare.after.clone();
        let Some(found) = ranges::list(&self.state, after, &compare.ranges) else {
            return self.bad_message_from(slot, "comparison");
        };
        let compared = Compared {
            comparison: compare.comparison,
            number: compare.number,
            through: found.through,
            listings: found.listings,
            floor: self.state.floor,
        };
        self.send(step, slot, Part::Compared(compared));
    }

    /// Brings the peer what is newer here, and asks for what is newer there; how many bytes that is.
    fn settle(
        &mut self,
        step: &mut Step<'_>,
        with: Slot,
        differences: Differences,
        compared: &Compared,
    ) -> usize {
        let theirs = self.peerage.get(&with).map(|peer| peer.vector.clone()).unwrap_or_default();
        let mut bytes = 0;
        for write in differences.newer_here {
            let id = write.entry.id();
            // The peer has forgotten deletes up to its floor, this record's may be one of them.
            if write.entry.stamp.time <= compared.floor && theirs.contains(id) {
                continue;
            }
            bytes += write.size_bytes();
            self.counters.repairs_sent += 1;
            self.send(step, with, Part::Mend(write));
        }
        let (left, wanted): (Vec<_>, Vec<_>) =
            differences.newer_there.into_iter().partition(|summary| {
                self.state.vector.contains(summary.id()) && self.is_perhaps_deleted(summary)
            });
        self.counters.records_left +=
            count(left.iter().filter(|left| left.value.is_some()).count());
        if !wanted.is_empty() {
            let keys: Vec<Key> = wanted.into_iter().map(|summary| summary.key).collect();
            bytes += keys.iter().map(|key| key.as_bytes().len()).sum::<usize>();
            self.send(step, with, Part::Want(keys));
        }
        bytes
    }

    pub(crate) fn on_want(&mut self, step: &mut Step<'_>, slot: Slot, keys: &[Key]) {
        let mut bytes = 0;
        for key in keys {
            // What is left over differs the next time as well.
            if bytes > WANTED_BYTES_MAX {
                return;
            }
            if let Some(entry) = self.state.get(key) {
                let write = Write { key: key.clone(), entry: entry.clone() };
                bytes += write.size_bytes();
                self.counters.repairs_sent += 1;
                self.send(step, slot, Part::Mend(write));
            }
        }
    }

    /// Whether a record that is missing here, and was here once, may have been deleted: by a delete
    /// that every server had and that is forgotten. One that is later than all of those was lost.
    fn is_perhaps_deleted(&self, summary: &Summary) -> bool {
        let is_older_copy = self.state.get(&summary.key).is_some();
        summary.stamp.time <= self.state.floor && !is_older_copy
    }
}

/// An answer that does not come within this time does not come at all.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// About how many bytes one request for records brings at the most.
const WANTED_BYTES_MAX: usize = 1 << 20;
