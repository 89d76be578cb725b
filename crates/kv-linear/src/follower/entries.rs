//! How a follower takes entries into its log.

use std::time::Duration;

use kv_core::{Incarnation, NodeId, Operation, Wire};

use crate::core::{Core, Out};
use crate::follower::Follower;
use crate::log::entry::Entry;
use crate::message::{Body, Prepare};
use crate::mutation::Mutation;

/// What became of an entry.
enum Taken {
    Appended,
    /// The log has it already.
    Repeated,
    /// It is not next.
    Early,
    Malformed,
    /// The log has another entry in this position.
    Differs,
}

impl Follower {
    pub(crate) fn on_prepare(
        &mut self,
        core: &mut Core,
        now: Duration,
        from: NodeId,
        prepare: Prepare,
        out: &mut Out,
    ) {
        if !self.note_epoch(core, now, prepare.epoch) {
            // A sequencer whose disk was set back does not know its later epochs.
            if self.may_report(core, now) {
                self.report(core, out);
            }
            return;
        }
        self.clear_not_serving();
        if self.is_switching() {
            core.counters.dropped += 1;
            return;
        }
        let own = core.identity.map_or(Incarnation::UNKNOWN, |identity| identity.incarnation);
        if prepare.receiver > own {
            // The sequencer counts an incarnation that is over or never was; only a later one can
            // follow.
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

    fn nack(core: &mut Core, out: &mut Out) {
        if core.is_durable() {
            core.counters.nacks += 1;
            let body = Body::Nack { epoch: core.epoch(), last: core.replica.log().last().index };
            core.send(core.sequencer(), body, out);
        }
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
