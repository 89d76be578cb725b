//! A follower: it keeps the log that the sequencer sends, in order.

use std::time::Duration;

use kv_core::{Incarnation, NodeId, NotDone, Operation, Waiting, Wire};

use crate::core::{Core, Out};
use crate::entry::Entry;
use crate::epoch::{Epoch, LogIndex};
use crate::hold_back::HoldBack;
use crate::message::{Body, Forward, Prepare};
use crate::mutation::Mutation;
use crate::starting::Starting;
use crate::transfer::Transfer;

/// A server that holds a copy of the sequencer's log.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    /// The latest epoch in which the sequencer was heard, or that of this server's log. What it
    /// said in an earlier one does not count.
    pub(crate) heard: Epoch,
    pub(crate) held: HoldBack,
    pub(crate) report_not_before: Duration,
    /// Why the sequencer does not serve this server, as far as it has said.
    trouble: Option<Waiting>,
    /// A checkpoint on its way to the disk.
    pub(crate) transfer: Option<Transfer>,
    /// The starting log of the epoch that was heard, on its way to the disk.
    pub(crate) starting: Option<Starting>,
}

/// What became of an entry.
enum Taken {
    Appended,
    /// The log has it already.
    Repeated,
    /// It is not next.
    Early,
    Malformed,
    /// The log has another entry in this place.
    Differs,
}

impl Follower {
    /// A follower whose log is of `epoch`.
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            heard: epoch,
            held: HoldBack::default(),
            report_not_before: Duration::ZERO,
            trouble: None,
            transfer: None,
            starting: None,
        }
    }

    /// Why this server cannot forward a request now, if it cannot.
    pub(crate) fn waiting(&self, core: &Core) -> Option<Waiting> {
        let node = core.sequencer();
        if !core.links.is_connected(node) {
            return Some(Waiting::Sequencer { node });
        }
        if self.trouble.is_some() {
            return self.trouble;
        }
        (!core.is_durable()).then_some(Waiting::Joining)
    }

    pub(crate) const fn on_trouble(&mut self, waiting: Waiting) {
        self.trouble = Some(waiting);
    }

    pub(crate) const fn clear_trouble(&mut self) {
        self.trouble = None;
    }

    /// Tells the sequencer what this server has.
    pub(crate) fn show(&self, core: &Core, out: &mut Out) {
        if self.heard > core.epoch() {
            self.need_start(core, out);
        } else {
            self.acknowledge(core, out);
        }
    }

    /// Tells the sequencer what this server's disk holds of its epoch, and in which life.
    pub(crate) fn acknowledge(&self, core: &Core, out: &mut Out) {
        if core.is_durable() && self.heard == core.epoch() {
            let replica = &core.replica;
            let early = core.broken.is(Mutation::AckBeforePersisted);
            let durable = if early { replica.log().last().index } else { replica.durable() };
            let body = Body::Ack { epoch: core.epoch(), durable };
            core.send(core.sequencer(), body, out);
        }
    }

    pub(crate) fn on_prepare(
        &mut self,
        core: &mut Core,
        now: Duration,
        from: NodeId,
        prepare: Prepare,
        out: &mut Out,
    ) {
        if !self.hear(core, now, prepare.epoch) {
            // A sequencer whose disk was set back does not know of the epoch that was heard since.
            if self.may_report(core, now) {
                self.show(core, out);
            }
            return;
        }
        self.clear_trouble();
        if self.is_switching() {
            core.counters.dropped += 1;
            return;
        }
        let own = core.identity.map_or(Incarnation::UNKNOWN, |identity| identity.incarnation);
        if prepare.receiver > own {
            // The sequencer counts a life that is over or never was; only a later one can follow.
            core.renew(prepare.receiver, out);
        }
        if prepare.epoch > core.epoch() {
            if core.broken.is(Mutation::CommitBeforeStart) {
                let log_last = core.replica.log().last().index;
                core.replica.note_commit(prepare.commit.min(log_last));
                core.deliver(out);
            }
            if self.may_report(core, now) {
                self.need_start(core, out);
            }
            return;
        }
        let known = core.replica.log().hash_at(prepare.previous);
        if known.is_some_and(|hash| hash != prepare.previous_hash) {
            core.halt(from, prepare.previous, out);
            return;
        }
        let (commit, last) = (prepare.commit, prepare.last);
        let Some(repeated) = self.take_entries(core, from, prepare.entries, out) else {
            return;
        };
        let log_last = core.replica.log().last().index;
        core.replica.note_commit(commit.min(log_last));
        core.deliver(out);
        let early = core.broken.is(Mutation::AckBeforePersisted);
        if repeated || prepare.receiver < own || early {
            self.acknowledge(core, out);
        }
        if (last > log_last || self.held.len() > 0) && self.may_report(core, now) {
            Self::nack(core, out);
        }
    }

    /// Takes what comes next into the log and keeps what comes later; says whether something came
    /// a second time, and `None` if the logs differ.
    fn take_entries(
        &mut self,
        core: &mut Core,
        from: NodeId,
        entries: Vec<Entry>,
        out: &mut Out,
    ) -> Option<bool> {
        let mut repeated = false;
        let mut appended = Vec::new();
        for entry in entries {
            let index = entry.index();
            match self.take(core, entry, &mut appended, out) {
                Taken::Appended | Taken::Early => {}
                Taken::Repeated => repeated = true,
                Taken::Malformed => core.counters.malformed += 1,
                Taken::Differs => {
                    core.halt(from, index, out);
                    return None;
                }
            }
        }
        while let Some((entry, operation)) = self.held.take(core.replica.log().last().index.next())
        {
            let index = entry.index();
            match append(core, entry, operation, &mut appended) {
                Taken::Appended | Taken::Early | Taken::Repeated => {}
                Taken::Malformed => core.counters.malformed += 1,
                Taken::Differs => {
                    core.halt(from, index, out);
                    return None;
                }
            }
        }
        core.persist_entries(appended, out);
        Some(repeated)
    }

    fn take(
        &mut self,
        core: &mut Core,
        entry: Entry,
        appended: &mut Vec<Entry>,
        out: &mut Out,
    ) -> Taken {
        let (index, last) = (entry.index(), core.replica.log().last().index);
        if index <= last {
            let known = core.replica.log().hash_at(index);
            return match known {
                Some(hash) if hash != entry.hash() => Taken::Differs,
                Some(_) | None => Taken::Repeated,
            };
        }
        let Ok(operation) = Operation::from_bytes(entry.operation()) else {
            return Taken::Malformed;
        };
        if entry.header().epoch > core.epoch() {
            return Taken::Malformed;
        }
        if index == last.next() {
            return append(core, entry, operation, appended);
        }
        if core.broken.is(Mutation::GapAcknowledged) {
            let body = Body::Ack { epoch: core.epoch(), durable: index };
            core.send(core.sequencer(), body, out);
        }
        core.counters.held_back += 1;
        if !self.held.hold(entry, operation, &core.config.limits) {
            core.counters.dropped += 1;
        }
        Taken::Early
    }

    /// Whether to tell the sequencer that something is missing: not at each of its messages.
    fn may_report(&mut self, core: &Core, now: Duration) -> bool {
        let may = now >= self.report_not_before && core.is_durable();
        if may {
            self.report_not_before = now.saturating_add(core.config.timing.resend_min / 2);
        }
        may
    }

    fn nack(core: &mut Core, out: &mut Out) {
        if core.is_durable() {
            core.counters.nacks += 1;
            let body = Body::Nack { epoch: core.epoch(), last: core.replica.log().last().index };
            core.send(core.sequencer(), body, out);
        }
    }

    /// Requests that the sequencer never gives a place.
    pub(crate) fn on_refuse(
        &self,
        core: &mut Core,
        (epoch, receiver): (Epoch, Incarnation),
        requests: Vec<(u64, NotDone)>,
        out: &mut Out,
    ) {
        let own = core.identity.map(|identity| identity.incarnation);
        // One of an earlier epoch says nothing of the copy that was sent in this one.
        if epoch != self.heard || own != Some(receiver) {
            core.counters.stray_messages += 1;
            return;
        }
        for (number, reason) in requests {
            if let Some(pending) = core.forwarder.settle(number) {
                core.refuse(pending.id, reason, out);
            }
        }
    }

    /// Sends the requests that wait, or refuses those that were never sent if there is no way.
    pub(crate) fn forward(&self, core: &mut Core, out: &mut Out) {
        if !core.forwarder.has_unsent() {
            return;
        }
        if let Some(waiting) = self.waiting(core) {
            for pending in core.forwarder.settle_unsent() {
                core.refuse(pending.id, NotDone::Waiting(waiting), out);
            }
            return;
        }
        let message_bytes_max = core.config.limits.message_bytes_max;
        while let Some(first) = core.forwarder.pop_unsent(usize::MAX) {
            let mut room = message_bytes_max.saturating_sub(first.1.len());
            let mut requests = vec![first];
            while let Some(next) = core.forwarder.pop_unsent(room) {
                room -= next.1.len();
                requests.push(next);
            }
            let forward = Forward {
                epoch: self.heard,
                settled_below: core.forwarder.settled_below(),
                requests,
            };
            core.send(core.sequencer(), Body::Forward(forward), out);
        }
    }

    /// The log up to `last` is on this server's disk.
    pub(crate) fn on_log_durable(core: &mut Core, last: LogIndex, out: &mut Out) {
        core.replica.note_durable(last);
        core.deliver(out);
    }
}

fn append(core: &mut Core, entry: Entry, operation: Operation, appended: &mut Vec<Entry>) -> Taken {
    let last = core.replica.log().last();
    if entry.header().previous_hash != last.hash {
        return Taken::Differs;
    }
    if entry.header().log_time_ms < last.log_time_ms {
        return Taken::Malformed;
    }
    appended.push(entry.clone());
    core.replica.append(entry, operation);
    Taken::Appended
}
