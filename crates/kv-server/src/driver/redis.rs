//! The clients that speak Redis's protocol.

use std::rc::Rc;

use kv_core::driver::SessionId;
use kv_resp::{Front, Session};

use crate::client_number::ClientNumber;
use crate::net::connection::Connection;

/// The clients of Redis's protocol that are connected, by the places of their sessions.
pub(crate) struct RedisClients {
    pub(crate) front: Front,
    places: Vec<Option<RedisClient>>,
    /// The sessions in whose buffers something was put in this turn, or that go on in the next one.
    pub(crate) dirty: Vec<SessionId>,
}

/// One of them.
pub(crate) struct RedisClient {
    pub(crate) id: SessionId,
    /// Its number in the log of operations.
    pub(crate) number: ClientNumber,
    pub(crate) session: Session,
    /// Something was read that is not carried out yet, or the end of all that the client sends.
    pub(crate) has_input: bool,
    pub(crate) connection: Rc<Connection>,
    pub(crate) is_dirty: bool,
    /// Its task is to go on, although nothing has come in.
    pub(crate) is_called: bool,
}

impl RedisClients {
    pub(crate) const fn new(front: Front) -> Self {
        Self { front, places: Vec::new(), dirty: Vec::new() }
    }

    pub(crate) fn insert(&mut self, client: RedisClient) {
        let place = client.id.place();
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        if let Some(free) = self.places.get_mut(place) {
            *free = Some(client);
        }
    }

    pub(crate) fn remove(&mut self, id: SessionId) {
        let client = self.places.get_mut(id.place());
        if let Some(client) = client.and_then(|client| client.take_if(|client| client.id == id)) {
            self.front.disconnected(client.session.id());
        }
    }

    /// The client of a session, and what it shares with the others.
    pub(crate) fn get_mut(&mut self, id: SessionId) -> Option<(&mut RedisClient, &mut Front)> {
        let client = self.places.get_mut(id.place())?.as_mut();
        Some((client.filter(|client| client.id == id)?, &mut self.front))
    }

    /// Notes that a client's buffer is to be written in this turn.
    pub(crate) fn mark(&mut self, id: SessionId) {
        if let Some((client, _)) = self.get_mut(id)
            && !std::mem::replace(&mut client.is_dirty, true)
        {
            self.dirty.push(id);
        }
    }

    pub(crate) fn connections(&self) -> impl Iterator<Item = &Rc<Connection>> {
        self.places.iter().flatten().map(|client| &client.connection)
    }

    /// Closes the connections that other clients asked to close.
    pub(crate) fn close_killed(&mut self) {
        for number in self.front.take_kills() {
            let mut clients = self.places.iter().flatten();
            if let Some(client) = clients.find(|client| client.session.id() == number) {
                client.connection.close();
            }
        }
    }
}
