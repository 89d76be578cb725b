//! What a sequencer and a follower make of a message of another member.

use std::time::Duration;

use kv_core::{Incarnation, NodeId};

use crate::core::{Core, Out};
use crate::election::Part;
use crate::follower::Follower;
use crate::log::epoch::Epoch;
use crate::message::Body;
use crate::mutation::Mutation;
use crate::sequencer::Sequencer;

/// Why a sequencer cannot go on in its epoch.
pub(super) enum Ends {
    /// A server has promised a later one.
    Promised(Epoch),
    /// A server knows entries to be committed that it lacks: its disk is older than it was.
    SetBack,
}

/// Takes what comes to the sequencer.
#[expect(clippy::wildcard_enum_match_arm, reason = "all else is stray")]
pub(super) fn on_sequencer(
    (sequencer, core): (&mut Sequencer, &mut Core),
    now: Duration,
    (from, incarnation): (NodeId, Incarnation),
    body: Body,
    out: &mut Out,
) -> Option<Ends> {
    let epoch = sequencer.epoch;
    match body {
        Body::Ack(ack)
            if ack.epoch == epoch
                || (ack.epoch < epoch && core.broken.is(Mutation::OldEpochAcksCounted)) =>
        {
            sequencer.on_ack(core, now, (from, incarnation, ack), out);
        }
        Body::Nack { epoch: of, tail } if of == epoch => {
            let has_all = sequencer.on_nack(core, now, (from, incarnation, tail));
            return (!has_all).then_some(Ends::SetBack);
        }
        Body::Forward(forward) if forward.epoch == epoch => {
            sequencer.on_forward(core, now, (from, incarnation), forward, out);
        }
        Body::ReadIndex { epoch: of, number } if of == epoch => {
            sequencer.on_read_index(from, incarnation, number);
            core.flush_soon(now);
        }
        Body::AskLead { epoch: of, node } if of == epoch => {
            sequencer.on_ask_lead(core, now, (from, node), out);
        }
        Body::RefuseLead { epoch: of, reason, .. } if of == epoch => {
            sequencer.on_refuse_lead(core, now, (from, reason), out);
        }
        Body::Reject { promised } if promised > core.promised() => {
            return Some(Ends::Promised(promised));
        }
        Body::PreVote { epoch: asked } if asked <= core.promised() => core.reject(from, out),
        Body::PreVote { epoch: asked } if core.may_ask(from, asked) => {
            if sequencer.is_quiet(core, now) {
                core.grant_pre_vote(from, asked, out);
            }
        }
        Body::Prepare(prepare) if prepare.epoch < epoch => core.reject(from, out),
        Body::EpochRequest { epoch: asked } if asked < epoch => core.reject(from, out),
        _ => core.counters.stray_messages += 1,
    }
    None
}

/// Takes what comes to a follower.
#[expect(clippy::wildcard_enum_match_arm, reason = "all else is stray")]
pub(super) fn on_follower(
    (follower, core): (&mut Follower, &mut Core),
    now: Duration,
    (from, incarnation): (NodeId, Incarnation),
    body: Body,
    out: &mut Out,
) {
    match body {
        Body::Prepare(prepare) => {
            if core.may_ask(from, prepare.epoch) {
                follower.on_prepare(core, now, (from, prepare), out);
            } else {
                core.counters.malformed += 1;
            }
        }
        Body::Refuse { epoch, receiver, requests } => {
            Follower::on_refuse(core, (epoch, receiver), requests, out);
        }
        Body::PreVote { epoch } => follower.on_pre_vote(core, now, (from, epoch), out),
        Body::PreVoteOk { epoch, may_promise } => {
            follower.on_pre_vote_ok(core, now, (from, epoch, may_promise), out);
        }
        Body::EpochRequest { epoch } => {
            follower.on_epoch_request(core, now, (from, epoch), out);
        }
        Body::Promise(promise) => {
            follower.on_promise(core, now, (from, incarnation, promise), out);
        }
        Body::Reject { promised } => follower.on_reject(core, now, promised, out),
        Body::Fetched { epoch, previous, previous_hash, entries } => {
            let part = Part { epoch, previous, previous_hash, entries };
            follower.on_fetched(core, now, (from, part), out);
        }
        Body::ReadIndexOk { epoch, receiver, number, index } if receiver == core.incarnation() => {
            follower.on_read_index_ok(core, epoch, (number, index), out);
        }
        Body::RefuseReads { epoch, receiver, number, reason }
            if epoch == core.promised() && receiver == core.incarnation() =>
        {
            Follower::on_refuse_reads(core, number, &reason, out);
        }
        Body::RefuseLead { epoch, node, reason } if epoch == core.promised() => {
            core.refuse_leads(node, reason, out);
        }
        Body::Lead { epoch } => follower.on_lead(core, now, (from, epoch), out),
        Body::RecoverOk(answer) => follower.on_recover_ok(core, now, (from, answer), out),
        // The answer to a former question, or a message of a former cluster was refused.
        Body::Holding { .. } | Body::Welcome { .. } | Body::Refused => {}
        _ => core.counters.stray_messages += 1,
    }
}
