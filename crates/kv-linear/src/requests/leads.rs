//! Requests that another server become the sequencer.

use std::time::Duration;

use kv_core::{
    Answer, CannotLead, Done, NodeId, NotDone, Outcome, RequestId, Served, Unknown, Version,
};

use crate::backoff::Backoff;
use crate::core::{Core, Out};

/// Those of this server's clients that have no answer yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leads {
    pending: Vec<Lead>,
    /// When the sequencer is asked next, and how long after that.
    ask_at: Duration,
    backoff: Option<Backoff>,
}

#[derive(Clone, Copy, Debug)]
struct Lead {
    id: RequestId,
    node: NodeId,
    deadline: Duration,
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

    fn settle(&mut self, picks: impl Fn(&Lead) -> bool) -> Vec<Lead> {
        self.pending.extract_if(.., |lead| picks(lead)).collect()
    }
}

impl Core {
    /// The sequencer, once the entry that opened its epoch is known to be committed here.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let epoch = self.promised();
        let is_settled = self.replica.log().epoch_at(self.replica.commit()) == Some(epoch);
        is_settled.then_some(epoch.owner)
    }

    /// Answers those who asked for the server that leads now.
    pub(crate) fn settle_leads(&mut self, out: &mut Out) {
        if self.leads.len() == 0 {
            return;
        }
        let Some(leader) = self.leader() else {
            return;
        };
        for lead in self.leads.settle(|lead| lead.node == leader) {
            out.reply(
                lead.id,
                Outcome::Done(Done {
                    answer: Answer::Results(Vec::new()),
                    version: Some(Version::Log(self.replica.applied().operations)),
                    served: Served::Linearizable,
                }),
            );
        }
    }

    /// Answers those who asked for a server that does not take over, or of which that is not known.
    pub(crate) fn refuse_leads(&mut self, node: NodeId, reason: Option<CannotLead>, out: &mut Out) {
        for lead in self.leads.settle(|lead| lead.node == node) {
            match reason {
                Some(reason) => self.refuse(lead.id, NotDone::CannotLead(reason), out),
                None => self.leave_open(lead.id, out),
            }
        }
    }

    /// Answers those whose time is up: the change may still come.
    pub(crate) fn expire_leads(&mut self, now: Duration, out: &mut Out) {
        for lead in self.leads.settle(|lead| lead.deadline <= now) {
            self.leave_open(lead.id, out);
        }
    }

    fn leave_open(&self, id: RequestId, out: &mut Out) {
        let needed = self.quorums.promises;
        out.reply(id, Outcome::Unknown(Unknown { version: None, acks: 0, needed }));
    }
}
