//! What reaches the loop from other threads.

use kv_core::{Operation, Outcome, RequestOptions, Status};
use tokio::sync::oneshot;

use crate::client_number::ClientNumber;

/// From clients in this process.
#[derive(Debug)]
pub(crate) enum LocalEvent {
    /// One asks for something.
    Request {
        client: ClientNumber,
        op: Operation,
        options: Box<RequestOptions>,
        reply: oneshot::Sender<Outcome>,
    },
    /// One asks how the server is.
    Status { reply: oneshot::Sender<Status> },
}

/// How a server is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Not yet.
    #[default]
    Not,
    /// Once the requests in flight are answered, or a second later.
    Drained,
    /// At once.
    AtOnce,
}
