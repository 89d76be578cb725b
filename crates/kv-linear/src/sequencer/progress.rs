//! How far one follower is, as the sequencer sees it.

use std::collections::VecDeque;
use std::time::Duration;

use kv_core::{Incarnation, NodeId, Timing};

use crate::backoff::Backoff;
use crate::core::Core;
use crate::log::epoch::LogIndex;
use crate::sequencer::intake::Intake;

/// The sequencer's account of one follower.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// The follower's incarnation; nothing of an earlier one counts.
    pub(crate) incarnation: Incarnation,
    /// Whether this incarnation has said how far it is.
    is_located: bool,
    /// What its disk holds of this epoch's log.
    pub(crate) acked: LogIndex,
    /// The last round that it has confirmed.
    pub(crate) confirmed: u64,
    /// The last round that was sent.
    pub(crate) round_sent: u64,
    /// Whether it counts for nothing, since it lost its data.
    pub(crate) recovering: bool,
    /// When anything was last heard of it.
    pub(crate) heard_at: Option<Duration>,
    /// The next entry to send.
    pub(crate) next: LogIndex,
    /// The position after which it was sent entries since that was last found out.
    sent_after: LogIndex,
    /// Up to here it has said to have this epoch's log, on disk or not.
    located: LogIndex,
    /// The messages in flight: the last entry of each, and its bytes.
    in_flight: VecDeque<(LogIndex, usize)>,
    in_flight_bytes: usize,
    /// The bytes of earlier copies that were given up and may still arrive.
    stale_bytes: usize,
    /// Since when something is in flight without progress.
    waits_since: Option<Duration>,
    backoff: Backoff,
    /// When something was last sent on this connection.
    pub(crate) sent_at: Option<Duration>,
    /// The highest commit that was sent.
    pub(crate) commit_sent: LogIndex,
    /// No checkpoint is sent before this.
    pub(crate) checkpoint_not_before: Duration,
    pub(crate) checkpoint_backoff: Backoff,
    /// The requests that it forwarded.
    pub(crate) intake: Intake,
}

impl Progress {
    /// A follower of which nothing is known but that most hold all that is before `next`.
    pub(crate) const fn new(timing: &Timing, incarnation: Incarnation, next: LogIndex) -> Self {
        Self {
            incarnation,
            is_located: false,
            acked: LogIndex::ZERO,
            confirmed: 0,
            round_sent: 0,
            recovering: false,
            heard_at: None,
            next,
            sent_after: next.previous(),
            located: LogIndex::ZERO,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            stale_bytes: 0,
            waits_since: None,
            backoff: Backoff { wait: timing.resend_min, wait_max: timing.resend_max },
            sent_at: None,
            commit_sent: LogIndex::ZERO,
            checkpoint_not_before: Duration::ZERO,
            checkpoint_backoff: checkpoint_backoff(timing),
            intake: Intake::new(),
        }
    }

    /// The follower's incarnation if it has said how far it is; it says so until it is known to be
    /// heard.
    pub(crate) const fn counted_incarnation(&self) -> Incarnation {
        if self.is_located { self.incarnation } else { Incarnation::UNKNOWN }
    }

    /// Whether the follower counts: its incarnation is on this server's disk, and it has its data.
    pub(crate) fn counts(&self, peer: NodeId, core: &Core) -> bool {
        core.known.is_on_disk(peer, self.incarnation) && !self.recovering
    }

    /// Goes over to another incarnation of the follower, with the requests of it that are known.
    pub(crate) fn begin_incarnation(&mut self, incarnation: Incarnation, intake: Intake) {
        self.incarnation = incarnation;
        self.is_located = false;
        self.acked = LogIndex::ZERO;
        self.confirmed = 0;
        self.round_sent = 0;
        self.recovering = false;
        self.intake = intake;
        self.checkpoint_not_before = Duration::ZERO;
        self.sent_after = self.next.previous();
        self.located = LogIndex::ZERO;
        self.rewind(self.sent_after);
    }

    /// Takes an acknowledgement of the present incarnation; true if it is the first or brings
    /// progress.
    pub(crate) fn acknowledge(
        &mut self,
        timing: &Timing,
        now: Duration,
        durable: LogIndex,
    ) -> bool {
        let first = !self.is_located;
        if !first && durable <= self.acked {
            return false;
        }
        self.is_located = true;
        self.acked = self.acked.max(durable);
        self.note_arrived(timing, now, durable);
        // What it lacks from here on is another matter than what the last checkpoints were for.
        self.checkpoint_backoff = checkpoint_backoff(timing);
        let soon = now.saturating_add(self.checkpoint_backoff.wait);
        self.checkpoint_not_before = self.checkpoint_not_before.min(soon);
        true
    }

    /// The follower's log is this one up to `agreed`.
    pub(crate) fn locate(&mut self, agreed: LogIndex) {
        self.is_located = true;
        self.sent_after = agreed;
        self.located = agreed;
        self.rewind(agreed);
    }

    /// Everything up to `durable` has come.
    pub(crate) fn note_arrived(&mut self, timing: &Timing, now: Duration, durable: LogIndex) {
        if self.next <= durable {
            self.rewind(durable);
        }
        while self.in_flight.front().is_some_and(|(last, _)| *last <= durable) {
            if let Some((_, bytes)) = self.in_flight.pop_front() {
                self.in_flight_bytes -= bytes;
            }
        }
        self.stale_bytes = 0;
        self.backoff.wait = timing.resend_min;
        let waits = !self.in_flight.is_empty();
        self.waits_since = waits.then_some(now);
    }

    /// Sends next what follows `have`.
    pub(crate) fn rewind(&mut self, have: LogIndex) {
        self.next = have.next();
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.stale_bytes = 0;
        self.waits_since = None;
    }

    /// Notes a message with entries up to `last`.
    pub(crate) fn note_sent(&mut self, now: Duration, last: LogIndex, bytes: usize) {
        self.next = last.next();
        self.in_flight.push_back((last, bytes));
        self.in_flight_bytes += bytes;
        self.waits_since.get_or_insert(now);
    }

    /// The bytes of entries that were sent and are not acknowledged.
    pub(crate) const fn in_flight_bytes(&self) -> usize {
        self.in_flight_bytes
    }

    /// After which entry to send again what may be lost: what it is known to have, or, where nothing
    /// is, the first that was sent.
    fn resend_after(&self) -> LogIndex {
        let sent = self.next.previous();
        match self.acked.max(self.located.min(sent)) {
            LogIndex::ZERO => self.sent_after.min(sent),
            had => had,
        }
    }

    /// Goes back to the first entry that is not acknowledged if its time has come.
    pub(crate) fn rewind_if_due(&mut self, now: Duration) -> bool {
        let due = self.resend_at().is_some_and(|at| at <= now);
        if due {
            self.backoff.double();
            let stale_bytes = self.stale_bytes.saturating_add(self.in_flight_bytes);
            self.rewind(self.resend_after());
            self.stale_bytes = stale_bytes;
        }
        due
    }

    /// The follower cannot be reached: nothing is in flight, and there is nothing to wait for.
    pub(crate) fn pause(&mut self) {
        self.rewind(self.resend_after());
    }

    /// The follower can be reached again.
    pub(crate) fn resume(&mut self, timing: &Timing) {
        self.backoff.wait = timing.resend_min;
        self.commit_sent = LogIndex::ZERO;
        self.round_sent = 0;
        self.sent_at = None;
        self.rewind(self.resend_after());
    }

    /// When to go back unless there is progress; later, the more is in flight.
    pub(crate) fn resend_at(&self) -> Option<Duration> {
        let bytes = self.in_flight_bytes.saturating_add(self.stale_bytes);
        self.waits_since.map(|since| since.saturating_add(self.backoff.wait_for(bytes)))
    }
}

const fn checkpoint_backoff(timing: &Timing) -> Backoff {
    Backoff { wait: timing.resend_max, wait_max: timing.resend_max.saturating_mul(16) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn timing() -> Timing {
        Timing { resend_min: MS * 10, resend_max: MS * 25, ..Timing::default() }
    }

    fn progress() -> Progress {
        let mut progress = Progress::new(&timing(), Incarnation(1), LogIndex(1));
        progress.acknowledge(&timing(), MS, LogIndex(0));
        progress
    }

    #[test]
    fn an_acknowledgement_frees_what_it_covers() {
        let mut progress = progress();
        progress.note_sent(MS, LogIndex(2), 100);
        progress.note_sent(MS, LogIndex(5), 50);
        assert!(progress.acknowledge(&timing(), MS, LogIndex(3)));
        assert_eq!(progress.in_flight_bytes(), 50);
        assert!(!progress.acknowledge(&timing(), MS, LogIndex(2)));
        assert!(progress.acknowledge(&timing(), MS, LogIndex(5)));
        assert_eq!((progress.in_flight_bytes(), progress.resend_at()), (0, None));
        assert_eq!(progress.next, LogIndex(6));
    }

    #[test]
    fn resends_wait_longer_each_time_and_start_over_with_progress() {
        let mut progress = progress();
        progress.note_sent(MS, LogIndex(1), 9);
        assert!(!progress.rewind_if_due(MS * 10));
        assert!(progress.rewind_if_due(MS * 11));
        assert_eq!(progress.next, LogIndex(1));
        progress.note_sent(MS * 11, LogIndex(2), 9);
        assert_eq!(progress.resend_at(), Some(MS * 31));
        assert!(progress.rewind_if_due(MS * 31));
        progress.note_sent(MS * 31, LogIndex(2), 9);
        assert_eq!(progress.resend_at(), Some(MS * 56));
        progress.acknowledge(&timing(), MS * 40, LogIndex(1));
        assert_eq!(progress.resend_at(), Some(MS * 50));
    }

    #[test]
    fn resends_wait_for_all_that_is_on_its_way() {
        let mut progress = progress();
        progress.note_sent(MS, LogIndex(1), 9);
        progress.note_sent(MS * 2, LogIndex(2), 8 << 20);
        progress.note_sent(MS * 3, LogIndex(3), 8 << 20);
        assert_eq!(progress.resend_at(), Some(MS * 2011));
        progress.acknowledge(&timing(), MS * 500, LogIndex(2));
        assert_eq!(progress.resend_at(), Some(MS * 1510));
        // A copy that was given up may still be ahead of the next one.
        assert!(progress.rewind_if_due(MS * 1510));
        assert_eq!(progress.resend_at(), None);
        progress.note_sent(MS * 1510, LogIndex(3), 8 << 20);
        assert_eq!(progress.resend_at(), Some(MS * 3530));
        progress.resume(&timing());
        progress.note_sent(MS * 1600, LogIndex(3), 8 << 20);
        assert_eq!(progress.resend_at(), Some(MS * 2610));
    }

    #[test]
    fn a_follower_that_came_on_does_not_wait_for_a_checkpoint_as_long_as_one_that_did_not() {
        let mut progress = progress();
        progress.checkpoint_backoff.wait = MS * 400;
        progress.checkpoint_not_before = MS * 400;
        assert!(!progress.acknowledge(&timing(), MS, LogIndex(0)));
        assert_eq!(progress.checkpoint_not_before, MS * 400);
        assert!(progress.acknowledge(&timing(), MS, LogIndex(5)));
        assert_eq!(progress.checkpoint_not_before, MS * 26);
        assert_eq!(progress.checkpoint_backoff.wait, MS * 25);
    }

    #[test]
    fn what_a_follower_has_in_memory_is_not_sent_again() {
        let mut progress = progress();
        progress.note_sent(MS, LogIndex(9), 9);
        progress.acknowledge(&timing(), MS, LogIndex(3));
        progress.locate(LogIndex(9));
        progress.note_sent(MS, LogIndex(12), 9);
        assert!(progress.rewind_if_due(MS * 11));
        assert_eq!(progress.next, LogIndex(10));
        progress.begin_incarnation(Incarnation(2), Intake::new());
        progress.acknowledge(&timing(), MS * 12, LogIndex(3));
        progress.note_sent(MS * 12, LogIndex(12), 9);
        assert!(progress.rewind_if_due(MS * 50));
        assert_eq!(progress.next, LogIndex(4), "that was in the memory of another process");
    }

    #[test]
    fn a_new_incarnation_has_acknowledged_nothing_and_has_to_say_what_it_lacks() {
        let mut progress = progress();
        progress.note_sent(MS, LogIndex(9), 9);
        progress.acknowledge(&timing(), MS, LogIndex(9));
        progress.note_sent(MS, LogIndex(10), 9);
        progress.recovering = true;
        assert_eq!(progress.counted_incarnation(), Incarnation(1));
        progress.begin_incarnation(Incarnation(2), Intake::new());
        assert_eq!(progress.counted_incarnation(), Incarnation::UNKNOWN);
        assert_eq!((progress.acked, progress.recovering), (LogIndex(0), false));
        assert_eq!((progress.in_flight_bytes(), progress.resend_at()), (0, None));
        assert_eq!(progress.next, LogIndex(11));
        progress.locate(LogIndex(4));
        assert_eq!(progress.counted_incarnation(), Incarnation(2));
        assert_eq!((progress.acked, progress.next), (LogIndex(0), LogIndex(5)));
    }

    #[test]
    fn a_follower_of_which_nothing_is_known_is_sent_the_opening_entry() {
        let progress = Progress::new(&timing(), Incarnation(1), LogIndex(7));
        assert_eq!(progress.next, LogIndex(7));
        assert_eq!((progress.acked, progress.resend_at()), (LogIndex(0), None));
    }

    #[test]
    fn a_follower_that_was_located_is_sent_again_what_follows_until_it_acknowledges_some_of_it() {
        let mut progress = Progress::new(&timing(), Incarnation(1), LogIndex(7));
        progress.note_sent(MS, LogIndex(9), 9);
        progress.locate(LogIndex(3));
        assert_eq!((progress.next, progress.in_flight_bytes()), (LogIndex(4), 0));
        progress.note_sent(MS, LogIndex(9), 9);
        assert!(progress.rewind_if_due(MS * 11));
        assert_eq!(progress.next, LogIndex(4));
        progress.note_sent(MS * 11, LogIndex(9), 9);
        assert!(progress.acknowledge(&timing(), MS * 12, LogIndex(5)));
        progress.pause();
        assert_eq!(progress.next, LogIndex(6));
    }

    #[test]
    fn an_acknowledgement_beyond_what_was_sent_goes_on_behind_it() {
        let mut progress = Progress::new(&timing(), Incarnation(1), LogIndex(7));
        assert!(progress.acknowledge(&timing(), MS, LogIndex(8)));
        assert_eq!((progress.acked, progress.next), (LogIndex(8), LogIndex(9)));
    }
}
