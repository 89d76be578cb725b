//! How the sequencer opens an epoch, and brings its followers into it.

use std::time::Duration;

use kv_core::{Incarnation, NodeId};

use crate::core::{Core, Out};
use crate::epoch::LogIndex;
use crate::log::{Log, Position};
use crate::message::{Body, NeedStart, StartEpoch};
use crate::progress::{Claim, Progress};
use crate::replication::{MESSAGES_IN_FLIGHT_MAX, send_checkpoint, send_heartbeat};
use crate::sequencer::Sequencer;

/// The starting log on its way to a follower.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    need: NeedStart,
    /// Up to where the logs agree; `None` if this server keeps that no more.
    base: Option<Position>,
    /// What the follower has.
    pub(crate) staged: LogIndex,
    /// Whether all of it is on its way.
    pub(crate) is_sent: bool,
}

impl Start {
    /// How long the follower's log was.
    pub(crate) const fn claimed(&self) -> LogIndex {
        self.need.last
    }
}

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
            refute_life(core, now, (from, progress), out);
        } else if incarnation > progress.incarnation {
            progress.note_life(core, from, (incarnation, Claim::Needs(need)), out);
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
    /// Notes what a follower needs that holds no log of this epoch; `start` is the last place of
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

/// The last place up to which a follower's log and this one must be equal: a log whose epoch is f
/// is the starting log of f and then a part of what f's sequencer appended, and so is this log up
/// to its last place of f. `None` if it is kept no more.
pub(crate) fn agreement(log: &Log, need: &NeedStart) -> Option<Position> {
    let shared = log.last_through(need.log_epoch)?;
    log.position_at(shared.min(need.last))
}

/// Tells a follower which life of it counts, if it cannot know.
pub(crate) fn refute_life(
    core: &mut Core,
    now: Duration,
    (peer, progress): (NodeId, &mut Progress),
    out: &mut Out,
) {
    core.counters.stray_messages += 1;
    if progress.counted_life() == Incarnation::UNKNOWN && core.is_durable() {
        let receiver = progress.incarnation;
        send_heartbeat(core, now, (peer, progress), receiver, out);
    }
}

/// Sends a follower what it lacks of the starting log, which ends with `start`, as far as messages
/// on their way leave room.
pub(crate) fn send_start(
    core: &mut Core,
    now: Duration,
    (peer, progress): (NodeId, &mut Progress),
    start: LogIndex,
    out: &mut Out,
) {
    let limits = core.config.limits;
    let in_flight_max = limits.message_bytes_max.saturating_mul(MESSAGES_IN_FLIGHT_MAX);
    while progress.in_flight_bytes() < in_flight_max {
        let previous = progress.next.previous();
        let kept = core.replica.log().hash_at(previous).is_some();
        let Some(known) = progress.start.as_ref().filter(|known| !known.is_sent) else {
            return;
        };
        let Some(base) = known.base.filter(|_| kept) else {
            send_checkpoint(core, now, (peer, progress), out);
            return;
        };
        let mut entries = Vec::new();
        let mut size_bytes = 0;
        let rest = core.replica.log().from(progress.next);
        for entry in rest.take_while(|entry| entry.index() <= start) {
            if size_bytes + entry.size_bytes() > limits.message_bytes_max && !entries.is_empty() {
                break;
            }
            size_bytes += entry.size_bytes();
            entries.push(entry.clone());
        }
        let last = entries.last().map_or(previous, |entry| entry.index());
        let part = StartEpoch {
            epoch: core.epoch(),
            receiver: progress.incarnation,
            base: base.index,
            base_hash: base.hash,
            previous,
            entries,
            start,
            commit: core.replica.commit(),
        };
        progress.note_start_sent(now, (last, size_bytes), last == start);
        core.counters.starts_sent += 1;
        core.send(peer, Body::StartEpoch(part), out);
    }
}
