//! A follower: it keeps the log that the sequencer sends, in order.

mod catch_up;
mod entries;
mod requests;
mod starting;
mod transfer;

use std::time::Duration;

use kv_core::Waiting;

use crate::core::{Core, Out};
use crate::follower::starting::Starting;
use crate::follower::transfer::Transfer;
use crate::log::epoch::{Epoch, LogIndex};
use crate::log::hold_back::HoldBack;
use crate::message::{Body, NeedStart};
use crate::mutation::Mutation;

/// A server that holds a copy of the sequencer's log.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    /// The latest epoch of the sequencer's messages, or that of this server's log. What it
    /// said in an earlier one does not count.
    pub(crate) sequencer_epoch: Epoch,
    pub(crate) held: HoldBack,
    pub(crate) report_not_before: Duration,
    /// Why the sequencer does not serve this server, as far as it has said.
    not_serving: Option<Waiting>,
    /// A snapshot on its way to the disk.
    pub(crate) transfer: Option<Transfer>,
    /// The starting log of the sequencer's epoch, being written to disk.
    pub(crate) starting: Option<Starting>,
}

impl Follower {
    /// A follower whose log is of `epoch`.
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            sequencer_epoch: epoch,
            held: HoldBack::default(),
            report_not_before: Duration::ZERO,
            not_serving: None,
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
        if self.not_serving.is_some() {
            return self.not_serving;
        }
        (!core.is_durable()).then_some(Waiting::Joining)
    }

    pub(crate) const fn on_not_serving(&mut self, waiting: Waiting) {
        self.not_serving = Some(waiting);
    }

    pub(crate) const fn clear_not_serving(&mut self) {
        self.not_serving = None;
    }

    /// Notes the epoch that the sequencer speaks in; false if nothing in it counts any more.
    ///
    /// Requests of a former epoch may have got no position, so they go out again in the new one.
    pub(crate) fn note_epoch(&mut self, core: &mut Core, now: Duration, epoch: Epoch) -> bool {
        if epoch < self.sequencer_epoch || epoch.owner != core.sequencer() {
            core.counters.stray_messages += 1;
            return false;
        }
        if epoch > self.sequencer_epoch {
            self.sequencer_epoch = epoch;
            self.held.clear();
            self.starting = self.starting.take().filter(|starting| starting.is_switching());
            self.report_not_before = Duration::ZERO;
            core.forwarder.send_all_again(now);
            core.flush_soon(now);
        }
        true
    }

    /// Whether the log is about to be replaced, so that nothing can be appended.
    pub(crate) fn is_switching(&self) -> bool {
        self.transfer.as_ref().is_some_and(Transfer::is_switching)
            || self.starting.as_ref().is_some_and(|s| s.is_switching())
    }

    /// Asks for the starting log of the sequencer's epoch.
    pub(crate) fn need_start(&self, core: &Core, out: &mut Out) {
        if core.is_durable() && !self.is_switching() {
            let staged = self.starting.as_ref().map(|starting| starting.staged());
            let need = NeedStart {
                epoch: self.sequencer_epoch,
                log_epoch: core.epoch(),
                last: core.replica.log().last().index,
                commit: core.replica.commit(),
                staged: staged.unwrap_or(LogIndex::ZERO),
            };
            core.send(core.sequencer(), Body::NeedStart(need), out);
        }
    }

    /// Tells the sequencer what this server has.
    pub(crate) fn report(&self, core: &Core, out: &mut Out) {
        if self.sequencer_epoch > core.epoch() {
            self.need_start(core, out);
        } else {
            self.acknowledge(core, out);
        }
    }

    /// Tells the sequencer what this server's disk holds of its epoch, and in which incarnation.
    pub(crate) fn acknowledge(&self, core: &Core, out: &mut Out) {
        if core.is_durable() && self.sequencer_epoch == core.epoch() {
            let replica = &core.replica;
            let early = core.broken.is(Mutation::AckBeforePersisted);
            let durable = if early { replica.log().last().index } else { replica.durable() };
            let body = Body::Ack { epoch: core.epoch(), durable };
            core.send(core.sequencer(), body, out);
        }
    }

    /// Whether to report to the sequencer that something is missing: not at each of its messages.
    pub(crate) fn may_report(&mut self, core: &Core, now: Duration) -> bool {
        let may = now >= self.report_not_before && core.is_durable();
        if may {
            self.report_not_before = now.saturating_add(core.config.timing.resend_min / 2);
        }
        may
    }

    /// The log up to `last` is on this server's disk.
    pub(crate) fn on_log_durable(core: &mut Core, last: LogIndex, out: &mut Out) {
        core.replica.note_durable(last);
        core.deliver(out);
    }
}
