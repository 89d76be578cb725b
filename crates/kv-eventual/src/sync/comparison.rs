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
use crate::message::{Compare, Compared, Listing, Part, Summary};
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
    /// How far comparisons were that were given up.
    given_up: BTreeMap<Slot, Key>,
    armed: Option<Duration>,
}

#[derive(Clone, Debug)]
struct UnderWay {
    with: Slot,
    comparison: u64,
    number: u32,
    /// What was compared ends with this key.
    after: Option<Key>,
    /// What the peer is to answer; while there is nothing, this server yields to clients.
    question: Option<Question>,
    /// How many bytes the last question was about.
    bytes: usize,
}

/// What the question that is under way ends with: `None` for the last of all keys.
#[derive(Clone, Debug)]
struct Question {
    up_to: Option<Key>,
}

impl Question {
    /// Whether an answer goes on from where the question began, and no further than it.
    fn fits(&self, after: Option<&Key>, compared: &Compared) -> bool {
        let gets_on = match &compared.through {
            None => self.up_to.is_none(),
            through => through.as_ref() > after && !is_beyond(through, &self.up_to),
        };
        let (mut from, mut is_end) = (after, false);
        let mut listings = compared.listings.iter();
        let are_in_order = listings.all(|Listing { after, up_to, .. }| {
            let is_next = !is_end && after.as_ref() >= from && !is_beyond(up_to, &compared.through);
            (from, is_end) = (up_to.as_ref(), up_to.is_none());
            is_next
        });
        gets_on && are_in_order
    }
}

/// Whether a range that ends with one key goes on after the end of another one.
fn is_beyond(up_to: &Option<Key>, end: &Option<Key>) -> bool {
    match (up_to, end) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(up_to), Some(end)) => up_to > end,
    }
}

impl Comparisons {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            seeds: SeedStream::new(seed),
            due: BTreeMap::new(),
            under_way: None,
            given_up: BTreeMap::new(),
            armed: None,
        }
    }

    pub(crate) fn on_peer_down(&mut self, core: &mut Core, slot: Slot) {
        if self.under_way.as_ref().is_some_and(|under_way| under_way.with == slot) {
            self.give_up(core);
        }
    }

    /// Ends the comparison under way.
    pub(crate) fn give_up(&mut self, core: &mut Core) {
        if let Some(UnderWay { with, after: Some(after), .. }) = self.under_way.take() {
            self.given_up.insert(with, after);
        }
        core.deadlines.disarm(&mut self.armed, Due::Compare);
    }

    fn is_asking(&self) -> bool {
        self.under_way.as_ref().is_some_and(|under_way| under_way.question.is_some())
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
        let now = step.now.mono;
        if self.core.is_whole(now) && self.comparisons.is_due(now, with, period) {
            let comparison = self.comparisons.seeds.next_u64();
            // One that was given up goes on where it was.
            let after = self.comparisons.given_up.remove(&with);
            let (question, bytes) = (None, 0);
            let under_way = UnderWay { with, comparison, number: 0, after, question, bytes };
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
        under_way.bytes = asked.bytes;
        let up_to = asked.ranges.last().and_then(|range| range.up_to.clone());
        under_way.question = Some(Question { up_to });
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
        if self.comparisons.is_asking() {
            self.comparisons.give_up(&mut self.core);
        } else {
            self.ask_to_compare(step);
        }
    }

    pub(crate) fn on_compared(&mut self, step: &mut Step<'_>, slot: Slot, compared: &Compared) {
        let under_way = self.comparisons.under_way.as_ref().and_then(|under_way| {
            let awaited = (under_way.with, under_way.comparison, under_way.number);
            (awaited == (slot, compared.comparison, compared.number)).then_some(under_way)
        });
        let asked = under_way.and_then(|under_way| Some((under_way, under_way.question.as_ref()?)));
        let Some((under_way, question)) = asked.filter(|_| self.core.is_whole(step.now.mono))
        else {
            self.core.counters.stale_messages += 1;
            return;
        };
        let mut bytes = under_way.bytes;
        let fits = question.fits(under_way.after.as_ref(), compared);
        let listings = compared.listings.iter().filter(|_| fits);
        let found: Option<Vec<_>> =
            listings.map(|listing| ranges::differences(&self.core.state, listing)).collect();
        let Some(found) = found.filter(|_| fits) else {
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
            (under_way.number, under_way.question) = (under_way.number.wrapping_add(1), None);
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
        if !self.core.is_whole(step.now.mono) {
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
        if !self.is_whole(step.now.mono) {
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
        let theirs = self.peerage.get(&with).map(|peer| &peer.vector);
        // The peer has forgotten deletes up to its floor, and this record's may be one of them.
        let is_forgotten = |write: &Write| {
            let is_known = theirs.is_some_and(|vector| vector.contains(write.entry.id()));
            write.entry.stamp.time <= compared.floor && is_known
        };
        let newer = differences.newer_here.into_iter();
        let newer: Vec<Write> = newer.filter(|write| !is_forgotten(write)).collect();
        let mut bytes = 0;
        for write in newer {
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
        if !self.is_whole(step.now.mono) {
            self.counters.stale_messages += 1;
            return;
        }
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

    /// Whether it has lost nothing that it has not made up for, as far as anybody knows. What an older
    /// copy of a disk holds may have been deleted since.
    fn is_whole(&self, now: Duration) -> bool {
        self.state.counts && self.counts(now)
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

#[cfg(test)]
mod tests {
    use kv_core::HybridTime;

    use super::*;

    fn key(name: &'static str) -> Option<Key> {
        (!name.is_empty()).then(|| Key::new(name).unwrap())
    }

    fn fits(
        asked: (&'static str, &'static str),
        through: &'static str,
        listings: &[(&'static str, &'static str)],
    ) -> bool {
        let listing = |&(after, up_to): &(&'static str, &'static str)| Listing {
            after: key(after),
            up_to: key(up_to),
            records: Vec::new(),
        };
        let compared = Compared {
            comparison: 1,
            number: 0,
            through: key(through),
            listings: listings.iter().map(listing).collect(),
            floor: HybridTime::ZERO,
        };
        Question { up_to: key(asked.1) }.fits(key(asked.0).as_ref(), &compared)
    }

    /// Else one message could have a server look at all that it holds, again and again.
    #[test]
    fn an_answer_is_about_what_was_asked_and_about_each_key_once() {
        assert!(fits(("", ""), "", &[("", "c"), ("c", "")]));
        assert!(fits(("b", "k"), "k", &[("b", "d"), ("f", "k")]));
        assert!(fits(("b", "k"), "d", &[("b", "d")]), "it need not be all");
        assert!(!fits(("b", "k"), "b", &[]), "it gets on");
        assert!(!fits(("b", "k"), "m", &[]));
        assert!(!fits(("b", "k"), "", &[]));
        assert!(!fits(("b", "k"), "k", &[("a", "d")]));
        assert!(!fits(("b", "k"), "k", &[("b", "m")]));
        assert!(!fits(("b", "k"), "k", &[("b", "")]));
        assert!(!fits(("", ""), "", &[("", ""), ("", "")]));
        assert!(!fits(("", ""), "", &[("d", "f"), ("d", "f")]));
    }
}
