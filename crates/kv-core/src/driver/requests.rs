//! What sessions ask for, and the answers to it.

use crate::cluster::id::RequestId;
use crate::driver::rule::DriverRule;
use crate::driver::session::SessionId;
use crate::driver::{DriverCore, Reply};
use crate::engine::{ConsistencyEngine, Input, Now};
use crate::request::not_done::{NotDone, Waiting};
use crate::request::operation::{Operation, RequestOptions};
use crate::request::outcome::Outcome;

impl<E: ConsistencyEngine> DriverCore<E> {
    /// Opens a session of a client, which may have so many requests in flight.
    pub fn open_session(&mut self, in_flight_max: usize) -> SessionId {
        self.sessions.open(in_flight_max.max(1))
    }

    /// Ends a session: nobody waits for the answers to its requests. What they did stays open; they
    /// are given.
    pub fn close_session(&mut self, now: Now, session: SessionId) -> Vec<RequestId> {
        self.close_session_snapshots(session);
        let requests = self.sessions.close(session);
        for &id in &requests {
            self.step(now, Input::Cancel { id });
        }
        requests
    }

    /// The sessions that are open.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionId> {
        self.sessions.all()
    }

    /// Whether a session may put a further request. One that may not waits until one of its
    /// requests is answered.
    #[must_use]
    pub fn has_room(&self, session: SessionId) -> bool {
        self.sessions.has_room(session)
    }

    /// How many requests are in flight.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.sessions.in_flight()
    }

    /// A client asks for something. `tag` is the session's own name for it, which comes back with
    /// the reply. Gives the driver's name for it; `None` if there is no such session.
    ///
    /// A request for which the session has no room is refused.
    pub fn request(
        &mut self,
        now: Now,
        session: SessionId,
        tag: u64,
        op: Operation,
        options: RequestOptions,
    ) -> Option<RequestId> {
        let has_room = self.sessions.has_room(session);
        let id = self.sessions.begin(session, tag)?;
        if self.stop_by.is_some() {
            let stopping = NotDone::Waiting(Waiting::Stopping);
            self.effects.reply(id, Outcome::NotDone(stopping));
        } else if has_room {
            self.step(now, Input::Request { id, op, options });
        } else {
            let limit = self.sessions.in_flight_max(session);
            let limit = u64::try_from(limit).unwrap_or(u64::MAX);
            self.effects.reply(id, Outcome::NotDone(NotDone::Overloaded { limit }));
        }
        Some(id)
    }

    /// A session waits no more for the answer to what it calls so: there will be none, but for one
    /// that is on its way already. A snapshot that it asked for under this name ends. Gives the
    /// request, if it is in flight.
    pub fn cancel(&mut self, now: Now, session: SessionId, tag: u64) -> Option<RequestId> {
        self.cancel_session_snapshots(session, tag);
        let id = self.sessions.find(session, tag)?;
        if !self.config.broken.is(DriverRule::CancelKeepsPlace) {
            self.sessions.end(id);
        }
        self.step(now, Input::Cancel { id });
        Some(id)
    }

    pub(super) fn reply(&mut self, request: RequestId, outcome: Outcome) {
        #[cfg(feature = "mutations")]
        let request = self.mistaken_request(request);
        let Some((session, tag)) = self.sessions.end(request) else {
            self.counters.replies_unclaimed += 1;
            return;
        };
        #[cfg(feature = "mutations")]
        let session = self.mistaken_session(session);
        self.replies.push_back(Reply { session, tag, request, outcome });
    }
}
