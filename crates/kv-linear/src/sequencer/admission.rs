//! Which requests the sequencer takes into its queue, and what becomes of the others.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kv_core::{Incarnation, NodeId, NotDone, Wire};

use crate::core::{Core, Out};
use crate::log::entry::Origin;
use crate::message::{Body, Forward};
use crate::mutation::Mutation;
use crate::sequencer::intake::Offer;
use crate::sequencer::progress::Progress;
use crate::sequencer::{Queued, Sequencer};
use crate::state_machine::sessions::Logged;

impl Sequencer {
    /// Whether a write can be assigned a position now, or a read be confirmed.
    pub(crate) fn check_reachable(&self, core: &Core, reads: bool) -> Result<(), NotDone> {
        let needed = if reads { core.quorums.read } else { core.quorums.write };
        let counts = |(peer, progress): &(&NodeId, &Progress)| {
            core.links.is_reachable(**peer) && !progress.recovering
        };
        let others = self.peers.iter().filter(counts).count();
        match u16::try_from(others).unwrap_or(u16::MAX).saturating_add(1) {
            reachable if reachable < needed => Err(NotDone::Unavailable { reachable, needed }),
            _ => Ok(()),
        }
    }

    /// Whether the queue has room for a request.
    pub(crate) fn check_room(&self, core: &Core) -> Result<(), NotDone> {
        let limits = &core.config.limits;
        if self.queue.len() >= limits.requests_max || self.queue_bytes >= limits.window_bytes_max {
            return Err(NotDone::Overloaded {
                limit: u64::try_from(limits.requests_max).unwrap_or(u64::MAX),
            });
        }
        Ok(())
    }

    pub(crate) fn enqueue(&mut self, queued: Queued) {
        self.queue_bytes += queued.encoded.len();
        self.queue.push_back(queued);
    }

    /// Requests came from a follower.
    ///
    /// Each gets one position in the log at most, however often it comes; one that is refused gets
    /// none, ever, since its client is told that it has no effect.
    pub(crate) fn on_forward(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, incarnation): (NodeId, Incarnation),
        forward: Forward,
        out: &mut Out,
    ) {
        let known = self.peers.get_mut(&from);
        let present = known.filter(|progress| progress.incarnation == incarnation);
        let Some(progress) =
            present.filter(|_| core.is_durable() && core.known.is_on_disk(from, incarnation))
        else {
            core.counters.stray_messages += 1;
            return;
        };
        progress.intake.settle_below(forward.settled_below);
        let mut refusals = Vec::new();
        for (number, encoded) in forward.requests {
            let origin =
                Origin { server: from, incarnation, number, settled_below: forward.settled_below };
            if let Err(reason) = self.take_in(core, origin, encoded) {
                refusals.push((number, reason));
            }
        }
        if !refusals.is_empty() {
            refuse(core, (from, incarnation), refusals, out);
        }
        core.flush_soon(now);
    }

    fn take_in(&mut self, core: &mut Core, origin: Origin, encoded: Bytes) -> Result<(), NotDone> {
        let Ok(Logged { operation, .. }) = Logged::from_bytes(encoded.clone()) else {
            core.counters.malformed += 1;
            return Ok(());
        };
        let check = self.check_reachable(core, false).and_then(|()| self.check_room(core));
        let check = check.and_then(|()| core.check_disk(&operation));
        let is_settled = self.is_settled(core);
        let Some(progress) = self.peers.get_mut(&origin.server) else {
            return Ok(());
        };
        if check.is_err() && !is_settled {
            // The request may be in a log that this one has not replaced yet, so it is not refused
            // for good. It comes again.
            core.counters.dropped += 1;
            return Ok(());
        }
        if let (Err(reason), true) = (&check, core.broken.is(Mutation::RefusedForwardTakenLater)) {
            return Err(reason.clone());
        }
        match progress.intake.offer(origin.number) {
            Offer::Refused(reason) => Err(reason),
            Offer::Seen if core.broken.is(Mutation::ForwardAppliedTwice) => {
                self.enqueue(Queued { origin, encoded });
                Ok(())
            }
            Offer::Seen => Ok(()),
            Offer::TooFar => {
                core.counters.malformed += 1;
                Ok(())
            }
            Offer::New => match check {
                Ok(()) => {
                    self.enqueue(Queued { origin, encoded });
                    Ok(())
                }
                Err(reason) => {
                    progress.intake.refuse(origin.number, reason.clone());
                    Err(reason)
                }
            },
        }
    }

    /// Nothing in the queue gets a log position: too few servers can be reached.
    pub(crate) fn refuse_queue(&mut self, core: &mut Core, reason: &NotDone, out: &mut Out) {
        self.refuse_queued(core, |_, _| Some(reason.clone()), out);
    }

    /// What the disk cannot keep gets no log position.
    pub(crate) fn refuse_unkept(&mut self, core: &mut Core, out: &mut Out) {
        let reason = |core: &Core, queued: &Queued| {
            let logged = Logged::from_bytes(queued.encoded.clone()).ok();
            logged.and_then(|logged| core.check_disk(&logged.operation).err())
        };
        self.refuse_queued(core, reason, out);
    }

    fn refuse_queued(
        &mut self,
        core: &mut Core,
        reason: impl Fn(&Core, &Queued) -> Option<NotDone>,
        out: &mut Out,
    ) {
        if !self.is_settled(core) {
            return;
        }
        let mut refusals: BTreeMap<(NodeId, Incarnation), Vec<(u64, NotDone)>> = BTreeMap::new();
        self.queue_bytes = 0;
        for queued in std::mem::take(&mut self.queue) {
            let Some(reason) = reason(core, &queued) else {
                self.enqueue(queued);
                continue;
            };
            let origin = queued.origin;
            if origin.server == core.node() {
                if let Some(pending) = core.forwarder.settle(origin.number) {
                    core.refuse(pending.id, reason.clone(), out);
                }
                continue;
            }
            let progress = self.peers.get_mut(&origin.server);
            if let Some(progress) = progress.filter(|p| p.incarnation == origin.incarnation) {
                progress.intake.refuse(origin.number, reason.clone());
                let refused = refusals.entry((origin.server, origin.incarnation));
                refused.or_default().push((origin.number, reason.clone()));
            }
        }
        for ((server, incarnation), requests) in refusals {
            refuse(core, (server, incarnation), requests, out);
        }
    }
}

/// Tells a server which of its requests have no position and never will.
fn refuse(
    core: &mut Core,
    (server, receiver): (NodeId, Incarnation),
    requests: Vec<(u64, NotDone)>,
    out: &mut Out,
) {
    core.counters.refused_requests += u64::try_from(requests.len()).unwrap_or(u64::MAX);
    let body = Body::Refuse { epoch: core.promised(), receiver, requests };
    core.send(server, body, out);
}
