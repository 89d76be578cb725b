//! How a follower takes over the starting log of an epoch.

use std::time::Duration;

use kv_core::{Incarnation, NodeId};

use crate::core::{Core, Out};
use crate::epoch::{Epoch, LogIndex};
use crate::follower::Follower;
use crate::journal::Durable;
use crate::log::Position;
use crate::message::{Body, NeedStart, StartEpoch};
use crate::mutation::Mutation;
use crate::record::Record;
use crate::suffix::Suffix;
use crate::transfer::Transfer;

/// An epoch's starting log as far as it has come. It takes no part in anything until all of it is
/// on disk, and a small record after it, which makes the switch.
#[derive(Clone, Debug)]
pub(crate) struct Starting {
    epoch: Epoch,
    suffix: Suffix,
    parts: u32,
    start: LogIndex,
    commit: LogIndex,
    /// Whether the switch is on its way to the disk; nothing else may change the log meanwhile.
    switching: bool,
}

impl Follower {
    /// Notes the epoch that the sequencer speaks in; false if nothing in it counts any more.
    ///
    /// Requests of a former epoch may have got no place, so they go out again in the new one.
    pub(crate) fn hear(&mut self, core: &mut Core, now: Duration, epoch: Epoch) -> bool {
        if epoch < self.heard || epoch.owner != core.sequencer() {
            core.counters.stray_messages += 1;
            return false;
        }
        if epoch > self.heard {
            self.heard = epoch;
            self.held.clear();
            self.starting = self.starting.take().filter(|starting| starting.switching);
            self.report_not_before = Duration::ZERO;
            core.forwarder.send_all_again(now);
            core.flush_soon(now);
        }
        true
    }

    /// Whether the log is about to be replaced, so that nothing can be appended.
    pub(crate) fn is_switching(&self) -> bool {
        self.transfer.as_ref().is_some_and(Transfer::is_switching)
            || self.starting.as_ref().is_some_and(|s| s.switching)
    }

    /// Asks for the starting log of the epoch that was heard.
    pub(crate) fn need_start(&self, core: &Core, out: &mut Out) {
        if core.is_durable() && !self.is_switching() {
            let staged = self.starting.as_ref().map(|starting| starting.suffix.last().index);
            let need = NeedStart {
                epoch: self.heard,
                log_epoch: core.epoch(),
                last: core.replica.log().last().index,
                commit: core.replica.commit(),
                staged: staged.unwrap_or(LogIndex::ZERO),
            };
            core.send(core.sequencer(), Body::NeedStart(need), out);
        }
    }

    /// A part of the starting log came.
    pub(crate) fn on_start_epoch(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, part): (NodeId, StartEpoch),
        out: &mut Out,
    ) {
        let own = core.identity.map_or(Incarnation::UNKNOWN, |identity| identity.incarnation);
        if part.receiver != own {
            core.counters.stray_messages += 1;
            return;
        }
        if !self.hear(core, now, part.epoch) {
            return;
        }
        self.clear_trouble();
        if part.epoch == core.epoch() {
            self.acknowledge(core, out);
            return;
        }
        if self.is_switching() || part.start < part.base {
            core.counters.dropped += 1;
            return;
        }
        let Some(base) = core.replica.log().position_at(part.base) else {
            self.need_start(core, out);
            return;
        };
        // This life asked for it with the log that it has, and with all that it knows to be
        // committed: the sequencer's log cannot be another one up to there.
        if base.index < core.replica.commit() {
            core.halt(from, base.index.next(), out);
        } else if base.hash != part.base_hash {
            core.halt(from, base.index, out);
        } else {
            self.take_part(core, base, part, out);
        }
    }

    fn take_part(&mut self, core: &mut Core, base: Position, part: StartEpoch, out: &mut Out) {
        let (epoch, start, previous) = (part.epoch, part.start, part.previous);
        let known = self.starting.take().filter(|s| s.suffix.base() == base && s.start == start);
        let mut starting = known.unwrap_or_else(|| Starting {
            epoch,
            suffix: Suffix::after(base),
            parts: 0,
            start,
            commit: part.commit,
            switching: false,
        });
        starting.commit = starting.commit.max(part.commit);
        if previous <= starting.suffix.last().index {
            starting.stage(core, part, out);
        }
        starting.switching = starting.suffix.last().index == start;
        let switching = starting.switching;
        if switching {
            let (base, parts) = (starting.suffix.base(), starting.parts);
            let record = Record::Started { epoch, base: base.index, base_hash: base.hash, parts };
            core.persist(record, Durable::Started { epoch }, out);
        }
        self.starting = Some(starting);
        if !switching {
            self.need_start(core, out);
        } else if core.broken.is(Mutation::StartAckedBeforeSwitch) {
            self.on_started(core, epoch, out);
            self.acknowledge(core, out);
        }
    }

    /// The starting log is on disk, and the switch to it.
    pub(crate) fn on_started(&mut self, core: &mut Core, epoch: Epoch, out: &mut Out) {
        let done = self.starting.take_if(|starting| starting.epoch == epoch && starting.switching);
        let Some(starting) = done else {
            return;
        };
        let mut base = starting.suffix.base().index;
        let mut entries = starting.suffix.into_entries();
        if core.broken.is(Mutation::StartWithoutTruncation) {
            base = core.replica.log().last().index;
            entries.retain(|(entry, _)| entry.index() > base);
        }
        core.replica.replace_after(base, entries);
        core.enter(epoch);
        core.counters.epochs_started += 1;
        core.replica.note_commit(starting.commit.min(core.replica.log().last().index));
        core.deliver(out);
    }
}

impl Starting {
    /// Keeps and writes what is new in a part.
    fn stage(&mut self, core: &mut Core, part: StartEpoch, out: &mut Out) {
        let last = self.suffix.last().index;
        let mut taken = Vec::new();
        for entry in part.entries.into_iter().skip_while(|entry| entry.index() <= last) {
            let kept = entry.clone();
            if entry.index() > self.start || self.suffix.append(entry, self.epoch).is_none() {
                core.counters.malformed += 1;
                break;
            }
            taken.push(kept);
        }
        if !taken.is_empty() {
            core.stage(Record::StagedLog { part: self.parts, entries: taken }, out);
            self.parts += 1;
        }
    }
}
