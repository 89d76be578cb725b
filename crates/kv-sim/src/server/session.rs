//! The connections of a server's clients.

use std::collections::VecDeque;

use kv_core::driver::{DriverCore, Reply, SessionId, SessionPart};
use kv_core::{
    ConsistencyEngine, NotDone, Now, Operation, RequestId, RequestOptions, ViewScope,
    read_whole_view,
};

use super::Server;
use crate::disk::Items;
use crate::server::watched::Watched;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) id: SessionId,
    /// Requests that wait in its socket until the server takes more.
    pub(super) socket: VecDeque<(RequestId, Operation, RequestOptions)>,
    /// Answers that wait for a client that reads nothing.
    held: Option<VecDeque<Reply>>,
    /// How many snapshots are under way to the client.
    snapshots: u64,
    /// The client has read all parts that it was sent.
    takes_part: bool,
}

/// How a snapshot begins that a client asked for.
#[derive(Debug)]
pub(crate) struct SnapshotBegin {
    /// The client's name for it.
    pub(crate) tag: u64,
    /// What the server holds at this moment.
    pub(crate) whole: Result<Option<Items>, NotDone>,
}

impl Session {
    pub(super) const fn new(id: SessionId) -> Self {
        let socket = VecDeque::new();
        Self { id, socket, held: None, snapshots: 0, takes_part: true }
    }

    /// Begins a snapshot to the client.
    pub(super) fn begin_snapshot<E: ConsistencyEngine>(
        &mut self,
        driver: &mut DriverCore<Watched<E>>,
        tag: u64,
    ) -> SnapshotBegin {
        let begun = driver.begin_session_snapshot(self.id, tag);
        self.snapshots += u64::from(begun.is_ok());
        let engine = &mut driver.engine_mut().engine;
        let whole = begun.map(|()| read_whole_view(engine, ViewScope::Whole).map(Items::of_whole));
        SnapshotBegin { tag, whole }
    }

    /// The client reads nothing from here on.
    pub(crate) fn congest(&mut self) {
        self.held.get_or_insert_default();
    }

    /// The client reads again; what waited for it.
    pub(crate) fn drain(&mut self) -> VecDeque<Reply> {
        self.held.take().unwrap_or_default()
    }

    /// Keeps an answer for a client that reads nothing; otherwise gives it back.
    pub(crate) fn hold(&mut self, reply: Reply) -> Option<Reply> {
        match &mut self.held {
            Some(held) => {
                held.push_back(reply);
                None
            }
            None => Some(reply),
        }
    }

    /// Whether the client reads nothing.
    pub(crate) const fn is_congested(&self) -> bool {
        self.held.is_some()
    }

    /// Whether answers wait for the client.
    pub(crate) fn holds_something_back(&self) -> bool {
        self.held.as_ref().is_some_and(|held| !held.is_empty())
    }

    /// The client has read what it was sent; whether it waits for more of a snapshot.
    pub(crate) const fn read_part(&mut self) -> bool {
        self.takes_part = true;
        self.snapshots > 0
    }
}

impl<E: ConsistencyEngine> Server<E> {
    /// The connection of a client.
    pub(crate) fn session_mut(&mut self, place: usize) -> Option<&mut Session> {
        self.sessions.get_mut(place)
    }

    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.iter()
    }

    /// The snapshots that have begun, or could not.
    pub(crate) fn take_begun_snapshots(&mut self) -> Vec<SnapshotBegin> {
        std::mem::take(&mut self.begun_snapshots)
    }

    /// The next part of a snapshot to a client, if that takes one.
    pub(crate) fn next_part(&mut self, place: usize) -> Option<SessionPart> {
        let (driver, session) = (self.driver.as_mut()?, self.sessions.get_mut(place)?);
        if session.snapshots == 0 || session.held.is_some() || !session.takes_part {
            return None;
        }
        let part = driver.next_session_part(session.id)?;
        session.takes_part = false;
        let is_last = match &part {
            SessionPart::Part { part, .. } => part.is_last,
            SessionPart::Gone { .. } => true,
        };
        session.snapshots -= u64::from(is_last);
        Some(part)
    }
}

/// Takes from each socket what the session has room for.
pub(super) fn read_sockets<E: ConsistencyEngine>(
    driver: &mut DriverCore<Watched<E>>,
    sessions: &mut [Session],
    now: Now,
) {
    for session in sessions {
        while driver.has_room(session.id)
            && let Some((id, op, options)) = session.socket.pop_front()
        {
            driver.request(now, session.id, id.0, op, options);
        }
    }
}
