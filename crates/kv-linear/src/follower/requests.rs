//! How a follower forwards its clients' requests.

use std::time::Duration;

use kv_core::{Incarnation, NodeId, NotDone};

use crate::core::{Core, Out};
use crate::follower::{Follower, asking};
use crate::log::epoch::{Epoch, LogIndex};
use crate::message::{Body, Forward};

impl Follower {
    /// Requests that the sequencer never assigns a position.
    pub(crate) fn on_refuse(
        core: &mut Core,
        (epoch, receiver): (Epoch, Incarnation),
        requests: Vec<(u64, NotDone)>,
        out: &mut Out,
    ) {
        // One of an earlier epoch says nothing of the copy that was sent in this one.
        if epoch != core.promised() || receiver != core.incarnation() {
            core.counters.stray_messages += 1;
            return;
        }
        for (number, reason) in requests {
            if let Some(pending) = core.forwarder.settle(number) {
                core.refuse(pending.id, reason, out);
            }
        }
    }

    /// Sends the requests that wait, or refuses those that were never sent if there will be no
    /// sequencer soon.
    pub(crate) fn forward(&self, core: &mut Core, out: &mut Out) {
        if !core.forwarder.has_unsent() && !core.reads.has_waiting() {
            return;
        }
        if let Some(waiting) = self.waiting(core) {
            for id in core.reads.settle_waiting() {
                core.refuse(id, NotDone::Waiting(waiting), out);
            }
            for pending in core.forwarder.settle_unsent() {
                core.refuse(pending.id, NotDone::Waiting(waiting), out);
            }
            return;
        }
        let Some(sequencer) = self.sequencer(core).filter(|_| core.is_durable()) else {
            return;
        };
        let message_bytes_max = core.config.limits.message_bytes_max;
        while let Some(first) = core.forwarder.pop_unsent(usize::MAX) {
            let mut room = message_bytes_max.saturating_sub(first.1.len());
            let mut requests = vec![first];
            while let Some(next) = core.forwarder.pop_unsent(room) {
                room -= next.1.len();
                requests.push(next);
            }
            let forward = Forward {
                epoch: core.promised(),
                settled_below: core.forwarder.settled_below(),
                requests,
            };
            core.send(sequencer, Body::Forward(forward), out);
        }
    }

    /// Whom to ask how far the log is committed.
    pub(crate) fn reads_from(&self, core: &Core) -> Option<NodeId> {
        self.sequencer(core).filter(|_| core.is_durable())
    }

    /// The sequencer is there again: what it was asked may be lost.
    pub(crate) fn ask_soon(&mut self, core: &mut Core, now: Duration) {
        self.ask_backoff = asking(core);
        self.ask_at = now;
        core.flush_soon(now);
    }

    /// The sequencer says what is committed, for the reads of all questions up to this one. No
    /// heartbeat may say so as soon.
    pub(crate) fn on_read_index_ok(
        &self,
        core: &mut Core,
        epoch: Epoch,
        (number, index): (u64, LogIndex),
        out: &mut Out,
    ) {
        if epoch == core.promised() && !self.is_switching() {
            core.replica.note_commit(index.min(self.verified));
            core.deliver(out);
        }
        core.reads.grant(number, index);
        core.answer_reads(out);
    }

    /// The sequencer cannot confirm what it was asked up to this question.
    pub(crate) fn on_refuse_reads(core: &mut Core, number: u64, reason: &NotDone, out: &mut Out) {
        for id in core.reads.settle_asked(number) {
            core.refuse(id, reason.clone(), out);
        }
    }

    /// Asks the sequencer to hand over, for clients that want that, or since this server is to lead
    /// whenever it can.
    pub(crate) fn ask_for_lead(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        let Some(sequencer) = self.reads_from(core) else {
            return;
        };
        let mut nodes = core.leads.ask(now, asking(core));
        if self.wants_lead(core) && now >= self.hand_back_at {
            self.hand_back_at = now.saturating_add(core.config.timing.election * HAND_BACK_EVERY);
            nodes.push(core.node());
        }
        for node in nodes.into_iter().filter(|node| *node != sequencer) {
            core.send(sequencer, Body::AskLead { epoch: core.promised(), node }, out);
        }
    }

    /// When the sequencer is to be asked to hand over.
    pub(crate) fn next_question_for_lead(&self, core: &Core) -> Option<Duration> {
        self.reads_from(core)?;
        let own = self.wants_lead(core).then_some(self.hand_back_at);
        core.leads.next_question().into_iter().chain(own).min()
    }

    /// Whether this server is to lead whenever it can, and can now.
    fn wants_lead(&self, core: &Core) -> bool {
        core.config.hand_back
            && core.node() == core.founder()
            && self.verified == core.replica.log().last().index
            && self.may_stand(core)
    }

    /// Asks the sequencer how far the log is committed, for the reads that wait for that; again, if
    /// it has not answered.
    pub(crate) fn ask_for_reads(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        let Some(sequencer) = self.reads_from(core) else {
            return;
        };
        let is_new = core.reads.has_waiting();
        if !is_new && (!core.reads.is_asked() || now < self.ask_at) {
            return;
        }
        if let Some(number) = core.reads.ask() {
            if is_new {
                self.ask_backoff = asking(core);
            }
            self.ask_at = now.saturating_add(self.ask_backoff.wait);
            self.ask_backoff.double();
            let body = Body::ReadIndex { epoch: core.promised(), number };
            core.send(sequencer, body, out);
        }
    }
}

/// A server that is to lead asks for it again after so many election timeouts.
const HAND_BACK_EVERY: u32 = 8;
