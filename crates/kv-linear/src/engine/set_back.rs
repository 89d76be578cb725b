//! A server whose disk is older than it was, or that another process was taken for.

use std::time::Duration;

use kv_core::{HaltReason, Incarnation, NodeId};

use crate::core::{Core, Out};
use crate::durable::journal::Durable;
use crate::durable::record::Record;
use crate::engine::{LinearEngine, Role};
use crate::log::epoch::{Epoch, LogIndex};
use crate::message::Body;

impl LinearEngine {
    /// Another process has had this server's incarnation, or a later one: its disk is older than it
    /// was. What it acknowledged since is lost, so that it counts for nothing until it has it back.
    pub(crate) fn on_outdated(
        &mut self,
        now: Duration,
        from: NodeId,
        highest: Incarnation,
        out: &mut Out,
    ) {
        let core = &mut self.core;
        let own = core.incarnation();
        if highest.counter() < own.counter() || highest == own {
            core.counters.stray_messages += 1;
            return;
        }
        if core.is_proven {
            self.outdo(now, highest, out);
        } else {
            self.recover_older(now, from, highest, out);
        }
    }

    /// A former process of this server, which lost its disk, had a number that only a peer knew
    /// that was away while this process recovered. It goes on under a later one.
    ///
    /// Nothing is missing on this disk: since it recovered it has all that any former process can
    /// have acknowledged in an epoch that may still be at work, that one included. So this is a
    /// restart with the disk intact. Only a copy of this very disk that another process runs on
    /// could have acknowledged more, and that is no disk to run on.
    fn outdo(&mut self, now: Duration, highest: Incarnation, out: &mut Out) {
        let core = &mut self.core;
        tracing::info!(%highest, "a former process had a later number; this one takes the next");
        core.give_up_pending(out);
        match &mut self.role {
            Role::Sequencer(sequencer) => {
                let incarnation = core.following(highest);
                let epoch = Epoch { incarnation, ..sequencer.epoch };
                core.reads.ask_again();
                self.lead(now, epoch, out);
            }
            Role::Follower(follower) => {
                core.renew(highest, false, out);
                follower.campaign = None;
            }
            Role::Unstarted | Role::Founding(_) | Role::Joining(_) => {}
        }
    }

    /// This server's disk is older than it was. It goes on in an incarnation after `highest`, and
    /// counts for nothing until it has caught up; a sequencer in whose place no other one can come
    /// stops for good.
    pub(crate) fn recover_older(
        &mut self,
        now: Duration,
        from: NodeId,
        highest: Incarnation,
        out: &mut Out,
    ) {
        let core = &mut self.core;
        let is_sequencer = matches!(self.role, Role::Sequencer(_));
        if is_sequencer && !core.quorums.survive_the_sequencer() {
            core.refuted = Some(from);
            core.persist(Record::Refuted { peer: from }, Durable::Refuted, out);
            core.halt_for(HaltReason::SetBack { peer: from }, out);
            return;
        }
        tracing::warn!(peer = %from, "this server's disk is older than it was; it catches up first");
        core.give_up_pending(out);
        core.renew(highest, true, out);
        self.step_down(now);
        if let Role::Follower(follower) = &mut self.role {
            follower.recover_anew(&self.core, now);
        }
    }
}

/// Whether a sequencer that started again lacks what is known to be committed here.
pub(crate) fn shows_older_disk(core: &Core, body: &Body) -> bool {
    let Body::Prepare(prepare) = body else {
        return false;
    };
    let (log, commit) = (core.replica.log(), core.replica.commit());
    let differs = |index: LogIndex, hash: u64| {
        index <= commit && log.hash_at(index).is_some_and(|known| known != hash)
    };
    prepare.epoch.is_round_of(core.promised())
        && (differs(prepare.previous, prepare.previous_hash)
            || prepare.entries.iter().any(|entry| differs(entry.index(), entry.hash())))
}
