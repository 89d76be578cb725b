//! What clients asked, and how it ended.

use std::time::Duration;

use kv_core::driver::Reply;
use kv_core::{ConsistencyEngine, NodeId, Operation, Outcome, RequestId, RequestOptions};

use crate::arrival::Arrival;
use crate::cluster::Cluster;
use crate::server::Server;
use crate::violation::{Breach, Violation};

/// A request that was put to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The server.
    pub node: NodeId,
    /// What was asked for.
    pub op: Operation,
    /// How.
    pub options: RequestOptions,
    /// The virtual time at which it was put.
    pub invoked_at: Duration,
    /// Whether it was cancelled; there may be a reply none the less.
    pub cancelled: bool,
    /// How it stands.
    pub state: RequestState,
}

/// How a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestState {
    /// There is no answer yet.
    Waiting,
    /// There is an answer.
    Replied {
        /// The virtual time of the reply.
        at: Duration,
        /// The answer.
        outcome: Outcome,
    },
    /// The server was down; the request never reached an engine, so it is definitely not done.
    Refused,
    /// The server crashed, halted or stopped before it answered, or the client's connection was
    /// lost; the request may have taken effect, or may still.
    Lost {
        /// The virtual time of the loss.
        at: Duration,
    },
}

impl Request {
    /// The answer, if there is one.
    #[must_use]
    pub const fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            RequestState::Replied { outcome, .. } => Some(outcome),
            RequestState::Waiting | RequestState::Refused | RequestState::Lost { .. } => None,
        }
    }

    /// When that became so; `None` while there may be an answer yet.
    #[must_use]
    pub const fn ended_at(&self) -> Option<Duration> {
        match &self.state {
            RequestState::Waiting => None,
            RequestState::Refused => Some(self.invoked_at),
            RequestState::Replied { at, .. } | RequestState::Lost { at } => Some(*at),
        }
    }

    /// Whether nothing more will be heard of it.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        !matches!(self.state, RequestState::Waiting)
    }
}

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
    pub fn requests(&self) -> impl Iterator<Item = (RequestId, &Request)> {
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
        let options = RequestOptions::default();
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
        let at = self.now;
        for (id, request) in &mut self.requests {
            let is_of_session = request.node == node && Server::<E>::session_of(*id) == session;
            if is_of_session && !request.has_ended() {
                request.state = RequestState::Lost { at };
            }
        }
    }

    pub(crate) fn reply(&mut self, node: NodeId, reply: Reply) -> Result<(), Violation> {
        let (at, id) = (self.now, RequestId(reply.tag));
        let is_its_own = self.server(node).is_session(Server::<E>::session_of(id), reply.session);
        let request = self.requests.get_mut(&id).filter(|request| request.node == node);
        let breach = match request.filter(|_| is_its_own) {
            Some(request) => match &request.state {
                RequestState::Waiting => {
                    request.state = RequestState::Replied { at, outcome: reply.outcome };
                    let counted = self.count_holders(node, id);
                    return counted.map_err(|breach| self.violation(node, breach));
                }
                RequestState::Replied { .. } => Breach::SecondReply { id },
                // The client has gone; the server does not know yet.
                RequestState::Lost { .. } => return Ok(()),
                RequestState::Refused => Breach::StrayReply { id },
            },
            None => Breach::StrayReply { id },
        };
        Err(self.violation(node, breach))
    }
}
