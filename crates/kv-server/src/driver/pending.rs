//! Requests in hand, and who waits for their answers.

use std::collections::HashMap;

use kv_core::{Outcome, RequestId};
use kv_proto::{Response, ResponseBody};
use tokio::sync::oneshot;

use crate::client_number::ClientNumber;
use crate::driver::replies::{Replies, SessionReply};

/// The requests that an engine has in hand. Replies are gathered for each session and handed over
/// at once.
#[derive(Debug)]
pub(crate) struct Pending {
    last_request: RequestId,
    waiting: HashMap<RequestId, ReplyTo>,
    sessions: HashMap<ClientNumber, OpenSession>,
    touched: Vec<ClientNumber>,
}

#[derive(Debug)]
struct OpenSession {
    replies: Replies,
    gathered: Vec<SessionReply>,
    in_flight: HashMap<u64, RequestId>,
}

#[derive(Debug)]
enum ReplyTo {
    Session { client: ClientNumber, id: u64 },
    Local(oneshot::Sender<Outcome>),
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self {
            last_request: RequestId(0),
            waiting: HashMap::new(),
            sessions: HashMap::new(),
            touched: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn open(&mut self, client: ClientNumber, replies: Replies) {
        let session = OpenSession { replies, gathered: Vec::new(), in_flight: HashMap::new() };
        self.sessions.insert(client, session);
    }

    /// Forgets a session; returns the requests for whose answers nobody waits any more.
    pub(crate) fn close(&mut self, client: ClientNumber) -> Vec<RequestId> {
        let Some(session) = self.sessions.remove(&client) else {
            return Vec::new();
        };
        let requests = session.in_flight.into_values();
        requests.filter(|request| self.waiting.remove(request).is_some()).collect()
    }

    pub(crate) fn begin_session(&mut self, client: ClientNumber, id: u64) -> RequestId {
        let request = self.begin(ReplyTo::Session { client, id });
        if let Some(session) = self.sessions.get_mut(&client) {
            session.in_flight.insert(id, request);
        }
        request
    }

    pub(crate) fn begin_local(&mut self, reply: oneshot::Sender<Outcome>) -> RequestId {
        self.begin(ReplyTo::Local(reply))
    }

    /// Nobody waits for a session's request any more; returns it unless it has been answered.
    pub(crate) fn cancel(&mut self, client: ClientNumber, id: u64) -> Option<RequestId> {
        let request = self.sessions.get_mut(&client)?.in_flight.remove(&id)?;
        self.waiting.remove(&request)?;
        self.gather(client, SessionReply::Released);
        Some(request)
    }

    /// Takes an answer to where it is waited for; false if it is nowhere.
    pub(crate) fn answer(&mut self, request: RequestId, outcome: Outcome) -> bool {
        match self.waiting.remove(&request) {
            None => return false,
            Some(ReplyTo::Local(reply)) => {
                // A caller that has dropped its future wants no answer.
                let _ = reply.send(outcome);
            }
            Some(ReplyTo::Session { client, id }) => {
                if let Some(session) = self.sessions.get_mut(&client) {
                    session.in_flight.remove(&id);
                }
                let body = ResponseBody::Outcome(outcome);
                self.gather(client, SessionReply::Respond(Response { id, body }));
            }
        }
        true
    }

    /// Hands the gathered replies to their sessions.
    pub(crate) fn flush(&mut self) {
        for client in self.touched.drain(..) {
            if let Some(session) = self.sessions.get_mut(&client) {
                // A session whose task has ended says so by an event of its own.
                let _ = session.replies.send(std::mem::take(&mut session.gathered));
            }
        }
    }

    fn begin(&mut self, reply_to: ReplyTo) -> RequestId {
        self.last_request = RequestId(self.last_request.0 + 1);
        self.waiting.insert(self.last_request, reply_to);
        self.last_request
    }

    fn gather(&mut self, client: ClientNumber, reply: SessionReply) {
        if let Some(session) = self.sessions.get_mut(&client) {
            if session.gathered.is_empty() {
                self.touched.push(client);
            }
            session.gathered.push(reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use kv_core::NotDone;

    use super::*;

    const CLIENT: ClientNumber = ClientNumber(3);

    fn outcome() -> Outcome {
        Outcome::NotDone(NotDone::Overloaded { limit: 1 })
    }

    #[test]
    fn a_batch_of_answers_is_handed_over_at_once_under_the_clients_own_ids() {
        let (replies, mut received) = Replies::channel();
        let mut pending = Pending::new();
        pending.open(CLIENT, replies);
        let requests = [70, 71].map(|id| pending.begin_session(CLIENT, id));
        assert!(requests.iter().all(|request| pending.answer(*request, outcome())));
        assert!(!pending.answer(requests[0], outcome()), "a second answer has no receiver");
        assert!(received.try_recv().is_err());
        pending.flush();
        let batch = received.try_recv().unwrap();
        let answers = [70, 71].map(|id| {
            let body = ResponseBody::Outcome(outcome());
            SessionReply::Respond(Response { id, body })
        });
        assert_eq!(batch, answers);
        assert!(pending.is_empty());
    }

    #[test]
    fn a_cancelled_request_frees_its_place_and_is_not_answered() {
        let (replies, mut received) = Replies::channel();
        let mut pending = Pending::new();
        pending.open(CLIENT, replies);
        let request = pending.begin_session(CLIENT, 1);
        assert_eq!(pending.cancel(CLIENT, 1), Some(request));
        assert_eq!(pending.cancel(CLIENT, 1), None);
        assert!(!pending.answer(request, outcome()));
        pending.flush();
        let batch = received.try_recv().unwrap();
        assert_eq!(batch, [SessionReply::Released]);
    }

    #[test]
    fn a_session_that_closes_leaves_its_open_requests_to_cancel() {
        let (replies, _received) = Replies::channel();
        let mut pending = Pending::new();
        pending.open(CLIENT, replies);
        let answered = pending.begin_session(CLIENT, 1);
        let open = pending.begin_session(CLIENT, 2);
        pending.answer(answered, outcome());
        assert_eq!(pending.close(CLIENT), [open]);
        assert!(pending.is_empty());
    }
}
