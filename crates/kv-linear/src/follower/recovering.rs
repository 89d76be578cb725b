//! How a server that lost its data counts again.
//!
//! Source: Michael, Ports, Sharma & Szekeres, *Recovering Shared Objects Without Stable Storage*
//! (DISC 2017): enough others note the new incarnation before it takes part, so that nothing of the
//! former one, which may have acknowledged and promised what is lost, counts after that. It learns
//! the present incarnations of the others again (the crash vector there): the sequencer, which must
//! answer, knows of each that it counts.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{NodeId, Waiting};

use crate::backoff::Backoff;
use crate::core::{Core, Out};
use crate::follower::Follower;
use crate::log::epoch::{Epoch, LogIndex};
use crate::message::{Body, RecoverOk};

/// What it takes until a server counts again.
#[derive(Clone, Debug)]
pub(crate) struct Recovering {
    answers: BTreeMap<NodeId, RecoverOk>,
    /// The log up to here, as the sequencer of this epoch has it.
    goal: Option<(Epoch, LogIndex)>,
    ask_at: Duration,
    backoff: Backoff,
}

impl Recovering {
    /// Begins, if this server has to recover.
    pub(crate) fn start(core: &Core, now: Duration) -> Option<Self> {
        let timing = core.config.timing;
        core.is_recovering().then(|| Self {
            answers: BTreeMap::new(),
            goal: None,
            ask_at: now,
            backoff: Backoff { wait: timing.resend_min, wait_max: timing.resend_max },
        })
    }

    pub(crate) const fn next_deadline(&self) -> Duration {
        self.ask_at
    }

    /// What must be had, once enough servers have answered: then nothing of a former incarnation
    /// counts any more, and a sequencer that no later epoch has replaced has all that it may have
    /// acknowledged.
    fn find_goal(&mut self, core: &Core) {
        let sound = || self.answers.iter().filter(|(_, answer)| !answer.recovering);
        let promised = self.answers.values().map(|answer| answer.promised).max();
        let sequenced = sound().find_map(|(node, answer)| {
            let is_latest = answer.promised.owner == *node && Some(answer.promised) == promised;
            Some((answer.promised, answer.sequenced.filter(|_| is_latest)?))
        });
        if sound().count() >= usize::from(core.quorums.recovery) {
            self.goal = sequenced;
        }
    }
}

impl Follower {
    /// Asks again those that have not answered, or all if their answers led to nothing.
    pub(crate) fn recover_on_timeout(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        let Some(recovering) = self.recovering.as_mut().filter(|known| known.ask_at <= now) else {
            return;
        };
        recovering.ask_at = now.saturating_add(recovering.backoff.wait);
        recovering.backoff.double();
        if recovering.goal.is_none_or(|(epoch, _)| epoch != core.promised()) {
            recovering.goal = None;
            for peer in core.links.connected() {
                core.send(peer, Body::Recover, out);
            }
        }
    }

    /// Asks a peer that was not connected.
    pub(crate) fn recover_from(&self, core: &Core, peer: NodeId, out: &mut Out) {
        if self.recovering.is_some() {
            core.send(peer, Body::Recover, out);
        }
    }

    /// A peer listens to no former incarnation of this server any more.
    pub(crate) fn on_recover_ok(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, answer): (NodeId, RecoverOk),
        out: &mut Out,
    ) {
        let own = core.incarnation();
        match self.recovering.as_mut().filter(|_| answer.receiver == own) {
            Some(recovering) => {
                // These records come before the one by which it counts again.
                core.merge_known(&answer.known, out);
                recovering.answers.insert(from, answer);
                recovering.find_goal(core);
                self.check_recovery(core, now, out);
            }
            None => core.counters.stray_messages += 1,
        }
    }

    /// Counts again once this server has what it must have.
    pub(crate) fn check_recovery(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        let Some((epoch, last)) = self.recovering.as_ref().and_then(|known| known.goal) else {
            return;
        };
        let has_log = self.verified.min(core.replica.durable()) >= last;
        if epoch == core.promised() && core.is_promise_durable() && has_log && core.is_durable() {
            let (own, node) = (core.incarnation(), core.node());
            if let Some(latest) = core.replica.superseding(node, own) {
                // Nobody who was asked knew of that process, but its requests are in the log, where
                // those of this one would be taken for older ones.
                core.renew(latest, true, out);
                self.recover_anew(core, now);
                return;
            }
            self.recovering = None;
            core.end_recovery(out);
            self.timer.on_heard(core, now);
            tracing::info!(%epoch, %last, "this server counts again");
        }
    }

    /// Takes this server's log for that of a former incarnation.
    pub(crate) fn recover_anew(&mut self, core: &Core, now: Duration) {
        self.campaign = None;
        self.recovering = Recovering::start(core, now);
    }

    /// How many of the connected peers have said that they recover themselves.
    fn recovering_peers(&self, core: &Core) -> u16 {
        let answers = self.recovering.iter().flat_map(|known| &known.answers);
        let recovering = answers
            .filter(|(peer, answer)| answer.recovering && core.links.is_reachable(**peer))
            .count();
        u16::try_from(recovering).unwrap_or(u16::MAX)
    }

    /// What a server waits for that has to recover, or is not sure of its name yet.
    pub(crate) fn waiting_to_recover(&self, core: &Core) -> Waiting {
        let sound = core.links.reachable().saturating_sub(self.recovering_peers(core));
        if core.is_recovering() && sound < core.quorums.recovery {
            return Waiting::Servers { more: core.quorums.recovery.saturating_sub(sound) };
        }
        let is_lost = core.is_recovering() && !core.quorums.survive_the_sequencer();
        let lost = self.recovering.as_ref().and_then(|known| {
            let node = core.node();
            let owners = known.answers.values().map(|answer| answer.promised.owner);
            (is_lost && !known.answers.is_empty() && owners.max() == Some(node)).then_some(node)
        });
        lost.map_or(Waiting::Joining, |node| Waiting::LostMemory { node })
    }
}

impl Core {
    /// Answers a server that recovers. `sequenced` is the last entry of the log, if this server is
    /// the sequencer.
    pub(crate) fn on_recover(&self, from: NodeId, sequenced: Option<LogIndex>, out: &mut Out) {
        let receiver = self.known.highest(from);
        if self.known.is_on_disk(from, receiver) && self.is_promise_durable() {
            let answer = RecoverOk {
                receiver,
                promised: self.promised(),
                recovering: self.is_recovering(),
                sequenced,
                known: self.known.on_disk(),
            };
            self.send(from, Body::RecoverOk(answer), out);
        }
    }
}
