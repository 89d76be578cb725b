//! An empty server that founds nothing: it asks to be taken in.

use std::time::Duration;

use kv_core::{ClusterId, Incarnation, NodeId, Waiting};

use crate::backoff::Backoff;
use crate::core::{Core, Out};
use crate::durable::journal::Durable;
use crate::durable::record::Record;
use crate::founding::is_named;
use crate::identity::Identity;
use crate::log::epoch::LogIndex;
use crate::message::Body;

/// An empty server that asks the others to take it into their cluster, or to found one with it.
#[derive(Clone, Debug)]
pub(crate) struct Joining {
    nonce: u64,
    /// Whether its name is on disk or on its way there.
    is_naming: bool,
    /// The last Hello that was received.
    asked: u64,
    ask_at: Duration,
    backoff: Backoff,
}

impl Joining {
    /// Begins under the name that the disk has, or gives this server one.
    pub(crate) fn start(core: &mut Core, now: Duration) -> Self {
        let timing = core.config.timing;
        Self {
            nonce: core.named.unwrap_or_else(|| core.seed.next_u64().max(1)),
            is_naming: core.named.is_some(),
            asked: 0,
            ask_at: now.saturating_add(timing.resend_min),
            backoff: Backoff { wait: timing.resend_min, wait_max: timing.resend_max },
        }
    }

    /// The name is on disk.
    pub(crate) fn on_named(&self, core: &mut Core, out: &mut Out) {
        core.named = Some(self.nonce);
        self.ask_all(core, out);
    }

    pub(crate) fn waiting(core: &Core) -> Waiting {
        let node = core.founder();
        if let Some(waiting) = core.links.mismatch_of(node) {
            waiting
        } else if node == core.node() || core.links.is_connected(node) {
            Waiting::Joining
        } else {
            Waiting::Sequencer { node }
        }
    }

    pub(crate) fn ask(&self, core: &Core, peer: NodeId, out: &mut Out) {
        // Whoever answers a Hello may be a founding member.
        let asked = if core.named == Some(self.nonce) { self.asked } else { 0 };
        core.send(peer, Body::Join { nonce: self.nonce, asked }, out);
    }

    fn ask_all(&self, core: &Core, out: &mut Out) {
        for peer in core.links.connected() {
            self.ask(core, peer, out);
        }
    }

    /// The founder asks. By its answer this server is a member of a cluster before it knows, so its
    /// name must not be lost: then one server too few might be left to take it in. It answers once
    /// the disk has it; to say before that that it is empty would have the founder ask again at
    /// once, and so on until then.
    pub(crate) fn on_hello(
        &mut self,
        core: &mut Core,
        (from, nonce): (NodeId, u64),
        out: &mut Out,
    ) {
        self.asked = nonce;
        if core.named == Some(self.nonce) {
            self.ask(core, from, out);
        } else if !self.is_naming {
            self.is_naming = true;
            core.stage(Record::Named { nonce: self.nonce }, Durable::Named, out);
        }
    }

    pub(crate) fn on_timeout(&mut self, core: &Core, now: Duration, out: &mut Out) {
        if now >= self.ask_at {
            self.backoff.double();
            self.ask_at = now.saturating_add(self.backoff.wait);
            self.ask_all(core, out);
        }
    }

    pub(crate) const fn next_deadline(&self) -> Duration {
        self.ask_at
    }

    /// Takes its place as a founding member; false if the word is for another process.
    pub(crate) fn on_welcome(
        &self,
        core: &mut Core,
        cluster: ClusterId,
        (nonce, members, founded_on): (u64, Vec<(NodeId, Incarnation)>, LogIndex),
        out: &mut Out,
    ) -> bool {
        let named = members
            .iter()
            .find(|(node, incarnation)| *node == core.node() && is_named(*incarnation, nonce));
        let Some((_, incarnation)) = named.copied().filter(|_| nonce == self.nonce) else {
            core.counters.stray_messages += 1;
            return false;
        };
        let others = members.into_iter().filter(|(node, _)| *node != core.node());
        let known: Vec<_> =
            others.filter(|(node, _)| core.config.cluster.contains(*node)).collect();
        core.found_on(founded_on, out);
        join(core, Identity { cluster, incarnation, recovering: false }, known, out);
        true
    }

    /// Meets a cluster that was founded without it; false if the word is for another process.
    pub(crate) fn on_holding(
        &self,
        core: &mut Core,
        cluster: ClusterId,
        (nonce, highest): (u64, Incarnation),
        out: &mut Out,
    ) -> bool {
        if nonce != self.nonce {
            core.counters.stray_messages += 1;
            return false;
        }
        join_recovering(core, cluster, highest, out);
        true
    }
}

/// Joins a cluster in which this server may have been before and lost its data.
pub(crate) fn join_recovering(
    core: &mut Core,
    cluster: ClusterId,
    highest: Incarnation,
    out: &mut Out,
) {
    let incarnation = core.following_lost(highest);
    join(core, Identity { cluster, incarnation, recovering: true }, Vec::new(), out);
}

fn join(core: &mut Core, identity: Identity, known: Vec<(NodeId, Incarnation)>, out: &mut Out) {
    let Identity { cluster, incarnation, recovering } = identity;
    core.identity = Some(identity);
    for (peer, incarnation) in &known {
        core.known.note(*peer, *incarnation);
    }
    let configuration = core.config.cluster.clone();
    let record = Record::Joined { cluster, configuration, incarnation, known, recovering };
    core.persist(record, Durable::Identity(identity), out);
    tracing::info!(
        cluster = %format_args!("{:016x}", cluster.0),
        %incarnation,
        recovering,
        "joining a cluster"
    );
}
