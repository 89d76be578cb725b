//! A server that wants to become the sequencer.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{HaltReason, Incarnation, NodeId};

use crate::core::{Core, Out};
use crate::election::fetching::Fetching;
use crate::follower::Follower;
use crate::log::epoch::Epoch;
use crate::log::tail::Tail;
use crate::message::{Body, Promise};
use crate::mutation::Mutation;

/// An attempt to open an epoch.
#[derive(Clone, Debug)]
pub(crate) struct Campaign {
    pub(crate) epoch: Epoch,
    pub(crate) stage: Stage,
    pub(crate) resend_at: Duration,
}

/// How far the attempt is.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// It asks who else misses the sequencer; of those that do, whether they may promise.
    PreVotes(BTreeMap<NodeId, bool>),
    /// It asks for promises.
    Promises(BTreeMap<NodeId, (Incarnation, Promise)>),
    /// It fetches the best log of those that were promised.
    Fetching(Fetching),
    /// It has that log, on disk or on its way there.
    Complete,
}

impl Campaign {
    /// Whether this server has promised the epoch itself.
    pub(crate) const fn is_promised(&self) -> bool {
        !matches!(self.stage, Stage::PreVotes(_))
    }
}

impl Follower {
    /// Whether this server may become the sequencer now.
    pub(crate) fn may_stand(&self, core: &Core) -> bool {
        core.is_durable()
            && !core.is_recovering()
            && !core.lacks_founding()
            && core.shortage.is_none()
            && !core.is_stopping
            && !self.is_switching()
    }

    /// Does what is due: begins an attempt, gives one up, or asks again.
    pub(crate) fn campaign_on_timeout(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        if now >= self.timer.ask_at() {
            self.give_up(core, now);
            if self.may_stand(core) {
                self.ask_for_pre_votes(core, now, out);
            }
        }
        let due = self.campaign.as_ref().is_some_and(|campaign| campaign.resend_at <= now);
        if due {
            self.ask_again(core, now, out);
        }
    }

    fn give_up(&mut self, core: &mut Core, now: Duration) {
        if let Some(campaign) = self.campaign.take() {
            tracing::debug!(epoch = %campaign.epoch, "no sequencer was chosen");
        }
        self.timer.wait_again(core, now);
    }

    /// Asks who else misses the sequencer.
    pub(crate) fn ask_for_pre_votes(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        let Some(epoch) = core.promised().next(core.node(), core.incarnation()) else {
            tracing::error!("there is no further round");
            return;
        };
        let stage = Stage::PreVotes(BTreeMap::new());
        self.campaign = Some(Campaign { epoch, stage, resend_at: now });
        self.count_pre_votes(core, now, out);
        self.ask_again(core, now, out);
    }

    /// Another server misses the sequencer.
    pub(crate) fn on_pre_vote_ok(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, epoch, may_promise): (NodeId, Epoch, bool),
        out: &mut Out,
    ) {
        match &mut self.campaign {
            Some(Campaign { epoch: asked, stage: Stage::PreVotes(granted), .. })
                if *asked == epoch =>
            {
                granted.insert(from, may_promise);
                self.count_pre_votes(core, now, out);
            }
            Some(_) | None => core.counters.stray_messages += 1,
        }
    }

    fn count_pre_votes(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        let Some(Campaign { stage: Stage::PreVotes(granted), .. }) = &self.campaign else {
            return;
        };
        let own = 1;
        let promising = granted.values().filter(|may_promise| **may_promise).count();
        if granted.len() + own >= usize::from(core.quorums.pre_votes)
            && promising + own >= usize::from(core.quorums.promises)
        {
            self.ask_for_promises(core, now, out);
        }
    }

    /// Promises an epoch of its own and asks the others to.
    ///
    /// They are asked while the own promise is on its way to the disk: it is there before the epoch
    /// is opened.
    pub(crate) fn ask_for_promises(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        let Some(epoch) = core.promised().next(core.node(), core.incarnation()) else {
            return;
        };
        core.counters.elections += 1;
        core.promise(epoch, out);
        self.enter(core);
        self.timer.on_heard(core, now);
        let stage = Stage::Promises(BTreeMap::new());
        self.campaign = Some(Campaign { epoch, stage, resend_at: now });
        tracing::debug!(%epoch, "asking for promises");
        self.count_promises(core, now, out);
        self.ask_again(core, now, out);
    }

    /// A server has promised.
    pub(crate) fn on_promise(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, incarnation, promise): (NodeId, Incarnation, Promise),
        out: &mut Out,
    ) {
        match &mut self.campaign {
            Some(Campaign { epoch, stage: Stage::Promises(promises), .. })
                if *epoch == promise.epoch =>
            {
                core.merge_known(&promise.known, out);
                promises.insert(from, (incarnation, promise));
                self.count_promises(core, now, out);
            }
            Some(_) | None => core.counters.stray_messages += 1,
        }
    }

    /// Goes on with the best log once enough servers have promised.
    pub(crate) fn count_promises(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        let Some(Campaign { epoch, stage: Stage::Promises(promises), .. }) = &self.campaign else {
            return;
        };
        let counts = |(peer, (incarnation, _)): &(&NodeId, &(Incarnation, Promise))| {
            core.known.is_on_disk(**peer, *incarnation)
        };
        let counted = || promises.iter().filter(counts);
        let fewer = u16::from(core.broken.is(Mutation::OpensWithOneFewer));
        if counted().count() + 1 < usize::from(core.quorums.promises - fewer) {
            return;
        }
        let own = Tail::of(core.replica.log(), core.replica.commit());
        let longest = core.broken.is(Mutation::LongestLogTaken);
        let rank = |tail: &Tail| {
            let (epoch, last) = tail.rank();
            if longest { (Epoch::default(), last) } else { (epoch, last) }
        };
        let best = counted().max_by_key(|(_, (_, promise))| rank(&promise.tail));
        let better = best.filter(|(_, (_, promise))| rank(&promise.tail) >= rank(&own));
        let Some((from, tail)) = better.map(|(from, (_, promise))| (*from, promise.tail.clone()))
        else {
            return self.complete(now);
        };
        if tail.rank() == own.rank() && tail.last_hash != own.last_hash {
            let reason = HaltReason::LogsDiffer { peer: from, index: own.last.0 };
            return core.halt_for(reason, out);
        }
        if rank(&tail) == rank(&own) {
            return self.complete(now);
        }
        tracing::debug!(%epoch, %from, last = %tail.last, "fetching the log");
        let fetching = Fetching::start(core, from, &tail);
        self.change_stage(Stage::Fetching(fetching), now);
        self.ask_again(core, now, out);
    }

    pub(crate) fn complete(&mut self, now: Duration) {
        self.change_stage(Stage::Complete, now);
    }

    fn change_stage(&mut self, stage: Stage, now: Duration) {
        if let Some(campaign) = &mut self.campaign {
            campaign.stage = stage;
            campaign.resend_at = now;
        }
    }

    /// The epoch that this server may open: it has the best log, and all of it is on disk.
    pub(crate) fn won(&self, core: &Core) -> Option<Epoch> {
        let campaign = self.campaign.as_ref()?;
        let is_complete = matches!(campaign.stage, Stage::Complete)
            && campaign.epoch == core.promised()
            && core.is_promise_durable()
            && core.is_durable()
            && core.replica.durable() == core.replica.log().last().index;
        is_complete.then_some(campaign.epoch)
    }

    /// Sends again what was not answered.
    pub(crate) fn ask_again(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        let Some(campaign) = &mut self.campaign else {
            return;
        };
        campaign.resend_at = now.saturating_add(core.config.timing.resend_min);
        let epoch = campaign.epoch;
        let (body, answered): (_, Vec<NodeId>) = match &campaign.stage {
            Stage::PreVotes(granted) => {
                (Body::PreVote { epoch }, granted.keys().copied().collect())
            }
            Stage::Promises(promises) => {
                (Body::EpochRequest { epoch }, promises.keys().copied().collect())
            }
            Stage::Fetching(fetching) => return fetching.ask(core, epoch, out),
            Stage::Complete => return,
        };
        for peer in core.peers() {
            if core.links.is_connected(peer) && !answered.contains(&peer) {
                core.send(peer, body.clone(), out);
            }
        }
    }
}
