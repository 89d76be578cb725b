//! A request on its way from its caller to a server, and its answer on the way back.

use std::time::Duration;

use kv_core::{NodeId, Operation, RequestIdentity, SessionId};
use kv_proto::{Request, RequestBody, ResponseBody};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::send_state::SendState;
use crate::error::ClientError;

/// A request as a caller hands it in.
#[derive(Debug)]
pub(crate) struct Submission {
    /// Never used twice in a client's life.
    pub(crate) id: u64,
    pub(crate) body: RequestBody,
    pub(crate) since: Instant,
    pub(crate) timeout: Duration,
    pub(crate) send_state: SendState,
    pub(crate) reply: oneshot::Sender<Result<Answered, ClientError>>,
    /// Given back when the request is forgotten.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// An answer and the server that gave it.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) server: NodeId,
    pub(crate) body: ResponseBody,
}

/// A request that has no answer yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) submission: Submission,
    pub(crate) deadline: Instant,
    /// Where its frame ends on the connection, and when it was put there; `None` if it was not.
    pub(crate) sent: Option<(u64, Instant)>,
    /// What a server said that could not serve it yet.
    pub(crate) refusal: Option<Answered>,
    /// When it is sent again after that, and how long it waits the next time.
    pub(crate) held: Option<Instant>,
    pub(crate) pause: Duration,
    /// Its session and its number there.
    pub(crate) name: Option<(SessionId, u64)>,
    /// How it ends unless something better is learnt: an earlier copy may take effect.
    pub(crate) unclear: Option<Result<Answered, ClientError>>,
}

impl Pending {
    pub(crate) fn is_read_only(&self) -> bool {
        match &self.submission.body {
            RequestBody::Execute { op, .. } => op.is_read_only(),
            RequestBody::Status | RequestBody::Cancel | RequestBody::Snapshot => true,
        }
    }

    /// Whether it is a write that may be sent again in a session.
    pub(crate) fn is_nameable(&self) -> bool {
        let RequestBody::Execute { op, options } = &self.submission.body else {
            return false;
        };
        matches!(op, Operation::Batch(_)) && !op.is_read_only() && options.identity.is_none()
    }

    pub(crate) fn time_left(&self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.submission.since);
        self.submission.timeout.saturating_sub(passed)
    }

    /// The request with the time that is left to it.
    pub(crate) fn request(&self, now: Instant, identity: Option<RequestIdentity>) -> Request {
        let submission = &self.submission;
        let body = match submission.body.clone() {
            RequestBody::Execute { op, options } => {
                let (timeout, identity) = (self.time_left(now), identity.or(options.identity));
                let age = now.saturating_duration_since(submission.since);
                let sent_before = self.unclear.as_ref().map(|_| age).or(options.sent_before);
                let options = options
                    .with_timeout(timeout)
                    .with_identity(identity)
                    .with_sent_before(sent_before);
                RequestBody::Execute { op, options }
            }
            body @ (RequestBody::Status | RequestBody::Cancel | RequestBody::Snapshot) => body,
        };
        let id = submission.id;
        Request { id, body }
    }
}
