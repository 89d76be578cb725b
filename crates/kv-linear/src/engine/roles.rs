//! How a server takes up a role and gives it up.

use std::time::Duration;

use kv_core::HaltReason;

use crate::backoff::Backoff;
use crate::core::Out;
use crate::engine::{LinearEngine, Role};
use crate::follower::Follower;
use crate::founding::joining::Joining;
use crate::founding::{Founding, Member};
use crate::log::epoch::Epoch;
use crate::mutation::Mutation;
use crate::sequencer::Sequencer;

impl LinearEngine {
    /// Takes up a role, at the first step of this process.
    pub(crate) fn start(&mut self, now: Duration, out: &mut Out) {
        if !matches!(self.role, Role::Unstarted) {
            return;
        }
        if self.may_reopen() {
            return self.reopen(now, out);
        }
        let core = &mut self.core;
        if let Some(peer) = core.refuted {
            return core.halt_for(HaltReason::SetBack { peer }, out);
        }
        let is_founder = core.node() == core.founder();
        self.role = match core.identity {
            // A founder has a name only where a server that kept its log has asked it.
            None if (is_founder && core.named.is_none()) || core.salvaged.is_some() => {
                Role::Founding(Founding::start(core, now))
            }
            None => Role::Joining(Joining::start(core, now)),
            Some(identity) => {
                core.renew(identity.incarnation, identity.recovering, out);
                Role::Follower(Box::new(Follower::new(core, now)))
            }
        };
        // A server without peers has nobody to wait for, and serves its first request.
        self.try_to_found(now, out);
    }

    /// Whether this server was the sequencer of the epoch that it promised, so that all that was
    /// committed in it is on its disk: an entry of it is there, if only the one that opened it.
    pub(crate) fn may_reopen(&self) -> bool {
        let core = &self.core;
        let (promised, last) = (core.promised(), core.replica.log().last());
        promised.owner == core.node()
            && last.epoch.is_round_of(promised)
            && !core.is_recovering()
            && core.refuted.is_none()
    }

    /// Goes on as the sequencer, in an epoch of this process. It must not go on in its epoch, since
    /// its peers may hold entries of it that never came to its disk.
    pub(crate) fn reopen(&mut self, now: Duration, out: &mut Out) {
        let core = &mut self.core;
        let promised = core.promised();
        if core.broken.is(Mutation::EpochResumed) {
            let sequencer = Sequencer::start(core, now, Vec::new());
            self.role = Role::Sequencer(Box::new(sequencer));
            return;
        }
        let incarnation = core.following(promised.incarnation);
        self.lead(now, Epoch { incarnation, ..promised }, out);
    }

    /// Opens an epoch and becomes its sequencer.
    pub(crate) fn lead(&mut self, now: Duration, epoch: Epoch, out: &mut Out) {
        self.core.open(epoch, out);
        let sequencer = Sequencer::start(&mut self.core, now, Vec::new());
        self.role = Role::Sequencer(Box::new(sequencer));
    }

    /// Becomes the sequencer once an election is won and the best log is on disk.
    pub(crate) fn try_to_lead(&mut self, now: Duration, out: &mut Out) {
        if let Role::Follower(follower) = &self.role
            && let Some(epoch) = follower.won(&self.core)
        {
            self.lead(now, epoch, out);
        }
    }

    /// Stops being the sequencer. Its clients' requests go to the next one; those of others come
    /// there by themselves.
    pub(crate) fn step_down(&mut self, now: Duration) {
        if let Role::Sequencer(sequencer) = &self.role {
            let has_handed_over = sequencer.is_handing_over();
            let core = &mut self.core;
            tracing::info!(epoch = %core.promised(), "not the sequencer any more");
            let timing = core.config.timing;
            let backoff = Backoff { wait: timing.resend_min, wait_max: timing.resend_max };
            core.forwarder.forward_all(now, backoff);
            core.reads.ask_again();
            let mut follower = Follower::new(core, now);
            follower.has_handed_over = has_handed_over;
            self.role = Role::Follower(Box::new(follower));
        }
    }

    pub(crate) fn try_to_found(&mut self, now: Duration, out: &mut Out) {
        let Role::Founding(founding) = &self.role else {
            return;
        };
        if let Some(members) = founding.found(&mut self.core, out) {
            self.begin_founded(now, members);
        }
    }

    pub(crate) fn begin_founded(&mut self, now: Duration, members: Vec<Member>) {
        let sequencer = Sequencer::start(&mut self.core, now, members);
        self.role = Role::Sequencer(Box::new(sequencer));
    }
}
