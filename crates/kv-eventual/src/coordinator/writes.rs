//! Writes that this server coordinates.

use std::time::Duration;

use kv_core::{HybridTime, Key, NotDone, Outcome, Value};

use crate::clock::{MAX_SKEW, millis};
use crate::coordinator::outcome::write_done;
use crate::coordinator::request::Arrival;
use crate::coordinator::table::{PendingWrite, Table};
use crate::core::{Core, Step};
use crate::deadline::{Backoff, Due};
use crate::ids::{Slot, SlotSet, WriteId, WriteSeq};
use crate::message::Part;
use crate::mutation::Mutation;
use crate::state::journal::Then;
use crate::state::record::{Record, Write};
use crate::state::stamp::{Entry, Stamp};
use crate::vector::Vector;

/// The writes under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writes {
    last_seq: WriteSeq,
    /// Those whose client waits. A server that misses one after that pulls it.
    table: Table,
}

impl Writes {
    /// Numbers from 1 again. Writes of the incarnation before stay under way under their old names.
    pub(crate) const fn begin_incarnation(&mut self) {
        self.last_seq = WriteSeq(0);
    }

    pub(crate) const fn last_seq(&self) -> WriteSeq {
        self.last_seq
    }

    pub(crate) const fn waiting_len(&self) -> usize {
        self.table.sum().count
    }

    /// Whether this server's disk is to have a write and has not yet. Another server can have it.
    pub(crate) fn is_in_flight(&self, id: WriteId) -> bool {
        self.table.get(id).is_some_and(|pending| !pending.is_persisted)
    }

    pub(crate) fn start(
        &mut self,
        core: &mut Core,
        step: &mut Step<'_>,
        Arrival { id: request, expires, pending }: Arrival,
        (key, value): (&Key, Option<&Value>),
        (needed, seen): (u16, Option<Stamp>),
    ) {
        core.refresh_clocks(step, CLOCKS_PERIOD);
        let (is_delete, seen) = (value.is_none(), seen.map(|seen| seen.time));
        let time = match self.check(core, step, pending, (key, is_delete, seen), needed) {
            Ok(time) => time,
            Err(reason) => return core.reply(step, request, Outcome::NotDone(reason)),
        };
        if let Some(below) = core.clock.issue(time) {
            core.persist(step, Record::ClockBound { below }, Then::Nothing);
        }
        self.last_seq = self.last_seq.next();
        let entry = Entry {
            stamp: Stamp { time, origin: core.config.node, incarnation: core.state.incarnation },
            seq: self.last_seq,
            value: value.map(Value::detached),
        };
        let id = entry.id();
        let write = Write { key: key.detached(), entry };
        let backoff = Backoff::new(&core.config.timing);
        let under_way = PendingWrite::new(write.clone(), (request, needed), expires, backoff);
        self.table.insert(id, under_way);
        core.persist(step, Record::Write(write), Then::OwnWrite(id));
        // The other disks need not wait for this one. If this server forgets the write in a crash,
        // its next incarnation gives neither number nor stamp a second time.
        if time < core.state.clock_bound || core.broken().is(Mutation::SentAboveBound) {
            self.send_to_connected(core, step, id);
        } else if let Some(pending) = self.table.get_mut(id) {
            core.deadlines.arm(&mut pending.armed, expires, Due::Write(id));
        }
        if core.broken().is(Mutation::CountedBeforePersisted) {
            self.on_own_persisted(core, step, id);
        }
    }

    pub(crate) fn on_own_persisted(&mut self, core: &mut Core, step: &mut Step<'_>, id: WriteId) {
        let me = core.peers.me();
        let Some(pending) = self.table.get_mut(id) else {
            return;
        };
        pending.is_persisted = true;
        pending.acked.insert(me);
        if !pending.is_sent {
            self.send_to_connected(core, step, id);
        }
        self.settle(core, step, id);
    }

    pub(crate) fn on_ack(&mut self, core: &mut Core, step: &mut Step<'_>, slot: Slot, id: WriteId) {
        let is_of = |incarnation| id.incarnation == incarnation;
        if id.origin == core.config.node
            && (is_of(core.state.incarnation)
                || core.state.vector.has_entry(id.origin, id.incarnation))
        {
            core.note_ack(slot, id);
        }
        match self.table.get_mut(id).filter(|write| write.is_sent) {
            Some(pending) => {
                pending.acked.insert(slot);
                self.settle(core, step, id);
            }
            None if id.incarnation == core.state.incarnation && id.seq <= self.last_seq => {}
            None => core.counters.stale_messages += 1,
        }
    }

    /// A peer has lost data, and its disk reflects `left`: it acknowledged other writes for nothing,
    /// and is sent them once more.
    pub(crate) fn on_loss(
        &mut self,
        core: &mut Core,
        step: &mut Step<'_>,
        slot: Slot,
        left: &Vector,
    ) {
        let acked = self.table.iter().filter(|(_, pending)| pending.acked.contains(slot));
        let lost: Vec<WriteId> = acked.map(|(id, _)| id).filter(|id| !left.contains(*id)).collect();
        let mut peer = SlotSet::default();
        peer.insert(slot);
        for id in lost {
            if let Some(pending) = self.table.get_mut(id) {
                pending.acked.remove(slot);
            }
            self.send(core, step, id, peer);
        }
    }

    pub(crate) fn on_reject(
        &mut self,
        core: &mut Core,
        step: &mut Step<'_>,
        slot: Slot,
        id: WriteId,
    ) {
        let node = core.peers.get(slot).map(|peer| peer.node);
        tracing::warn!(?node, "a write was rejected there: its stamp is too far in the future");
        match self.table.get_mut(id).filter(|write| write.is_sent) {
            Some(pending) => {
                pending.rejected.insert(slot);
                self.settle(core, step, id);
            }
            None => core.counters.stale_messages += 1,
        }
    }

    pub(crate) fn on_timeout(&mut self, core: &mut Core, step: &mut Step<'_>, id: WriteId) {
        let Some(pending) = self.table.get_mut(id) else {
            return;
        };
        pending.armed = None;
        if pending.expires > step.now.mono && core.state.broken.is(Mutation::NeverResends) {
            let expires = pending.expires;
            return core.deadlines.arm(&mut pending.armed, expires, Due::Write(id));
        }
        if pending.expires > step.now.mono {
            core.counters.resends += 1;
            return self.send_to_connected(core, step, id);
        }
        core.counters.unfinished_writes += 1;
        if let Some(pending) = self.table.remove(id) {
            let outcome = if core.broken().is(Mutation::UnknownToldAsNotDone) {
                let (answered, needed) = (pending.acked.len(), pending.needed);
                Outcome::NotDone(NotDone::TimedOut { answered, needed })
            } else {
                pending.unknown()
            };
            core.reply(step, pending.request, outcome);
        }
    }

    /// Sends a peer that has come back what it has not acknowledged.
    pub(crate) fn send_all_to(&mut self, core: &mut Core, step: &mut Step<'_>, slot: Slot) {
        let mut peer = SlotSet::default();
        peer.insert(slot);
        let lacking = self.table.iter().filter(|(_, pending)| {
            pending.is_sent && !pending.acked.contains(slot) && pending.expires > step.now.mono
        });
        let ids: Vec<_> = lacking.map(|(id, _)| id).collect();
        for id in ids {
            self.send(core, step, id, peer);
        }
    }

    fn send_to_connected(&mut self, core: &mut Core, step: &mut Step<'_>, id: WriteId) {
        let connected = core.peers.connected();
        self.send(core, step, id, connected);
    }

    /// Sends a write to those of `to` that have not answered, and sets the time for the next try.
    fn send(&mut self, core: &mut Core, step: &mut Step<'_>, id: WriteId, to: SlotSet) {
        let Some(pending) = self.table.get_mut(id) else {
            return;
        };
        pending.is_sent = true;
        let to = to.without(pending.acked).without(pending.rejected);
        let at = if to.is_empty() {
            pending.expires
        } else {
            let next = pending.backoff.next(step.now.mono, &core.config.timing);
            next.min(pending.expires)
        };
        core.deadlines.arm(&mut pending.armed, at, Due::Write(id));
        let write = pending.write.clone();
        for slot in to.iter() {
            core.send(step, slot, Part::Write(write.clone()));
        }
    }

    /// Answers the client, and forgets the write, if the acknowledgements suffice or cannot come any
    /// more.
    fn settle(&mut self, core: &mut Core, step: &mut Step<'_>, id: WriteId) {
        let nodes = core.config.cluster.nodes();
        let Some(pending) = self.table.get(id) else {
            return;
        };
        let acks = pending.acked.len();
        let fewer = u16::from(core.broken().is(Mutation::DoneWithOneFewer));
        let outcome = if pending.is_persisted && acks + fewer >= pending.needed {
            write_done(pending.write.entry.stamp.into(), acks)
        } else if nodes - pending.rejected.len() < pending.needed {
            pending.unknown()
        } else {
            return;
        };
        core.reply(step, pending.request, outcome);
        if let Some(mut pending) = self.table.remove(id) {
            core.deadlines.disarm(&mut pending.armed, Due::Write(id));
        }
    }

    /// Whether a write may begin, and its stamp. Nothing is written if not.
    fn check(
        &mut self,
        core: &mut Core,
        step: &mut Step<'_>,
        pending: usize,
        (key, is_delete, seen): (&Key, bool, Option<HybridTime>),
        needed: u16,
    ) -> Result<HybridTime, NotDone> {
        core.check_disk(is_delete)?;
        let reachable = core.peers.reachable();
        if reachable < needed {
            return Err(NotDone::Unavailable { reachable, needed });
        }
        let limits = core.config.limits;
        if pending >= limits.requests_max
            || core.journal.len() >= limits.requests_max
            || self.table.sum().bytes >= limits.window_bytes_max
            || core.journal.own_bytes() >= limits.window_bytes_max
        {
            return Err(core.overloaded());
        }
        let now = step.now;
        let time = core.clock.tick(now.wall);
        let held = core.state.rival(key, time).map(|entry| entry.stamp.time.next());
        let held = held.filter(|_| !core.broken().is(Mutation::StampBelowHeld));
        let held = held.unwrap_or_default();
        let seen = seen.filter(|_| !core.broken().is(Mutation::StampBelowSeen));
        let seen = seen.map(HybridTime::next).filter(|seen| *seen > held).unwrap_or_default();
        // What a client alone says must not push the clock far ahead.
        if !core.clock.is_near(seen, now.wall) {
            core.counters.refused_for_clock += 1;
            let off_ms = ahead_ms(now.wall, seen);
            return Err(NotDone::ClockSkew { off_ms, limit_ms: millis(MAX_SKEW) });
        }
        let above = held.max(time).max(seen);
        // Stamps may be far ahead of all wall clocks, after these went back. What must agree is what
        // the clocks show at present.
        let Some(off_ms) = core.peers.clock_error_ms(now) else {
            return Ok(above);
        };
        core.counters.refused_for_clock += 1;
        core.refresh_clocks(step, CLOCKS_PERIOD_IN_DOUBT);
        Err(NotDone::ClockSkew { off_ms, limit_ms: millis(MAX_SKEW) })
    }
}

/// How far a wall clock is ahead of a stamp, in milliseconds; negative if it is behind.
fn ahead_ms(wall: Duration, stamp: HybridTime) -> i64 {
    let signed = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
    signed(millis(wall)).saturating_sub(signed(stamp.millis()))
}

/// How often the peers' clocks are asked for while writes come.
const CLOCKS_PERIOD: Duration = Duration::from_secs(10);

/// How often that is while writes are refused for the clocks.
const CLOCKS_PERIOD_IN_DOUBT: Duration = Duration::from_secs(1);
