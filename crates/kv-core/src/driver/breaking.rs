//! What a driver does that breaks a rule, where that takes more than to leave something out.

use super::DriverCore;
use super::rule::DriverRule;
use super::session::SessionId;
use crate::cluster::id::RequestId;
use crate::engine::ConsistencyEngine;

impl<E: ConsistencyEngine> DriverCore<E> {
    /// The request that a reply is taken to be for.
    pub(super) fn mistaken_request(&self, request: RequestId) -> RequestId {
        let present = self.sessions.in_place_of(request);
        let is_broken = self.config.broken.is(DriverRule::ReplyToReusedPlace);
        present.filter(|_| is_broken).unwrap_or(request)
    }

    /// The session that a reply goes to.
    pub(super) fn mistaken_session(&self, session: SessionId) -> SessionId {
        if !self.config.broken.is(DriverRule::ReplyToAnotherSession) {
            return session;
        }
        let mut others = self.sessions.all().into_iter().rev().filter(|other| *other != session);
        others.next().unwrap_or(session)
    }
}
