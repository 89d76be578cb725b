//! A client in the server's own process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kv_core::{
    Done, NoResult, NotDone, Operation, Outcome, RequestOptions, Status, Unknown, Waiting,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

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

    /// Carries out an operation: `Ok` is that it was done. Waits as well while the server's inbox is
    /// full.
    ///
    /// What the server cannot serve yet ([`NotDone::is_transient`]), as while it joins, has had no
    /// effect. It is asked again within its time, and ends with what the server said if it is not
    /// served until then. Must be called within a tokio runtime that has its timer.
    ///
    /// # Errors
    /// [`LocalError`], which tells what was not done from what may have been.
    pub async fn execute(
        &self,
        op: Operation,
        options: RequestOptions,
    ) -> Result<Done, LocalError> {
        let deadline = Instant::now().checked_add(options.timeout);
        let mut pause = PAUSE_MIN;
        loop {
            let now = Instant::now();
            let left = deadline
                .map_or(options.timeout, |deadline| deadline.saturating_duration_since(now));
            let options = options.clone().with_timeout(left);
            let outcome = self.ask(op.clone(), options).await?;
            let none = match outcome.into_result() {
                Ok(done) => return Ok(done),
                Err(none) => none,
            };
            if !may_be_served_later(&none) || left <= pause {
                return Err(none.into());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn ask(&self, op: Operation, options: RequestOptions) -> Result<Outcome, ServerGone> {
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

/// Why an operation brought no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// It had no effect and never will.
    #[error("{0}")]
    NotDone(NotDone),
    /// It may have taken effect, or may still.
    #[error("{0}")]
    Unknown(Unknown),
    /// The server stopped before the outcome was known: the operation may have taken effect.
    #[error(transparent)]
    Gone(#[from] ServerGone),
}

impl From<NoResult> for LocalError {
    fn from(none: NoResult) -> Self {
        match none {
            NoResult::NotDone(reason) => Self::NotDone(reason),
            NoResult::Unknown(unknown) => Self::Unknown(unknown),
        }
    }
}

/// The server has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server has stopped: what was under way may have taken effect or not")]
pub struct ServerGone;

/// A server that is stopping serves nothing more, and there is no other one to go to.
fn may_be_served_later(none: &NoResult) -> bool {
    match none {
        NoResult::NotDone(reason) => {
            reason.is_transient() && *reason != NotDone::Waiting(Waiting::Stopping)
        }
        NoResult::Unknown(_) => false,
    }
}

/// Between two attempts, the first and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(100);
