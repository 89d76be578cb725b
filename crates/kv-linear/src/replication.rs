//! What the sequencer sends to its followers, and when.

use std::time::Duration;

use kv_core::{Incarnation, NodeId};

use crate::core::{Core, Out};
use crate::epoch::LogIndex;
use crate::message::{Body, Prepare};
use crate::opening::send_start;
use crate::progress::Progress;
use crate::sequencer::Sequencer;

impl Sequencer {
    /// Sends each follower what it lacks, as far as messages on their way leave room, and what is
    /// committed.
    pub(crate) fn replicate(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        if !core.is_durable() {
            return;
        }
        for (&peer, progress) in &mut self.peers {
            let open = core.links.is_connected(peer) && !core.links.is_mismatched(peer);
            if open && progress.start.is_some() {
                send_start(core, now, (peer, progress), self.start, out);
            } else if open && progress.acked.is_some() {
                send_entries(core, now, (peer, progress), out);
                if progress.commit_sent < core.replica.commit() {
                    let receiver = progress.counted_life();
                    send_heartbeat(core, now, (peer, progress), receiver, out);
                }
            }
        }
    }

    /// Sends again what was not acknowledged in time, and shows that this server lives.
    pub(crate) fn on_timeout(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        for progress in self.peers.values_mut() {
            if progress.rewind_if_due(now) {
                core.counters.resends += 1;
            }
        }
        if now < self.heartbeat_at {
            return;
        }
        let heartbeat = core.config.timing.heartbeat;
        self.heartbeat_at = now.saturating_add(heartbeat);
        for (&peer, progress) in &mut self.peers {
            let quiet = progress.sent_at.is_none_or(|at| at.saturating_add(heartbeat) <= now);
            if core.is_durable() && core.links.is_connected(peer) && quiet {
                let receiver = progress.counted_life();
                send_heartbeat(core, now, (peer, progress), receiver, out);
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let heartbeat = (!self.peers.is_empty()).then_some(self.heartbeat_at);
        let resends = self.peers.values().filter_map(Progress::resend_at);
        resends.chain(heartbeat).min()
    }
}

fn send_entries(
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

/// Shows a follower that this server lives, and that `receiver` is the life of it that counts.
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
        receiver: progress.counted_life(),
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
pub(crate) fn send_checkpoint(
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

/// How many full messages may be on their way to a follower.
pub(crate) const MESSAGES_IN_FLIGHT_MAX: usize = 8;
