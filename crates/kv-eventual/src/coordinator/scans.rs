//! Scans that this server coordinates: a page of each of R servers, merged.
//!
//! Each server sends what it holds from the page's beginning on, deletes included, and how far that
//! is all. Up to the least of these places the newest record of each key is what a read of that key
//! from the same servers would show.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{Answer, Key, NotDone, Outcome, Page, RequestId, Scan, Served, Versioned};

use crate::coordinator::outcome::done;
use crate::coordinator::reads::too_few;
use crate::coordinator::request::Arrival;
use crate::core::{Core, Step};
use crate::deadline::{Backoff, Due};
use crate::ids::{ReadId, Slot, SlotSet};
use crate::message::{Look, Part, Sight};
use crate::state::range::{Held, LOOKED_AT_MAX};
use crate::state::record::Write;
use crate::state::stamp::Entry;

/// The scans that wait for answers.
#[derive(Clone, Debug)]
pub(crate) struct Scans {
    pending: BTreeMap<ReadId, PendingScan>,
    last: ReadId,
}

#[derive(Clone, Debug)]
struct PendingScan {
    request: RequestId,
    scan: Scan,
    needed: u16,
    answered: SlotSet,
    answers: Vec<(Slot, Held)>,
    expires: Duration,
    armed: Option<Duration>,
    backoff: Backoff,
}

impl Scans {
    /// No scans. They are numbered from a random position on, as reads are.
    pub(crate) const fn new(random: u64) -> Self {
        Self { pending: BTreeMap::new(), last: ReadId(random) }
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn start(
        &mut self,
        core: &mut Core,
        step: &mut Step<'_>,
        Arrival { id: request, expires, pending }: Arrival,
        (mut scan, needed): (Scan, u16),
    ) {
        let entries_max = u32::try_from(core.config.limits.page_entries_max).unwrap_or(u32::MAX);
        scan.limit = scan.limit.clamp(1, entries_max.max(1));
        let counts = core.counts(step.now.mono);
        if needed == 1 && counts {
            let page = page(&scan, [&core.state.range(&scan, BYTES_MAX)], BYTES_MAX);
            return core.reply(step, request, found(page, 1));
        }
        let reachable = core.peers.reachable();
        if reachable < needed || reachable - u16::from(!counts) < needed {
            return core.reply(step, request, too_few(reachable, needed));
        }
        if pending >= core.config.limits.requests_max {
            return core.reply(step, request, Outcome::NotDone(core.overloaded()));
        }
        if self.pending.len() >= SCANS_MAX {
            let limit = u64::try_from(SCANS_MAX).unwrap_or(u64::MAX);
            return core.reply(step, request, Outcome::NotDone(NotDone::Overloaded { limit }));
        }
        let own = core.state.range(&scan, BYTES_MAX);
        let mut pending = PendingScan {
            request,
            scan: scan.trimmed(),
            needed,
            answered: SlotSet::default(),
            answers: Vec::with_capacity(usize::from(needed)),
            expires,
            armed: None,
            backoff: Backoff::new(&core.config.timing),
        };
        pending.insert(core.peers.me(), own, counts);
        self.last = ReadId(self.last.0.wrapping_add(1));
        self.pending.insert(self.last, pending);
        let connected = core.peers.connected();
        self.send(core, step, self.last, connected);
    }

    pub(crate) fn on_sight(
        &mut self,
        core: &mut Core,
        step: &mut Step<'_>,
        slot: Slot,
        sight: Sight,
    ) {
        let Some(pending) = self.pending.get_mut(&sight.read) else {
            core.counters.stale_messages += 1;
            return;
        };
        if !is_legal(core, &pending.scan, &sight) {
            return core.bad_message_from(slot, "sight");
        }
        let Sight { read, records, through, counts } = sight;
        pending.insert(slot, Held { records, through }, counts);
        self.finish_if_complete(core, step, read);
    }

    pub(crate) fn on_timeout(&mut self, core: &mut Core, step: &mut Step<'_>, id: ReadId) {
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        pending.armed = None;
        if !core.requests.contains(&pending.request) {
            self.pending.remove(&id);
            return;
        }
        self.insert_own(core, step, id);
        if self.finish_if_complete(core, step, id) {
            return;
        }
        let Some(pending) = self.pending.get(&id) else {
            return;
        };
        if pending.expires > step.now.mono {
            core.counters.resends += 1;
            let connected = core.peers.connected();
            return self.send(core, step, id, connected);
        }
        let (answered, needed) = (pending.answered.len(), pending.needed);
        let refusal = Outcome::NotDone(NotDone::TimedOut { answered, needed });
        core.reply(step, pending.request, refusal);
        self.pending.remove(&id);
    }

    /// Answers the scans that the servers which are left cannot complete, and those that this server
    /// completes itself, as it may count once a peer is gone.
    pub(crate) fn on_peer_down(&mut self, core: &mut Core, step: &mut Step<'_>) {
        let connected = core.peers.connected();
        let ids: Vec<_> = self.pending.keys().copied().collect();
        for id in ids {
            self.insert_own(core, step, id);
            let is_hopeless =
                |pending: &PendingScan| pending.answered.union(connected).len() < pending.needed;
            if self.finish_if_complete(core, step, id)
                || !self.pending.get(&id).is_some_and(is_hopeless)
            {
                continue;
            }
            if let Some(mut pending) = self.pending.remove(&id) {
                core.deadlines.disarm(&mut pending.armed, Due::Scan(id));
                let refusal = too_few(core.peers.reachable(), pending.needed);
                core.reply(step, pending.request, refusal);
            }
        }
    }

    /// Asks a peer that has come back what it has not answered.
    pub(crate) fn send_all_to(&mut self, core: &mut Core, step: &mut Step<'_>, slot: Slot) {
        let mut peer = SlotSet::default();
        peer.insert(slot);
        let open = self.pending.iter().filter(|(_, scan)| scan.expires > step.now.mono);
        let ids: Vec<_> = open.map(|(id, _)| *id).collect();
        for id in ids {
            self.send(core, step, id, peer);
        }
    }

    /// Sends the question to those of `to` that have not answered, and sets the time for the next try.
    fn send(&mut self, core: &mut Core, step: &mut Step<'_>, id: ReadId, to: SlotSet) {
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        let next = pending.backoff.next(step.now.mono, &core.config.timing);
        core.deadlines.arm(&mut pending.armed, next.min(pending.expires), Due::Scan(id));
        let look = Look { read: id, scan: pending.scan.clone() };
        for slot in to.without(pending.answered).iter() {
            core.send(step, slot, Part::Look(look.clone()));
        }
    }

    /// Takes this server's own answer, if it has come to count since the scan began.
    fn insert_own(&mut self, core: &Core, step: &Step<'_>, id: ReadId) {
        let me = core.peers.me();
        if let Some(pending) = self.pending.get_mut(&id)
            && !pending.answered.contains(me)
            && core.counts(step.now.mono)
        {
            let own = core.state.range(&pending.scan, BYTES_MAX);
            pending.insert(me, own, true);
        }
    }

    fn finish_if_complete(&mut self, core: &mut Core, step: &mut Step<'_>, id: ReadId) -> bool {
        let is_complete = |pending: &PendingScan| pending.answered.len() >= pending.needed;
        if !self.pending.get(&id).is_some_and(is_complete) {
            return false;
        }
        if let Some(mut pending) = self.pending.remove(&id) {
            core.deadlines.disarm(&mut pending.armed, Due::Scan(id));
            let page = page(&pending.scan, pending.answers.iter().map(|(_, held)| held), BYTES_MAX);
            core.reply(step, pending.request, found(page, pending.answered.len()));
        }
        true
    }
}

impl PendingScan {
    /// Takes an answer, unless its server has lost data: that may hold what was deleted since.
    fn insert(&mut self, slot: Slot, held: Held, counts: bool) {
        if counts && self.answered.insert(slot) {
            self.answers.push((slot, held));
        }
    }
}

impl Core {
    /// Says what this server holds of a range.
    pub(crate) fn on_look(&mut self, step: &mut Step<'_>, slot: Slot, look: &Look) {
        if !self.serves_reads() {
            // As with a query; the reader asks again.
            self.counters.stale_messages += 1;
            return;
        }
        let bytes_max = self.config.limits.message_bytes_max.min(BYTES_MAX);
        let Held { records, through } = self.state.range(&look.scan, bytes_max);
        let counts = self.counts(step.now.mono);
        self.send(step, slot, Part::Sight(Sight { read: look.read, records, through, counts }));
    }
}

/// Whether an answer can be one to this question.
fn is_legal(core: &Core, scan: &Scan, sight: &Sight) -> bool {
    let Sight { records, through, .. } = sight;
    let is_one = |record: &Write| scan.contains(&record.key) && core.is_legal(&record.entry);
    let last = records.last().map(|record| &record.key);
    records.len() <= LOOKED_AT_MAX
        && records.is_sorted_by(|one, next| one.key < next.key)
        && records.iter().all(is_one)
        && through.as_ref().is_none_or(|through| Some(through) == last)
}

/// Merges what servers hold of a range into one page, which ends once it has `bytes_max` bytes: each
/// server may have sent other keys.
fn page<'a>(scan: &Scan, answers: impl IntoIterator<Item = &'a Held>, bytes_max: usize) -> Page {
    let mut through: Option<&Key> = None;
    let mut newest: BTreeMap<&Key, &Entry> = BTreeMap::new();
    for Held { records, through: all_up_to } in answers {
        if let Some(place) = all_up_to
            && through.is_none_or(|through| place < through)
        {
            through = Some(place);
        }
        for Write { key, entry } in records {
            let held = newest.entry(key).or_insert(entry);
            if entry.supersedes(Some(held)) {
                *held = entry;
            }
        }
    }
    let limit = usize::try_from(scan.limit).unwrap_or(usize::MAX);
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for (key, entry) in newest {
        if through.is_some_and(|through| key > through) {
            break;
        }
        let Some(value) = entry.value.clone() else {
            continue;
        };
        if entries.len() >= limit || bytes >= bytes_max {
            let next = entries.last().map(|(key, _): &(Key, Versioned)| key.clone());
            return Page { entries, next };
        }
        bytes += key.as_bytes().len() + entry.size_bytes();
        entries.push((key.clone(), Versioned { value, version: entry.stamp.into() }));
    }
    Page { entries, next: through.cloned() }
}

fn found(page: Page, servers: u16) -> Outcome {
    done(Answer::Page(page), None, Served::Quorum { servers })
}

/// About how many bytes a server sends of a range.
const BYTES_MAX: usize = 256 << 10;

/// The most scans that wait for answers: each may hold a page of every server, of some 256 KiB and one
/// value more.
const SCANS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use kv_core::{HybridTime, Incarnation, NodeId, Value};
    use proptest::prelude::*;

    use super::*;
    use crate::ids::WriteSeq;
    use crate::state::State;
    use crate::state::stamp::Stamp;

    fn key(number: u8) -> Key {
        Key::new(vec![b'a' + number]).unwrap()
    }

    fn write((name, millis, value): (u8, u64, Option<u8>)) -> Write {
        let stamp = Stamp {
            time: HybridTime::from_millis(millis),
            origin: NodeId::FIRST,
            incarnation: Incarnation(1 << 32),
        };
        let value = value.map(|byte| Value::new(vec![byte]).unwrap());
        Write { key: key(name), entry: Entry { stamp, seq: WriteSeq(millis), value } }
    }

    fn state<'a>(writes: impl IntoIterator<Item = &'a (u8, u64, Option<u8>)>) -> State {
        let mut state = State::empty(NodeId::FIRST);
        writes.into_iter().for_each(|parts| state.merge(write(*parts)));
        state
    }

    /// Each server may have sent other keys, which together are more than one answer may hold.
    #[test]
    fn a_merged_page_ends_once_it_is_large() {
        let scan = Scan { from: Default::default(), until: None, after: None, limit: 9 };
        let held = |name| Held { records: vec![write((name, 1, Some(0)))], through: None };
        let merged = page(&scan, &[held(0), held(1), held(2)], 3);
        let names: Vec<_> = merged.entries.into_iter().map(|(name, _)| name).collect();
        assert_eq!((names, merged.next), (vec![key(0), key(1)], Some(key(1))));
    }

    proptest! {
        /// Page after page, whatever the servers' answers are cut to, is what one server that holds
        /// it all would show.
        #[test]
        fn merged_pages_are_the_pages_of_the_merged_servers(
            writes in proptest::collection::vec((0u8..12, 1u64..50, any::<Option<u8>>()), 0..60),
            holders in proptest::collection::vec(1u8..8, 60),
            (from, until) in (0u8..12, 0u8..14),
            (limit, bytes_max) in (1u32..5, 1usize..300),
        ) {
            let of = |server: u8| {
                let held = writes.iter().zip(&holders);
                state(held.filter(|(_, on)| **on & server != 0).map(|(write, _)| write))
            };
            let servers = [of(1), of(2), of(4)];
            let whole = state(&writes);
            let mut scan = Scan {
                from: key(from).as_bytes().to_vec().into(),
                until: Some(key(until).as_bytes().to_vec().into()),
                after: None,
                limit,
            };
            let expected: Vec<_> = whole.range(&Scan { limit: u32::MAX, ..scan.clone() }, usize::MAX)
                .records
                .into_iter()
                .filter_map(|Write { key, entry }| Some((key, entry.value?)))
                .collect();
            let mut found = Vec::new();
            for _ in 0..100 {
                let held = servers.each_ref().map(|state| state.range(&scan, bytes_max));
                let page = page(&scan, &held, bytes_max);
                prop_assert!(page.entries.len() <= usize::try_from(limit).unwrap());
                found.extend(page.entries.into_iter().map(|(key, held)| (key, held.value)));
                if page.next.is_none() {
                    prop_assert_eq!(found, expected);
                    return Ok(());
                }
                prop_assert!(page.next > scan.after, "it goes on");
                scan.after = page.next;
            }
            prop_assert!(false, "no end");
        }
    }
}
