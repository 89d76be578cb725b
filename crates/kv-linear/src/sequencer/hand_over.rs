//! How a sequencer gives its place to another server.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use kv_core::{CannotLead, NodeId};

use crate::core::{Core, Out};
use crate::message::Body;
use crate::sequencer::Sequencer;
use crate::sequencer::progress::Progress;

/// A change of the sequencer that is prepared.
///
/// The server that shall lead catches up while this one goes on. Once it nearly has, this one assigns
/// no further positions, so that it has all of the log after one more message; then it is told, and
/// asks for promises at once. What waits meanwhile goes to it.
#[derive(Clone, Debug)]
pub(crate) struct HandOver {
    to: NodeId,
    /// Servers that are told if nothing comes of it.
    askers: BTreeSet<NodeId>,
    /// Whether no positions are assigned.
    holds: bool,
    /// Whether it was told. From then on it may take over, whatever this server does.
    is_told: bool,
    tell_at: Duration,
    give_up_at: Duration,
}

impl Sequencer {
    /// Whether no positions are assigned, since another server is about to do that.
    pub(crate) fn holds(&self) -> bool {
        self.handing.as_ref().is_some_and(|handing| handing.holds)
    }

    pub(crate) const fn is_handing_over(&self) -> bool {
        self.handing.is_some()
    }

    /// Begins to hand over to a server.
    pub(crate) fn hand_over_to(
        &mut self,
        core: &mut Core,
        now: Duration,
        to: NodeId,
    ) -> Result<(), CannotLead> {
        if !core.quorums.survive_the_sequencer() {
            return Err(CannotLead::NoSuccessor);
        }
        if let Some(handing) = &self.handing {
            let other = handing.to;
            return if other == to { Ok(()) } else { Err(CannotLead::Busy { node: other }) };
        }
        if !self.is_fit(core, to) {
            return Err(CannotLead::Unfit { node: to });
        }
        let (able, needed) = (self.fit(core).count() + 1, usize::from(core.quorums.pre_votes));
        if able < needed {
            let more = u16::try_from(needed - able).unwrap_or(u16::MAX);
            return Err(CannotLead::TooFew { more });
        }
        self.begin_hand_over(core, now, to);
        Ok(())
    }

    /// Begins to hand over to the follower that is the furthest, if the others can choose it and
    /// work without this server, which is about to stop or whose disk takes nothing more. One that did
    /// not take over, as with a full disk of its own, is asked again after all others.
    pub(crate) fn hand_over_to_any(&mut self, core: &mut Core, now: Duration) {
        let suffice = self.fit(core).count() >= usize::from(core.quorums.pre_votes);
        let next = self.fit(core).min_by_key(|(peer, progress)| {
            (self.declined.get(peer).copied(), Reverse(progress.acked))
        });
        if let Some((to, _)) = next.filter(|_| suffice && self.handing.is_none()) {
            self.begin_hand_over(core, now, to);
        }
    }

    /// A server's client asks for another sequencer.
    pub(crate) fn on_ask_lead(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, node): (NodeId, NodeId),
        out: &mut Out,
    ) {
        if node == core.node() {
            return;
        }
        match self.hand_over_to(core, now, node) {
            Ok(()) => {
                if let Some(handing) = &mut self.handing {
                    handing.askers.insert(from);
                }
            }
            Err(reason) => {
                let (epoch, reason) = (self.epoch, Some(reason));
                core.send(from, Body::RefuseLead { epoch, node, reason }, out);
            }
        }
    }

    /// The server that shall lead does not.
    pub(crate) fn on_refuse_lead(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, reason): (NodeId, Option<CannotLead>),
        out: &mut Out,
    ) {
        if self.handing.as_ref().is_some_and(|handing| handing.to == from) {
            self.end_hand_over(core, now, reason, out);
        }
    }

    /// Goes on with a change of the sequencer, or gives it up.
    pub(crate) fn advance_hand_over(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        if self.handing.is_none() && core.shortage.is_some() && now >= self.hand_over_not_before {
            self.hand_over_not_before = now.saturating_add(core.config.timing.election);
            self.hand_over_to_any(core, now);
        }
        let Some(handing) = &self.handing else {
            return;
        };
        let to = handing.to;
        if !self.is_fit(core, to) {
            return self.end_hand_over(core, now, Some(CannotLead::Unfit { node: to }), out);
        }
        if now >= handing.give_up_at {
            // One that was told may still take over.
            let reason = (!handing.is_told).then_some(CannotLead::Behind { node: to });
            return self.end_hand_over(core, now, reason, out);
        }
        let last = core.replica.log().last().index;
        let acked = self.peers.get(&to).map_or(last, |progress| progress.acked);
        let timing = core.config.timing;
        let Some(handing) = &mut self.handing else {
            return;
        };
        if !handing.holds && last.distance_from(acked) <= NEARLY {
            handing.holds = true;
            handing.give_up_at = now.saturating_add(timing.election / 2);
        }
        if now < handing.tell_at {
            return;
        }
        if acked == last && acked >= self.opening {
            if !handing.is_told {
                tracing::info!(%to, "handing over");
                handing.is_told = true;
                handing.give_up_at = now.saturating_add(timing.election);
            }
            core.send(to, Body::Lead { epoch: self.epoch }, out);
        }
        if handing.is_told {
            handing.tell_at = now.saturating_add(timing.resend_min);
        }
    }

    /// When a change of the sequencer goes on without a message.
    pub(crate) fn next_of_hand_over(&self, core: &Core) -> Option<Duration> {
        let Some(handing) = &self.handing else {
            return core.shortage.map(|_| self.hand_over_not_before);
        };
        let again = if handing.is_told { handing.tell_at } else { handing.give_up_at };
        Some(again.min(handing.give_up_at))
    }

    fn begin_hand_over(&mut self, core: &mut Core, now: Duration, to: NodeId) {
        self.handing = Some(HandOver {
            to,
            askers: BTreeSet::new(),
            holds: false,
            is_told: false,
            tell_at: now,
            give_up_at: now.saturating_add(core.config.timing.election),
        });
        core.flush_soon(now);
    }

    fn end_hand_over(
        &mut self,
        core: &mut Core,
        now: Duration,
        reason: Option<CannotLead>,
        out: &mut Out,
    ) {
        let Some(handing) = self.handing.take() else {
            return;
        };
        tracing::info!(to = %handing.to, "not handed over");
        for asker in handing.askers {
            let body = Body::RefuseLead { epoch: self.epoch, node: handing.to, reason };
            core.send(asker, body, out);
        }
        core.refuse_leads(handing.to, reason, out);
        self.hand_over_not_before = now.saturating_add(core.config.timing.election);
        self.declined.insert(handing.to, now);
        let must = core.is_stopping || core.shortage.is_some();
        if must && self.fit(core).any(|(peer, _)| !self.declined.contains_key(&peer)) {
            self.hand_over_to_any(core, now);
        }
        core.flush_soon(now);
    }

    fn is_fit(&self, core: &Core, node: NodeId) -> bool {
        self.fit(core).any(|(peer, _)| peer == node)
    }

    /// The servers that may promise and take over, as far as this one knows.
    fn fit<'a>(&'a self, core: &'a Core) -> impl Iterator<Item = (NodeId, &'a Progress)> {
        let all = self.peers.iter().map(|(peer, progress)| (*peer, progress));
        all.filter(|(peer, progress)| core.links.is_reachable(*peer) && !progress.recovering)
    }
}

/// How many entries the one that shall lead may lack when no further ones are made: so many as are
/// on their way to it under load.
const NEARLY: u64 = 64;
