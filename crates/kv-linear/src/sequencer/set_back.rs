//! How a sequencer notices that another copy of its disk has run.

use kv_core::{HaltReason, NodeId};

use crate::core::{Core, Out};
use crate::durable::journal::Durable;
use crate::durable::record::Record;
use crate::log::Log;
use crate::log::epoch::Epoch;
use crate::message::{Body, NeedStart};
use crate::sequencer::Sequencer;
use crate::sequencer::start::agreement;

/// What a follower knows and a sequencer with an intact disk would know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgotten {
    /// Something that this server wrote, so its disk is older than it was.
    Writes,
    /// Only that it spoke in this epoch, as another copy of its disk may have done.
    Epoch(Epoch),
}

impl Sequencer {
    /// What this server has forgotten, by what a follower sends. Then the follower must not be
    /// counted, or be given what it lacks.
    ///
    /// Not everything can be noticed: a follower that never learned that its last entries were
    /// committed cannot be told from one that holds what nobody was told.
    pub(crate) fn forgotten(&self, core: &Core, from: NodeId, body: &Body) -> Option<Forgotten> {
        let is_ours = |epoch: Epoch| epoch.owner == core.node();
        let log = core.replica.log();
        match body {
            Body::Ack { epoch, durable: last } | Body::Nack { epoch, last } if is_ours(*epoch) => {
                let goes_on = *epoch == core.epoch()
                    && (self.is_in_epoch_uninvited(core, from) || *last > log.last().index);
                (goes_on || *epoch > core.epoch()).then_some(Forgotten::Writes)
            }
            Body::NeedStart(need) if is_ours(need.epoch) => {
                let is_ahead = is_ours(need.log_epoch) && need.log_epoch > core.epoch();
                if is_ahead || (need.epoch >= core.epoch() && lacks_committed(log, need)) {
                    return Some(Forgotten::Writes);
                }
                (need.epoch > core.epoch()).then_some(Forgotten::Epoch(need.epoch))
            }
            Body::Ack { .. }
            | Body::Nack { .. }
            | Body::NeedStart(_)
            | Body::Forward(_)
            | Body::Hello { .. }
            | Body::Holding
            | Body::Join { .. }
            | Body::Welcome { .. }
            | Body::Prepare(_)
            | Body::Refuse { .. }
            | Body::NotServing { .. }
            | Body::StartEpoch(_)
            | Body::Refused => None,
        }
    }

    /// Whether a follower can be in this epoch only by the word of another process, which opened it
    /// before: each restart opens an epoch of its own and brings every follower into it.
    fn is_in_epoch_uninvited(&self, core: &Core, from: NodeId) -> bool {
        let is_restarted = core.epoch().generation > 0;
        is_restarted && self.peers.get(&from).is_some_and(|progress| !progress.was_sent_start)
    }
}

impl Forgotten {
    /// Stops this server. What it must know at its next start comes to its disk before.
    pub(crate) fn halt(self, core: &mut Core, peer: NodeId, out: &mut Out) {
        match self {
            Self::Writes => core.halt_for(HaltReason::SetBack { peer }, out),
            Self::Epoch(epoch) => {
                core.persist(Record::Opened { epoch }, Durable::Opened { epoch }, out);
                core.halt_for(HaltReason::EpochUsed { peer }, out);
            }
        }
    }
}

/// Whether entries are missing here that the follower knows to be committed. They were on this
/// server's disk by then.
fn lacks_committed(log: &Log, need: &NeedStart) -> bool {
    let shared = agreement(log, need).map_or(log.last().index, |base| base.index);
    need.commit > shared
}
