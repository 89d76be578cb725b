//! The requests in hand: which wait to be sent, which wait for an answer, and until when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kv_core::{NodeId, NotDone, Outcome, RequestOptions};
use kv_proto::{MessageTooLarge, Request, RequestBody, Response, ResponseBody};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use crate::answer::fits;
use crate::connection::Connection;
use crate::connection::error::LostReason;
use crate::error::ClientError;
use crate::send_state::SendState;

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

/// The reason why a server could not do something yet, if that is all that it said: it may be done in
/// a moment, there or elsewhere.
pub(crate) fn reason_for_now(body: &ResponseBody) -> Option<&NotDone> {
    match body {
        ResponseBody::Outcome(Outcome::NotDone(reason)) => {
            Some(reason).filter(|reason| reason.is_transient())
        }
        ResponseBody::Outcome(Outcome::Done(_) | Outcome::Unknown(_))
        | ResponseBody::Status(_)
        | ResponseBody::Malformed(_)
        | ResponseBody::Snapshot(_) => None,
    }
}

/// The requests in hand, at most as many as there are permits.
#[derive(Debug)]
pub(crate) struct Table {
    grace: Duration,
    pending: BTreeMap<u64, Pending>,
    unsent: BTreeSet<u64>,
    /// Those that a server could not serve yet, and when each is sent again.
    held: BTreeSet<(Instant, u64)>,
    deadlines: BTreeSet<(Instant, u64)>,
}

#[derive(Debug)]
struct Pending {
    submission: Submission,
    deadline: Instant,
    /// Where its frame ends on the connection, and when it was put there; `None` if it was not.
    sent: Option<(u64, Instant)>,
    /// What a server said that could not serve it yet.
    refusal: Option<Answered>,
    /// When it is sent again after that, and how long it waits the next time.
    held: Option<Instant>,
    pause: Duration,
}

impl Table {
    pub(crate) const fn new(grace: Duration) -> Self {
        Self {
            grace,
            pending: BTreeMap::new(),
            unsent: BTreeSet::new(),
            held: BTreeSet::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// When the next request's time is up.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// When the next request is sent again that was refused for now.
    pub(crate) fn next_release(&self) -> Option<Instant> {
        self.held.first().map(|(at, _)| *at)
    }

    /// Lets requests be sent again that were refused for now and have waited.
    pub(crate) fn release(&mut self, now: Instant) {
        while let Some((_, id)) = self.held.first().copied().filter(|(at, _)| *at <= now) {
            self.held.pop_first();
            if let Some(pending) = self.pending.get_mut(&id) {
                pending.held = None;
                self.unsent.insert(id);
            }
        }
    }

    /// Lets all of those be sent again.
    pub(crate) fn release_all(&mut self) {
        while let Some((at, _)) = self.held.first().copied() {
            self.release(at);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// How many requests wait for a server's answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.pending.len() - self.unsent.len() - self.held.len()
    }

    pub(crate) fn add(&mut self, submission: Submission) {
        let id = submission.id;
        let deadline = submission.since + submission.timeout;
        let pending = Pending {
            submission,
            deadline,
            sent: None,
            refusal: None,
            held: None,
            pause: PAUSE_MIN,
        };
        self.pending.insert(id, pending);
        self.unsent.insert(id);
        self.deadlines.insert((deadline, id));
    }

    /// Puts as many waiting requests into the next write as it and the server take.
    pub(crate) fn send_waiting(&mut self, connection: &mut Connection) {
        while connection.has_room() && self.in_flight() < connection.window() {
            let Some(id) = self.unsent.pop_first() else {
                return;
            };
            self.send(id, connection);
        }
    }

    /// Hands an answer to whom it is for; an answer to a forgotten request is dropped.
    pub(crate) fn on_response(
        &mut self,
        server: NodeId,
        response: Response,
    ) -> Result<(), LostReason> {
        let Some(pending) = self.pending.get(&response.id) else {
            return Ok(());
        };
        let fits = match (&pending.submission.body, &response.body) {
            (RequestBody::Execute { op, .. }, ResponseBody::Outcome(outcome)) => fits(op, outcome),
            (_, ResponseBody::Malformed(_)) | (RequestBody::Status, ResponseBody::Status(_)) => {
                true
            }
            (
                RequestBody::Execute { .. }
                | RequestBody::Status
                | RequestBody::Cancel
                | RequestBody::Snapshot,
                ResponseBody::Outcome(_) | ResponseBody::Status(_) | ResponseBody::Snapshot(_),
            ) => false,
        };
        if !fits || pending.sent.is_none() {
            return Err(LostReason::OutOfPlace);
        }
        let answered = Answered { server, body: response.body };
        if reason_for_now(&answered.body).is_some() {
            self.hold(response.id, answered);
        } else {
            self.finish(response.id, Ok(answered));
        }
        Ok(())
    }

    /// The server cannot serve a request yet, which has had no effect: it waits and is sent again,
    /// within its time.
    fn hold(&mut self, id: u64, refusal: Answered) {
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        pending.submission.send_state.fail();
        pending.refusal = Some(refusal);
        pending.sent = None;
        let at = Instant::now() + pending.pause;
        pending.pause = (pending.pause * 2).min(PAUSE_MAX);
        pending.held = Some(at);
        self.held.insert((at, id));
        self.renew_deadline(id);
    }

    /// A request that is not sent has its own time, without the grace for an answer.
    fn renew_deadline(&mut self, id: u64) {
        if let Some(pending) = self.pending.get_mut(&id) {
            let deadline = pending.submission.since + pending.submission.timeout;
            self.deadlines.remove(&(pending.deadline, id));
            self.deadlines.insert((deadline, id));
            pending.deadline = deadline;
        }
    }

    /// Ends the writes that a lost connection may have brought to the server; all other requests
    /// wait to be sent again.
    pub(crate) fn on_lost(&mut self, connection: &Connection, why: &LostReason) {
        let (mut unknown, mut again) = (Vec::new(), Vec::new());
        for (&id, pending) in &mut self.pending {
            let Some((frame_end, _)) = pending.sent else {
                continue;
            };
            if pending.is_read_only() || !connection.has_written(frame_end) {
                if !connection.has_written(frame_end) {
                    pending.submission.send_state.fail();
                }
                pending.sent = None;
                again.push(id);
            } else {
                unknown.push(id);
            }
        }
        for id in again {
            self.unsent.insert(id);
            self.renew_deadline(id);
        }
        // Another server may serve what this one could not.
        self.release_all();
        let server = connection.server();
        for id in unknown {
            let why = why.clone();
            self.finish(id, Err(ClientError::Lost { server, why }));
        }
    }

    /// Forgets the requests whose callers have gone, and tells the server of those that it has.
    pub(crate) fn drop_abandoned(&mut self, mut connection: Option<&mut Connection>) {
        let abandoned = self.pending.iter();
        let abandoned = abandoned.filter(|(_, pending)| pending.submission.reply.is_closed());
        let abandoned: Vec<u64> = abandoned.map(|(id, _)| *id).collect();
        for id in abandoned {
            self.forget(id, connection.as_deref_mut());
        }
    }

    /// Ends the requests that wait to be sent and whose time is up.
    pub(crate) fn expire_unsent(&mut self, now: Instant, error: impl Fn() -> ClientError) {
        for id in self.due(now) {
            self.give_up(id, error());
        }
    }

    /// Ends a request that is not sent; what a server said of it is worth more than what the client
    /// knows.
    fn give_up(&mut self, id: u64, error: ClientError) {
        let refusal = self.pending.get_mut(&id).and_then(|pending| pending.refusal.take());
        self.finish(id, refusal.ok_or(error));
    }

    /// Ends the requests whose time is up while there is a connection.
    ///
    /// # Errors
    /// [`LostReason::Silent`] if nothing at all went over the connection for as long as one of them
    /// waited: the server hangs.
    pub(crate) fn expire(
        &mut self,
        now: Instant,
        connection: &mut Connection,
    ) -> Result<(), LostReason> {
        let server = connection.server();
        let mut silent = None;
        for id in self.due(now) {
            let Some(pending) = self.pending.get(&id) else {
                continue;
            };
            let waited = pending.submission.timeout + self.grace;
            let read_only = pending.is_read_only();
            let Some((frame_end, since)) = pending.sent else {
                let limit = u32::try_from(connection.window()).unwrap_or(u32::MAX);
                self.give_up(id, ClientError::Busy { limit });
                continue;
            };
            if connection.is_silent(since, frame_end, self.grace) {
                silent = Some(LostReason::Silent { after: waited });
            }
            cancel(id, connection);
            let error = if read_only {
                ClientError::TimedOut { server, waited }
            } else {
                ClientError::NoAnswer { server, waited }
            };
            self.finish(id, Err(error));
        }
        silent.map_or(Ok(()), Err)
    }

    /// Ends all requests that wait to be sent.
    pub(crate) fn fail_unsent(&mut self, error: impl Fn() -> ClientError) {
        while let Some(id) = self.unsent.pop_first() {
            self.give_up(id, error());
        }
    }

    fn send(&mut self, id: u64, connection: &mut Connection) {
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        if pending.submission.reply.is_closed() || !pending.submission.send_state.begin() {
            self.forget(id, None);
            return;
        }
        let now = Instant::now();
        let request = pending.request(now);
        match connection.put(&request) {
            Ok(frame_end) => {
                pending.sent = Some((frame_end, now));
                self.deadlines.remove(&(pending.deadline, id));
                pending.deadline += self.grace;
                self.deadlines.insert((pending.deadline, id));
            }
            Err(MessageTooLarge { size, .. }) => {
                self.finish(id, Err(ClientError::TooLarge { size }));
            }
        }
    }

    fn due(&self, now: Instant) -> Vec<u64> {
        let due = self.deadlines.range(..=(now, u64::MAX));
        due.map(|(_, id)| *id).collect()
    }

    fn finish(&mut self, id: u64, result: Result<Answered, ClientError>) {
        if let Some(pending) = self.remove(id) {
            // The caller may have gone in the meantime.
            let _ = pending.submission.reply.send(result);
            drop(pending.submission.permit);
        }
    }

    fn forget(&mut self, id: u64, connection: Option<&mut Connection>) {
        if let Some(pending) = self.remove(id)
            && pending.sent.is_some()
            && let Some(connection) = connection
        {
            cancel(id, connection);
        }
    }

    fn remove(&mut self, id: u64) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        self.unsent.remove(&id);
        if let Some(at) = pending.held {
            self.held.remove(&(at, id));
        }
        self.deadlines.remove(&(pending.deadline, id));
        Some(pending)
    }
}

impl Pending {
    fn is_read_only(&self) -> bool {
        match &self.submission.body {
            RequestBody::Execute { op, .. } => op.is_read_only(),
            RequestBody::Status | RequestBody::Cancel | RequestBody::Snapshot => true,
        }
    }

    /// The request with the time that is left to it.
    fn request(&self, now: Instant) -> Request {
        let submission = &self.submission;
        let body = match submission.body.clone() {
            RequestBody::Execute { op, options } => {
                let passed = now.saturating_duration_since(submission.since);
                let timeout = submission.timeout.saturating_sub(passed);
                let options = RequestOptions { timeout, ..options };
                RequestBody::Execute { op, options }
            }
            body @ (RequestBody::Status | RequestBody::Cancel | RequestBody::Snapshot) => body,
        };
        let id = submission.id;
        Request { id, body }
    }
}

/// How long a request that was refused for now waits before it is sent again; doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(25);

const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Tells the server that nobody waits any more.
fn cancel(id: u64, connection: &mut Connection) {
    let body = RequestBody::Cancel;
    if let Err(error) = connection.put(&Request { id, body }) {
        tracing::debug!(id, %error, "a cancel makes no frame");
    }
}
