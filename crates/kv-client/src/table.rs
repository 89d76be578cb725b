//! The requests in hand: which wait to be sent, which wait for an answer, and until when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kv_core::{Done, NodeId, NotDone, Operation, Outcome, RequestOptions, SessionId, Version};
use kv_proto::{MessageTooLarge, Request, RequestBody, Response, ResponseBody};
use tokio::time::Instant;

use crate::answer::fits;
use crate::connection::Connection;
use crate::connection::error::LostReason;
use crate::error::ClientError;
use crate::exactly_once::{Naming, Session};
use crate::pending::{Answered, Pending, Submission};

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
    session: Session,
    /// Writes that wait for the session.
    unnamed: BTreeSet<u64>,
}

impl Table {
    pub(crate) fn new(grace: Duration) -> Self {
        Self {
            grace,
            pending: BTreeMap::new(),
            unsent: BTreeSet::new(),
            held: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            session: Session::default(),
            unnamed: BTreeSet::new(),
        }
    }

    /// A server says whether it keeps sessions.
    pub(crate) fn on_connected(&mut self, keeps_sessions: bool) {
        self.session.on_connected(keeps_sessions);
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
        let waiting = self.unsent.len() + self.held.len() + self.unnamed.len();
        self.pending.len() - waiting + usize::from(self.session.is_opening())
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
            name: None,
            unclear: None,
        };
        self.pending.insert(id, pending);
        self.unsent.insert(id);
        self.deadlines.insert((deadline, id));
    }

    /// Puts as many waiting requests into the next write as it and the server take.
    pub(crate) fn send_waiting(&mut self, connection: &mut Connection) {
        if self.session.has_room() {
            self.unsent.append(&mut self.unnamed);
        }
        while connection.has_room() && self.in_flight() < connection.window() {
            let Some(id) = self.unsent.pop_first() else {
                break;
            };
            self.send(id, connection);
        }
        self.open_session(connection);
    }

    /// Opens a session if writes wait for one.
    fn open_session(&mut self, connection: &mut Connection) {
        let first = self.unnamed.first().and_then(|id| self.pending.get(id));
        let Some(first) = first.filter(|_| self.in_flight() < connection.window()) else {
            return;
        };
        let timeout = first.time_left(Instant::now());
        if let Some(id) = self.session.begin_opening() {
            let options = RequestOptions { timeout, ..RequestOptions::default() };
            let body = RequestBody::Execute { op: Operation::OpenSession, options };
            if let Err(error) = connection.put(&Request { id, body }) {
                tracing::debug!(id, %error, "the opening of a session makes no frame");
            }
        }
    }

    /// What a server says to the opening of a session.
    fn on_opening(&mut self, server: NodeId, body: ResponseBody) -> Result<(), LostReason> {
        let ResponseBody::Outcome(outcome) = &body else {
            return Err(LostReason::OutOfPlace);
        };
        match outcome {
            Outcome::Done(Done { version: Some(Version::Log(number)), .. }) => {
                self.session.on_opened(SessionId(*number));
                self.unsent.append(&mut self.unnamed);
            }
            Outcome::Done(_) => return Err(LostReason::OutOfPlace),
            Outcome::NotDone(NotDone::NotSupported(_)) => {
                self.session.on_refused();
                self.unsent.append(&mut self.unnamed);
            }
            // It was opened for the first of the writes; the others may have more time.
            Outcome::NotDone(NotDone::TimedOut { .. }) => {
                self.session.on_not_opened();
                for id in &self.unnamed {
                    if let Some(pending) = self.pending.get_mut(id) {
                        pending.refusal = Some(Answered { server, body: body.clone() });
                    }
                }
            }
            // What keeps the session from being opened keeps the writes from being done.
            Outcome::NotDone(reason) => {
                self.session.on_not_opened();
                let is_for_now = reason.is_transient();
                for id in std::mem::take(&mut self.unnamed) {
                    let answered = Answered { server, body: body.clone() };
                    if is_for_now { self.hold(id, answered) } else { self.finish(id, Ok(answered)) }
                }
            }
            Outcome::Unknown(_) => self.session.on_not_opened(),
        }
        Ok(())
    }

    /// Hands an answer to whom it is for; an answer to a forgotten request is dropped.
    pub(crate) fn on_response(
        &mut self,
        server: NodeId,
        response: Response,
    ) -> Result<(), LostReason> {
        if self.session.is_opened_by(response.id) {
            return self.on_opening(server, response.body);
        }
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
        let has_time = pending.time_left(Instant::now()) > Duration::ZERO;
        let (name, is_unclear) = (pending.name, pending.unclear.is_some());
        let answered = Answered { server, body: response.body };
        match &answered.body {
            ResponseBody::Outcome(Outcome::NotDone(NotDone::SessionExpired)) => {
                self.on_expired(response.id, answered);
            }
            ResponseBody::Outcome(Outcome::NotDone(reason)) if reason.is_transient() => {
                self.hold(response.id, answered);
            }
            // This copy had no effect, but an earlier one may take effect.
            ResponseBody::Outcome(Outcome::NotDone(reason))
                if is_unclear && !reason.is_of_the_state() =>
            {
                self.end_unclear(response.id);
            }
            // This server cannot read it, and one that had it before may have carried it out.
            ResponseBody::Malformed(_) if is_unclear => self.end_unclear(response.id),
            // With a version it took effect, and no copy will bring more.
            ResponseBody::Outcome(Outcome::Unknown(unknown))
                if name.is_some() && has_time && unknown.version.is_none() =>
            {
                if let Some(pending) = self.pending.get_mut(&response.id) {
                    let copy = Answered { server, body: answered.body.clone() };
                    pending.unclear.get_or_insert(Ok(copy));
                }
                self.hold(response.id, answered);
            }
            ResponseBody::Outcome(_)
            | ResponseBody::Status(_)
            | ResponseBody::Malformed(_)
            | ResponseBody::Snapshot(_) => self.finish(response.id, Ok(answered)),
        }
        Ok(())
    }

    /// The servers do not know a request's session any more. It goes on in another one, unless an
    /// earlier copy of it may have taken effect in that one.
    fn on_expired(&mut self, id: u64, answered: Answered) {
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        let Some(name) = pending.name.take() else {
            // The caller's own session.
            return self.finish(id, Ok(answered));
        };
        self.session.on_expired(name.0);
        if pending.unclear.is_some() {
            return self.end_unclear(id);
        }
        // Where sessions end as soon as they are opened, none is to be opened at once.
        self.hold(id, answered);
    }

    /// Ends a request of which it is not known whether it took effect.
    fn end_unclear(&mut self, id: u64) {
        let unclear = self.pending.get_mut(&id).and_then(|pending| pending.unclear.take());
        if let Some(unclear) = unclear {
            self.finish(id, unclear);
        }
    }

    /// The server cannot serve a request yet, which has had no effect: it waits and is sent again,
    /// within its time.
    fn hold(&mut self, id: u64, refusal: Answered) {
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        if pending.unclear.is_none() {
            pending.submission.send_state.fail();
        }
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

    /// Ends the writes without a name that a lost connection may have brought to the server; all
    /// other requests wait to be sent again.
    pub(crate) fn on_lost(&mut self, connection: &Connection, why: &LostReason) {
        self.session.on_not_opened();
        self.unsent.append(&mut self.unnamed);
        let server = connection.server();
        let (mut unknown, mut again) = (Vec::new(), Vec::new());
        for (&id, pending) in &mut self.pending {
            let Some((frame_end, _)) = pending.sent else {
                continue;
            };
            if pending.is_read_only() || !connection.has_written(frame_end) {
                if !connection.has_written(frame_end) && pending.unclear.is_none() {
                    pending.submission.send_state.fail();
                }
                pending.sent = None;
                again.push(id);
            } else if pending.name.is_some() {
                let lost = ClientError::Lost { server, why: why.clone() };
                pending.unclear.get_or_insert(Err(lost));
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
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        let refusal = pending.refusal.take();
        let result = pending.unclear.take().unwrap_or_else(|| refusal.ok_or(error));
        self.finish(id, result);
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
            if self.unnamed.contains(&id) {
                let waited = pending.submission.timeout;
                self.give_up(id, ClientError::TimedOut { server, waited });
                continue;
            }
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
        self.unsent.append(&mut self.unnamed);
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
        if pending.is_nameable() && pending.name.is_none() {
            match self.session.name() {
                Naming::As(session, number) => pending.name = Some((session, number)),
                Naming::Nameless => {}
                Naming::NotYet => {
                    pending.submission.send_state.fail();
                    self.unnamed.insert(id);
                    return;
                }
            }
        }
        let now = Instant::now();
        let identity = pending.name.map(|name| self.session.identity(name));
        let request = pending.request(now, identity);
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
        self.unnamed.remove(&id);
        if let Some(name) = pending.name {
            self.session.finish(name);
        }
        if let Some(at) = pending.held {
            self.held.remove(&(at, id));
        }
        self.deadlines.remove(&(pending.deadline, id));
        Some(pending)
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
