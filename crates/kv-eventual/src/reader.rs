//! Reads that this server coordinates, and the repair of what they find stale.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{Key, NotDone, Outcome, RequestId};

use crate::deadline::{Backoff, Due};
use crate::engine::{EventualEngine, Step};
use crate::message::{Answer, Part, Query, ReadId};
use crate::mutation::Mutation;
use crate::peer::{Slot, SlotSet};
use crate::record::Write;
use crate::request::read_done;
use crate::stamp::Entry;

/// The reads that wait for answers.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    pending: BTreeMap<ReadId, PendingRead>,
    last: ReadId,
}

#[derive(Clone, Debug)]
struct PendingRead {
    request: RequestId,
    key: Key,
    needed: u16,
    answered: SlotSet,
    answers: Vec<(Slot, Option<Entry>)>,
    expires: Duration,
    armed: Option<Duration>,
    backoff: Backoff,
}

impl Reads {
    /// No reads. They are numbered from a random place on, so that an answer to a read of an
    /// earlier start of this server answers none of this one.
    pub(crate) const fn new(random: u64) -> Self {
        Self { pending: BTreeMap::new(), last: ReadId(random) }
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    fn name(&mut self) -> ReadId {
        self.last = ReadId(self.last.0.wrapping_add(1));
        self.last
    }
}

impl PendingRead {
    fn insert(&mut self, slot: Slot, entry: Option<Entry>) {
        if self.answered.insert(slot) {
            self.answers.push((slot, entry));
        }
    }

    fn is_complete(&self) -> bool {
        self.answered.len() >= self.needed
    }
}

impl EventualEngine {
    pub(crate) fn start_read(
        &mut self,
        step: &mut Step<'_>,
        request: RequestId,
        key: Key,
        needed: u16,
        expires: Duration,
    ) {
        let fewer = u16::from(self.broken().is(Mutation::ReadsOneFewer) && needed > 1);
        let needed = needed - fewer;
        let own = self.state.get(&key);
        if needed == 1 {
            let outcome = read_done(own, 1);
            return self.reply(step, request, outcome);
        }
        let reachable = self.peers.reachable();
        if reachable < needed {
            let reason = NotDone::Unavailable { reachable, needed };
            return self.reply(step, request, Outcome::NotDone(reason));
        }
        if self.in_hand() >= self.config.limits.requests_max {
            return self.reply(step, request, Outcome::NotDone(self.overloaded()));
        }
        let mut read = PendingRead {
            request,
            key: key.detached(),
            needed,
            answered: SlotSet::default(),
            answers: Vec::with_capacity(usize::from(needed)),
            expires,
            armed: None,
            backoff: Backoff::new(&self.config.timing),
        };
        read.insert(self.peers.me(), own.cloned());
        let id = self.reads.name();
        self.reads.pending.insert(id, read);
        self.send_query(step, id, self.peers.connected());
    }

    pub(crate) fn on_answer(&mut self, step: &mut Step<'_>, slot: Slot, answer: Answer) {
        if let Some(entry) = &answer.entry
            && !self.is_legal(entry)
        {
            self.counters.bad_messages += 1;
            return;
        }
        let Some(read) = self.reads.pending.get_mut(&answer.read) else {
            return self.on_late_answer(step, slot, answer);
        };
        if read.key != answer.key {
            self.counters.bad_messages += 1;
            return;
        }
        read.insert(slot, answer.entry);
        if read.is_complete() {
            self.finish_read(step, answer.read);
        }
    }

    pub(crate) fn on_read_timeout(&mut self, step: &mut Step<'_>, id: ReadId) {
        let Some(read) = self.reads.pending.get_mut(&id) else {
            return;
        };
        read.armed = None;
        if read.expires > step.now.mono {
            self.counters.resends += 1;
            return self.send_query(step, id, self.peers.connected());
        }
        if let Some(read) = self.reads.pending.remove(&id) {
            let reason = NotDone::TimedOut { answered: read.answered.len(), needed: read.needed };
            self.reply(step, read.request, Outcome::NotDone(reason));
        }
    }

    /// Answers the reads that the servers which are left cannot complete.
    pub(crate) fn fail_hopeless_reads(&mut self, step: &mut Step<'_>) {
        let connected = self.peers.connected();
        let reachable = self.peers.reachable();
        let is_hopeless = |read: &PendingRead| read.answered.union(connected).len() < read.needed;
        let pending = self.reads.pending.iter();
        let hopeless: Vec<_> =
            pending.filter(|(_, read)| is_hopeless(read)).map(|(id, _)| *id).collect();
        for id in hopeless {
            if let Some(mut read) = self.reads.pending.remove(&id) {
                self.deadlines.disarm(&mut read.armed, Due::Read(id));
                let needed = read.needed;
                let reason = NotDone::Unavailable { reachable, needed };
                self.reply(step, read.request, Outcome::NotDone(reason));
            }
        }
    }

    /// Asks a peer that has come back what it has not answered.
    pub(crate) fn send_queries_to(&mut self, step: &mut Step<'_>, slot: Slot) {
        let mut peer = SlotSet::default();
        peer.insert(slot);
        let reads = self.reads.pending.iter();
        let open = reads.filter(|(_, read)| read.expires > step.now.mono);
        let ids: Vec<_> = open.map(|(id, _)| *id).collect();
        for id in ids {
            self.send_query(step, id, peer);
        }
    }

    /// Sends the query of a read to those of `to` that have not answered, and sets the time for
    /// the next try.
    fn send_query(&mut self, step: &mut Step<'_>, id: ReadId, to: SlotSet) {
        let Some(read) = self.reads.pending.get_mut(&id) else {
            return;
        };
        let next = read.backoff.next(step.now.mono, &self.config.timing);
        self.deadlines.arm(&mut read.armed, next.min(read.expires), Due::Read(id));
        let key = read.key.clone();
        for slot in to.without(read.answered).iter() {
            let query = Query { read: id, key: key.clone() };
            self.send(step, slot, Part::Query(query));
        }
    }

    fn finish_read(&mut self, step: &mut Step<'_>, id: ReadId) {
        let Some(mut read) = self.reads.pending.remove(&id) else {
            return;
        };
        self.deadlines.disarm(&mut read.armed, Due::Read(id));
        let best = read.answers.iter().filter_map(|(_, entry)| entry.as_ref());
        let broken = self.broken();
        let newer = |a: &&Entry, b: &&Entry| {
            if a.wins_over(Some(b), broken) { Ordering::Greater } else { Ordering::Less }
        };
        let best = best.max_by(newer).cloned();
        let outcome = read_done(best.as_ref(), read.answered.len());
        self.reply(step, read.request, outcome);
        let Some(best) = best else {
            return;
        };
        for (slot, entry) in read.answers {
            if best.wins_over(entry.as_ref(), broken) {
                let write = Write { key: read.key.clone(), entry: best.clone() };
                self.repair(step, slot, write);
            }
        }
    }

    /// A read that has its answer may still show that this server or the peer is behind.
    fn on_late_answer(&mut self, step: &mut Step<'_>, slot: Slot, answer: Answer) {
        let Answer { key, entry, .. } = answer;
        let own = self.state.get(&key).cloned();
        let broken = self.broken();
        match (own, entry) {
            (Some(own), entry) if own.wins_over(entry.as_ref(), broken) => {
                self.repair(step, slot, Write { key, entry: own });
            }
            (own, Some(entry)) if entry.wins_over(own.as_ref(), broken) => {
                self.repair(step, self.peers.me(), Write { key, entry });
            }
            (_, _) => {}
        }
    }

    fn repair(&mut self, step: &mut Step<'_>, slot: Slot, write: Write) {
        if self.broken().is(Mutation::NeverRepairs) {
            return;
        }
        if slot == self.peers.me() {
            self.take_repair(step, &write);
        } else {
            self.counters.repairs_sent += 1;
            self.send(step, slot, Part::Repair(write));
        }
    }
}
