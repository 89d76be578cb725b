//! What requests brought.

use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};
use kv_client::{Certainty, ClientError};

use crate::output::exit::ExitStatus;

/// What requests brought, counted.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Times of the reads that were done, in microseconds.
    pub(crate) reads: Histogram<u64>,
    /// Those of the puts.
    pub(crate) puts: Histogram<u64>,
    /// How many reads found a value.
    pub(crate) found: u64,
    /// How many requests were definitely not done.
    pub(crate) not_done: u64,
    /// How many may have been done.
    pub(crate) unknown: u64,
    pub(crate) first_error: Option<ClientError>,
}

/// What a request that was done brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brought {
    Value,
    NoValue,
    Write,
}

impl Tally {
    /// # Errors
    /// None in practice: the histograms' precision is a legal one.
    pub(crate) fn new() -> Result<Self, CreationError> {
        Ok(Self {
            reads: Histogram::new(SIGNIFICANT_DIGITS)?,
            puts: Histogram::new(SIGNIFICANT_DIGITS)?,
            found: 0,
            not_done: 0,
            unknown: 0,
            first_error: None,
        })
    }

    pub(crate) fn count(&mut self, result: Result<Brought, ClientError>, elapsed: Duration) {
        match result {
            Ok(Brought::Write) => record(&mut self.puts, elapsed),
            Ok(Brought::Value) => {
                self.found += 1;
                record(&mut self.reads, elapsed);
            }
            Ok(Brought::NoValue) => record(&mut self.reads, elapsed),
            Err(error) => {
                match error.certainty() {
                    Certainty::NotDone => self.not_done += 1,
                    Certainty::Unknown => self.unknown += 1,
                }
                self.first_error.get_or_insert(error);
            }
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        // Histograms that grow by themselves take all that others hold.
        let _ = self.reads.add(&other.reads);
        let _ = self.puts.add(&other.puts);
        self.found += other.found;
        self.not_done += other.not_done;
        self.unknown += other.unknown;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    /// How the program should end.
    pub(crate) fn status(&self) -> ExitStatus {
        self.first_error.as_ref().map_or(ExitStatus::Done, ExitStatus::of_error)
    }
}

fn record(times: &mut Histogram<u64>, elapsed: Duration) {
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    // The histogram grows, up to a size that this bound keeps small.
    let _ = times.record(micros.clamp(1, MICROS_MAX));
}

/// Longer ones count as a day.
const MICROS_MAX: u64 = 24 * 60 * 60 * 1_000_000;

/// Figures are right to one in a thousand.
const SIGNIFICANT_DIGITS: u8 = 3;

#[cfg(test)]
mod tests {
    use kv_core::NodeId;

    use super::*;

    #[test]
    fn what_was_done_is_timed_and_what_was_not_is_counted() {
        let millis = Duration::from_millis;
        let mut tally = Tally::new().unwrap();
        tally.count(Ok(Brought::Write), millis(1));
        tally.count(Ok(Brought::Value), millis(2));
        let mut other = Tally::new().unwrap();
        other.count(Ok(Brought::NoValue), millis(4000));
        other.count(Err(ClientError::Busy { limit: 1 }), millis(9));
        let (server, waited) = (NodeId::FIRST, millis(9));
        other.count(Err(ClientError::NoAnswer { server, waited }), millis(9));
        assert_eq!(other.status(), ExitStatus::NotDone);
        tally.add(other);
        assert_eq!((tally.puts.len(), tally.reads.len(), tally.found), (1, 2, 1));
        assert_eq!((tally.not_done, tally.unknown), (1, 1));
        assert!(tally.reads.equivalent(tally.reads.max(), 4_000_000));
        assert_eq!(tally.status(), ExitStatus::NotDone);
    }
}
