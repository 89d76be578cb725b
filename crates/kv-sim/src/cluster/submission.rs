//! Requests are put to servers, and answered.

use std::time::Duration;

use kv_check::{Request, RequestState};
use kv_core::driver::{DriverRule, Reply};
use kv_core::{ConsistencyEngine, NodeId, Operation, Outcome, RequestId, RequestOptions};

use crate::cluster::Cluster;
use crate::cluster::event::Event;
use crate::fault::Fault;
use crate::server::Server;
use crate::server::arrival::Arrival;
use crate::server::session::Session;
use crate::violation::{Breach, Violation};

impl<E: ConsistencyEngine> Cluster<E> {
    /// Puts a request to a server; [`Cluster::request`] tells how it stands.
    pub fn submit(&mut self, node: NodeId, op: Operation, options: RequestOptions) -> RequestId {
        self.last_request = RequestId(self.last_request.0 + 1);
        let id = self.last_request;
        self.note_held(node, id, &op);
        let request = Arrival::Request { id, op: op.clone(), options: options.clone() };
        let state =
            if self.arrive(node, request) { RequestState::Waiting } else { RequestState::Refused };
        let request = Request { node, op, options, invoked_at: self.now, cancelled: false, state };
        self.requests.insert(id, request);
        id
    }

    /// Tells the server that nobody waits for a request any more; nothing if it has ended.
    pub fn cancel(&mut self, id: RequestId) {
        let waiting = self.requests.get_mut(&id).filter(|request| !request.has_ended());
        if let Some(request) = waiting {
            request.cancelled = true;
            let node = request.node;
            self.arrive(node, Arrival::Cancel { id });
        }
    }

    /// How a request stands; `None` for an id that this cluster did not give out.
    #[must_use]
    pub fn request(&self, id: RequestId) -> Option<&Request> {
        self.requests.get(&id)
    }

    /// All requests so far, in the order in which they were put.
    pub fn requests(&self) -> impl DoubleEndedIterator<Item = (RequestId, &Request)> {
        self.requests.iter().map(|(id, request)| (*id, request))
    }

    /// The answer to a request, if there is one yet.
    #[must_use]
    pub fn outcome(&self, id: RequestId) -> Option<&Outcome> {
        self.request(id).and_then(Request::outcome)
    }

    /// Puts a request to a server and runs until it has ended, or until a second after its
    /// timeout; `None` if there is no answer then, or never will be.
    ///
    /// # Errors
    /// [`Violation`] if an engine breaks its contract meanwhile.
    pub fn execute(&mut self, node: NodeId, op: Operation) -> Result<Option<Outcome>, Violation> {
        self.execute_with(node, op, RequestOptions::default())
    }

    /// Like [`Cluster::execute`], with options.
    ///
    /// # Errors
    /// Like [`Cluster::execute`].
    pub fn execute_with(
        &mut self,
        node: NodeId,
        op: Operation,
        options: RequestOptions,
    ) -> Result<Option<Outcome>, Violation> {
        let bound = options.timeout + Duration::from_secs(1);
        let id = self.submit(node, op, options);
        self.run_until(bound, |cluster| cluster.request(id).is_none_or(Request::has_ended))?;
        Ok(self.outcome(id).cloned())
    }

    /// Lets the client of one of a server's sessions go, and another one connect in its place. What
    /// it had asked for is [`RequestState::Lost`]: it never hears of it.
    pub fn disconnect(&mut self, node: NodeId, session: usize) {
        if !self.arrive(node, Arrival::Disconnect { session }) {
            return;
        }
        self.lose_copies(node, Some(session));
        let at = self.now;
        for (id, request) in &mut self.requests {
            let is_of_session = request.node == node && Server::<E>::session_of(*id) == session;
            if is_of_session && !request.has_ended() {
                request.state = RequestState::Lost { at };
            }
        }
    }

    pub(crate) fn reply(&mut self, node: NodeId, reply: Reply) -> Result<(), Violation> {
        let id = RequestId(reply.tag);
        let place = Server::<E>::session_of(id);
        if !self.server(node).is_session(place, reply.session) {
            return Err(self.violation_of(node, Breach::StrayReply { id }, id));
        }
        let reply = match self.server_mut(node).session_mut(place) {
            Some(session) => session.hold(reply),
            None => Some(reply),
        };
        match reply {
            Some(reply) => self.deliver(node, reply),
            None => {
                self.counts.note(Fault::CongestedClient);
                Ok(())
            }
        }
    }

    /// Lets the client of one of a server's sessions read nothing: answers wait in its connection.
    pub fn congest_client(&mut self, node: NodeId, session: usize) {
        if let Some(session) = self.server_mut(node).session_mut(session) {
            session.congest();
        }
    }

    /// Lets the client of a session read again; what waited for it comes at once.
    pub fn drain_client(&mut self, node: NodeId, session: usize) {
        let starts = self.server(node).starts;
        self.queue.push(self.now, Event::ClientDrains { node, starts, session });
    }

    /// Lets all clients of a server read again.
    pub(crate) fn drain_clients(&mut self, node: NodeId) {
        let sessions = self.server(node).sessions().enumerate();
        let congested = sessions.filter(|(_, session)| session.is_congested());
        for session in congested.map(|(place, _)| place).collect::<Vec<_>>() {
            self.drain_client(node, session);
        }
    }

    /// Whether answers wait for a client that reads nothing.
    #[must_use]
    pub fn holds_answers_back(&self) -> bool {
        let mut servers = self.servers.values();
        servers.any(|server| server.sessions().any(Session::holds_something_back))
    }

    pub(crate) fn on_client_drains(
        &mut self,
        node: NodeId,
        starts: u64,
        session: usize,
    ) -> Result<(), Violation> {
        if self.server(node).starts != starts {
            return Ok(());
        }
        let held = self.server_mut(node).session_mut(session).map(Session::drain);
        if !self.config.driver_broken.is(DriverRule::HeldAnswersDropped) {
            for reply in held.into_iter().flatten() {
                self.deliver(node, reply)?;
            }
        }
        // More of a snapshot may be due.
        self.schedule_work(node);
        Ok(())
    }

    /// A client reads an answer.
    fn deliver(&mut self, node: NodeId, reply: Reply) -> Result<(), Violation> {
        let (at, id) = (self.now, RequestId(reply.tag));
        let request = self.requests.get_mut(&id).filter(|request| request.node == node);
        let breach = match request {
            Some(request) => match &request.state {
                RequestState::Waiting => {
                    request.state = RequestState::Replied { at, outcome: reply.outcome };
                    self.go_on_with_backup(id);
                    let counted = self.count_holders(node, id);
                    return counted.map_err(|breach| self.violation_of(node, breach, id));
                }
                RequestState::Replied { .. } => Breach::SecondReply { id },
                // The client has gone; the server does not know yet.
                RequestState::Lost { .. } => return Ok(()),
                RequestState::Refused => Breach::StrayReply { id },
            },
            None => Breach::StrayReply { id },
        };
        Err(self.violation_of(node, breach, id))
    }
}
