//! The client's session with its cluster, in which each write takes effect once.

use std::collections::BTreeSet;

use kv_core::{RequestIdentity, SessionId};

/// The session, from the first write on.
///
/// It is opened by a request of its own, for which the writes wait. After it has expired the next
/// write opens another one.
#[derive(Debug, Default)]
pub(crate) struct Session {
    state: State,
    /// How many requests to open one there were.
    openings: u64,
}

#[derive(Debug, Default)]
enum State {
    /// The servers keep no sessions, or none was met yet.
    #[default]
    NotOffered,
    Closed,
    Opening {
        /// Where the request's frame ends on the connection.
        request: u64,
    },
    Open(Open),
}

#[derive(Debug)]
struct Open {
    id: SessionId,
    next: u64,
    /// The numbers of requests whose callers wait.
    unfinished: BTreeSet<u64>,
}

/// Under which name a write is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Under this one.
    As(SessionId, u64),
    /// Under none: it is not safe to send it again.
    Nameless,
    /// The session is not open yet, or has too many requests without an end.
    NotYet,
}

impl Session {
    /// A server says whether it keeps sessions.
    pub(crate) fn on_connected(&mut self, offers: bool) {
        match self.state {
            State::NotOffered if offers => self.state = State::Closed,
            State::NotOffered | State::Closed | State::Opening { .. } | State::Open(_) => {}
        }
    }

    /// Names a write.
    pub(crate) fn name(&mut self) -> Naming {
        match &mut self.state {
            State::NotOffered => Naming::Nameless,
            State::Closed | State::Opening { .. } => Naming::NotYet,
            State::Open(open) if !open.has_room() => Naming::NotYet,
            State::Open(open) => {
                let number = open.next;
                open.next += 1;
                open.unfinished.insert(number);
                Naming::As(open.id, number)
            }
        }
    }

    /// What a request carries that has a name.
    pub(crate) fn identity(&self, (session, number): (SessionId, u64)) -> RequestIdentity {
        let open = self.open().filter(|open| open.id == session);
        let acknowledged_below = open.map_or(1, Open::acknowledged_below);
        RequestIdentity { session, number, acknowledged_below }
    }

    /// Whether a write would be named.
    pub(crate) fn has_room(&self) -> bool {
        self.open().is_some_and(Open::has_room)
    }

    /// The request that opens a session, if one is needed; it is in flight from here on.
    pub(crate) fn begin_opening(&mut self) -> Option<u64> {
        if !matches!(self.state, State::Closed) {
            return None;
        }
        self.openings += 1;
        let request = OPENINGS + self.openings;
        self.state = State::Opening { request };
        Some(request)
    }

    pub(crate) const fn is_opening(&self) -> bool {
        matches!(self.state, State::Opening { .. })
    }

    /// Whether a request is the one that opens the session.
    pub(crate) const fn is_opened_by(&self, id: u64) -> bool {
        matches!(self.state, State::Opening { request } if request == id)
    }

    /// It was opened.
    pub(crate) fn on_opened(&mut self, id: SessionId) {
        self.state = State::Open(Open { id, next: 1, unfinished: BTreeSet::new() });
    }

    /// It was not opened, or nobody knows.
    pub(crate) fn on_not_opened(&mut self) {
        if self.is_opening() {
            self.state = State::Closed;
        }
    }

    /// The servers keep no sessions after all.
    pub(crate) fn on_refused(&mut self) {
        self.state = State::NotOffered;
    }

    /// The servers do not know the session any more.
    pub(crate) fn on_expired(&mut self, id: SessionId) {
        if self.open().is_some_and(|open| open.id == id) {
            self.state = State::Closed;
        }
    }

    /// Nobody waits for a request any more; no copy of it takes effect from here on.
    pub(crate) fn finish(&mut self, (session, number): (SessionId, u64)) {
        if let State::Open(open) = &mut self.state
            && open.id == session
        {
            open.unfinished.remove(&number);
        }
    }

    const fn open(&self) -> Option<&Open> {
        match &self.state {
            State::Open(open) => Some(open),
            State::NotOffered | State::Closed | State::Opening { .. } => None,
        }
    }
}

impl Open {
    fn acknowledged_below(&self) -> u64 {
        self.unfinished.first().copied().unwrap_or(self.next)
    }

    fn has_room(&self) -> bool {
        self.next - self.acknowledged_below() < RequestIdentity::WINDOW
    }
}

/// The ids of requests that open sessions lie above all others.
const OPENINGS: u64 = 1 << 63;

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> Session {
        let mut session = Session::default();
        session.on_connected(true);
        assert_eq!(session.name(), Naming::NotYet);
        let request = session.begin_opening().unwrap();
        assert!(session.is_opened_by(request) && session.begin_opening().is_none());
        session.on_opened(SessionId(7));
        session
    }

    #[test]
    fn writes_have_no_name_where_there_are_no_sessions() {
        let mut session = Session::default();
        session.on_connected(false);
        assert_eq!(session.name(), Naming::Nameless);
        assert_eq!(session.begin_opening(), None);
    }

    #[test]
    fn what_is_acknowledged_ends_at_the_oldest_unfinished_request() {
        let mut session = opened();
        let names = [1, 2, 3].map(|number| (SessionId(7), number));
        for name in names {
            assert_eq!(session.name(), Naming::As(name.0, name.1));
        }
        let below = |session: &Session| session.identity(names[2]).acknowledged_below;
        session.finish(names[1]);
        assert_eq!(below(&session), 1);
        session.finish(names[0]);
        assert_eq!(below(&session), 3);
        session.finish(names[2]);
        assert_eq!(below(&session), 4);
    }

    #[test]
    fn a_request_without_an_end_stops_the_names_at_the_window() {
        let mut session = opened();
        assert_eq!(session.name(), Naming::As(SessionId(7), 1));
        for number in 2..=RequestIdentity::WINDOW {
            assert_eq!(session.name(), Naming::As(SessionId(7), number));
            session.finish((SessionId(7), number));
        }
        assert_eq!((session.name(), session.has_room()), (Naming::NotYet, false));
        session.finish((SessionId(7), 1));
        assert!(session.has_room());
    }

    #[test]
    fn another_session_is_opened_after_one_has_expired() {
        let mut session = opened();
        session.on_expired(SessionId(6));
        assert!(session.has_room());
        session.on_expired(SessionId(7));
        assert_eq!(session.name(), Naming::NotYet);
        let request = session.begin_opening().unwrap();
        session.on_not_opened();
        assert_ne!(session.begin_opening(), Some(request));
    }
}
