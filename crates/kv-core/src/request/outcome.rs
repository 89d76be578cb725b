//! How a request ended.

use std::fmt;
use std::time::Duration;

use crate::key::{Key, Value};
use crate::request::batch::ExpiryMs;
use crate::request::not_done::NotDone;
use crate::version::Version;
use crate::{wire_enum, wire_struct};

/// The one answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It took effect.
    Done(Done),
    /// It had no effect and never will.
    NotDone(NotDone),
    /// It may have taken effect, or may still.
    Unknown(Unknown),
}

wire_enum!(Outcome, "outcome", { 0 => Done(done), 1 => NotDone(reason), 2 => Unknown(unknown) });

impl Outcome {
    /// What was done, or why that is not known.
    ///
    /// # Errors
    /// [`NoResult`] for whatever is not [`Outcome::Done`].
    pub fn into_result(self) -> Result<Done, NoResult> {
        match self {
            Self::Done(done) => Ok(done),
            Self::NotDone(reason) => Err(NoResult::NotDone(reason)),
            Self::Unknown(unknown) => Err(NoResult::Unknown(unknown)),
        }
    }
}

/// Why a request brought no result: an [`Outcome`] as an error.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoResult {
    /// It had no effect and never will.
    #[error("{0}")]
    NotDone(NotDone),
    /// It may have taken effect, or may still.
    #[error("{0}")]
    Unknown(Unknown),
}

/// What a request that took effect brought.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Done {
    /// What was read or written.
    pub answer: Answer,
    /// The version of the write; for a read in the linearizable engine, the read's own number
    /// among all operations, and in the eventual one, if the key was deleted, the delete's version as
    /// long as that is known.
    pub version: Option<Version>,
    /// The level at which the request was served.
    pub served: Served,
}

wire_struct!(Done { answer, version, served });

/// What was read or written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// One result for each command of a batch, in order.
    Results(Vec<CommandResult>),
    /// A page of a scan or a dump.
    Page(Page),
}

wire_enum!(Answer, "answer", { 0 => Results(results), 1 => Page(page) });

impl Answer {
    /// The result of a batch that has one command.
    #[must_use]
    pub fn single(self) -> Option<CommandResult> {
        match self {
            Self::Results(mut results) => results.pop().filter(|_| results.is_empty()),
            Self::Page(_) => None,
        }
    }
}

/// What one command brought.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CommandResult {
    /// A get: the value, or `None` for a missing key.
    Value(Option<Versioned>),
    /// A put or a delete.
    Written,
    /// An increment: the new number.
    Number(i64),
    /// An append: the new length in bytes.
    Length(u64),
    /// A change of how long a key lasts: whether there was anything to change. That is so if there
    /// is the key; if it was to last for ever, if it also had a time before.
    Changed(bool),
    /// How long a key lasts.
    TimeToLive(TimeToLive),
    /// When a key expires.
    Expiry(KeyExpiry),
}

wire_enum!(CommandResult, "command result", {
    0 => Value(value),
    1 => Written,
    2 => Number(number),
    3 => Length(length),
    4 => Changed(changed),
    5 => TimeToLive(left),
    6 => Expiry(expiry),
});

/// How long a key lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeToLive {
    /// There is no such key.
    Missing,
    /// For ever.
    Endless,
    /// So long from now on.
    Left(Duration),
}

wire_enum!(TimeToLive, "time to live", { 0 => Missing, 1 => Endless, 2 => Left(left) });

/// When a key expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyExpiry {
    /// There is no such key.
    Missing,
    /// Never.
    Never,
    /// At this moment.
    At(ExpiryMs),
}

wire_enum!(KeyExpiry, "expiry of a key", { 0 => Missing, 1 => Never, 2 => At(expiry) });

/// A value and the write that it is from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Versioned {
    /// The value.
    pub value: Value,
    /// The write that it is from.
    pub version: Version,
}

wire_struct!(Versioned { value, version });

/// Some keys in ascending order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Page {
    /// The keys with what they hold.
    pub entries: Vec<(Key, Versioned)>,
    /// Where the next page begins (after this key); `None` on the last page.
    pub next: Option<Key>,
}

wire_struct!(Page { entries, next });

/// The level at which a request was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Served {
    /// In one order with all others, in real time.
    Linearizable,
    /// From this server alone, no older than what the session has seen.
    Sequential,
    /// By this many servers of the eventual engine, the coordinator included.
    Quorum {
        /// How many acknowledged the write or answered the read.
        servers: u16,
    },
    /// From this server alone, with no promise.
    Local,
}

wire_enum!(Served, "consistency level", {
    0 => Linearizable,
    1 => Sequential,
    2 => Quorum { servers },
    3 => Local,
});

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => f.write_str("linearizable"),
            Self::Sequential => f.write_str("sequential"),
            Self::Quorum { servers: 1 } => f.write_str("1 server"),
            Self::Quorum { servers } => write!(f, "{servers} servers"),
            Self::Local => f.write_str("local"),
        }
    }
}

/// What is known of a request that may have taken effect, or may still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unknown {
    /// The version that the write has if it took effect, where that is known.
    pub version: Option<Version>,
    /// How many servers acknowledged it.
    pub acks: u16,
    /// How many were needed.
    pub needed: u16,
}

wire_struct!(Unknown { version, acks, needed });

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.acks, self.needed) {
            (0, 1) => f.write_str("unknown: the server has not acknowledged it")?,
            (acks, 1) => write!(f, "unknown: {acks} of 1 server acknowledged")?,
            (acks, needed) => write!(f, "unknown: {acks} of {needed} servers acknowledged")?,
        }
        f.write_str("; it may have taken effect or may still, so read before you repeat it")
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::Wire;

    #[test]
    fn a_single_result_is_the_only_one() {
        let written = CommandResult::Written;
        let answer = |results| Answer::Results(results).single();
        assert_eq!(answer(vec![written.clone()]), Some(written.clone()));
        assert_eq!(answer(vec![]), None);
        assert_eq!(answer(vec![written.clone(), written]), None);
    }

    #[test]
    fn only_what_was_done_is_ok() {
        let reason = NotDone::SessionExpired;
        let unknown = Unknown { version: None, acks: 1, needed: 2 };
        let done = Done {
            answer: Answer::Results(vec![CommandResult::Written]),
            version: None,
            served: Served::Local,
        };
        assert_eq!(Outcome::Done(done.clone()).into_result(), Ok(done));
        let refused = Outcome::NotDone(reason.clone()).into_result();
        assert_eq!(refused, Err(NoResult::NotDone(reason)));
        assert_eq!(Outcome::Unknown(unknown).into_result(), Err(NoResult::Unknown(unknown)));
    }

    #[test]
    fn what_is_not_known_says_who_acknowledged() {
        let text = |acks, needed| {
            let text = Unknown { version: None, acks, needed }.to_string();
            text.split_once("; it may have taken effect").unwrap().0.to_owned()
        };
        assert_eq!(text(0, 1), "unknown: the server has not acknowledged it");
        assert_eq!(text(1, 1), "unknown: 1 of 1 server acknowledged");
        assert_eq!(text(1, 2), "unknown: 1 of 2 servers acknowledged");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Outcome::from_bytes(Bytes::from(bytes));
        }
    }
}
