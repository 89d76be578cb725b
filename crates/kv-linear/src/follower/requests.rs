//! How a follower forwards its clients' requests.

use kv_core::{Incarnation, NotDone};

use crate::core::{Core, Out};
use crate::follower::Follower;
use crate::log::epoch::Epoch;
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
        if !core.forwarder.has_unsent() {
            return;
        }
        if let Some(waiting) = self.waiting(core) {
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
}
