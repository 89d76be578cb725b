//! What becomes of the requests of this server's clients.

use kv_core::{Done, NotDone, Outcome, RequestId, Served, Unknown, Waiting};

use crate::core::{Core, Out};
use crate::log::Position;
use crate::mutation::Mutation;
use crate::replica::{Applying, Delivered};
use crate::requests::forward::Pending;
use crate::state_machine::page::PageBounds;

impl Core {
    /// Applies what is committed, and answers the clients that wait for it.
    pub(crate) fn deliver(&mut self, out: &mut Out) {
        let node = self.config.node;
        let own = self.identity.map(|identity| (node, identity.incarnation));
        let bounds = PageBounds::of(&self.config.limits);
        let applying = Applying { bounds, wall_ms: self.wall_ms(), broken: self.broken };
        let forwarder = &mut self.forwarder;
        let mut answer = |delivered: Delivered| {
            let origin = delivered.origin;
            if own == Some((origin.server, origin.incarnation))
                && let Some(outcome) = delivered.outcome
                && let Some(pending) = forwarder.settle(origin.number)
            {
                out.reply(pending.id, outcome);
            }
        };
        while self.replica.deliver_next(applying, &mut answer) {}
        self.answer_reads(out);
        let limits = &self.config.limits;
        self.replica.trim(limits.log_bytes_max, limits.log_entries_max);
    }

    /// Answers the reads for which enough is applied.
    pub(crate) fn answer_reads(&mut self, out: &mut Out) {
        let Position { index, operations, .. } = self.replica.applied();
        let with = (PageBounds::of(&self.config.limits), self.broken);
        let wall_ms = self.wall_ms();
        while let Some((id, operation)) = self.reads.pop_granted(index) {
            let machine = self.replica.machine();
            out.reply(id, machine.read(&operation, operations, wall_ms, with));
        }
        let ignores_seen = self.broken.is(Mutation::SequentialReadIgnoresSeen);
        let applied = if ignores_seen { u64::MAX } else { operations };
        while let Some((id, operation)) = self.reads.pop_sequential(applied) {
            let machine = self.replica.machine();
            let outcome = machine.read(&operation, operations, wall_ms, with);
            out.reply(id, served(outcome, Served::Sequential));
        }
    }

    pub(crate) fn refuse(&mut self, id: RequestId, reason: NotDone, out: &mut Out) {
        self.counters.refused_requests += 1;
        out.reply(id, Outcome::NotDone(reason));
    }

    /// Answers a request whose time is up; `acks` servers are known to hold it.
    pub(crate) fn reply_expired(&self, pending: &Pending, acks: u16, out: &mut Out) {
        let needed = self.config.cluster.write_quorum();
        let definite = self.broken.is(Mutation::UnknownToldAsNotDone);
        let outcome = if pending.sent && !definite {
            Outcome::Unknown(Unknown { version: None, acks, needed })
        } else {
            Outcome::NotDone(NotDone::TimedOut { answered: acks, needed })
        };
        out.reply(pending.id, outcome);
    }

    /// Answers all requests, since this server begins another incarnation: what was sent in this one
    /// may take effect, and must not be sent again under another name.
    pub(crate) fn give_up_pending(&mut self, out: &mut Out) {
        let needed = self.config.cluster.write_quorum();
        for pending in self.forwarder.settle_if(|_| true) {
            if pending.sent {
                let unknown = Unknown { version: None, acks: 0, needed };
                out.reply(pending.id, Outcome::Unknown(unknown));
            } else {
                self.refuse(pending.id, NotDone::Waiting(Waiting::Joining), out);
            }
        }
    }
}

/// The same outcome at another level.
fn served(outcome: Outcome, served: Served) -> Outcome {
    match outcome {
        Outcome::Done(done) => Outcome::Done(Done { served, ..done }),
        other @ (Outcome::NotDone(_) | Outcome::Unknown(_)) => other,
    }
}
