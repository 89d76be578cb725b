//! Answers on their way to a session, and those that its client has not taken yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kv_core::{Answer, CommandResult, Outcome};
use kv_proto::{Refusal, Response, ResponseBody};
use tokio::sync::{Notify, mpsc};

/// What a session's writer is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SessionReply {
    /// Send this; a request is no longer in flight.
    Respond(Response),
    /// A request was cancelled and is no longer in flight.
    Released,
    /// Send this and close the connection.
    Refuse(Refusal),
}

/// The way of a session's answers to its writer. The channel needs no bound of its own: it holds at
/// most as many answers as the connection may have requests in flight, and [`Backlog`] bounds
/// their bytes.
#[derive(Clone, Debug)]
pub(crate) struct Replies {
    sender: mpsc::UnboundedSender<Vec<SessionReply>>,
    backlog: Arc<Backlog>,
}

/// The writer has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WriterGone;

impl Replies {
    pub(crate) fn channel() -> (Self, mpsc::UnboundedReceiver<Vec<SessionReply>>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender, backlog: Arc::default() }, receiver)
    }

    /// Hands over a batch, without the answers for which there is no place.
    pub(crate) fn send(&self, mut replies: Vec<SessionReply>) -> Result<(), WriterGone> {
        replies.retain(|reply| match reply {
            SessionReply::Respond(response) => self.backlog.add(response).is_ok(),
            SessionReply::Released | SessionReply::Refuse(_) => true,
        });
        self.sender.send(replies).map_err(|_| WriterGone)
    }

    pub(crate) fn backlog(&self) -> Arc<Backlog> {
        Arc::clone(&self.backlog)
    }
}

/// Counts the bytes of a session's answers from when they are known until they are written. The
/// driver adds, the session's writer subtracts, and its reader waits while there are many.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    bytes: AtomicUsize,
    written: Notify,
    overflow: Notify,
}

impl Backlog {
    /// Counts an answer. From [`BYTES_MAX`] on it has no place, and the session is to end.
    fn add(&self, response: &Response) -> Result<(), BacklogFull> {
        let size = size_of(response);
        let before = self.bytes.fetch_add(size, Ordering::Relaxed);
        if before.saturating_add(size) > BYTES_MAX {
            self.overflow.notify_one();
            return Err(BacklogFull);
        }
        Ok(())
    }

    /// An answer has been taken to be written.
    pub(crate) fn take(&self, response: &Response) {
        self.bytes.fetch_sub(size_of(response), Ordering::Relaxed);
        self.written.notify_one();
    }

    /// Completes once so little waits that another request may be taken.
    pub(crate) async fn has_room(&self) {
        while self.bytes.load(Ordering::Relaxed) >= BYTES_BEFORE_WAIT {
            self.written.notified().await;
        }
    }

    /// Completes once there was no place for an answer.
    pub(crate) async fn overflow(&self) {
        self.overflow.notified().await;
    }
}

/// Too much waits for a client that does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BacklogFull;

/// The bytes of an answer, about.
fn size_of(response: &Response) -> usize {
    let of_result = |result: &CommandResult| match result {
        CommandResult::Value(Some(found)) => found.value.as_bytes().len(),
        CommandResult::Value(None)
        | CommandResult::Written
        | CommandResult::Number(_)
        | CommandResult::Length(_) => 0,
    };
    let content: usize = match &response.body {
        ResponseBody::Outcome(Outcome::Done(done)) => match &done.answer {
            Answer::Results(results) => results.iter().map(of_result).sum(),
            Answer::Page(page) => {
                let sizes = page.entries.iter().map(|(key, held)| {
                    key.as_bytes().len() + held.value.as_bytes().len() + ANSWER_BYTES
                });
                sizes.sum()
            }
        },
        ResponseBody::Checkpoint(chunk) => {
            let sizes = chunk.items.iter().map(|(key, held)| key.len() + held.len());
            sizes.sum::<usize>() + chunk.metadata.len()
        }
        ResponseBody::Outcome(_) | ResponseBody::Status(_) | ResponseBody::Malformed(_) => 0,
    };
    ANSWER_BYTES + content
}

/// What an answer or an entry takes without its values.
const ANSWER_BYTES: usize = 64;

/// From here on no further request is taken from the client.
const BYTES_BEFORE_WAIT: usize = 16 << 20;

/// From here on the client counts as gone. Requests that it had in hand before may bring it so far.
const BYTES_MAX: usize = 512 << 20;

#[cfg(test)]
mod tests {
    use kv_core::{Done, Served, Value, Version, Versioned};

    use super::*;

    fn response(len: usize) -> Response {
        let value = Value::new(vec![0; len]).unwrap();
        let found = Versioned { value, version: Version::Log(1) };
        let answer = Answer::Results(vec![CommandResult::Value(Some(found))]);
        let done = Done { answer, version: None, served: Served::Linearizable };
        Response { id: 1, body: ResponseBody::Outcome(Outcome::Done(done)) }
    }

    #[tokio::test]
    async fn a_request_waits_until_answers_have_been_taken() {
        let backlog = Backlog::default();
        let large = response(Value::LEN_MAX);
        backlog.has_room().await;
        backlog.add(&large).unwrap();
        let soon = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, backlog.has_room()).await.is_err());
        let (_, ()) = tokio::join!(backlog.has_room(), async { backlog.take(&large) });
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_ends_at_the_bound() {
        let backlog = Backlog::default();
        let large = response(Value::LEN_MAX);
        let kept = (0..1_000).take_while(|_| backlog.add(&large).is_ok()).count();
        assert_eq!(kept, BYTES_MAX / (Value::LEN_MAX + ANSWER_BYTES));
        backlog.overflow().await;
    }
}
