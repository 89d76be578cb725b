//! The clients of a server: those with a connection, and those in its own process.

use std::collections::BTreeMap;
use std::rc::Rc;

use kv_core::Outcome;
use kv_core::driver::SessionId;
use tokio::sync::oneshot;

use crate::client_number::ClientNumber;
use crate::net::connection::Connection;

/// The clients that are connected, by the places of their sessions.
#[derive(Default)]
pub(crate) struct Clients {
    places: Vec<Option<Client>>,
}

/// A client that is connected.
pub(crate) struct Client {
    pub(crate) session: SessionId,
    pub(crate) number: ClientNumber,
    pub(crate) connection: Rc<Connection>,
    /// Something was put into the connection's buffer in this turn.
    pub(crate) is_dirty: bool,
}

impl Clients {
    pub(crate) fn insert(&mut self, client: Client) {
        let place = client.session.place();
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        if let Some(free) = self.places.get_mut(place) {
            *free = Some(client);
        }
    }

    pub(crate) fn remove(&mut self, session: SessionId) -> Option<Client> {
        self.places.get_mut(session.place())?.take_if(|client| client.session == session)
    }

    pub(crate) fn get_mut(&mut self, session: SessionId) -> Option<&mut Client> {
        let client = self.places.get_mut(session.place())?.as_mut();
        client.filter(|client| client.session == session)
    }

    pub(crate) fn sessions(&self) -> Vec<SessionId> {
        self.places.iter().flatten().map(|client| client.session).collect()
    }

    pub(crate) fn connections(&self) -> impl Iterator<Item = &Rc<Connection>> {
        self.places.iter().flatten().map(|client| &client.connection)
    }
}

/// The requests of clients in this process, all in one session.
#[derive(Debug)]
pub(crate) struct LocalRequests {
    session: SessionId,
    last_tag: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Outcome>>,
}

impl LocalRequests {
    pub(crate) const fn new(session: SessionId) -> Self {
        Self { session, last_tag: 0, waiting: BTreeMap::new() }
    }

    pub(crate) const fn session(&self) -> SessionId {
        self.session
    }

    /// Gives the tag under which a request is put.
    pub(crate) fn begin(&mut self, reply: oneshot::Sender<Outcome>) -> u64 {
        self.last_tag += 1;
        self.waiting.insert(self.last_tag, reply);
        self.last_tag
    }

    pub(crate) fn answer(&mut self, tag: u64, outcome: Outcome) {
        if let Some(reply) = self.waiting.remove(&tag) {
            // A caller that has dropped its future wants no answer.
            let _ = reply.send(outcome);
        }
    }
}
