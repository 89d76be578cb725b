//! When the sequencer sends to its followers.

use std::time::Duration;

use crate::core::{Core, Out};
use crate::sequencer::Sequencer;
use crate::sequencer::outgoing::{send_entries, send_heartbeat, send_start};
use crate::sequencer::progress::Progress;

impl Sequencer {
    /// Sends each follower what it lacks, as far as messages in flight leave room, and what is
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
                    let receiver = progress.counted_incarnation();
                    send_heartbeat(core, now, (peer, progress), receiver, out);
                }
            }
        }
    }

    /// Sends again what was not acknowledged in time, and shows that this server is alive.
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
                let receiver = progress.counted_incarnation();
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
