//! When a follower misses its sequencer.

use std::time::Duration;

use kv_core::NodeId;

use crate::backoff::Backoff;
use crate::core::Core;

/// When a server last heard of a sequencer, and when it asks the others whether they miss it too.
#[derive(Clone, Debug)]
pub(crate) struct ElectionTimer {
    heard_at: Option<Duration>,
    ask_at: Duration,
    /// Between two questions while the connection to the sequencer is closed.
    backoff: Backoff,
}

impl ElectionTimer {
    pub(crate) fn start(core: &mut Core, now: Duration) -> Self {
        let wait = shortest_wait(core);
        let wait_max = core.config.timing.election;
        let ask_at = now.saturating_add(usual_wait(core));
        Self { heard_at: None, ask_at, backoff: Backoff { wait, wait_max } }
    }

    /// Notes a sign of life of a sequencer, or of a server that is about to become one.
    pub(crate) fn on_heard(&mut self, core: &mut Core, now: Duration) {
        self.heard_at = Some(now);
        self.ask_at = now.saturating_add(usual_wait(core));
        self.backoff.wait = shortest_wait(core);
    }

    /// The connection to the sequencer is closed. The next higher id asks first, so that clients
    /// and the sequencer move the same way.
    pub(crate) fn on_closed(&mut self, core: &Core, now: Duration, sequencer: NodeId) {
        let wait = shortest_wait(core).saturating_mul(servers_between(core, sequencer));
        self.ask_at = self.ask_at.min(now.saturating_add(wait));
    }

    /// Asks at once.
    pub(crate) const fn hasten(&mut self, now: Duration) {
        self.heard_at = None;
        self.ask_at = now;
    }

    /// Whether nothing was heard for the election timeout.
    pub(crate) fn is_silent(&self, core: &Core, now: Duration) -> bool {
        let timeout = core.config.timing.election;
        self.heard_at.is_none_or(|heard| heard.saturating_add(timeout) <= now)
    }

    pub(crate) const fn ask_at(&self) -> Duration {
        self.ask_at
    }

    /// Waits before it asks again: not for long while the connection to the sequencer is closed,
    /// since the others may notice that a little later.
    pub(crate) fn wait_again(&mut self, core: &mut Core, now: Duration) {
        let owner = core.promised().owner;
        let is_closed = owner != core.node() && !core.links.is_connected(owner);
        let wait = if is_closed {
            let wait = self.backoff.wait;
            self.backoff.double();
            wait.saturating_add(random_up_to(core, wait))
        } else {
            usual_wait(core)
        };
        self.ask_at = now.saturating_add(wait);
    }
}

/// From one election timeout to two, so that seldom two servers ask at once.
fn usual_wait(core: &mut Core) -> Duration {
    let timeout = core.config.timing.election;
    timeout.saturating_add(random_up_to(core, timeout))
}

fn random_up_to(core: &mut Core, bound: Duration) -> Duration {
    let bound = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(core.seed.below(bound))
}

fn shortest_wait(core: &Core) -> Duration {
    (core.config.timing.heartbeat / 4).max(Duration::from_millis(1))
}

/// How many voters come between the sequencer and this server, in the order of their ids, which
/// begins again after the last.
fn servers_between(core: &Core, sequencer: NodeId) -> u32 {
    let voters = core.config.cluster.voters();
    let after = voters.iter().cycle().skip_while(|voter| **voter != sequencer).skip(1);
    let between = after.take(voters.len()).take_while(|voter| **voter != core.node()).count();
    u32::try_from(between).unwrap_or(u32::MAX)
}
