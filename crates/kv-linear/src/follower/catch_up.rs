//! How a follower takes over what it lacks: the starting log of an epoch, or a snapshot.

use std::time::Duration;

use kv_core::{Incarnation, NodeId, SnapshotPart};

use crate::core::{Core, Out};
use crate::follower::Follower;
use crate::follower::starting::Starting;
use crate::follower::transfer::{Malformed, Transfer};
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

    /// A part of a snapshot came. It is taken if the snapshot is the sequencer's and ahead of this
    /// server's log, or, if it is of a later epoch, of what is known to be committed; one that is
    /// not ahead is answered with what this server has.
    ///
    /// It holds its epoch's whole starting log: the sequencer had all of that on disk before it
    /// opened the epoch.
    pub(crate) fn on_snapshot_part(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, part): (NodeId, SnapshotPart),
        out: &mut Out,
    ) {
        if part.number == 0 && !self.begin_transfer(core, now, (from, &part), out) {
            out.end_snapshot(from);
            return;
        }
        let Some(transfer) = self.transfer.take_if(|transfer| transfer.awaits(from, &part)) else {
            core.counters.stray_messages += 1;
            out.end_snapshot(from);
            return;
        };
        match self.take_snapshot_part(core, transfer, part, out) {
            Ok(Some(transfer)) => self.transfer = Some(transfer),
            ended => {
                core.counters.malformed += u64::from(ended.is_err());
                self.forget_staged(core);
                out.end_snapshot(from);
            }
        }
    }

    /// The peer that a snapshot comes from is not connected any more.
    pub(crate) fn abandon_transfer(&mut self, core: &mut Core, from: NodeId) {
        let is_its_own = |known: &mut Transfer| known.from() == from && !known.is_switching();
        if self.transfer.take_if(is_its_own).is_some() {
            self.forget_staged(core);
        }
    }

    /// The snapshot is on disk: the follower switches to it.
    pub(crate) fn on_installed(&mut self, core: &mut Core, out: &mut Out) {
        if let Some(transfer) = self.transfer.take_if(|known| known.is_switching()) {
            transfer.switch(core, out);
        }
    }

    /// Whether a snapshot that begins is of use.
    fn begin_transfer(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, part): (NodeId, &SnapshotPart),
        out: &mut Out,
    ) -> bool {
        let own = core.identity;
        let metadata = match checkpoint::metadata(&part.metadata) {
            Ok(Some(metadata)) => metadata,
            Ok(None) | Err(_) => {
                core.counters.malformed += 1;
                return false;
            }
        };
        let usable = from == core.sequencer()
            && own.is_some_and(|own| own.cluster == metadata.cluster)
            && metadata.configuration == core.configuration_hash
            && !self.is_switching();
        if !usable {
            core.counters.stray_messages += 1;
            return false;
        }
        if !self.note_epoch(core, now, metadata.epoch) {
            return false;
        }
        if metadata.applied.index <= behind(core, metadata.epoch) {
            // What this server said of an earlier copy was lost.
            self.report(core, out);
            return false;
        }
        self.transfer = Some(Transfer::new(from, part, metadata));
        true
    }

    /// Stages a part, and makes the switch with the last one; `None` if the snapshot is of no use
    /// any more.
    fn take_snapshot_part(
        &mut self,
        core: &mut Core,
        mut transfer: Transfer,
        part: SnapshotPart,
        out: &mut Out,
    ) -> Result<Option<Transfer>, Malformed> {
        if transfer.epoch() < self.sequencer_epoch {
            return Ok(None);
        }
        let is_last = part.is_last;
        transfer.stage(core, part, out)?;
        if !is_last {
            return Ok(Some(transfer));
        }
        if transfer.applied() <= behind(core, transfer.epoch()) {
            // The log has caught up meanwhile.
            self.report(core, out);
            return Ok(None);
        }
        transfer.finish(core, out)?;
        self.held.clear();
        self.starting = None;
        Ok(Some(transfer))
    }

    /// What was staged will not be switched to, so that checkpoints may cover it.
    const fn forget_staged(&self, core: &mut Core) {
        if self.starting.is_none() {
            core.staged_after = None;
        }
    }
}

/// What a checkpoint of an epoch must be ahead of.
fn behind(core: &Core, epoch: Epoch) -> LogIndex {
    if epoch > core.epoch() { core.replica.commit() } else { core.replica.log().last().index }
}
