//! How log time goes on while nobody writes.

use std::time::Duration;

use kv_core::Shortage;

use crate::core::{Core, Out};
use crate::mutation::Mutation;
use crate::sequencer::Sequencer;

impl Sequencer {
    /// Adds an entry without operations once a key's time is up, so that all servers remove the
    /// key although nothing else is written.
    pub(crate) fn tick(&mut self, core: &mut Core, now: Duration, out: &mut Out) {
        let Some(deadline_ms) = core.replica.machine().next_deadline_ms() else {
            self.tick_at = None;
            return;
        };
        let (applied, last) = (core.replica.applied(), core.replica.log().last());
        // An entry that removed as many keys as it may has left some.
        let is_behind = deadline_ms <= applied.log_time_ms;
        if self.tick_at.is_some_and(|at| at > now) && !is_behind {
            return;
        }
        self.tick_at = Some(now.saturating_add(TICK_WAIT));
        let clock_ms = core.wall_ms().max(last.log_time_ms);
        if deadline_ms > clock_ms {
            let left = Duration::from_millis(deadline_ms - clock_ms).min(TICK_WAIT);
            self.tick_at = Some(now.saturating_add(left));
            return;
        }
        let is_under_way = last.index > applied.index && deadline_ms <= last.log_time_ms;
        let may_sequence = core.replica.durable() >= self.opening
            && !self.holds()
            && matches!(core.shortage, None | Some(Shortage::SpaceForData))
            && self.check_reachable(core, false).is_ok();
        if is_under_way || !may_sequence || core.broken.is(Mutation::TickNotProposed) {
            return;
        }
        let entry = core.next_entry(&[]);
        core.replica.append(entry.clone());
        core.persist_entries(last.index, vec![entry], out);
    }
}

/// Ticks are at least this far apart, but for those that remove what earlier ones have left. The
/// wall clock may jump, so it is looked at as often.
const TICK_WAIT: Duration = Duration::from_millis(50);
