//! Which part of a server takes which message.

use std::time::Duration;

use kv_core::{Incarnation, NodeId, Waiting};

use crate::core::Out;
use crate::engine::by_role::{Ends, on_follower, on_sequencer};
use crate::engine::set_back::shows_older_disk;
use crate::engine::{LinearEngine, Role};
use crate::follower::Follower;
use crate::founding::is_named;
use crate::founding::joining::{self, Joining};
use crate::identity::Standing;
use crate::log::epoch::Epoch;
use crate::log::tail::Tail;
use crate::message::{Body, Message};
use crate::mutation::Mutation;

impl LinearEngine {
    pub(crate) fn on_message(
        &mut self,
        now: Duration,
        from: NodeId,
        message: Message,
        out: &mut Out,
    ) {
        if !self.is_peer(from) {
            self.core.counters.stray_messages += 1;
            return;
        }
        if let Some(waiting) = self.mismatch(from, &message) {
            self.on_mismatch((from, &message), waiting, out);
            return;
        }
        self.core.links.matches(from);
        match (message.cluster, self.core.identity) {
            (None, None) => self.on_empty_to_empty(now, from, &message.body, out),
            (None, Some(_)) => self.on_empty(from, &message.body, out),
            (Some(_), None) => self.on_holder(now, from, message, out),
            (Some(_), Some(_)) => self.on_member(now, from, message, out),
        }
    }

    /// How the sender's cluster or configuration differs from this server's, if it does.
    fn mismatch(&self, from: NodeId, message: &Message) -> Option<Waiting> {
        if message.configuration != self.core.configuration_hash {
            return Some(Waiting::OtherConfiguration { node: from });
        }
        let ours = self.core.identity?.cluster;
        let theirs = message.cluster.filter(|theirs| *theirs != ours)?;
        Some(Waiting::OtherCluster { node: from, ours, theirs })
    }

    fn on_mismatch(
        &mut self,
        (from, message): (NodeId, &Message),
        waiting: Waiting,
        out: &mut Out,
    ) {
        let core = &mut self.core;
        core.counters.refused_messages += 1;
        if core.links.mismatch(from, waiting) {
            tracing::warn!(peer = %from, %waiting, "refusing a peer's messages");
        }
        if !matches!(message.body, Body::Refused) {
            core.send(from, Body::Refused, out);
        }
        if let Role::Founding(founding) = &mut self.role {
            founding.on_peer_away(from);
        }
    }

    /// Neither has a cluster.
    fn on_empty_to_empty(&mut self, now: Duration, from: NodeId, body: &Body, out: &mut Out) {
        let core = &mut self.core;
        match (&mut self.role, body) {
            (Role::Founding(founding), Body::Join { nonce, asked }) => {
                founding.on_join(core, from, (*nonce, *asked), out);
            }
            (Role::Joining(joining), Body::Hello { nonce }) => {
                joining.on_hello(core, (from, *nonce), out);
            }
            // It keeps a log, and founds in the place of the server that is meant to.
            (Role::Founding(_), Body::Hello { nonce }) if core.salvaged.is_none() => {
                let mut joining = Joining::start(core, now);
                joining.on_hello(core, (from, *nonce), out);
                self.role = Role::Joining(joining);
            }
            _ => core.counters.stray_messages += 1,
        }
    }

    /// An empty server speaks to one that has a cluster.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all else is stray")]
    fn on_empty(&mut self, from: NodeId, body: &Body, out: &mut Out) {
        let core = &mut self.core;
        let highest = core.known.highest(from);
        match body {
            // One that recovers may not know who the founding members were.
            Body::Join { .. } if core.is_recovering() => {}
            Body::Join { nonce, .. } if is_named(highest, *nonce) => {
                if core.known.is_on_disk(from, highest) {
                    core.welcome(from, *nonce, out);
                }
            }
            Body::Join { nonce, .. } | Body::Hello { nonce } => {
                if let (Role::Follower(follower), Body::Hello { .. }) = (&mut self.role, body) {
                    follower.on_empty_founder(core, from);
                }
                core.send(from, Body::Holding { nonce: *nonce, highest }, out);
            }
            _ => core.counters.stray_messages += 1,
        }
    }

    /// A server that has a cluster speaks to an empty one.
    fn on_holder(&mut self, now: Duration, from: NodeId, message: Message, out: &mut Out) {
        let core = &mut self.core;
        let Some(cluster) = message.cluster else {
            return;
        };
        let has_joined = match (&mut self.role, message.body) {
            (Role::Founding(founding), Body::Holding { nonce, highest }) => {
                founding.on_holder(from, cluster);
                // Where nobody can take its place, it has to come back with its data, and must not
                // make that count as older than what it is.
                let is_for_this = founding.asked(nonce)
                    && core.salvaged.is_none()
                    && core.quorums.survive_the_sequencer()
                    && !core.broken.is(Mutation::FoundsBesideHolders);
                if is_for_this {
                    joining::join_recovering(core, cluster, highest, out);
                }
                is_for_this
            }
            (Role::Founding(founding), _) => {
                founding.on_holder(from, cluster);
                founding.ask(core, from, out);
                false
            }
            (Role::Joining(joining), Body::Welcome { nonce, members, founded_on }) => {
                joining.on_welcome(core, cluster, (nonce, members, founded_on), out)
            }
            (Role::Joining(joining), Body::Holding { nonce, highest }) => {
                joining.on_holding(core, cluster, (nonce, highest), out)
            }
            (Role::Joining(joining), _) => {
                joining.ask(core, from, out);
                false
            }
            _ => false,
        };
        if has_joined {
            self.role = Role::Follower(Box::new(Follower::new(&mut self.core, now)));
        }
    }

    /// Both are in the cluster.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the role takes all else")]
    fn on_member(&mut self, now: Duration, from: NodeId, message: Message, out: &mut Out) {
        let core = &mut self.core;
        match core.known.standing(from, message.incarnation) {
            // A process on an older copy of the sequencer's disk. What it would make known here would
            // make the newest one count as older.
            Standing::New if shows_older_disk(core, &message.body) => {
                if let Body::Prepare(prepare) = message.body {
                    let tail = Tail::of(core.replica.log(), core.replica.commit());
                    core.send(from, Body::Nack { epoch: prepare.epoch, tail }, out);
                }
                return;
            }
            Standing::New => core.note_known(from, message.incarnation, out),
            Standing::Present => {}
            Standing::Over if core.broken.is(Mutation::FormerIncarnationCounted) => {}
            Standing::Over => {
                core.counters.stray_messages += 1;
                let highest = core.known.highest(from);
                core.send(from, Body::Outdated { highest }, out);
                return;
            }
        }
        if let Role::Sequencer(sequencer) = &mut self.role {
            sequencer.on_heard(core, now, from);
        }
        let sender = (from, message.incarnation);
        match message.body {
            Body::Outdated { highest } => self.on_outdated(now, from, highest, out),
            Body::Recover => {
                let sequenced = match &self.role {
                    Role::Sequencer(sequencer) => sequencer.sequenced(core),
                    Role::Follower(_) | Role::Founding(_) | Role::Joining(_) | Role::Unstarted => {
                        None
                    }
                };
                core.on_recover(from, sequenced, out);
            }
            Body::Fetch { epoch, previous, previous_hash } => {
                Follower::on_fetch(core, (from, epoch), (previous, previous_hash), out);
            }
            body => self.on_role_message(now, sender, body, out),
        }
    }

    fn on_role_message(
        &mut self,
        now: Duration,
        (from, incarnation): (NodeId, Incarnation),
        body: Body,
        out: &mut Out,
    ) {
        if let Some(epoch) = later_epoch(&body)
            && epoch > self.core.promised()
            && self.core.may_ask(from, epoch)
        {
            self.step_down(now);
        }
        let core = &mut self.core;
        let own = core.incarnation();
        match &mut self.role {
            Role::Sequencer(sequencer) => {
                let sender = (from, incarnation);
                match on_sequencer((sequencer, core), now, sender, body, out) {
                    Some(Ends::Promised(epoch)) => self.stand_again(now, epoch, out),
                    Some(Ends::SetBack) => self.recover_older(now, from, own, out),
                    None => {}
                }
            }
            Role::Follower(follower) => {
                on_follower((follower, core), now, (from, incarnation), body, out);
            }
            Role::Unstarted | Role::Founding(_) | Role::Joining(_) => {
                core.counters.stray_messages += 1;
            }
        }
    }

    /// A server has promised a later epoch than that of this sequencer. If its owner is at work,
    /// this server follows it; if it is not, this one goes on in an epoch after that.
    fn stand_again(&mut self, now: Duration, promised: Epoch, out: &mut Out) {
        self.step_down(now);
        if let Role::Follower(follower) = &mut self.role {
            follower.on_reject(&mut self.core, now, promised, out);
            follower.timer.hasten(now);
        }
    }
}

/// The epoch that a server may promise upon a message.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other message leads to a promise")]
const fn later_epoch(body: &Body) -> Option<Epoch> {
    match body {
        Body::Prepare(prepare) => Some(prepare.epoch),
        Body::EpochRequest { epoch } => Some(*epoch),
        _ => None,
    }
}
