//! Why a request brought no result.

use std::time::Duration;

use kv_core::{NoResult, NodeId, NotDone, Unknown};
use kv_proto::Refusal;

use crate::connection::error::{DialFailure, LostReason};

/// Why a request brought no result. [`ClientError::certainty`] tells whether it may have had an
/// effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server says that it was definitely not done.
    #[error("{0}")]
    NotDone(NotDone),
    /// The server does not know whether it was done.
    #[error("{0}")]
    Unknown(Unknown),
    /// The server says that the request is not legal; nothing was done.
    #[error("server {server} refuses the request: {why}")]
    Malformed {
        /// Which server.
        server: NodeId,
        /// Its words.
        why: String,
    },
    /// The request makes no frame, so nothing was sent.
    #[error("the request of {size} bytes is too large to send: make it smaller")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
    },
    /// No server could be reached in time; nothing was done.
    #[error(
        "unavailable: {}{}; nothing was done, so try again",
        none_answers(servers),
        crate::connection::error::first_of(failures)
    )]
    Unavailable {
        /// The servers in question, in ascending order.
        servers: Vec<NodeId>,
        /// How the last attempt at each of them failed, in the order of the attempts.
        failures: Vec<DialFailure>,
    },
    /// No server is left, and this one refuses the client; nothing was sent.
    #[error("server {server} refuses this client: {refusal}")]
    Refused {
        /// Which server.
        server: NodeId,
        /// Why.
        refusal: Refusal,
    },
    /// Too many requests were in hand all the time; nothing was sent.
    #[error(
        "timed out: the connection is busy with {limit} requests; nothing was sent, so try again"
    )]
    Busy {
        /// How many may be.
        limit: u32,
    },
    /// A read was not answered in time, or a session was not opened, so that a write was not sent.
    #[error("timed out: server {server} did not answer in {waited:?}; try again")]
    TimedOut {
        /// Which server.
        server: NodeId,
        /// How long the client waited.
        waited: Duration,
    },
    /// A write was not answered in time.
    #[error(
        "unknown: server {server} did not answer in {waited:?}; the write may have taken effect \
         or may still, so read before you repeat it"
    )]
    NoAnswer {
        /// Which server.
        server: NodeId,
        /// How long the client waited.
        waited: Duration,
    },
    /// The server was lost after a write had been sent to it.
    #[error(
        "unknown: server {server} was lost ({why}); the write may have taken effect or may still, \
         so read before you repeat it"
    )]
    Lost {
        /// Which server.
        server: NodeId,
        /// How.
        why: LostReason,
    },
    /// The answer is not one to such a request: the server is of another release, or broken.
    #[error("server {server} gave an answer that does not fit the request; use one release")]
    Unexpected {
        /// Which server.
        server: NodeId,
    },
    /// The server was lost in the middle of a dump, and what another one holds is not its rest.
    #[error("the server was lost during the dump, which is not whole; try again")]
    DumpInterrupted,
    /// The client's background task has ended with its runtime.
    #[error("unknown: the client was stopped; the request may have taken effect")]
    Stopped,
}

/// Whether a request that brought no result may have had an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// It had none and never will.
    NotDone,
    /// It may have taken effect, or may still.
    Unknown,
}

impl ClientError {
    /// Whether the request may have had an effect. A read has none, so a read that failed was not
    /// done, unless it failed with an error that does not tell reads and writes apart.
    #[must_use]
    pub const fn certainty(&self) -> Certainty {
        match self {
            Self::NotDone(_)
            | Self::Malformed { .. }
            | Self::TooLarge { .. }
            | Self::Unavailable { .. }
            | Self::Refused { .. }
            | Self::Busy { .. }
            | Self::TimedOut { .. }
            | Self::DumpInterrupted => Certainty::NotDone,
            Self::Unknown(_)
            | Self::NoAnswer { .. }
            | Self::Lost { .. }
            | Self::Unexpected { .. }
            | Self::Stopped => Certainty::Unknown,
        }
    }
}

impl From<NoResult> for ClientError {
    fn from(none: NoResult) -> Self {
        match none {
            NoResult::NotDone(reason) => Self::NotDone(reason),
            NoResult::Unknown(unknown) => Self::Unknown(unknown),
        }
    }
}

/// Says that none of these servers answers.
fn none_answers(servers: &[NodeId]) -> String {
    match servers {
        [one] => format!("server {one} does not answer"),
        several => format!("none of the servers {} answers", kv_proto::id_ranges(several)),
    }
}
