//! An empty server that is not the sequencer: it asks to be taken in.

use std::time::Duration;

use kv_core::{Incarnation, NodeId, Waiting};

use crate::backoff::Backoff;
use crate::core::{Core, Out};
use crate::durable::journal::Durable;
use crate::durable::record::Record;
use crate::founding::incarnation_after;
use crate::identity::Identity;
use crate::log::epoch::Epoch;
use crate::message::{Body, Message};

/// An empty server that asks the sequencer to take it into its cluster.
#[derive(Clone, Debug)]
pub(crate) struct Joining {
    nonce: u64,
    /// The last Hello that was received.
    asked: u64,
    /// Whether the sequencer is known to have a cluster.
    founded: bool,
    ask_at: Duration,
    backoff: Backoff,
}

impl Joining {
    pub(crate) fn start(core: &mut Core, now: Duration) -> Self {
        let timing = core.config.timing;
        Self {
            nonce: core.seed.next_u64(),
            asked: 0,
            founded: false,
            ask_at: now.saturating_add(timing.resend_min),
            backoff: Backoff { wait: timing.resend_min, wait_max: timing.resend_max },
        }
    }

    pub(crate) fn waiting(&self, core: &Core) -> Waiting {
        let node = core.sequencer();
        if core.links.is_mismatched(node) {
            Waiting::OtherConfiguration { node }
        } else if self.founded && core.links.is_connected(node) {
            Waiting::Joining
        } else {
            Waiting::Sequencer { node }
        }
    }

    pub(crate) fn ask(&self, core: &Core, out: &mut Out) {
        let body = Body::Join { nonce: self.nonce, asked: self.asked };
        core.send(core.sequencer(), body, out);
    }

    pub(crate) fn on_hello(&mut self, core: &Core, nonce: u64, out: &mut Out) {
        self.asked = nonce;
        self.founded = false;
        self.ask(core, out);
    }

    /// The sequencer has a cluster: there is somebody to take this server in.
    pub(crate) fn on_sequencer_active(&mut self, now: Duration, core: &Core, out: &mut Out) {
        if !self.founded {
            self.founded = true;
            self.backoff.wait = core.config.timing.resend_min;
            self.ask_at = now.saturating_add(self.backoff.wait);
            self.ask(core, out);
        }
    }

    pub(crate) fn on_timeout(&mut self, core: &Core, now: Duration, out: &mut Out) {
        if now < self.ask_at {
            return;
        }
        self.backoff.double();
        self.ask_at = now.saturating_add(self.backoff.wait);
        if core.links.is_connected(core.sequencer()) {
            self.ask(core, out);
        }
    }

    pub(crate) const fn next_deadline(&self) -> Duration {
        self.ask_at
    }

    /// Takes the incarnation that the sequencer offers; false if the offer is to another
    /// incarnation.
    pub(crate) fn on_welcome(
        &self,
        core: &mut Core,
        message: &Message,
        (nonce, highest): (u64, Incarnation),
        out: &mut Out,
    ) -> bool {
        let Some(cluster) = message.cluster.filter(|_| nonce == self.nonce) else {
            core.counters.stray_messages += 1;
            return false;
        };
        let incarnation = incarnation_after(highest, nonce);
        let identity = Identity {
            cluster,
            incarnation,
            epoch: Epoch::first(core.sequencer()),
            sequencer: message.incarnation,
        };
        core.identity = Some(identity);
        let record = Record::Joined {
            cluster,
            configuration: core.config.cluster.clone(),
            incarnation,
            sequencer: message.incarnation,
        };
        core.persist(record, Durable::Identity(identity), out);
        tracing::info!(
            cluster = %format_args!("{:016x}", cluster.0),
            %incarnation,
            "joining a cluster"
        );
        true
    }

    pub(crate) fn on_peer_up(&mut self, core: &Core, peer: NodeId, out: &mut Out) {
        if peer == core.sequencer() {
            self.ask(core, out);
        }
    }
}
