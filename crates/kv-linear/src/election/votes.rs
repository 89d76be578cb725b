//! What a server answers to one that wants to become the sequencer.

use std::time::Duration;

use kv_core::{CannotLead, NodeId};

use crate::core::{Core, Out};
use crate::follower::Follower;
use crate::log::epoch::Epoch;
use crate::log::tail::Tail;
use crate::message::{Body, Promise};
use crate::mutation::Mutation;

impl Core {
    /// Says that a later epoch is promised than the one spoken of.
    pub(crate) fn reject(&self, to: NodeId, out: &mut Out) {
        self.send(to, Body::Reject { promised: self.promised() }, out);
    }

    /// Agrees that the sequencer is missing.
    pub(crate) fn grant_pre_vote(&self, to: NodeId, epoch: Epoch, out: &mut Out) {
        let counts = !self.is_recovering() || self.broken.is(Mutation::RecoveringServerVotes);
        let may_promise = counts && !self.lacks_founding();
        self.send(to, Body::PreVoteOk { epoch, may_promise }, out);
    }

    /// Whether a server may ask about an epoch: it is its own, in the process that asks.
    pub(crate) fn may_ask(&self, from: NodeId, epoch: Epoch) -> bool {
        epoch.owner == from && epoch.incarnation == self.known.highest(from)
    }

    /// Promises an epoch to its owner, if this server may; true if it had not before.
    pub(crate) fn promise_to(&mut self, from: NodeId, epoch: Epoch, out: &mut Out) -> bool {
        let recovers = self.is_recovering() && !self.broken.is(Mutation::RecoveringServerVotes);
        if recovers || self.lacks_founding() || !self.may_ask(from, epoch) {
            self.counters.stray_messages += 1;
            return false;
        }
        if epoch < self.promised() {
            self.reject(from, out);
            return false;
        }
        let is_new = epoch > self.promised();
        if is_new {
            self.promise(epoch, out);
        }
        self.send_promise(out);
        is_new
    }

    /// Sends the promise to the owner of its epoch once it is on disk, and with it the log that the
    /// disk holds.
    pub(crate) fn send_promise(&self, out: &mut Out) {
        let epoch = self.promised();
        let early = self.broken.is(Mutation::PromisedBeforePersisted);
        let log = self.replica.log();
        let is_durable = self.is_promise_durable() && self.replica.durable() == log.last().index;
        let votes = (!self.is_recovering() || self.broken.is(Mutation::RecoveringServerVotes))
            && !self.lacks_founding();
        if epoch.owner == self.node() || !votes || !(is_durable || early) {
            return;
        }
        let tail = Tail::of(log, self.replica.commit());
        let promise = Promise { epoch, known: self.known.on_disk(), tail };
        self.send(epoch.owner, Body::Promise(promise), out);
    }
}

impl Follower {
    /// Another server asks whether this one misses the sequencer too.
    pub(crate) fn on_pre_vote(
        &self,
        core: &mut Core,
        now: Duration,
        (from, epoch): (NodeId, Epoch),
        out: &mut Out,
    ) {
        if epoch <= core.promised() {
            core.reject(from, out);
        } else if core.may_ask(from, epoch) && self.misses_sequencer(core, now, from) {
            core.grant_pre_vote(from, epoch, out);
        }
    }

    /// Whether the sequencer, or the server that was about to become it, is not heard any more.
    /// One that asks itself has no use for its former epoch.
    fn misses_sequencer(&self, core: &Core, now: Duration, asking: NodeId) -> bool {
        let owner = core.promised().owner;
        let is_closed = owner != core.node() && !core.links.is_connected(owner);
        owner == asking || is_closed || self.timer.is_silent(core, now)
    }

    /// Another server asks for a promise.
    pub(crate) fn on_epoch_request(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, epoch): (NodeId, Epoch),
        out: &mut Out,
    ) {
        if core.promise_to(from, epoch, out) {
            self.enter(core);
            self.timer.on_heard(core, now);
        }
    }

    /// A server has promised a later epoch than this one speaks of.
    pub(crate) fn on_reject(
        &mut self,
        core: &mut Core,
        now: Duration,
        promised: Epoch,
        out: &mut Out,
    ) {
        if promised <= core.promised() || core.is_recovering() {
            return;
        }
        // Nothing is promised by that; but what is asked for next must be above it.
        core.promise(promised, out);
        self.enter(core);
        self.campaign = None;
        self.timer.wait_again(core, now);
    }

    /// The sequencer asks this server to take over.
    pub(crate) fn on_lead(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, epoch): (NodeId, Epoch),
        out: &mut Out,
    ) {
        if epoch != core.promised() || epoch.owner != from {
            core.counters.stray_messages += 1;
        } else if self.may_stand(core) {
            self.ask_for_promises(core, now, out);
            if core.broken.is(Mutation::LeadsWithoutPromises) {
                self.complete(now);
            }
        } else {
            let node = core.node();
            let reason = Some(CannotLead::Unfit { node });
            core.send(from, Body::RefuseLead { epoch, node, reason }, out);
        }
    }
}
