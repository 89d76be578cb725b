//! When a follower misses its sequencer.

use std::time::Duration;

use kv_core::NodeId;

use crate::backoff::Backoff;
use crate::core::Core;

/// When a server last heard of a sequencer, and when it asks the others whether they miss it too.
#[derive(Clone, Debug)]
pub(crate) struct ElectionTimer {
    heard_at: Option<Duration>,
    /// The same, or the beginning; not forgotten when this server is in a hurry.
    last_heard_at: Duration,
    ask_at: Duration,
    /// Between two questions while the connection to the sequencer is closed.
    backoff: Backoff,
}

impl ElectionTimer {
    pub(crate) fn start(core: &mut Core, now: Duration) -> Self {
        let wait = shortest_wait(core);
        let wait_max = core.config.timing.election;
        let ask_at = now.saturating_add(usual_wait(core));
        Self { heard_at: None, last_heard_at: now, ask_at, backoff: Backoff { wait, wait_max } }
    }

    /// Notes a sign of life of a sequencer, or of a server that is about to become one.
    pub(crate) fn on_heard(&mut self, core: &mut Core, now: Duration) {
        self.heard_at = Some(now);
        self.last_heard_at = now;
        self.ask_at = now.saturating_add(usual_wait(core));
        self.backoff.wait = shortest_wait(core);
    }

    /// Notes a sign of life of a sequencer that cannot work: others may be asked about it.
    pub(crate) const fn on_probed(&mut self, now: Duration) {
        self.last_heard_at = now;
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

    /// Whether nothing was heard for so long that another one should have been chosen.
    pub(crate) fn is_long_silent(&self, core: &Core, now: Duration) -> bool {
        let timeout = core.config.timing.election.saturating_mul(2);
        self.last_heard_at.saturating_add(timeout) <= now
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

#[cfg(test)]
mod tests {
    use kv_core::{ClusterConfig, EngineConfig, Incarnation, PersistSeq, Quorum};

    use super::*;
    use crate::log::epoch::Epoch;
    use crate::mutation::Broken;

    const MS: Duration = Duration::from_millis(1);
    const NOW: Duration = Duration::from_secs(9);

    fn node(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    /// A server of three that has promised an epoch of `owner`.
    fn core(number: u16, owner: u16) -> Core {
        let voters = [1, 2, 3].map(node);
        let cluster = ClusterConfig::new(voters, Quorum::Majority, Quorum::Majority).unwrap();
        let config = EngineConfig::seeded(node(number), cluster, 5);
        let mut core = Core::new(config, PersistSeq(0), Broken::default());
        core.recover_promise(Epoch {
            round: 1,
            owner: node(owner),
            incarnation: Incarnation(1 << 32),
        });
        core
    }

    #[test]
    fn a_server_asks_after_one_to_two_election_timeouts_of_silence() {
        let mut core = core(2, 1);
        core.links.up(node(1));
        let mut waits = Vec::new();
        for _ in 0..50 {
            let timer = ElectionTimer::start(&mut core, NOW);
            assert!(timer.is_silent(&core, NOW));
            waits.push(timer.ask_at() - NOW);
            let mut timer = timer;
            timer.on_heard(&mut core, NOW + MS);
            waits.push(timer.ask_at() - NOW - MS);
            timer.wait_again(&mut core, NOW + MS * 2);
            waits.push(timer.ask_at() - NOW - MS * 2);
        }
        assert!(waits.iter().all(|wait| (MS * 1000..MS * 2000).contains(wait)), "{waits:?}");
        waits.sort_unstable();
        waits.dedup();
        assert!(waits.len() > 140, "only {} different waits", waits.len());
    }

    #[test]
    fn a_sequencer_is_missed_when_it_was_not_heard_for_the_election_timeout() {
        let mut core = core(2, 1);
        let mut timer = ElectionTimer::start(&mut core, NOW);
        timer.on_heard(&mut core, NOW);
        assert!(!timer.is_silent(&core, NOW + MS * 999));
        assert!(timer.is_silent(&core, NOW + MS * 1000));
        timer.on_heard(&mut core, NOW);
        timer.hasten(NOW);
        assert!(timer.is_silent(&core, NOW));
        assert_eq!(timer.ask_at(), NOW);
    }

    #[test]
    fn the_next_higher_id_after_a_lost_sequencer_asks_first() {
        let wait = |number, sequencer| {
            let mut core = core(number, sequencer);
            let mut timer = ElectionTimer::start(&mut core, NOW);
            timer.on_closed(&core, NOW, node(sequencer));
            timer.ask_at() - NOW
        };
        assert_eq!([wait(2, 1), wait(3, 1)], [Duration::ZERO, MS * 25]);
        assert_eq!([wait(3, 2), wait(1, 2)], [Duration::ZERO, MS * 25]);
        assert_eq!([wait(1, 3), wait(2, 3)], [Duration::ZERO, MS * 25]);
    }

    #[test]
    fn a_closed_connection_does_not_put_off_what_is_due_sooner() {
        let mut core = core(3, 1);
        let mut timer = ElectionTimer::start(&mut core, NOW);
        timer.hasten(NOW);
        timer.on_closed(&core, NOW, node(1));
        assert_eq!(timer.ask_at(), NOW);
    }

    #[test]
    fn while_the_connection_is_closed_questions_begin_soon_and_come_less_and_less_often() {
        let mut core = core(2, 1);
        let mut timer = ElectionTimer::start(&mut core, NOW);
        for shortest in [25, 50, 100, 200, 400, 800, 1000, 1000] {
            timer.wait_again(&mut core, NOW);
            let wait = timer.ask_at() - NOW;
            assert!((MS * shortest..=MS * 2 * shortest).contains(&wait), "{wait:?}");
        }
        timer.on_heard(&mut core, NOW);
        timer.wait_again(&mut core, NOW);
        assert!(timer.ask_at() - NOW <= MS * 50);
    }
}
