//! How far one follower is, as the sequencer sees it.

use std::collections::VecDeque;
use std::time::Duration;

use kv_core::{Incarnation, NodeId, Timing};

use crate::backoff::Backoff;
use crate::core::{Core, Out};
use crate::durable::journal::Durable;
use crate::durable::record::Record;
use crate::log::epoch::LogIndex;
use crate::message::NeedStart;
use crate::sequencer::intake::Intake;
use crate::sequencer::start::Start;

/// The sequencer's account of one follower.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// The follower's incarnation as this server's disk has it; acknowledgements of older ones do
    /// not count.
    pub(crate) incarnation: Incarnation,
    /// A newer incarnation being written to disk, with what it says that it has.
    pub(crate) noting: Option<(Incarnation, Claim)>,
    /// What the present incarnation has acknowledged in this epoch; `None` until it is in it.
    pub(crate) acked: Option<LogIndex>,
    /// What brings the present incarnation into this epoch, once it has said what it needs.
    pub(crate) start: Option<Start>,
    /// The next entry to send.
    pub(crate) next: LogIndex,
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
    /// Whether this process has sent it anything of its epoch's starting log, or a checkpoint.
    pub(crate) was_sent_start: bool,
}

/// What a follower says that it has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Claim {
    /// The log of this epoch up to here, on disk.
    Holds(LogIndex),
    /// The log of an earlier epoch.
    Needs(NeedStart),
}

impl Progress {
    pub(crate) const fn new(timing: &Timing, incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            noting: None,
            acked: None,
            start: None,
            next: LogIndex(1),
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
            was_sent_start: false,
        }
    }

    /// What the present incarnation has acknowledged.
    pub(crate) fn acked(&self) -> LogIndex {
        self.acked.unwrap_or(LogIndex::ZERO)
    }

    /// The last position that the present incarnation is known to have, in its log or staged for
    /// it.
    fn known(&self) -> LogIndex {
        self.start.as_ref().map_or_else(|| self.acked(), |start| start.staged)
    }

    /// The follower's incarnation if it has sent a message; it reports until it has.
    pub(crate) const fn counted_incarnation(&self) -> Incarnation {
        match (self.acked, &self.start) {
            (None, None) => Incarnation::UNKNOWN,
            (Some(_), _) | (None, Some(_)) => self.incarnation,
        }
    }

    /// Has a newer incarnation of the follower written down; nothing that it says counts before.
    pub(crate) fn note_incarnation(
        &mut self,
        core: &mut Core,
        peer: NodeId,
        (incarnation, claim): (Incarnation, Claim),
        out: &mut Out,
    ) {
        match &mut self.noting {
            Some((noting, known)) if *noting == incarnation => *known = known.updated(claim),
            Some((noting, _)) if *noting > incarnation => core.counters.stray_messages += 1,
            Some(_) | None => {
                self.noting = Some((incarnation, claim));
                let record = Record::PeerIncarnation { peer, incarnation };
                core.persist(record, Durable::PeerIncarnation { peer, incarnation }, out);
            }
        }
    }

    /// Goes over to another incarnation of the follower, whose disk holds the log up to `acked`, or
    /// no log of this epoch.
    pub(crate) fn begin_incarnation(&mut self, incarnation: Incarnation, acked: Option<LogIndex>) {
        assert!(incarnation > self.incarnation);
        self.incarnation = incarnation;
        self.noting = None;
        self.acked = acked;
        self.start = None;
        self.intake = Intake::new();
        self.checkpoint_not_before = Duration::ZERO;
        self.rewind(self.acked());
    }

    /// Takes an acknowledgement of the present incarnation; true if it is the first or brings
    /// progress.
    pub(crate) fn acknowledge(
        &mut self,
        timing: &Timing,
        now: Duration,
        durable: LogIndex,
    ) -> bool {
        let first = self.acked.is_none();
        if !first && durable <= self.acked() {
            return false;
        }
        self.acked = Some(durable);
        self.start = None;
        if first {
            self.rewind(durable);
        }
        self.note_arrived(timing, now, durable);
        // What it lacks from here on is another matter than what the last checkpoints were for.
        self.checkpoint_backoff = checkpoint_backoff(timing);
        let soon = now.saturating_add(self.checkpoint_backoff.wait);
        self.checkpoint_not_before = self.checkpoint_not_before.min(soon);
        true
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
        if let Some(start) = &mut self.start {
            start.is_sent = false;
        }
    }

    /// Notes a part of the starting log up to `last`; the last one if `whole`.
    pub(crate) fn note_start_sent(
        &mut self,
        now: Duration,
        (last, bytes): (LogIndex, usize),
        whole: bool,
    ) {
        self.was_sent_start = true;
        self.note_sent(now, last, bytes);
        if let Some(start) = &mut self.start {
            start.is_sent = whole;
        }
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

    /// Goes back to the first entry that is not acknowledged if its time has come.
    pub(crate) fn rewind_if_due(&mut self, now: Duration) -> bool {
        let due = self.resend_at().is_some_and(|at| at <= now);
        if due {
            self.backoff.double();
            let stale_bytes = self.stale_bytes.saturating_add(self.in_flight_bytes);
            self.rewind(self.known());
            self.stale_bytes = stale_bytes;
        }
        due
    }

    /// The follower cannot be reached: nothing is in flight, and there is nothing to wait for.
    pub(crate) fn pause(&mut self) {
        self.rewind(self.known());
    }

    /// The follower can be reached again.
    pub(crate) fn resume(&mut self, timing: &Timing) {
        self.backoff.wait = timing.resend_min;
        self.commit_sent = LogIndex::ZERO;
        self.sent_at = None;
        self.rewind(self.known());
    }

    /// When to go back unless there is progress; later, the more is in flight.
    pub(crate) fn resend_at(&self) -> Option<Duration> {
        let bytes = self.in_flight_bytes.saturating_add(self.stale_bytes);
        self.waits_since.map(|since| since.saturating_add(self.backoff.wait_for(bytes)))
    }
}

impl Claim {
    /// With what the same incarnation said next; messages overtake each other.
    fn updated(self, next: Self) -> Self {
        match (self, next) {
            (Self::Holds(known), Self::Holds(next)) => Self::Holds(known.max(next)),
            (Self::Holds(known), Self::Needs(_)) => Self::Holds(known),
            (Self::Needs(_), next) => next,
        }
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
        let mut progress = Progress::new(&timing(), Incarnation(1));
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
    fn a_new_incarnation_is_sent_what_it_lacks() {
        let mut progress = progress();
        progress.note_sent(MS, LogIndex(9), 9);
        progress.acknowledge(&timing(), MS, LogIndex(9));
        progress.begin_incarnation(Incarnation(2), Some(LogIndex(0)));
        assert_eq!((progress.acked(), progress.next), (LogIndex(0), LogIndex(1)));
    }
}
