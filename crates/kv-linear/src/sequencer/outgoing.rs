//! What the sequencer sends to one follower.

use std::time::Duration;

use kv_core::{Incarnation, NodeId};

use crate::core::{Core, Out};
use crate::log::epoch::LogIndex;
use crate::message::{Body, Prepare, StartEpoch};
use crate::sequencer::progress::Progress;

/// Sends a follower what follows in the log, as far as messages in flight leave room.
pub(crate) fn send_entries(
    core: &mut Core,
    now: Duration,
    (peer, progress): (NodeId, &mut Progress),
    out: &mut Out,
) {
    let limits = core.config.limits;
    let in_flight_max = limits.message_bytes_max.saturating_mul(MESSAGES_IN_FLIGHT_MAX);
    let last = core.replica.log().last().index;
    while progress.next <= last && progress.in_flight_bytes() < in_flight_max {
        let previous = progress.next.previous();
        let Some(previous_hash) = core.replica.log().hash_at(previous) else {
            send_checkpoint(core, now, (peer, progress), out);
            return;
        };
        let mut entries = Vec::new();
        let mut size_bytes = 0;
        for entry in core.replica.log().from(progress.next) {
            if size_bytes + entry.size_bytes() > limits.message_bytes_max && !entries.is_empty() {
                break;
            }
            size_bytes += entry.size_bytes();
            entries.push(entry.clone());
        }
        let sent = entries.last().map_or(last, |entry| entry.index());
        progress.note_sent(now, sent, size_bytes);
        let shown = heartbeat(core, progress, (previous, previous_hash));
        let prepare = Prepare { entries, ..shown };
        send(core, now, (peer, progress), prepare, out);
    }
}

/// Sends a follower what it lacks of the starting log, which ends with `start`, as far as messages
/// in flight leave room.
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

/// Tells a follower which incarnation of it counts, if it cannot know.
pub(crate) fn refute_incarnation(
    core: &mut Core,
    now: Duration,
    (peer, progress): (NodeId, &mut Progress),
    out: &mut Out,
) {
    core.counters.stray_messages += 1;
    if progress.counted_incarnation() == Incarnation::UNKNOWN && core.is_durable() {
        let receiver = progress.incarnation;
        send_heartbeat(core, now, (peer, progress), receiver, out);
    }
}

/// Shows a follower that this server incarnations, and that `receiver` is the incarnation of it
/// that counts.
pub(crate) fn send_heartbeat(
    core: &Core,
    now: Duration,
    to: (NodeId, &mut Progress),
    receiver: Incarnation,
    out: &mut Out,
) {
    let log = core.replica.log();
    let sent = to.1.next.previous();
    let position =
        log.hash_at(sent).map_or((log.last().index, log.last().hash), |hash| (sent, hash));
    let prepare = Prepare { receiver, ..heartbeat(core, to.1, position) };
    send(core, now, to, prepare, out);
}

fn heartbeat(core: &Core, progress: &Progress, (previous, hash): (LogIndex, u64)) -> Prepare {
    Prepare {
        epoch: core.epoch(),
        receiver: progress.counted_incarnation(),
        previous,
        previous_hash: hash,
        entries: Vec::new(),
        commit: core.replica.commit(),
        last: progress.next.previous(),
    }
}

fn send(
    core: &Core,
    now: Duration,
    (peer, progress): (NodeId, &mut Progress),
    prepare: Prepare,
    out: &mut Out,
) {
    progress.sent_at = Some(now);
    progress.commit_sent = prepare.commit;
    core.send(peer, Body::Prepare(prepare), out);
}

/// What the follower needs is not in the log any more. A checkpoint is large, so another one is
/// sent only after a wait that grows.
fn send_checkpoint(
    core: &mut Core,
    now: Duration,
    (peer, progress): (NodeId, &mut Progress),
    out: &mut Out,
) {
    if now >= progress.checkpoint_not_before {
        let wait = progress.checkpoint_backoff.wait;
        progress.checkpoint_not_before = now.saturating_add(wait);
        progress.checkpoint_backoff.double();
        progress.was_sent_start = true;
        core.counters.checkpoints_sent += 1;
        out.begin_snapshot(peer);
    }
}

/// How many full messages may be in flight to a follower.
const MESSAGES_IN_FLIGHT_MAX: usize = 8;
