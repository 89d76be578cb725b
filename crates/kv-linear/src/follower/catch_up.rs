//! How a follower takes over what it lacks: the starting log of an epoch, or a checkpoint.

use std::time::Duration;

use kv_core::{Incarnation, NodeId, StagedCheckpoint};

use crate::core::{Core, Out};
use crate::follower::Follower;
use crate::follower::starting::Starting;
use crate::follower::transfer::Transfer;
use crate::log::Position;
use crate::log::epoch::{Epoch, LogIndex};
use crate::message::StartEpoch;
use crate::mutation::Mutation;
use crate::recovery::checkpoint;

impl Follower {
    /// A part of the starting log came.
    pub(crate) fn on_start_epoch(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, part): (NodeId, StartEpoch),
        out: &mut Out,
    ) {
        let own = core.identity.map_or(Incarnation::UNKNOWN, |identity| identity.incarnation);
        if part.receiver != own {
            core.counters.stray_messages += 1;
            return;
        }
        if !self.note_epoch(core, now, part.epoch) {
            return;
        }
        self.clear_not_serving();
        if part.epoch == core.epoch() {
            self.acknowledge(core, out);
            return;
        }
        if self.is_switching() || part.start < part.base {
            core.counters.dropped += 1;
            return;
        }
        let Some(base) = core.replica.log().position_at(part.base) else {
            self.need_start(core, out);
            return;
        };
        // This incarnation asked for it with the log that it has, and with all that it knows to be
        // committed: the sequencer's log cannot be another one up to there.
        if base.index < core.replica.commit() {
            core.halt(from, base.index.next(), out);
        } else if base.hash != part.base_hash {
            core.halt(from, base.index, out);
        } else {
            self.take_part(core, base, part, out);
        }
    }

    fn take_part(&mut self, core: &mut Core, base: Position, part: StartEpoch, out: &mut Out) {
        let epoch = part.epoch;
        let known = self.starting.take().filter(|known| known.spans(base, part.start));
        let mut starting = known.unwrap_or_else(|| Starting::after(base, &part));
        starting.take_part(core, part, out);
        let switching = starting.is_switching();
        self.starting = Some(starting);
        if !switching {
            self.need_start(core, out);
        } else if core.broken.is(Mutation::StartAckedBeforeSwitch) {
            self.on_started(core, epoch, out);
            self.acknowledge(core, out);
        }
    }

    /// The starting log is on disk, and the switch to it.
    pub(crate) fn on_started(&mut self, core: &mut Core, epoch: Epoch, out: &mut Out) {
        let is_done = |known: &mut Starting| known.epoch() == epoch && known.is_switching();
        if let Some(starting) = self.starting.take_if(is_done) {
            starting.switch(core, out);
        }
    }

    /// A checkpoint came. It is taken if it is the sequencer's and ahead of this server's log, or,
    /// if it is of a later epoch, of what is known to be committed; one that is not ahead is
    /// answered with what this server has.
    ///
    /// It holds its epoch's whole starting log: the sequencer had all of that on disk before it
    /// opened the epoch.
    pub(crate) fn on_checkpoint(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, staged): (NodeId, StagedCheckpoint),
        out: &mut Out,
    ) {
        let own = core.identity;
        let metadata = match checkpoint::metadata(&staged.metadata) {
            Ok(Some(metadata)) => metadata,
            Ok(None) | Err(_) => {
                core.counters.malformed += 1;
                return;
            }
        };
        let usable = from == core.sequencer()
            && own.is_some_and(|own| own.cluster == metadata.cluster)
            && metadata.configuration == core.configuration_hash
            && !self.is_switching();
        if !usable {
            core.counters.stray_messages += 1;
            return;
        }
        if !self.note_epoch(core, now, metadata.epoch) {
            return;
        }
        if metadata.applied.index <= behind(core, metadata.epoch) {
            // What this server said of an earlier copy was lost.
            self.report(core, out);
            return;
        }
        if let Some(transfer) = Transfer::begin(core, metadata, staged, out) {
            self.held.clear();
            self.starting = None;
            self.transfer = Some(transfer);
        }
    }

    /// The checkpoint is on disk: the follower switches to it.
    pub(crate) fn on_installed(&mut self, core: &mut Core, out: &mut Out) {
        if let Some(transfer) = self.transfer.take() {
            transfer.switch(core, out);
        }
    }
}

/// What a checkpoint of an epoch must be ahead of.
fn behind(core: &Core, epoch: Epoch) -> LogIndex {
    if epoch > core.epoch() { core.replica.commit() } else { core.replica.log().last().index }
}
