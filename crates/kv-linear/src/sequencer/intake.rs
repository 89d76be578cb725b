//! What the sequencer remembers of one server's forwarded requests.

use std::collections::BTreeMap;

use kv_core::NotDone;

use crate::state_machine::numbers::{NUMBERS_SPAN_MAX, NumberSet};

/// The numbers that the sequencer has seen of one incarnation of a server, so that a request sent
/// twice gets one position in the log, and one that was refused gets none, ever.
///
/// Volatile: a sequencer that restarts begins another epoch, and requests are addressed to one. A
/// request that has its position from an earlier epoch, and may be forwarded anew in this one, is
/// in the starting log, which this begins with.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    seen: NumberSet,
    refused: BTreeMap<u64, NotDone>,
    settled_below: u64,
}

/// What is to be done with a request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It came for the first time.
    New,
    /// It has its position, or is settled.
    Seen,
    /// It was refused; its server may not know yet.
    Refused(NotDone),
    /// Its number is too far ahead to be remembered.
    TooFar,
}

impl Intake {
    pub(crate) const fn new() -> Self {
        Self { seen: NumberSet::new(), refused: BTreeMap::new(), settled_below: 1 }
    }

    /// One that begins with requests that have their positions.
    pub(crate) const fn holding(placed: NumberSet) -> Self {
        Self { seen: placed, refused: BTreeMap::new(), settled_below: 1 }
    }

    /// Forgets what the server never sends again.
    pub(crate) fn settle_below(&mut self, settled_below: u64) {
        if settled_below > self.settled_below {
            self.settled_below = settled_below;
            self.seen.insert_below(settled_below);
            self.refused = self.refused.split_off(&settled_below);
        }
    }

    /// Looks at a number that came; a new one is noted.
    pub(crate) fn offer(&mut self, number: u64) -> Offer {
        if let Some(reason) = self.refused.get(&number) {
            return Offer::Refused(reason.clone());
        }
        if self.seen.contains(number) {
            return Offer::Seen;
        }
        if number >= self.settled_below.saturating_add(2 * NUMBERS_SPAN_MAX) {
            return Offer::TooFar;
        }
        self.seen.insert(number);
        Offer::New
    }

    /// Notes that a request is refused for good.
    pub(crate) fn refuse(&mut self, number: u64, reason: NotDone) {
        if number >= self.settled_below {
            self.refused.insert(number, reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_new_once_and_a_refused_one_never_again() {
        let mut intake = Intake::new();
        let reason = NotDone::Overloaded { limit: 1 };
        assert_eq!(intake.offer(1), Offer::New);
        assert_eq!(intake.offer(1), Offer::Seen);
        assert_eq!(intake.offer(2), Offer::New);
        intake.refuse(2, reason.clone());
        assert_eq!(intake.offer(2), Offer::Refused(reason));
        intake.settle_below(3);
        assert_eq!(intake.offer(2), Offer::Seen);
        assert_eq!(intake.offer(3), Offer::New);
    }

    #[test]
    fn what_has_its_place_from_an_earlier_epoch_is_not_new() {
        let mut placed = NumberSet::new();
        placed.insert(2);
        let mut intake = Intake::holding(placed);
        assert_eq!((intake.offer(1), intake.offer(2)), (Offer::New, Offer::Seen));
    }

    #[test]
    fn a_settled_number_is_not_new() {
        let mut intake = Intake::new();
        intake.settle_below(9);
        assert_eq!(intake.offer(8), Offer::Seen);
        assert_eq!(intake.offer(9), Offer::New);
    }

    #[test]
    fn a_number_far_ahead_is_not_taken() {
        let mut intake = Intake::new();
        assert_eq!(intake.offer(u64::MAX), Offer::TooFar);
        assert_eq!(intake.offer(2 * NUMBERS_SPAN_MAX), Offer::New);
    }
}
