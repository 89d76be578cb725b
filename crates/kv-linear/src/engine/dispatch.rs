//! Which part of a server takes which message.

use std::time::Duration;

use kv_core::{NodeId, Waiting};

use crate::core::{Core, Out};
use crate::engine::{LinearEngine, Role};
use crate::follower::Follower;
use crate::founding::joining::Joining;
use crate::founding::{Founding, first_incarnation};
use crate::message::{Body, Message};
use crate::mutation::Mutation;
use crate::sequencer::Sequencer;

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
            self.try_to_found(now, out);
            return;
        }
        self.core.links.matches(from);
        let core = &mut self.core;
        let from_sequencer = from == core.sequencer();
        match &mut self.role {
            Role::Founding(founding) => on_founding((founding, core), (from, &message), out),
            Role::Joining(joining) if from_sequencer => {
                if on_joining((joining, core), now, message, out) {
                    let follower = Follower::new(core.epoch());
                    self.role = Role::Follower(Box::new(follower));
                }
            }
            Role::Sequencer(sequencer) => {
                on_sequencer((sequencer, core), now, (from, message), out);
            }
            Role::Follower(follower) if from_sequencer => {
                on_follower((follower, core), now, (from, message), out);
            }
            Role::Retired(waiting) => {
                let waiting = *waiting;
                if !matches!(message.body, Body::NotServing { .. } | Body::Refused) {
                    core.send(from, Body::NotServing { waiting }, out);
                }
            }
            Role::Joining(_) | Role::Follower(_) | Role::Unstarted => {
                core.counters.stray_messages += 1;
            }
        }
        self.try_to_found(now, out);
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
        if core.links.mismatch(from) {
            tracing::warn!(peer = %from, %waiting, "refusing a peer's messages");
        }
        if !matches!(message.body, Body::Refused) {
            core.send(from, Body::Refused, out);
        }
        match &mut self.role {
            Role::Founding(founding) => founding.on_peer_away(from),
            Role::Follower(follower) if from == core.sequencer() => {
                follower.on_not_serving(waiting)
            }
            Role::Follower(_)
            | Role::Joining(_)
            | Role::Sequencer(_)
            | Role::Retired(_)
            | Role::Unstarted => {}
        }
    }
}

/// Takes what a peer says to a sequencer without a cluster: whether it holds one's log.
fn on_founding(
    (founding, core): (&mut Founding, &Core),
    (from, message): (NodeId, &Message),
    out: &mut Out,
) {
    match (message.cluster, &message.body) {
        (None, Body::Join { nonce, asked }) => founding.on_join(core, from, (*nonce, *asked), out),
        (Some(_), Body::Holding) => founding.on_holder(from),
        (Some(_), _) => {
            founding.on_holder(from);
            founding.ask(core, from, out);
        }
        (None, _) => {}
    }
}

/// Takes a message of the sequencer; true if this server is taken into its cluster with it.
fn on_joining(
    (joining, core): (&mut Joining, &mut Core),
    now: Duration,
    message: Message,
    out: &mut Out,
) -> bool {
    match (message.cluster, &message.body) {
        (None, Body::Hello { nonce }) => joining.on_hello(core, *nonce, out),
        (Some(_), Body::Welcome { nonce, highest }) => {
            return joining.on_welcome(core, &message, (*nonce, *highest), out);
        }
        (Some(_), _) => joining.on_sequencer_active(now, core, out),
        (None, _) => core.counters.stray_messages += 1,
    }
    false
}

/// Takes a message of a follower, or of a server that wants to be one.
fn on_sequencer(
    (sequencer, core): (&mut Sequencer, &mut Core),
    now: Duration,
    (from, message): (NodeId, Message),
    out: &mut Out,
) {
    let epoch = core.epoch();
    let forgotten = sequencer.forgotten(core, from, &message.body);
    if let Some(forgotten) = forgotten.filter(|_| message.cluster.is_some()) {
        forgotten.halt(core, from, out);
        return;
    }
    let sender = (from, message.incarnation);
    match (message.cluster, message.body) {
        (None, Body::Join { nonce, .. }) => sequencer.on_join(core, from, nonce, out),
        (Some(_), Body::Ack { epoch: of, durable })
            if of == epoch || (of < epoch && core.broken.is(Mutation::OldEpochAcksCounted)) =>
        {
            sequencer.on_ack(core, now, sender, durable, out);
        }
        (Some(_), Body::Nack { epoch: of, last }) if of == epoch => {
            sequencer.on_nack(core, now, sender, last);
        }
        (Some(_), Body::Forward(forward)) if forward.epoch == epoch => {
            sequencer.on_forward(core, now, sender, forward, out);
        }
        (Some(_), Body::NeedStart(need)) if need.epoch == epoch => {
            sequencer.on_need_start(core, now, sender, need, out);
        }
        // An old Hello was answered, or a message of a former cluster was refused.
        (Some(_), Body::Holding | Body::Refused) => {}
        (None | Some(_), _) => core.counters.stray_messages += 1,
    }
}

/// Takes a message of the sequencer.
fn on_follower(
    (follower, core): (&mut Follower, &mut Core),
    now: Duration,
    (from, message): (NodeId, Message),
    out: &mut Out,
) {
    match (message.cluster, message.body) {
        (None, Body::Hello { nonce }) => {
            let founder = core.identity.map(|identity| identity.sequencer);
            if founder != Some(first_incarnation(nonce)) {
                follower.on_not_serving(Waiting::LostMemory { node: from });
            }
            core.send(from, Body::Holding, out);
        }
        (Some(_), Body::Prepare(prepare)) => follower.on_prepare(core, now, from, prepare, out),
        (Some(_), Body::Refuse { epoch, receiver, requests }) => {
            follower.on_refuse(core, (epoch, receiver), requests, out)
        }
        (Some(_), Body::StartEpoch(part)) => follower.on_start_epoch(core, now, (from, part), out),
        (Some(_), Body::NotServing { waiting }) => follower.on_not_serving(waiting),
        // The sequencer knows a former incarnation of this server; it is sent the present one.
        (Some(_), Body::Refused) => follower.report(core, out),
        (None | Some(_), _) => core.counters.stray_messages += 1,
    }
}
