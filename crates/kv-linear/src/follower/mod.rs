//! A follower: it keeps the log that the sequencer sends, in order.

mod catch_up;
pub(crate) mod entries;
mod recovering;
mod requests;
mod transfer;
mod unkept;

use std::time::Duration;

use kv_core::{NodeId, Waiting};

use crate::backoff::Backoff;
use crate::core::{Core, Out};
use crate::election::{Campaign, ElectionTimer};
use crate::follower::recovering::Recovering;
use crate::follower::transfer::Transfer;
use crate::follower::unkept::Unkept;
use crate::log::epoch::LogIndex;
use crate::log::hold_back::HoldBack;
use crate::log::tail::Tail;
use crate::message::{Ack, Body};
use crate::mutation::Mutation;

/// A server that holds a copy of the sequencer's log, or would if there were a sequencer.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    /// Whether the owner of the epoch that is promised has spoken in it as its sequencer.
    has_sequencer: bool,
    /// Whether it has started again without data, and nobody can take its place.
    is_lost: bool,
    /// Whether it was not heard for so long that it will not be replaced soon either.
    is_missing: bool,
    /// Up to here the log is known to be the sequencer's.
    verified: LogIndex,
    pub(crate) held: HoldBack,
    report_not_before: Duration,
    /// The last round of the sequencer that was heard.
    round: u64,
    /// When the sequencer is asked again how far the log is committed, and how long after that.
    ask_at: Duration,
    ask_backoff: Backoff,
    /// When the sequencer was last told how far this server is.
    acked_at: Option<Duration>,
    /// What has come since the disk is full.
    unkept: Unkept,
    /// A snapshot on its way to the disk.
    transfer: Option<Transfer>,
    pub(crate) timer: ElectionTimer,
    /// The attempt to become the sequencer.
    pub(crate) campaign: Option<Campaign>,
    /// Whether this server was the sequencer before, and is handing over.
    pub(crate) has_handed_over: bool,
    /// When this server asks for the sequencer's part by itself.
    hand_back_at: Duration,
    /// What it takes to count again after data was lost.
    recovering: Option<Recovering>,
}

impl Follower {
    /// A server that has heard of no sequencer yet.
    pub(crate) fn new(core: &mut Core, now: Duration) -> Self {
        Self {
            has_sequencer: false,
            is_lost: false,
            is_missing: false,
            verified: LogIndex::ZERO,
            held: HoldBack::default(),
            report_not_before: Duration::ZERO,
            round: 0,
            ask_at: Duration::ZERO,
            ask_backoff: asking(core),
            acked_at: None,
            unkept: Unkept::default(),
            transfer: None,
            timer: ElectionTimer::start(core, now),
            campaign: None,
            has_handed_over: false,
            hand_back_at: now.saturating_add(core.config.timing.election),
            recovering: Recovering::start(core, now),
        }
    }

    /// The sequencer, if it was heard in the epoch that is promised and is connected.
    pub(crate) fn sequencer(&self, core: &Core) -> Option<NodeId> {
        let owner = core.promised().owner;
        let is_heard = self.has_sequencer && !self.is_missing;
        (is_heard && core.links.is_connected(owner)).then_some(owner)
    }

    /// Why this server cannot take a request now, if it cannot. While a sequencer may be chosen
    /// soon, requests wait for it. One that recovers takes none: too few may know of it yet.
    pub(crate) fn waiting(&self, core: &Core) -> Option<Waiting> {
        if !core.is_durable() || core.is_recovering() {
            return Some(self.waiting_to_recover(core));
        }
        if self.sequencer(core).is_some() {
            return None;
        }
        let owner = core.promised().owner;
        if let Some(waiting) = core.links.mismatch_of(owner) {
            return Some(waiting);
        }
        if self.is_lost {
            return Some(Waiting::LostMemory { node: owner });
        }
        let needed = core.quorums.pre_votes;
        match core.links.reachable().saturating_add(1) {
            reachable if reachable >= needed && !self.is_missing => None,
            reachable if reachable >= needed && owner == core.node() => Some(Waiting::Election),
            reachable if reachable >= needed => Some(Waiting::Sequencer { node: owner }),
            _ if !core.quorums.survive_the_sequencer() => Some(Waiting::Sequencer { node: owner }),
            reachable => Some(Waiting::Servers { more: needed.saturating_sub(reachable) }),
        }
    }

    /// The server that founds clusters has no data.
    pub(crate) fn on_empty_founder(&mut self, core: &Core, from: NodeId) {
        if from == core.promised().owner && !core.quorums.survive_the_sequencer() {
            self.has_sequencer = false;
            self.is_lost = true;
        }
    }

    /// Begins with an epoch that was just promised. What was said in an earlier one is over;
    /// requests go out again once its sequencer speaks.
    pub(crate) fn enter(&mut self, core: &mut Core) {
        self.has_sequencer = false;
        self.verified = LogIndex::ZERO;
        self.held.clear();
        self.report_not_before = Duration::ZERO;
        self.acked_at = None;
        self.unkept.forget_told();
        self.round = 0;
        core.reads.ask_again();
        self.campaign = None;
        self.abandon_transfer(core);
    }

    /// Whether the log is about to be replaced, so that nothing can be appended.
    pub(crate) fn is_switching(&self) -> bool {
        self.transfer.as_ref().is_some_and(Transfer::is_switching)
    }

    /// Tells the owner of the epoch that is promised what this server's disk holds of its log.
    pub(crate) fn acknowledge(&self, core: &Core, out: &mut Out) {
        let epoch = core.promised();
        if !core.is_promise_durable() || epoch.owner == core.node() {
            return;
        }
        let replica = &core.replica;
        let whole = core.broken.is(Mutation::WholeTailAcknowledged);
        let early = core.broken.is(Mutation::AckBeforePersisted);
        let held = if early { replica.log().last().index } else { replica.durable() };
        let durable = if whole { held } else { held.min(self.verified) };
        let recovering = core.is_recovering() && !core.broken.is(Mutation::RecoveringServerCounted);
        core.send(
            epoch.owner,
            Body::Ack(Ack { epoch, durable, round: self.round, recovering }),
            out,
        );
    }

    /// Whether the sequencer waits for a sign of life: it hears this server by what it acknowledges.
    fn owes_sign_of_life(&self, core: &Core, now: Duration) -> bool {
        let every = core.config.timing.heartbeat / 2;
        self.acked_at.is_none_or(|at| at.saturating_add(every) <= now)
    }

    /// Tells the sequencer where to go on: not at each of its messages. Whether it was told.
    fn nack(&mut self, core: &mut Core, now: Duration, out: &mut Out) -> bool {
        if now < self.report_not_before {
            return false;
        }
        self.report_not_before = now.saturating_add(core.config.timing.resend_min / 2);
        core.counters.nacks += 1;
        let epoch = core.promised();
        let tail = Tail::of(core.replica.log(), core.replica.commit());
        core.send(epoch.owner, Body::Nack { epoch, tail }, out);
        true
    }

    /// Something of the log or a promise came to the disk.
    pub(crate) fn on_durable(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        if self.has_sequencer {
            self.acked_at = Some(now);
            self.acknowledge(core, out);
        }
        self.check_recovery(core, now, out);
    }

    pub(crate) fn next_deadline(&self, core: &Core) -> Duration {
        let campaign = self.campaign.as_ref().map(|campaign| campaign.resend_at);
        let recovering = self.recovering.as_ref().map(Recovering::next_deadline);
        let reads = self.reads_from(core).filter(|_| core.reads.is_asked()).map(|_| self.ask_at);
        let leads = self.next_question_for_lead(core);
        let due = campaign.into_iter().chain(recovering).chain(reads).chain(leads);
        due.fold(self.timer.ask_at(), Duration::min)
    }

    pub(crate) fn on_timeout(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        self.is_missing |= self.timer.is_long_silent(core, now);
        self.campaign_on_timeout(core, now, out);
        self.recover_on_timeout(core, now, out);
        self.forward(core, out);
        self.ask_for_reads(core, now, out);
        self.ask_for_lead(core, now, out);
    }

    /// The disk has who this server is.
    pub(crate) fn on_identity_durable(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        for peer in core.links.connected().collect::<Vec<_>>() {
            self.on_peer_up(core, now, peer, out);
        }
    }

    pub(crate) fn on_peer_up(
        &mut self,
        core: &mut Core,
        now: Duration,
        peer: NodeId,
        out: &mut Out,
    ) {
        self.recover_from(core, peer, out);
        if peer == core.promised().owner && self.has_sequencer {
            self.acknowledge(core, out);
            core.forwarder.send_all_again(now);
            self.ask_soon(core, now);
        }
    }

    pub(crate) fn on_peer_down(
        &mut self,
        core: &mut Core,
        now: Duration,
        (peer, was_connected): (NodeId, bool),
        out: &mut Out,
    ) {
        self.abandon_transfer_from(core, peer);
        let is_campaigning =
            self.campaign.as_ref().is_some_and(crate::election::Campaign::is_promised);
        if peer == core.promised().owner {
            self.has_sequencer = false;
            self.is_lost = false;
        }
        if peer == core.promised().owner && was_connected && !is_campaigning {
            self.timer.on_closed(core, now, peer);
        }
        self.forward(core, out);
    }
}

/// How often the sequencer is asked about one read.
const fn asking(core: &Core) -> Backoff {
    let timing = core.config.timing;
    Backoff { wait: timing.resend_min, wait_max: timing.resend_max }
}
