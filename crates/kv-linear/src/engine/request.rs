//! What becomes of a client's request when it comes.

use std::time::Duration;

use kv_core::{
    Answer, CannotLead, Done, Dump, Level, NodeId, NotDone, Operation, Outcome, RequestId,
    RequestOptions, Served, Version, Wire,
};

use crate::backoff::Backoff;
use crate::core::{Core, Out};
use crate::engine::{LinearEngine, Role};
use crate::log::entry::Origin;
use crate::mutation::Mutation;
use crate::requests::forward::Submission;
use crate::requests::unsupported::unsupported_options;
use crate::sequencer::Queued;
use crate::state_machine::page::{self, PageBounds};
use crate::state_machine::sessions::Logged;

impl LinearEngine {
    pub(crate) fn on_request(
        &mut self,
        now: Duration,
        (id, operation, options): (RequestId, Operation, &RequestOptions),
        out: &mut Out,
    ) {
        let core = &self.core;
        let known =
            [core.forwarder.is_pending(id), core.reads.is_pending(id), core.leads.is_pending(id)];
        if known.contains(&true) {
            self.core.counters.malformed += 1;
            return;
        }
        if let Operation::Dump(dump) = &operation {
            out.reply(id, dump_page(&self.core, dump));
            return;
        }
        if let Err(reason) = self.check(&operation, options) {
            self.core.refuse(id, reason, out);
            return;
        }
        if let Operation::Lead { node } = operation {
            self.on_lead_request(now, (id, node, options.timeout), out);
            return;
        }
        let core = &mut self.core;
        if is_sequential(&operation, options) {
            let seen = match options.seen {
                Some(Version::Log(number)) => number,
                Some(Version::Stamp { .. } | Version::Tag { .. }) | None => 0,
            };
            let deadline = now.saturating_add(options.timeout);
            core.reads.submit_sequential(id, operation, deadline, seen);
            core.answer_reads(out);
            return;
        }
        let needs_no_position = needs_no_position(&operation, options);
        if needs_no_position && core.broken.is(Mutation::ReadsLocally) {
            let (machine, number) = (core.replica.machine(), core.replica.applied().operations);
            let with = (PageBounds::of(&core.config.limits), core.broken);
            out.reply(id, machine.read(&operation, number, core.wall_ms(), with));
            return;
        }
        if needs_no_position {
            core.reads.submit(id, operation, now.saturating_add(options.timeout));
            core.flush_soon(now);
            return;
        }
        let encoded = Logged { identity: options.identity, operation }.to_bytes();
        let mut submission = Submission {
            id,
            operation: encoded.clone(),
            deadline: now.saturating_add(options.timeout),
            backoff: None,
        };
        if let Role::Sequencer(sequencer) = &mut self.role {
            let number = core.forwarder.submit(now, submission);
            let origin = Origin {
                server: core.node(),
                incarnation: core.incarnation(),
                number,
                settled_below: core.forwarder.settled_below(),
            };
            sequencer.enqueue(Queued { origin, encoded });
        } else {
            submission.backoff = Some(Backoff {
                wait: core.config.timing.resend_min,
                wait_max: core.config.timing.resend_max,
            });
            core.forwarder.submit(now, submission);
        }
        core.flush_soon(now);
    }

    /// A client asks for another sequencer.
    fn on_lead_request(
        &mut self,
        now: Duration,
        (id, node, timeout): (RequestId, NodeId, Duration),
        out: &mut Out,
    ) {
        let core = &mut self.core;
        if !core.config.cluster.contains(node) {
            let reason = NotDone::CannotLead(CannotLead::NotInCluster { node });
            return core.refuse(id, reason, out);
        }
        if let Role::Sequencer(sequencer) = &mut self.role
            && node != core.node()
            && let Err(reason) = sequencer.hand_over_to(core, now, node)
        {
            return core.refuse(id, NotDone::CannotLead(reason), out);
        }
        core.leads.submit(id, node, now.saturating_add(timeout));
        core.flush_soon(now);
    }

    /// Why a request cannot be taken in now, before anything is done for it.
    fn check(&self, operation: &Operation, options: &RequestOptions) -> Result<(), NotDone> {
        if let Some(reason) = unsupported_options(options) {
            return Err(reason);
        }
        let local = is_sequential(operation, options) && !self.core.is_recovering();
        if let Some(waiting) = self.waiting().filter(|_| !local) {
            return Err(NotDone::Waiting(waiting));
        }
        let requests_max = self.core.config.limits.requests_max;
        let core = &self.core;
        let requests = core.forwarder.len() + core.reads.len() + core.leads.len();
        let reads = needs_no_position(operation, options);
        let writes = !reads && !matches!(operation, Operation::Lead { .. });
        if requests >= requests_max || (writes && self.core.forwarder.is_stretched()) {
            return Err(NotDone::Overloaded {
                limit: u64::try_from(requests_max).unwrap_or(u64::MAX),
            });
        }
        if writes {
            self.core.check_disk(operation)?;
        }
        if let Role::Sequencer(sequencer) = &self.role {
            if (reads || writes) && !local {
                sequencer.check_reachable(&self.core, reads)?;
            }
            if writes {
                sequencer.check_room(&self.core)?;
            }
        }
        Ok(())
    }
}

/// Whether this server answers from what it has applied.
fn is_sequential(operation: &Operation, options: &RequestOptions) -> bool {
    options.level == Some(Level::Sequential) && operation.is_read_only()
}

/// Whether a request reads without a position in the log.
fn needs_no_position(operation: &Operation, options: &RequestOptions) -> bool {
    options.level != Some(Level::Sequenced) && operation.is_read_only()
}

/// What this server itself holds, whatever the others do.
fn dump_page(core: &Core, dump: &Dump) -> Outcome {
    let live = core.replica.machine().live();
    let page = page::of_dump(live, dump, PageBounds::of(&core.config.limits));
    Outcome::Done(Done {
        answer: Answer::Page(page),
        version: Some(Version::Log(core.replica.applied().operations)),
        served: Served::Local,
    })
}
