//! What a follower with a full disk takes all the same, so that it can serve reads.

use std::time::Duration;

use crate::core::{Core, Out};
use crate::follower::Follower;
use crate::log::epoch::LogIndex;

/// Entries that wait for room on the disk.
///
/// Nothing of them is acknowledged, so they would fill what may be in flight to this server, and
/// nothing more would come. They are kept in memory up to a bound.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unkept {
    bytes: usize,
    /// Up to here the sequencer was told what this server has.
    told: LogIndex,
}

impl Unkept {
    /// Another sequencer has been told nothing.
    pub(super) const fn forget_told(&mut self) {
        self.told = LogIndex::ZERO;
    }
}

impl Follower {
    /// Counts what has come, until the disk has had room for all of it.
    pub(super) fn note_unkept(&mut self, core: &Core, bytes: usize) {
        let is_kept = core.replica.durable() == core.replica.log().last().index;
        let before = if is_kept { 0 } else { self.unkept.bytes };
        let is_full = core.shortage.is_some();
        self.unkept.bytes = if is_full { before.saturating_add(bytes) } else { before };
    }

    /// Asks the sequencer to go on after what this server has in memory.
    pub(super) fn ask_for_more_than_the_disk_takes(
        &mut self,
        core: &mut Core,
        now: Duration,
        out: &mut Out,
    ) {
        let has_room = self.unkept.bytes < core.config.limits.log_bytes_max;
        let is_unkept = core.shortage.is_some() && core.replica.durable() < self.verified;
        if is_unkept && has_room && self.unkept.told < self.verified && self.nack(core, now, out) {
            self.unkept.told = self.verified;
        }
    }
}
