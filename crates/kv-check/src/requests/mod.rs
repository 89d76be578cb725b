//! What clients asked, and how it ended: the raw form of a history and of evidence.

mod copies;
mod evidence;
mod history;
mod named;
mod scan;
mod version_names;

use std::time::Duration;

use kv_core::{NodeId, Operation, Outcome, RequestOptions};

pub use copies::{answered_twice, merged};
pub use named::{NamedRequest, NamedRequests};
pub use scan::disorderly_page;

/// A request that was put to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The server.
    pub node: NodeId,
    /// What was asked for.
    pub op: Operation,
    /// How.
    pub options: RequestOptions,
    /// The virtual time at which it was put.
    pub invoked_at: Duration,
    /// Whether it was cancelled; there may be a reply none the less.
    pub cancelled: bool,
    /// How it stands.
    pub state: RequestState,
}

/// How a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestState {
    /// There is no answer yet.
    Waiting,
    /// There is an answer.
    Replied {
        /// The virtual time of the reply.
        at: Duration,
        /// The answer.
        outcome: Outcome,
    },
    /// The server was down; the request never reached an engine, so it is definitely not done.
    Refused,
    /// The server crashed or halted before it answered; the request may have taken effect, or may
    /// still.
    Lost {
        /// The virtual time of the crash.
        at: Duration,
    },
}

impl Request {
    /// The answer, if there is one.
    #[must_use]
    pub const fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            RequestState::Replied { outcome, .. } => Some(outcome),
            RequestState::Waiting | RequestState::Refused | RequestState::Lost { .. } => None,
        }
    }

    /// When that became so; `None` while there may be an answer yet.
    #[must_use]
    pub const fn ended_at(&self) -> Option<Duration> {
        match &self.state {
            RequestState::Waiting => None,
            RequestState::Refused => Some(self.invoked_at),
            RequestState::Replied { at, .. } | RequestState::Lost { at } => Some(*at),
        }
    }

    /// Whether nothing more will be heard of it.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        !matches!(self.state, RequestState::Waiting)
    }
}
