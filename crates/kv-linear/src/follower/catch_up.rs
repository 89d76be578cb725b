//! How a follower takes over a snapshot in place of a log that is not kept any more.

use std::time::Duration;

use kv_core::{NodeId, SnapshotPart};

use crate::core::{Core, Out};
use crate::follower::Follower;
use crate::follower::transfer::{Malformed, Transfer};
use crate::log::epoch::LogIndex;
use crate::recovery::checkpoint;

impl Follower {
    /// A part of a snapshot came. It is taken if the snapshot is that of the sequencer, or of the
    /// server whose log this one fetches, and ahead of what this server has; one that is not ahead
    /// is answered with what this server has.
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
        match self.take_snapshot_part(core, now, (transfer, part), out) {
            Ok(Some(transfer)) => {
                self.timer.on_heard(core, now);
                self.transfer = Some(transfer);
            }
            ended => {
                core.counters.malformed += u64::from(ended.is_err());
                core.staged_after = None;
                out.end_snapshot(from);
            }
        }
    }

    /// A snapshot that is on its way is of no use any more, unless it is about to be switched to.
    pub(crate) fn abandon_transfer(&mut self, core: &mut Core) {
        if self.transfer.take_if(|known| !known.is_switching()).is_some() {
            core.staged_after = None;
        }
    }

    /// The peer that a snapshot may come from is not connected any more.
    pub(crate) fn abandon_transfer_from(&mut self, core: &mut Core, from: NodeId) {
        if self.transfer.as_ref().is_some_and(|known| known.from() == from) {
            self.abandon_transfer(core);
        }
    }

    /// The snapshot is on disk: the follower switches to it.
    pub(crate) fn on_installed(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        let Some(transfer) = self.transfer.take_if(|known| known.is_switching()) else {
            return;
        };
        let from = transfer.from();
        transfer.switch(core, out);
        // What it has beyond its commit is not compared with the sequencer's log yet.
        self.verified = self.verified.max(core.replica.applied().index);
        self.on_installed_from(core, now, from, out);
    }

    /// Whether a snapshot that begins is of use.
    fn begin_transfer(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, part): (NodeId, &SnapshotPart),
        out: &mut Out,
    ) -> bool {
        let metadata = match checkpoint::metadata(&part.metadata) {
            Ok(Some(metadata)) => metadata,
            Ok(None) | Err(_) => {
                core.counters.malformed += 1;
                return false;
            }
        };
        let usable = core.identity.is_some_and(|own| own.cluster == metadata.cluster)
            && metadata.configuration == core.configuration_hash
            && metadata.promised == core.promised()
            && self.takes_from(core, from)
            && core.is_durable()
            && !self.is_switching();
        if !usable {
            core.counters.stray_messages += 1;
            return false;
        }
        if metadata.applied.index <= self.ahead_of(core) {
            // What this server said of an earlier copy was lost.
            self.nack(core, now, out);
            return false;
        }
        self.abandon_transfer(core);
        self.transfer = Some(Transfer::new(from, part, metadata));
        true
    }

    /// Whether a server's log is the one to be had in this epoch.
    fn takes_from(&mut self, core: &Core, from: NodeId) -> bool {
        let epoch = core.promised();
        self.sequencer(core) == Some(from) || self.fetching(from, epoch).is_some()
    }

    /// What a snapshot must be ahead of: all that is committed or may have been acknowledged in
    /// this epoch.
    fn ahead_of(&self, core: &Core) -> LogIndex {
        core.replica.commit().max(self.verified)
    }

    /// Stages a part, and makes the switch with the last one; `None` if the snapshot is of no use
    /// any more.
    fn take_snapshot_part(
        &mut self,
        core: &mut Core,
        now: Duration,
        (mut transfer, part): (Transfer, SnapshotPart),
        out: &mut Out,
    ) -> Result<Option<Transfer>, Malformed> {
        let is_last = part.is_last;
        transfer.stage(core, part, out)?;
        if !is_last {
            return Ok(Some(transfer));
        }
        if transfer.applied() <= self.ahead_of(core) {
            // The log has caught up meanwhile.
            self.nack(core, now, out);
            return Ok(None);
        }
        transfer.finish(core, out)?;
        self.held.clear();
        Ok(Some(transfer))
    }
}
