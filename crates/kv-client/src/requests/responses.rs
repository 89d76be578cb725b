//! What servers answer to requests.

use std::time::Duration;

use kv_core::{Done, NodeId, NotDone, Outcome, SessionId, Version};
use kv_proto::{RequestBody, Response, ResponseBody};
use tokio::time::Instant;

use super::Table;
use super::pending::Answered;
use crate::answer::fits;
use crate::connection::error::LostReason;

impl Table {
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

/// How long a request that was refused for now waits before it is sent again; doubled each time.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(25);

const PAUSE_MAX: Duration = Duration::from_millis(200);
