//! When the sequencer sends to its followers.

use std::time::Duration;

use crate::core::{Core, Out};
use crate::sequencer::Sequencer;
use crate::sequencer::outgoing::{Voice, send_entries, send_heartbeat};
use crate::sequencer::progress::Progress;

impl Sequencer {
    /// Sends each follower what it lacks, as far as messages in flight leave room, and what is
    /// committed.
    ///
    /// New entries go out while this server's own disk takes them: a restart makes another epoch.
    /// The entry that opens the epoch waits for what lies below it, and for the promise.
    pub(crate) fn replicate(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        if !self.may_speak(core) {
            return;
        }
        let voice = self.voice(core, now);
        for (&peer, progress) in &mut self.peers {
            if !core.links.is_connected(peer) || core.links.is_mismatched(peer) {
                continue;
            }
            send_entries(core, now, voice, (peer, progress), out);
            if progress.commit_sent < core.replica.commit() || progress.round_sent < voice.round {
                send_heartbeat(core, now, voice, (peer, progress), out);
            }
        }
    }

    /// Whether the disk has what this epoch begins with.
    fn may_speak(&self, core: &Core) -> bool {
        let below = self.opening.previous();
        core.is_durable() && core.is_promise_durable() && core.replica.durable() >= below
    }

    fn voice(&self, core: &Core, now: Duration) -> Voice {
        let quiet = self.is_quiet(core, now);
        Voice { epoch: self.epoch, quiet, round: self.confirming.last() }
    }

    /// Whether this server hears too few others to work, so that nobody should wait for it.
    pub(crate) fn is_quiet(&self, core: &Core, now: Duration) -> bool {
        let timeout = core.config.timing.election;
        let is_heard = |progress: &&Progress| {
            progress.heard_at.is_some_and(|heard| heard.saturating_add(timeout) > now)
        };
        let heard = self.peers.values().filter(is_heard).count();
        heard + 1 < usize::from(core.quorums.write.max(core.quorums.read))
    }

    /// Goes back to what was not acknowledged in time.
    pub(crate) fn rewind_due(&mut self, core: &mut Core, now: Duration) {
        for progress in self.peers.values_mut() {
            if progress.rewind_if_due(now) {
                core.counters.resends += 1;
            }
        }
    }

    /// Shows those that were sent nothing that this server is alive.
    pub(crate) fn show_life(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        if now < self.heartbeat_at {
            return;
        }
        let heartbeat = core.config.timing.heartbeat;
        self.heartbeat_at = now.saturating_add(heartbeat);
        if !self.may_speak(core) {
            return;
        }
        let voice = self.voice(core, now);
        for (&peer, progress) in &mut self.peers {
            let silent = progress.sent_at.is_none_or(|at| at.saturating_add(heartbeat) <= now);
            let unheard = progress.heard_at.is_none_or(|at| at.saturating_add(heartbeat) <= now);
            if core.links.is_connected(peer) && (silent || unheard) {
                send_heartbeat(core, now, voice, (peer, progress), out);
            }
        }
    }

    pub(crate) fn next_deadline(&self, core: &Core) -> Option<Duration> {
        let heartbeat = (!self.peers.is_empty()).then_some(self.heartbeat_at);
        let resends = self.peers.values().filter_map(Progress::resend_at);
        let handing = self.next_of_hand_over(core);
        resends.chain(heartbeat).chain(self.tick_at).chain(handing).min()
    }
}
