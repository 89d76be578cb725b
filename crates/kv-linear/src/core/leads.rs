//! The answers to requests that another server lead.

use std::time::Duration;

use kv_core::{
    Answer, CannotLead, Done, NodeId, NotDone, Outcome, RequestId, Served, Unknown, Version,
};

use crate::core::{Core, Out};

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
