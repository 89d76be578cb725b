//! What the sequencer sends to one follower.

use std::time::Duration;

use kv_core::NodeId;

use crate::core::{Core, Out};
use crate::log::epoch::{Epoch, LogIndex};
use crate::message::{Body, Prepare};
use crate::sequencer::progress::Progress;

/// In whose name something is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voice {
    pub(crate) epoch: Epoch,
    /// The sequencer hears too few servers to work.
    pub(crate) quiet: bool,
    /// The last round for reads.
    pub(crate) round: u64,
}

/// Sends a follower what follows in the log, as far as messages in flight leave room.
pub(crate) fn send_entries(
    core: &mut Core,
    now: Duration,
    voice: Voice,
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
        let entries = core.entries_from(progress.next, last);
        let sent = entries.last().map_or(last, |entry| entry.index());
        let size_bytes = entries.iter().map(|entry| entry.size_bytes()).sum();
        progress.note_sent(now, sent, size_bytes);
        let shown = heartbeat(core, voice, progress, (previous, previous_hash));
        let prepare = Prepare { entries, ..shown };
        send(core, now, (peer, progress), prepare, out);
    }
}

/// Shows a follower that this server is the sequencer, and asks how far it is.
pub(crate) fn send_heartbeat(
    core: &Core,
    now: Duration,
    voice: Voice,
    to: (NodeId, &mut Progress),
    out: &mut Out,
) {
    let log = core.replica.log();
    let sent = to.1.next.previous();
    let position =
        log.hash_at(sent).map_or((log.last().index, log.last().hash), |hash| (sent, hash));
    let prepare = heartbeat(core, voice, to.1, position);
    send(core, now, to, prepare, out);
}

fn heartbeat(
    core: &Core,
    voice: Voice,
    progress: &Progress,
    (previous, previous_hash): (LogIndex, u64),
) -> Prepare {
    Prepare {
        epoch: voice.epoch,
        receiver: progress.counted_incarnation(),
        previous,
        previous_hash,
        entries: Vec::new(),
        commit: core.replica.commit(),
        last: progress.next.previous(),
        round: voice.round,
        probe: voice.quiet,
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
    progress.round_sent = prepare.round;
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
        core.counters.checkpoints_sent += 1;
        out.begin_snapshot(peer);
    }
}

/// How many full messages may be in flight to a follower.
const MESSAGES_IN_FLIGHT_MAX: usize = 8;
