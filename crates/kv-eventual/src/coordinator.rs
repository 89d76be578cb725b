//! Writes that this server coordinates.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{Key, NotDone, Outcome, RequestId, Unknown, Value};

use crate::clock::{MAX_SKEW, is_beyond_skew, millis};
use crate::deadline::{Backoff, Due};
use crate::engine::{EventualEngine, Step};
use crate::journal::Then;
use crate::message::Part;
use crate::mutation::Mutation;
use crate::peer::{Slot, SlotSet};
use crate::record::{Record, Write};
use crate::request::write_done;
use crate::stamp::{Entry, Stamp, WriteId, WriteSeq};

/// The writes under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writes {
    last_seq: WriteSeq,
    /// Those whose client has no answer yet.
    waiting: Table,
    /// Those whose client has its answer, and which some server has not acknowledged yet. When
    /// there are too many, the oldest is given up: later reads repair what it lacks.
    trailing: Table,
}

/// Writes by their identity, so that the oldest comes first, and the bytes they have.
#[derive(Clone, Debug, Default)]
struct Table {
    writes: BTreeMap<WriteId, PendingWrite>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct PendingWrite {
    write: Write,
    request: RequestId,
    needed: u16,
    /// The servers that hold it on their disks.
    acked: SlotSet,
    /// The servers that will not take it.
    rejected: SlotSet,
    /// Whether it may go to the others: at once if its stamp is below the bound on this server's
    /// disk, else once it is on that disk itself.
    is_sent: bool,
    /// Whether it is on this server's own disk. It is not done before that.
    is_persisted: bool,
    expires: Duration,
    armed: Option<Duration>,
    backoff: Backoff,
}

impl Table {
    fn insert(&mut self, id: WriteId, pending: PendingWrite) {
        self.bytes += pending.write.size_bytes();
        self.writes.insert(id, pending);
    }

    fn remove(&mut self, id: WriteId) -> Option<PendingWrite> {
        let pending = self.writes.remove(&id)?;
        self.bytes -= pending.write.size_bytes();
        Some(pending)
    }

    fn oldest(&self) -> Option<WriteId> {
        self.writes.first_key_value().map(|(id, _)| *id)
    }
}

impl Writes {
    /// Numbers from 1 again. Writes of the life before stay under way under their old names.
    pub(crate) const fn begin_life(&mut self) {
        self.last_seq = WriteSeq(0);
    }

    pub(crate) const fn last_seq(&self) -> WriteSeq {
        self.last_seq
    }

    pub(crate) fn waiting_len(&self) -> usize {
        self.waiting.writes.len()
    }

    pub(crate) fn trailing_len(&self) -> usize {
        self.trailing.writes.len()
    }

    /// Whether this server's disk is to have a write and has not yet. Another server can have it.
    pub(crate) fn is_on_its_way(&self, id: WriteId) -> bool {
        let waiting = self.waiting.writes.get(&id);
        let pending = waiting.or_else(|| self.trailing.writes.get(&id));
        pending.is_some_and(|pending| !pending.is_persisted)
    }

    fn get_mut(&mut self, id: WriteId) -> Option<&mut PendingWrite> {
        let waiting = self.waiting.writes.get_mut(&id);
        waiting.or_else(|| self.trailing.writes.get_mut(&id))
    }

    fn remove(&mut self, id: WriteId) -> Option<PendingWrite> {
        self.waiting.remove(id).or_else(|| self.trailing.remove(id))
    }
}

impl EventualEngine {
    pub(crate) fn start_write(
        &mut self,
        step: &mut Step<'_>,
        request: RequestId,
        (key, value): (&Key, Option<&Value>),
        needed: u16,
        expires: Duration,
    ) {
        self.refresh_clocks(step, CLOCKS_PERIOD);
        let time = match self.check_write(step, key, needed) {
            Ok(time) => time,
            Err(reason) => return self.reply(step, request, Outcome::NotDone(reason)),
        };
        if let Some(below) = self.clock.issue(time) {
            self.persist(step, Record::ClockBound { below }, Then::Rest);
        }
        self.writes.last_seq = self.writes.last_seq.next();
        let entry = Entry {
            stamp: Stamp { time, origin: self.config.node, incarnation: self.state.life },
            seq: self.writes.last_seq,
            value: value.map(Value::detached),
        };
        let id = entry.id();
        let write = Write { key: key.detached(), entry };
        let mut pending = PendingWrite {
            write: write.clone(),
            request,
            needed,
            acked: SlotSet::default(),
            rejected: SlotSet::default(),
            is_sent: false,
            is_persisted: false,
            expires,
            armed: None,
            backoff: Backoff::new(&self.config.timing),
        };
        self.deadlines.arm(&mut pending.armed, expires, Due::Write(id));
        self.writes.waiting.insert(id, pending);
        self.persist(step, Record::Write(write), Then::OwnWrite(id));
        // The other disks need not wait for this one. If this server forgets the write in a crash,
        // its next life gives neither number nor stamp a second time.
        if time < self.state.clock_bound || self.broken().is(Mutation::SentAboveBound) {
            self.send_write(step, id, self.peers.connected());
        }
        if self.broken().is(Mutation::CountedBeforePersisted) {
            self.on_own_write_persisted(step, id);
        }
    }

    pub(crate) fn on_own_write_persisted(&mut self, step: &mut Step<'_>, id: WriteId) {
        let me = self.peers.me();
        let Some(pending) = self.writes.get_mut(id) else {
            return;
        };
        pending.is_persisted = true;
        pending.acked.insert(me);
        if !pending.is_sent {
            self.send_write(step, id, self.peers.connected());
        }
        self.settle(step, id);
    }

    pub(crate) fn on_ack(&mut self, step: &mut Step<'_>, slot: Slot, id: WriteId) {
        match self.writes.get_mut(id).filter(|write| write.is_sent) {
            Some(pending) => {
                pending.acked.insert(slot);
                self.settle(step, id);
            }
            None => self.counters.stale_messages += 1,
        }
    }

    pub(crate) fn on_reject(&mut self, step: &mut Step<'_>, slot: Slot, id: WriteId) {
        let node = self.peers.get(slot).map(|peer| peer.node);
        tracing::warn!(?node, "a write was rejected there: its stamp is too far in the future");
        match self.writes.get_mut(id).filter(|write| write.is_sent) {
            Some(pending) => {
                pending.rejected.insert(slot);
                self.settle(step, id);
            }
            None => self.counters.stale_messages += 1,
        }
    }

    pub(crate) fn on_write_timeout(&mut self, step: &mut Step<'_>, id: WriteId) {
        let Some(pending) = self.writes.get_mut(id) else {
            return;
        };
        pending.armed = None;
        if pending.expires > step.now.mono && self.state.broken.is(Mutation::NeverResends) {
            let expires = pending.expires;
            return self.deadlines.arm(&mut pending.armed, expires, Due::Write(id));
        }
        if pending.expires > step.now.mono {
            self.counters.resends += 1;
            return self.send_write(step, id, self.peers.connected());
        }
        let was_waiting = self.writes.waiting.writes.contains_key(&id);
        self.counters.unfinished_writes += 1;
        if let Some(pending) = self.writes.remove(id)
            && was_waiting
        {
            let outcome = if self.broken().is(Mutation::UnknownToldAsNotDone) {
                let (answered, needed) = (pending.acked.len(), pending.needed);
                Outcome::NotDone(NotDone::TimedOut { answered, needed })
            } else {
                unknown(&pending)
            };
            self.reply(step, pending.request, outcome);
        }
    }

    /// Sends a peer that has come back what it has not acknowledged.
    pub(crate) fn send_writes_to(&mut self, step: &mut Step<'_>, slot: Slot) {
        let mut peer = SlotSet::default();
        peer.insert(slot);
        let tables = [&self.writes.waiting, &self.writes.trailing];
        let writes = tables.into_iter().flat_map(|table| &table.writes);
        let lacking = writes.filter(|(_, pending)| {
            pending.is_sent && !pending.acked.contains(slot) && pending.expires > step.now.mono
        });
        let ids: Vec<_> = lacking.map(|(id, _)| *id).collect();
        for id in ids {
            self.send_write(step, id, peer);
        }
    }

    /// Sends a write to those of `to` that have not answered, and sets the time for the next try.
    fn send_write(&mut self, step: &mut Step<'_>, id: WriteId, to: SlotSet) {
        let Some(pending) = self.writes.get_mut(id) else {
            return;
        };
        pending.is_sent = true;
        let to = to.without(pending.acked).without(pending.rejected);
        let at = if to.is_empty() {
            pending.expires
        } else {
            let next = pending.backoff.next(step.now.mono, &self.config.timing);
            next.min(pending.expires)
        };
        self.deadlines.arm(&mut pending.armed, at, Due::Write(id));
        let write = pending.write.clone();
        for slot in to.iter() {
            self.send(step, slot, Part::Write(write.clone()));
        }
    }

    /// Answers the client if the acknowledgements suffice or cannot come any more, and forgets
    /// the write once every server has answered.
    fn settle(&mut self, step: &mut Step<'_>, id: WriteId) {
        let nodes = self.config.cluster.nodes();
        if let Some(pending) = self.writes.waiting.writes.get(&id) {
            let acks = pending.acked.len();
            let fewer = u16::from(self.broken().is(Mutation::DoneWithOneFewer));
            let outcome = if pending.is_persisted && acks + fewer >= pending.needed {
                write_done(pending.write.entry.stamp.into(), acks)
            } else if nodes - pending.rejected.len() < pending.needed {
                unknown(pending)
            } else {
                return;
            };
            let request = pending.request;
            self.reply(step, request, outcome);
            if let Some(pending) = self.writes.waiting.remove(id) {
                self.writes.trailing.insert(id, pending);
            }
        }
        let everyone = self.peers.everyone();
        let answered = |pending: &PendingWrite| pending.acked.union(pending.rejected);
        if let Some(pending) = self.writes.trailing.writes.get(&id)
            && everyone.without(answered(pending)).is_empty()
        {
            self.forget(id);
        }
        let limits = self.config.limits;
        while self.writes.trailing_len() > limits.window_entries_max
            || self.writes.trailing.bytes > limits.window_bytes_max
        {
            let Some(oldest) = self.writes.trailing.oldest() else {
                return;
            };
            self.counters.unfinished_writes += 1;
            self.forget(oldest);
        }
    }

    fn forget(&mut self, id: WriteId) {
        if let Some(mut pending) = self.writes.trailing.remove(id) {
            self.deadlines.disarm(&mut pending.armed, Due::Write(id));
        }
    }

    /// Whether a write may begin, and its stamp. Nothing is written if not.
    fn check_write(
        &mut self,
        step: &mut Step<'_>,
        key: &Key,
        needed: u16,
    ) -> Result<kv_core::HybridTime, NotDone> {
        self.check_disk()?;
        let reachable = self.peers.reachable();
        if reachable < needed {
            return Err(NotDone::Unavailable { reachable, needed });
        }
        let limits = self.config.limits;
        if self.in_hand() >= limits.requests_max
            || self.journal.len() >= limits.requests_max
            || self.writes.waiting.bytes >= limits.window_bytes_max
            || self.journal.own_bytes() >= limits.window_bytes_max
        {
            return Err(self.overloaded());
        }
        let now = step.now;
        let time = self.clock.tick(now.wall);
        let held = self.state.get(key).map(|entry| entry.stamp.time.next());
        let held = held.filter(|_| !self.broken().is(Mutation::StampBelowHeld));
        let above = held.unwrap_or_default().max(time);
        let off_ms = match self.peers.clock_error_ms(now) {
            Some(off_ms) => off_ms,
            // The peers would reject it. A server that knows of no peers and has set its own
            // clock back goes on counting instead.
            None if is_beyond_skew(above, now.wall)
                && (above > time || self.peers.knows_clocks()) =>
            {
                let ahead = above.millis().saturating_sub(millis(now.wall));
                i64::try_from(ahead).unwrap_or(i64::MAX).saturating_neg()
            }
            None => return Ok(above),
        };
        self.counters.refused_for_clock += 1;
        self.refresh_clocks(step, CLOCKS_PERIOD_IN_DOUBT);
        Err(NotDone::ClockSkew { off_ms, limit_ms: millis(MAX_SKEW) })
    }
}

fn unknown(pending: &PendingWrite) -> Outcome {
    Outcome::Unknown(Unknown {
        version: Some(pending.write.entry.stamp.into()),
        acks: pending.acked.len(),
        needed: pending.needed,
    })
}

/// How often the peers' clocks are asked for while writes come.
const CLOCKS_PERIOD: Duration = Duration::from_secs(10);

/// How often that is while writes are refused for the clocks.
const CLOCKS_PERIOD_IN_DOUBT: Duration = Duration::from_secs(1);
