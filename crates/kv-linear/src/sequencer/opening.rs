//! How the sequencer brings its followers into its epoch.

use std::time::Duration;

use kv_core::{Incarnation, NodeId};

use crate::core::{Core, Out};
use crate::log::epoch::LogIndex;
use crate::message::NeedStart;
use crate::sequencer::Sequencer;
use crate::sequencer::outgoing::refute_incarnation;
use crate::sequencer::progress::{Claim, Progress};
use crate::sequencer::start::{Start, agreement};

impl Sequencer {
    /// A follower that is not in this epoch says what it holds.
    pub(crate) fn on_need_start(
        &mut self,
        core: &mut Core,
        now: Duration,
        (from, incarnation): (NodeId, Incarnation),
        need: NeedStart,
        out: &mut Out,
    ) {
        let Some(progress) = self.peers.get_mut(&from).filter(|_| need.log_epoch < need.epoch)
        else {
            core.counters.stray_messages += 1;
            return;
        };
        if incarnation < progress.incarnation {
            refute_incarnation(core, now, (from, progress), out);
        } else if incarnation > progress.incarnation {
            progress.note_incarnation(core, from, (incarnation, Claim::Needs(need)), out);
        } else if progress.acked.is_some() {
            // It is in the epoch, so this is late.
            core.counters.stray_messages += 1;
        } else {
            progress.take_need(core, now, self.start, need);
            core.flush_soon(now);
        }
    }
}

impl Progress {
    /// Notes what a follower needs that holds no log of this epoch; `start` is the last position of
    /// the starting log.
    pub(crate) fn take_need(
        &mut self,
        core: &Core,
        now: Duration,
        start: LogIndex,
        need: NeedStart,
    ) {
        let log = core.replica.log();
        let of = |need: &NeedStart| (need.log_epoch, need.last);
        if self.start.as_ref().is_none_or(|known| of(&known.need) != of(&need)) {
            let base = agreement(log, &need);
            let staged = base.map_or(LogIndex::ZERO, |base| base.index);
            self.start = Some(Start { need, base, staged, is_sent: false });
            self.rewind(staged);
        }
        let Some(known) = &mut self.start else {
            return;
        };
        if need.staged > known.staged && need.staged < start {
            known.staged = need.staged;
            self.note_arrived(&core.config.timing, now, need.staged);
        }
    }
}
