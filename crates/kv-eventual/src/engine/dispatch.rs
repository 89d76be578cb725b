//! Which part of a server takes which input.

use std::time::Duration;

use kv_core::{
    Answer, Incarnation, NodeId, Operation, Outcome, PersistSeq, RequestId, RequestOptions, Served,
};

use crate::coordinator::outcome::done;
use crate::coordinator::request::{Admitted, Arrival, Task, admit};
use crate::core::Step;
use crate::deadline::Due;
use crate::engine::EventualEngine;
use crate::ids::{Slot, SlotSet, is_plausible_incarnation};
use crate::message::{Message, Part, Welcome};
use crate::peers::Meeting;
use crate::state::journal::Then;

impl EventualEngine {
    pub(crate) fn on_request(
        &mut self,
        step: &mut Step<'_>,
        id: RequestId,
        op: Operation,
        options: &RequestOptions,
    ) {
        if !self.core.requests.insert(id) {
            self.core.counters.bad_inputs += 1;
            tracing::error!(%id, "a request's number is in use; the second one is ignored");
            return;
        }
        let task = match admit(&self.core.config.cluster, op, options) {
            Ok(Admitted::Task(task)) => task,
            Ok(Admitted::Dump(dump)) => {
                let page = self.core.state.dump(&dump, self.core.config.limits.page_entries_max);
                let outcome = done(Answer::Page(page), None, Served::Local);
                return self.core.reply(step, id, outcome);
            }
            Err(reason) => return self.core.reply(step, id, Outcome::NotDone(reason)),
        };
        let expires = step.now.mono.saturating_add(options.timeout);
        if self.can_start(step, &task) {
            self.start(step, id, task, expires);
        } else if self.pending() >= self.core.config.limits.requests_max {
            self.core.reply(step, id, Outcome::NotDone(self.core.overloaded()));
        } else {
            self.queue.push(&mut self.core, id, task, expires);
        }
    }

    /// Whether work on a request can begin.
    fn can_start(&self, step: &Step<'_>, task: &Task) -> bool {
        match task {
            Task::Get { .. } | Task::Scan { .. } => self.core.is_settled(step.now.mono),
            Task::Write { .. } => self.identity.is_serving(),
        }
    }

    /// Begins with the requests that have waited for what is the case by now.
    fn start_queued(&mut self, step: &mut Step<'_>) {
        let waiting = self.queue.take(&mut self.core);
        let (ready, waiting): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|queued| self.can_start(step, &queued.task));
        for queued in waiting {
            self.queue.push(&mut self.core, queued.id, queued.task, queued.expires);
        }
        for queued in ready {
            self.start(step, queued.id, queued.task, queued.expires);
        }
    }

    /// Begins with a request if its client still waits.
    fn start(&mut self, step: &mut Step<'_>, id: RequestId, task: Task, expires: Duration) {
        if !self.core.requests.contains(&id) {
            return;
        }
        let arrival = Arrival { id, expires, pending: self.pending() };
        let core = &mut self.core;
        match task {
            Task::Get { key, needed, seen } => {
                for repair in self.reads.start(core, step, arrival, key, (needed, seen)) {
                    self.repair(step, repair);
                }
            }
            Task::Scan { scan, needed } => self.scans.start(core, step, arrival, (scan, needed)),
            Task::Write { key, value, needed, seen } => {
                let write = (&key, value.as_ref());
                self.writes.start(core, step, arrival, write, (needed, seen));
            }
        }
    }

    pub(crate) fn on_peer_up(
        &mut self,
        step: &mut Step<'_>,
        peer: NodeId,
        incarnation: Incarnation,
    ) {
        let Some(slot) = self.core.peers.slot(peer) else {
            self.core.counters.bad_inputs += 1;
            return;
        };
        self.core.peers.connect(slot);
        let mut peer = SlotSet::EMPTY;
        peer.insert(slot);
        self.core.expect(step.now.mono, peer);
        self.sync.on_peer_up(slot);
        if is_plausible_incarnation(incarnation) {
            self.core.meet(step, slot, incarnation);
        }
        self.identity.unresolve(slot);
        self.core.greet(step, slot);
        self.writes.send_all_to(&mut self.core, step, slot);
        self.reads.send_all_to(&mut self.core, step, slot);
        self.scans.send_all_to(&mut self.core, step, slot);
        self.sync.schedule(&mut self.core, step.now.mono);
    }

    pub(crate) fn on_peer_down(&mut self, step: &mut Step<'_>, peer: NodeId) {
        let Some(slot) = self.core.peers.slot(peer) else {
            self.core.counters.bad_inputs += 1;
            return;
        };
        self.core.peers.disconnect(slot);
        self.core.outbox.discard(slot);
        self.core.end_greeting(slot);
        self.core.standing.give_up(slot);
        self.sync.on_peer_down(&mut self.core, slot);
        self.comparisons.on_peer_down(&mut self.core, slot);
        self.sync.schedule(&mut self.core, step.now.mono);
        self.start_queued(step);
        self.scans.on_peer_down(&mut self.core, step);
        for repair in self.reads.on_peer_down(&mut self.core, step) {
            self.repair(step, repair);
        }
        self.identity.resolve(&mut self.core, step, slot);
    }

    pub(crate) fn on_message(&mut self, step: &mut Step<'_>, from: NodeId, message: Message) {
        let Some(slot) = self.core.peers.slot(from) else {
            return self.core.bad_message(from, "sender is no peer");
        };
        if !is_plausible_incarnation(message.sender) {
            return self.core.bad_message(from, "incarnation");
        }
        let meeting = self.core.meet(step, slot, message.sender);
        let is_stale = meeting == Meeting::Stale;
        for part in message.parts {
            match part {
                Part::Hello(hello) => {
                    if let Some(left) = self.core.on_hello(step, slot, hello, meeting) {
                        self.writes.on_loss(&mut self.core, step, slot, &left);
                    }
                }
                Part::Welcome(welcome) => self.on_welcome(step, slot, welcome, message.wall_ms),
                // A server in an incarnation that was followed by another, or that does not know
                // yet that it must begin another: what it says must wait until it has.
                Part::Write(_)
                | Part::Ack(_)
                | Part::Reject(_)
                | Part::Query(_)
                | Part::Answer(_)
                | Part::Repair(_)
                | Part::Pull(_)
                | Part::Batch(_)
                | Part::Compare(_)
                | Part::Compared(_)
                | Part::Want(_)
                | Part::Mend(_)
                | Part::Keep(_)
                | Part::Look(_)
                | Part::Sight(_)
                    if is_stale =>
                {
                    self.core.counters.stale_messages += 1;
                }
                Part::Write(write) => self.core.on_write(step, slot, &write, message.wall_ms),
                Part::Ack(id) => {
                    if id.origin == self.core.config.node {
                        self.writes.on_ack(&mut self.core, step, slot, id);
                    }
                    self.reads.on_held(&mut self.core, step, slot, id);
                }
                Part::Reject(id) => self.writes.on_reject(&mut self.core, step, slot, id),
                Part::Query(query) => self.core.on_query(step, slot, query),
                Part::Answer(answer) => {
                    for repair in self.reads.on_answer(&mut self.core, step, slot, answer) {
                        self.repair(step, repair);
                    }
                }
                Part::Repair(write) => self.on_repair(step, &write),
                Part::Pull(pull) => self.on_pull(step, slot, pull),
                Part::Batch(batch) => self.on_batch(step, slot, batch),
                Part::Compare(compare) => self.core.on_compare(step, slot, &compare),
                Part::Compared(compared) => self.on_compared(step, slot, &compared),
                Part::Want(keys) => self.core.on_want(step, slot, &keys),
                Part::Mend(write) => self.on_mend(step, &write),
                Part::Keep(write) => self.on_keep(step, slot, &write),
                Part::Look(look) => self.core.on_look(step, slot, &look),
                Part::Sight(sight) => self.scans.on_sight(&mut self.core, step, slot, sight),
            }
        }
    }

    pub(crate) fn on_persisted(&mut self, step: &mut Step<'_>, up_to: PersistSeq) {
        if up_to > self.core.journal.asked() {
            self.core.counters.bad_inputs += 1;
            tracing::error!(%up_to, "persisted is more than was asked for; ignored");
            return;
        }
        while let Some((record, then)) = self.core.journal.pop(up_to) {
            self.core.state.apply(record);
            match then {
                Then::Nothing => {}
                Then::Begin => self.on_incarnation_persisted(step),
                Then::OwnWrite(id) => self.writes.on_own_persisted(&mut self.core, step, id),
                Then::Acknowledge(slot, id) => self.core.send(step, slot, Part::Ack(id)),
                Then::Repaired(id) => {
                    self.core.counters.repairs_applied += 1;
                    let me = self.core.peers.me();
                    self.reads.on_held(&mut self.core, step, me, id);
                }
                Then::LossNoted => self.core.on_loss_noted(step),
                Then::Buried => self.bury_more(step),
                Then::SuspectsRemoved => self.core.standing.note_removed(),
            }
        }
        self.note_replaced();
        self.go_on_pulling(step);
        self.sync.schedule(&mut self.core, step.now.mono);
    }

    pub(crate) fn on_timeout(&mut self, step: &mut Step<'_>) {
        while let Some(due) = self.core.deadlines.pop_due(step.now.mono) {
            match due {
                Due::Join => self.identity.on_timeout(&mut self.core, step),
                Due::Settled => {
                    self.core.standing.on_timeout();
                    self.start_queued(step);
                }
                Due::Sync => self.on_sync_timeout(step),
                Due::Compare => self.on_comparison_timeout(step),
                Due::Hello(slot) => self.core.on_hello_timeout(step, slot),
                Due::Queued(place) => {
                    self.queue.on_timeout(&mut self.core, step, place, self.identity.waiting())
                }
                Due::Scan(id) => self.scans.on_timeout(&mut self.core, step, id),
                Due::Write(id) => self.writes.on_timeout(&mut self.core, step, id),
                Due::Read(id) => {
                    for repair in self.reads.on_timeout(&mut self.core, step, id) {
                        self.repair(step, repair);
                    }
                }
            }
        }
        for (to, parts) in self.core.outbox.take() {
            self.core.emit(step, to, parts);
        }
    }

    /// This server takes writes, and begins with the requests that waited for that.
    fn on_incarnation_persisted(&mut self, step: &mut Step<'_>) {
        if self.identity.on_persisted(&mut self.core, step) {
            self.writes.begin_incarnation();
            self.start_queued(step);
        }
    }

    fn on_welcome(&mut self, step: &mut Step<'_>, slot: Slot, welcome: Welcome, wall_ms: u64) {
        if welcome.run != self.core.run {
            self.core.counters.stale_messages += 1;
            return;
        }
        self.core.end_greeting(slot);
        self.core.peers.measure(slot, step.now, welcome.sent, wall_ms);
        if !self.core.observe_from(step, welcome.latest, wall_ms) {
            self.core.counters.skewed_stamps += 1;
        }
        self.core.note_members(step, &welcome.members);
        self.core.standing.hear(slot);
        if welcome.has_lost && self.core.lose_standing(step) {
            self.sync.on_loss(&mut self.core);
            self.comparisons.give_up(&mut self.core);
        }
        self.start_queued(step);
        self.sync.schedule(&mut self.core, step.now.mono);
        self.identity.meet(&mut self.core, step, welcome.highest);
        self.identity.resolve(&mut self.core, step, slot);
    }
}
