//! How servers are brought in step: by pulls of what one lacks of another, at once when a peer
//! comes back and else in turn, one peer about each second.

pub(crate) mod comparison;
pub(crate) mod knowledge;
pub(crate) mod pull;
pub(crate) mod ranges;
pub(crate) mod transfer;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kv_core::{Incarnation, SeedStream};

use crate::core::{Core, Step};
use crate::deadline::{Backoff, Due};
use crate::engine::EventualEngine;
use crate::ids::{Slot, SlotSet};
use crate::message::{Batch, Cut, Part, Pull, PullBegin, Report};
use crate::state::journal::Then;
use crate::state::record::{Record, Write};
use crate::vector::Vector;
use pull::{ASKED_MAX, PullPhase, PullUnderWay, pause_after};
use transfer::Transfer;

/// The pulls of this server, one at a time, and its transfers to those that pull from it.
#[derive(Clone, Debug)]
pub(crate) struct Sync {
    seeds: SeedStream,
    pull: Option<PullUnderWay>,
    transfers: BTreeMap<Slot, Transfer>,
    /// How many of them were begun.
    transfers_begun: u64,
    /// Peers to pull from without waiting for their turn.
    urgent: SlotSet,
    /// When each peer was pulled from last.
    last: BTreeMap<Slot, Duration>,
    armed: Option<Duration>,
}

impl Sync {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            seeds: SeedStream::new(seed),
            pull: None,
            transfers: BTreeMap::new(),
            transfers_begun: 0,
            urgent: SlotSet::EMPTY,
            last: BTreeMap::new(),
            armed: None,
        }
    }

    pub(crate) const fn on_peer_up(&mut self, slot: Slot) {
        self.urgent.insert(slot);
    }

    /// Names a transfer that begins, in no other start of this process alike.
    const fn next_instance(&mut self, run: u64) -> u64 {
        self.transfers_begun += 1;
        run.wrapping_add(self.transfers_begun)
    }

    /// A pull from a peer that is lost may go on when it is back; another is not kept from it.
    pub(crate) fn on_peer_down(&mut self, core: &mut Core, slot: Slot) {
        self.urgent.remove(slot);
        self.transfers.remove(&slot);
        if self.pull.as_ref().is_some_and(|pull| pull.from == slot) {
            self.pull = None;
            core.deadlines.disarm(&mut self.armed, Due::Sync);
        }
    }

    /// This server learns that it lost data: what it is pulling does not make up for that.
    pub(crate) fn on_loss(&mut self, core: &mut Core) {
        self.pull = None;
        core.deadlines.disarm(&mut self.armed, Due::Sync);
    }

    /// Which peer to pull from next.
    fn next_peer(&self, core: &Core) -> Option<Slot> {
        let lacking = if core.state.counts { SlotSet::EMPTY } else { core.lacking_peers() };
        let from = [self.urgent, lacking, core.peers.connected()];
        let set = from.into_iter().find(|set| !set.is_empty())?;
        set.iter().min_by_key(|slot| self.last.get(slot).copied())
    }

    /// Sets the time for whatever is next.
    pub(crate) fn schedule(&mut self, core: &mut Core, now: Duration) {
        if self.pull.is_some() {
            return;
        }
        self.urgent = self.urgent.both(core.peers.connected());
        let has_turns = !core.peers.connected().is_empty() || core.is_untidy_alone();
        if !has_turns || !core.serves_reads() {
            return core.deadlines.disarm(&mut self.armed, Due::Sync);
        }
        let is_urgent =
            !self.urgent.is_empty() || (!core.state.counts && !core.lacking_peers().is_empty());
        let at = if is_urgent {
            now
        } else if self.armed.is_some() {
            return;
        } else {
            now.saturating_add(self.turn(core.config.timing.anti_entropy))
        };
        if at != Duration::MAX && self.armed.is_none_or(|armed| at < armed) {
            core.deadlines.arm(&mut self.armed, at, Due::Sync);
        }
    }

    /// The time between two turns, a quarter of it at random.
    fn turn(&mut self, period: Duration) -> Duration {
        if period == Duration::MAX {
            return period;
        }
        let quarter = u64::try_from(period.as_nanos() / 4).unwrap_or(u64::MAX);
        let jitter = Duration::from_nanos(self.seeds.below(quarter.max(1)));
        period.saturating_sub(period / 8).saturating_add(jitter).max(TURN_MIN)
    }
}

impl EventualEngine {
    /// The time of the pull has come: to begin, to ask again, or to ask for the next batch.
    pub(crate) fn on_sync_timeout(&mut self, step: &mut Step<'_>) {
        self.sync.armed = None;
        match &mut self.sync.pull {
            None => self.begin_pull(step),
            Some(pull) => match &mut pull.phase {
                PullPhase::Asked { times, .. } if *times >= ASKED_MAX => self.end_pull(step),
                PullPhase::Asked { times, .. } => {
                    *times += 1;
                    self.ask(step);
                }
                PullPhase::Storing { .. } => {}
                PullPhase::Yielding => {
                    pull.number = pull.number.wrapping_add(1);
                    let backoff = Backoff::new(&self.core.config.timing);
                    pull.phase = PullPhase::Asked { backoff, times: 1 };
                    self.ask(step);
                }
            },
        }
    }

    fn begin_pull(&mut self, step: &mut Step<'_>) {
        let Some(from) = self.sync.next_peer(&self.core).filter(|_| self.core.serves_reads())
        else {
            return self.tidy_alone(step);
        };
        self.sync.urgent.remove(from);
        self.sync.last.insert(from, step.now.mono);
        self.core.raise_clock_bound(step);
        // What it lost is not in its vector, or worse, is.
        let is_new = !self.core.standing.taken_from().contains(from);
        let brought = (self.core.has_suspects() && is_new).then(BTreeSet::new);
        let backoff = Backoff::new(&self.core.config.timing);
        self.sync.pull = Some(PullUnderWay {
            from,
            transfer: self.sync.seeds.next_u64(),
            number: 0,
            instance: 0,
            phase: PullPhase::Asked { backoff, times: 1 },
            brought,
            is_clean: true,
        });
        self.ask(step);
    }

    /// Does what follows a pull, where there is nobody to pull from.
    fn tidy_alone(&mut self, step: &mut Step<'_>) {
        if self.core.is_untidy_alone() {
            self.core.raise_clock_bound(step);
            self.core.retire(step);
            self.bury(step);
            self.sync.schedule(&mut self.core, step.now.mono);
        }
    }

    fn ask(&mut self, step: &mut Step<'_>) {
        let report = self.report(step.now.mono);
        let Self { core, sync, .. } = self;
        let Some(pull) = &mut sync.pull else {
            return;
        };
        let PullPhase::Asked { backoff, .. } = &mut pull.phase else {
            return;
        };
        let at = backoff.next(step.now.mono, &core.config.timing);
        core.deadlines.arm(&mut sync.armed, at, Due::Sync);
        let wants_all = pull.brought.is_some();
        let begin = (pull.number == 0).then(|| Box::new(PullBegin { report, wants_all }));
        let PullUnderWay { transfer, number, instance, .. } = *pull;
        let ask = Pull { transfer, number, instance, begin };
        core.send(step, pull.from, Part::Pull(ask));
    }

    pub(crate) fn on_pull(&mut self, step: &mut Step<'_>, slot: Slot, pull: Pull) {
        if let Some(begin) = pull.begin {
            if !self.core.is_legal_report(&begin.report) {
                return self.core.bad_message_from(slot, "pull");
            }
            self.core.note_report(step, slot, &begin.report, true);
            if self.sync.transfers.get(&slot).is_none_or(|known| known.id() != pull.transfer) {
                let known = if begin.wants_all { Vector::default() } else { begin.report.vector };
                let offer = self.report(step.now.mono);
                let instance = self.sync.next_instance(self.core.run);
                let transfer = Transfer::new((pull.transfer, instance), known, offer);
                self.sync.transfers.insert(slot, transfer);
                self.core.state.replaced.get_or_insert_default();
            }
        }
        let bytes_max = self.core.config.limits.message_bytes_max.min(BATCH_BYTES);
        let Some(transfer) = self.sync.transfers.get_mut(&slot) else {
            self.core.counters.stale_messages += 1;
            return;
        };
        let is_other = pull.number > 0 && transfer.instance() != pull.instance;
        if transfer.id() != pull.transfer || is_other {
            self.core.counters.stale_messages += 1;
            return;
        }
        match transfer.batch(&self.core.state, pull.number, bytes_max) {
            Some(batch) => {
                // To ask for the first batch again is to begin again.
                if batch.number == 0 && batch.end.is_some() {
                    self.sync.transfers.remove(&slot);
                }
                self.core.counters.sync_writes_sent += count(batch.writes.len());
                self.core.send(step, slot, Part::Batch(batch));
            }
            None => self.core.counters.stale_messages += 1,
        }
    }

    pub(crate) fn on_batch(&mut self, step: &mut Step<'_>, slot: Slot, batch: Batch) {
        let Self { core, sync, .. } = self;
        let is_awaited = sync.pull.as_ref().is_some_and(|pull| {
            pull.from == slot
                && (pull.transfer, pull.number) == (batch.transfer, batch.number)
                && (batch.number == 0 || pull.instance == batch.instance)
                && matches!(pull.phase, PullPhase::Asked { .. })
        });
        if !is_awaited {
            core.counters.stale_messages += 1;
            return;
        }
        let bytes: usize = batch.writes.iter().map(Write::size_bytes).sum();
        if core.is_journal_full(bytes) && core.journal.foreign_len() > 0 {
            // It is asked for again.
            core.counters.dropped_writes += count(batch.writes.len());
            return;
        }
        // What is illegal is skipped: it would else keep away all that comes after it.
        let (legal, illegal): (Vec<_>, Vec<_>) =
            batch.writes.iter().partition(|write| core.is_legal(&write.entry));
        let is_clean =
            illegal.is_empty() && batch.end.as_ref().is_none_or(|end| core.is_legal_report(end));
        if !is_clean {
            core.bad_message_from(slot, "batch");
        }
        let was_clean = sync.pull.as_ref().is_some_and(|pull| pull.is_clean);
        for write in legal {
            self.take_pulled(step, write);
        }
        if let Some(end) = batch.end.as_ref().filter(|_| is_clean && was_clean) {
            self.core.join(step, end);
        }
        let until = self.core.journal.asked();
        if let Some(pull) = &mut self.sync.pull {
            pull.is_clean &= is_clean;
            pull.instance = batch.instance;
            pull.phase = PullPhase::Storing { until, end: batch.end, bytes };
        }
        self.core.deadlines.disarm(&mut self.sync.armed, Due::Sync);
        self.go_on_pulling(step);
    }

    /// Goes on once a batch is on disk.
    pub(crate) fn go_on_pulling(&mut self, step: &mut Step<'_>) {
        let persisted = self.core.journal.persisted();
        let Some(pull) = &mut self.sync.pull else {
            return;
        };
        let PullPhase::Storing { until, end, bytes } = &mut pull.phase else {
            return;
        };
        if persisted < *until {
            return;
        }
        let Some(end) = end.take() else {
            let pause = pause_after(*bytes, !self.core.requests.is_empty());
            pull.phase = PullPhase::Yielding;
            let at = step.now.mono.saturating_add(pause.max(TURN_MIN));
            return self.core.deadlines.arm(&mut self.sync.armed, at, Due::Sync);
        };
        let (from, brought) = (pull.from, pull.brought.take());
        if !pull.is_clean {
            return self.end_pull(step);
        }
        let is_whole = brought.is_some();
        if let Some(brought) = brought {
            self.core.drop_suspects(step, &brought, &end);
        }
        self.core.note_report(step, from, &end, true);
        if end.counts && !is_whole && self.core.has_suspects() {
            // It has come to count since it was asked for everything.
            self.core.standing.forget(from);
            self.sync.urgent.insert(from);
        } else {
            self.core.standing.take_from(from, end.counts);
        }
        self.core.settle_standing(step);
        self.core.retire(step);
        self.bury(step);
        self.core.counters.pulls += 1;
        if end.is_whole {
            self.begin_comparison_if_due(step, from);
        }
        self.end_pull(step);
    }

    /// Ends the pull, complete or not, and sets the time for the next one.
    pub(crate) fn end_pull(&mut self, step: &mut Step<'_>) {
        self.sync.pull = None;
        self.core.deadlines.disarm(&mut self.sync.armed, Due::Sync);
        self.sync.schedule(&mut self.core, step.now.mono);
    }

    /// Tells the transfers which records were replaced.
    pub(crate) fn note_replaced(&mut self) {
        let Some(replaced) = &mut self.core.state.replaced else {
            return;
        };
        let replaced = std::mem::take(replaced);
        for (id, key) in replaced {
            let state = &self.core.state;
            self.sync.transfers.values_mut().for_each(|transfer| {
                transfer.on_replaced(state, id, &key);
            });
        }
        // A peer that is owed too much begins anew.
        self.sync.transfers.retain(|_, transfer| !transfer.owes_too_much());
        if self.sync.transfers.is_empty() {
            self.core.state.replaced = None;
        }
    }

    /// Takes a record that was pulled.
    fn take_pulled(&mut self, step: &mut Step<'_>, write: &Write) {
        let id = write.entry.id();
        let mut was_lost = false;
        if let Some(pull) = &mut self.sync.pull
            && let Some(brought) = &mut pull.brought
        {
            brought.insert(write.key.detached());
            was_lost = true;
        }
        let is_known = self.core.state.vector.contains(id) && !was_lost;
        if is_known || self.core.journal.has_foreign(id) || self.writes.is_in_flight(id) {
            return;
        }
        if id.origin == self.core.config.node {
            self.check_own_write(step, write);
        }
        self.core.fence(id.origin, id.incarnation);
        let held = self.core.state.get(&write.key);
        if write.entry.wins_over(held, self.core.broken()) {
            self.core.observe_stamp(step, write.entry.stamp.time);
            self.core.persist(step, Record::Write(write.detached()), Then::Repaired(id));
        } else if !self.core.state.vector.contains(id) {
            self.core.persist(step, Record::Superseded(id), Then::Nothing);
        }
    }

    /// Goes on to forget deletes, once some are forgotten.
    pub(crate) fn bury_more(&mut self, step: &mut Step<'_>) {
        self.core.is_burying = false;
        self.bury(step);
    }

    fn bury(&mut self, step: &mut Step<'_>) {
        let own = self.cut();
        self.core.bury(step, own);
    }

    /// What this server says of itself.
    pub(crate) fn report(&self, now: Duration) -> Report {
        self.core.report(now, self.cut())
    }

    /// How far this server's writes are. Later ones are stamped after its time in this incarnation and
    /// in those that follow, which begin at the bound on disk.
    fn cut(&self) -> Cut {
        let incarnation = self.core.state.incarnation;
        let is_numbering = self.identity.is_serving();
        // How far a former incarnation numbered its writes is not known.
        let incarnation = if is_numbering { incarnation } else { Incarnation::UNKNOWN };
        let time = self.core.clock.latest().min(self.core.state.clock_bound);
        let seq = self.writes.last_seq();
        Cut { incarnation, seq, time }
    }
}

impl Core {
    /// Whether a server that has no peers has deletes to forget, or former incarnations.
    fn is_untidy_alone(&self) -> bool {
        self.peers.others().is_empty()
            && (!self.state.buried.is_empty() || self.state.vector.former() > 0)
    }

    /// The connected peers that it has not taken all from since it lost data.
    fn lacking_peers(&self) -> SlotSet {
        let members = self.peers.connected().both(self.other_members());
        members.without(self.standing.taken_from())
    }

    /// Puts the clock's bound where its latest stamp is. A server that only takes writes of others, and
    /// whose bound stays behind, would keep all servers from forgetting deletes.
    fn raise_clock_bound(&mut self, step: &mut Step<'_>) {
        self.pass_deletes(step);
        if let Some(below) = self.clock.raise_bound() {
            self.persist(step, Record::ClockBound { below }, Then::Nothing);
        }
    }

    /// Reflects all that a peer's vector knows, once what was asked to be persisted before is: the
    /// deletes, too, that the peer has forgotten.
    fn join(&mut self, step: &mut Step<'_>, Report { vector, floor, .. }: &Report) {
        if *floor > self.state.floor {
            let records = Vec::new();
            self.persist(step, Record::Removed { floor: *floor, records }, Then::Nothing);
        }
        if !self.state.vector.covers(vector) {
            vector.origins().for_each(|(origin, present)| self.fence(origin, present));
            self.persist(step, Record::Join(vector.clone()), Then::Nothing);
        }
    }
}

pub(crate) fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// About how many bytes a batch has.
const BATCH_BYTES: usize = 256 << 10;

/// A deadline that is set lies in the future.
const TURN_MIN: Duration = Duration::from_micros(1);
