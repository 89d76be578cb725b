//! A client in the server's own process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use kv_core::{Operation, Outcome, RequestOptions, Status};
use tokio::sync::{mpsc, oneshot};

use crate::client_number::ClientNumber;
use crate::driver::event::LocalEvent;

/// Talks to a [`crate::Server`] without a socket. A clone counts as the same client; its number
/// in the log of operations is the next one at its first operation.
#[derive(Clone, Debug)]
pub struct LocalClient {
    client: Arc<OnceLock<ClientNumber>>,
    numbers: Arc<AtomicU64>,
    inbox: mpsc::Sender<LocalEvent>,
}

impl LocalClient {
    pub(crate) fn new(inbox: mpsc::Sender<LocalEvent>, numbers: Arc<AtomicU64>) -> Self {
        Self { client: Arc::default(), numbers, inbox }
    }

    /// Does something and waits for the outcome; waits as well while the server's inbox is full.
    ///
    /// # Errors
    /// [`ServerGone`] if the server stops before the outcome is known: the operation may have
    /// taken effect or not.
    pub async fn execute(
        &self,
        op: Operation,
        options: RequestOptions,
    ) -> Result<Outcome, ServerGone> {
        let (reply, outcome) = oneshot::channel();
        let next = || ClientNumber(self.numbers.fetch_add(1, Ordering::Relaxed));
        let client = *self.client.get_or_init(next);
        let options = Box::new(options);
        let event = LocalEvent::Request { client, op, options, reply };
        self.inbox.send(event).await.map_err(|_| ServerGone)?;
        outcome.await.map_err(|_| ServerGone)
    }

    /// Asks how the server is.
    ///
    /// # Errors
    /// [`ServerGone`] if the server stops.
    pub async fn status(&self) -> Result<Status, ServerGone> {
        let (reply, status) = oneshot::channel();
        self.inbox.send(LocalEvent::Status { reply }).await.map_err(|_| ServerGone)?;
        status.await.map_err(|_| ServerGone)
    }
}

/// The server has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server has stopped: what was under way may have taken effect or not")]
pub struct ServerGone;
