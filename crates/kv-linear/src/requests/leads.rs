//! Requests that another server become the sequencer.

use std::time::Duration;

use kv_core::{NodeId, RequestId};

use crate::backoff::Backoff;

/// Those of this server's clients that have no answer yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leads {
    pending: Vec<Lead>,
    /// When the sequencer is asked next, and how long after that.
    ask_at: Duration,
    backoff: Option<Backoff>,
}

/// A client's request that a server lead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lead {
    pub(crate) id: RequestId,
    pub(crate) node: NodeId,
    pub(crate) deadline: Duration,
}

impl Leads {
    pub(crate) const fn len(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn is_pending(&self, id: RequestId) -> bool {
        self.pending.iter().any(|lead| lead.id == id)
    }

    pub(crate) fn submit(&mut self, id: RequestId, node: NodeId, deadline: Duration) {
        self.pending.push(Lead { id, node, deadline });
        self.ask_soon();
    }

    pub(crate) fn cancel(&mut self, id: RequestId) {
        self.pending.retain(|lead| lead.id != id);
    }

    /// Asks again at once: there is another sequencer.
    pub(crate) const fn ask_soon(&mut self) {
        self.ask_at = Duration::ZERO;
        self.backoff = None;
    }

    /// The servers that the sequencer is to be asked to hand over to, if that is due.
    pub(crate) fn ask(&mut self, now: Duration, backoff: Backoff) -> Vec<NodeId> {
        if self.pending.is_empty() || now < self.ask_at {
            return Vec::new();
        }
        let backoff = self.backoff.get_or_insert(backoff);
        self.ask_at = now.saturating_add(backoff.wait);
        backoff.double();
        let mut nodes: Vec<NodeId> = self.pending.iter().map(|lead| lead.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// When the sequencer is to be asked again.
    pub(crate) fn next_question(&self) -> Option<Duration> {
        (!self.pending.is_empty()).then_some(self.ask_at)
    }

    /// When a request's time is up.
    pub(crate) fn next_alarm(&self) -> Option<Duration> {
        self.pending.iter().map(|lead| lead.deadline).min()
    }

    /// Takes out those that have an answer now.
    pub(crate) fn settle(&mut self, picks: impl Fn(&Lead) -> bool) -> Vec<Lead> {
        self.pending.extract_if(.., |lead| picks(lead)).collect()
    }
}
