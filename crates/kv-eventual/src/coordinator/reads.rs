//! Reads that this server coordinates, and what they find to be stale.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kv_core::{Key, NotDone, Outcome, RequestId, Waiting};

use crate::coordinator::outcome::read_done;
use crate::coordinator::request::{Arrival, ReadQuorum};
use crate::core::{Core, Step};
use crate::deadline::{Backoff, Due};
use crate::ids::{ReadId, Slot, SlotSet};
use crate::message::{Answer, Part, Query};
use crate::mutation::{Broken, Mutation};
use crate::state::record::Write;
use crate::state::stamp::{Entry, Stamp};

/// The reads that wait for answers.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    pub(super) pending: BTreeMap<ReadId, PendingRead>,
    /// Those of them that show nothing before enough servers hold it.
    pub(super) writing_back: BTreeSet<ReadId>,
    last: ReadId,
}

#[derive(Clone, Debug)]
pub(super) struct PendingRead {
    pub(super) request: RequestId,
    pub(super) key: Key,
    pub(super) needed: ReadQuorum,
    /// What its client has seen of the key.
    seen: Option<Stamp>,
    /// Whether enough have answered and none had that: all are asked again.
    is_behind: bool,
    pub(super) answered: SlotSet,
    pub(super) answers: Vec<(Slot, Option<Entry>)>,
    /// Answers of servers that have lost data and may hold what was deleted since.
    pub(super) uncounted: Vec<(Slot, Option<Entry>)>,
    /// What an atomic read shows once enough servers hold it.
    pub(super) shown: Option<Entry>,
    /// The servers that are known to hold that, or a newer one.
    pub(super) holders: SlotSet,
    pub(super) expires: Duration,
    pub(super) armed: Option<Duration>,
    pub(super) backoff: Backoff,
}

/// A write that a server was seen to lack.
#[derive(Clone, Debug)]
pub(crate) struct Repair {
    /// Where it is missing; this server itself is possible.
    pub(crate) to: Slot,
    pub(crate) write: Write,
}

impl Reads {
    /// No reads. They are numbered from a random position on, so that an answer to a read of an
    /// earlier start of this server answers none of this one.
    pub(crate) const fn new(random: u64) -> Self {
        Self { pending: BTreeMap::new(), writing_back: BTreeSet::new(), last: ReadId(random) }
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    fn next_id(&mut self) -> ReadId {
        self.last = ReadId(self.last.0.wrapping_add(1));
        self.last
    }

    /// Begins a read; gives what it shows to be missing somewhere.
    pub(crate) fn start(
        &mut self,
        core: &mut Core,
        step: &mut Step<'_>,
        Arrival { id: request, expires, pending }: Arrival,
        key: Key,
        (mut needed, seen): (ReadQuorum, Option<Stamp>),
    ) -> Vec<Repair> {
        let fewer = core.broken().is(Mutation::ReadsOneFewer) && needed.answers > 1;
        needed.answers -= u16::from(fewer);
        let own = core.state.get(&key);
        let counts = core.counts(step.now.mono);
        if needed.servers() == 1 && counts && is_as_new(core, own, seen) {
            let outcome = read_done(own, 1);
            core.reply(step, request, outcome);
            return Vec::new();
        }
        let reachable = core.peers.reachable();
        if reachable < needed.servers() || reachable - u16::from(!counts) < needed.answers {
            core.reply(step, request, too_few(reachable, needed.servers()));
            return Vec::new();
        }
        if pending >= core.config.limits.requests_max {
            core.reply(step, request, Outcome::NotDone(core.overloaded()));
            return Vec::new();
        }
        let mut read = PendingRead {
            request,
            key: key.detached(),
            needed,
            seen,
            is_behind: false,
            answered: SlotSet::default(),
            answers: Vec::with_capacity(usize::from(needed.answers)),
            uncounted: Vec::new(),
            shown: None,
            holders: SlotSet::default(),
            expires,
            armed: None,
            backoff: Backoff::new(&core.config.timing),
        };
        read.insert(core.peers.me(), own.cloned(), counts);
        let is_complete = read.is_complete();
        let id = self.next_id();
        self.pending.insert(id, read);
        if is_complete {
            return self.finish(core, step, id);
        }
        self.send_to_connected(core, step, id);
        Vec::new()
    }

    /// Takes an answer; gives what it shows to be missing somewhere.
    pub(crate) fn on_answer(
        &mut self,
        core: &mut Core,
        step: &mut Step<'_>,
        slot: Slot,
        answer: Answer,
    ) -> Vec<Repair> {
        if let Some(entry) = &answer.entry
            && !core.is_legal(entry)
        {
            core.counters.bad_messages += 1;
            return Vec::new();
        }
        let Some(read) = self.pending.get_mut(&answer.read) else {
            return late_repair(core, slot, answer).into_iter().collect();
        };
        if read.key != answer.key {
            core.counters.bad_messages += 1;
            return Vec::new();
        }
        read.insert(slot, answer.entry, answer.counts);
        if read.is_complete() { self.finish(core, step, answer.read) } else { Vec::new() }
    }

    pub(crate) fn on_timeout(
        &mut self,
        core: &mut Core,
        step: &mut Step<'_>,
        id: ReadId,
    ) -> Vec<Repair> {
        let Some(read) = self.pending.get_mut(&id) else {
            return Vec::new();
        };
        read.armed = None;
        if !core.requests.contains(&read.request) {
            // It was cancelled, and need not wait for what its client has seen.
            self.pending.remove(&id);
            self.writing_back.remove(&id);
            return Vec::new();
        }
        let counts = core.counts(step.now.mono);
        if counts || read.is_behind {
            // It may not have counted when the read began, or have taken over what is waited for.
            read.insert(core.peers.me(), core.state.get(&read.key).cloned(), counts);
        }
        if read.is_complete() && read.shown.is_none() {
            let was_behind = read.is_behind;
            let repairs = self.finish(core, step, id);
            if !was_behind || !self.pending.get(&id).is_some_and(|read| read.is_behind) {
                return repairs;
            }
        }
        let Some(read) = self.pending.get(&id) else {
            return Vec::new();
        };
        if read.expires > step.now.mono {
            core.counters.resends += 1;
            self.send_to_connected(core, step, id);
            return self.own_copy(core, id).into_iter().collect();
        }
        if let Some(read) = self.pending.remove(&id) {
            self.writing_back.remove(&id);
            core.reply(step, read.request, Outcome::NotDone(read.timed_out()));
        }
        Vec::new()
    }

    /// Answers the reads that the servers which are left cannot complete, and those that this server
    /// completes itself: with W = 1 it may count once the peer that it still lacked is gone.
    pub(crate) fn on_peer_down(&mut self, core: &mut Core, step: &mut Step<'_>) -> Vec<Repair> {
        let counts = core.counts(step.now.mono);
        let connected = core.peers.connected();
        let (mut complete, mut hopeless) = (Vec::new(), Vec::new());
        for (id, read) in &mut self.pending {
            if counts {
                read.insert(core.peers.me(), core.state.get(&read.key).cloned(), true);
            }
            if read.is_complete() && read.shown.is_none() {
                complete.push(*id);
            } else if read.is_hopeless(connected) {
                hopeless.push(*id);
            }
        }
        for id in hopeless {
            self.writing_back.remove(&id);
            if let Some(mut read) = self.pending.remove(&id) {
                core.deadlines.disarm(&mut read.armed, Due::Read(id));
                let refusal = too_few(core.peers.reachable(), read.needed.servers());
                core.reply(step, read.request, refusal);
            }
        }
        complete.into_iter().flat_map(|id| self.finish(core, step, id)).collect()
    }

    /// Asks a peer that has come back what it has not answered.
    pub(crate) fn send_all_to(&mut self, core: &mut Core, step: &mut Step<'_>, slot: Slot) {
        let mut peer = SlotSet::default();
        peer.insert(slot);
        let reads = self.pending.iter();
        let open = reads.filter(|(_, read)| read.expires > step.now.mono);
        let ids: Vec<_> = open.map(|(id, _)| *id).collect();
        for id in ids {
            self.send(core, step, id, peer);
        }
    }

    pub(super) fn send_to_connected(&mut self, core: &mut Core, step: &mut Step<'_>, id: ReadId) {
        let connected = core.peers.connected();
        self.send(core, step, id, connected);
    }

    /// Sends the query of a read to those of `to` that have not answered, or what it shows to those
    /// that are not known to hold it, and sets the time for the next try.
    fn send(&mut self, core: &mut Core, step: &mut Step<'_>, id: ReadId, to: SlotSet) {
        let Some(read) = self.pending.get_mut(&id) else {
            return;
        };
        let next = read.backoff.next(step.now.mono, &core.config.timing);
        core.deadlines.arm(&mut read.armed, next.min(read.expires), Due::Read(id));
        let key = read.key.clone();
        let mut me = SlotSet::default();
        me.insert(core.peers.me());
        let (to, part) = match read.shown.clone() {
            None if read.is_behind => (to.without(me), Part::Query(Query { read: id, key })),
            None => (to.without(read.answered), Part::Query(Query { read: id, key })),
            Some(entry) => (to.without(read.holders), Part::Keep(Write { key, entry })),
        };
        for slot in to.iter() {
            core.send(step, slot, part.clone());
        }
    }

    /// Answers a read that has its answers, or goes on to have held what it shows.
    fn finish(&mut self, core: &mut Core, step: &mut Step<'_>, id: ReadId) -> Vec<Repair> {
        let broken = core.broken();
        let Some(read) = self.pending.get_mut(&id) else {
            return Vec::new();
        };
        if read.shown.is_some() {
            return self.write_back(core, step, id);
        }
        let mut best = newest(&read.answers, |_| true, broken);
        if !is_as_new(core, best.as_ref(), read.seen) && core.counts(step.now.mono) {
            // This server would hold a delete of it, or have forgotten one.
            let is_kept = |entry: &Entry| entry.stamp.time > core.state.floor;
            let other = newest(&read.uncounted, is_kept, broken);
            let wins = |other: &Entry| other.wins_over(best.as_ref(), broken);
            best = other.filter(wins).or(best);
        }
        if !is_as_new(core, best.as_ref(), read.seen) {
            let was_asked = std::mem::replace(&mut read.is_behind, true);
            if !was_asked {
                core.counters.reads_behind += 1;
                self.send_to_connected(core, step, id);
            }
            return Vec::new();
        }
        read.is_behind = false;
        if best.is_some() && read.needed.holders > 0 {
            read.shown = best;
            self.writing_back.insert(id);
            return self.write_back(core, step, id);
        }
        let Some(mut read) = self.pending.remove(&id) else {
            return Vec::new();
        };
        core.deadlines.disarm(&mut read.armed, Due::Read(id));
        let outcome = read_done(best.as_ref(), read.answered.len());
        core.reply(step, read.request, outcome);
        let Some(best) = best else {
            return Vec::new();
        };
        let answers = read.answers.iter().chain(&read.uncounted);
        let behind = answers.filter(|(_, entry)| best.wins_over(entry.as_ref(), broken));
        let repair = |(to, _): &(Slot, _)| Repair {
            to: *to,
            write: Write { key: read.key.clone(), entry: best.clone() },
        };
        behind.map(repair).collect()
    }
}

impl PendingRead {
    /// Takes an answer, which may not be one of those that are needed.
    fn insert(&mut self, slot: Slot, entry: Option<Entry>, counts: bool) {
        if self.answered.contains(slot) && !self.is_behind {
            return;
        }
        self.uncounted.retain(|(other, _)| *other != slot);
        if counts {
            self.answered.insert(slot);
            self.answers.retain(|(other, _)| *other != slot);
            self.answers.push((slot, entry));
        } else if !self.answered.contains(slot) {
            self.uncounted.push((slot, entry));
        }
    }

    fn is_complete(&self) -> bool {
        self.answered.len() >= self.needed.answers
    }

    /// Whether these servers and those that have answered are too few.
    fn is_hopeless(&self, connected: SlotSet) -> bool {
        match self.shown {
            None => self.answered.union(connected).len() < self.needed.answers,
            // This server can hold it as well.
            Some(_) => self.holders.union(connected).len() + 1 < self.needed.holders,
        }
    }

    fn timed_out(&self) -> NotDone {
        if let Some(seen) = self.seen.filter(|_| self.is_behind) {
            return NotDone::NotCaughtUp { seen: seen.into() };
        }
        let (answered, needed) = match self.shown {
            None => (self.answered.len(), self.needed.answers),
            Some(_) => (self.holders.len(), self.needed.holders),
        };
        NotDone::TimedOut { answered, needed }
    }
}

/// The newest entry among some answers.
fn newest(
    answers: &[(Slot, Option<Entry>)],
    is_one: impl Fn(&Entry) -> bool,
    broken: Broken,
) -> Option<Entry> {
    let newer = |a: &&Entry, b: &&Entry| {
        if a.wins_over(Some(b), broken) { Ordering::Greater } else { Ordering::Less }
    };
    let entries = answers.iter().filter_map(|(_, entry)| entry.as_ref());
    entries.filter(|entry| is_one(entry)).max_by(newer).cloned()
}

/// Whether an entry, or that there is none, is no older than what a client has seen of its key (read
/// your writes and monotonic reads: Terry et al., *Session Guarantees for Weakly Consistent Replicated
/// Data*, 1994). That there is none may be all that is left of a delete which is forgotten.
fn is_as_new(core: &Core, entry: Option<&Entry>, seen: Option<Stamp>) -> bool {
    let Some(seen) = seen.filter(|_| !core.broken().is(Mutation::ReadIgnoresSeen)) else {
        return true;
    };
    let may_be_forgotten = || {
        // Of an incarnation that was never heard of here no delete is forgotten.
        let is_known = core.state.vector.has_entry(seen.origin, seen.incarnation);
        is_known && seen.time <= core.state.floor
    };
    entry.map_or_else(may_be_forgotten, |entry| entry.stamp >= seen)
}

/// Why a read has too few servers: too few are there, or this one is and does not count.
pub(crate) const fn too_few(reachable: u16, needed: u16) -> Outcome {
    Outcome::NotDone(if reachable < needed {
        NotDone::Unavailable { reachable, needed }
    } else {
        NotDone::Waiting(Waiting::Joining)
    })
}

/// A read that has its answer may still show that this server or the peer is behind.
fn late_repair(core: &Core, slot: Slot, answer: Answer) -> Option<Repair> {
    let Answer { key, entry, counts, .. } = answer;
    let own = core.state.get(&key).cloned();
    let broken = core.broken();
    match (own, entry) {
        (Some(own), entry) if own.wins_over(entry.as_ref(), broken) => {
            Some(Repair { to: slot, write: Write { key, entry: own } })
        }
        (own, Some(entry)) if counts && entry.wins_over(own.as_ref(), broken) => {
            Some(Repair { to: core.peers.me(), write: Write { key, entry } })
        }
        (_, _) => None,
    }
}
