//! What the tasks of the loop share: the driver core, and what surrounds it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kv_core::driver::{DriverCore, Output, PeerFrame, Reply, SessionId, SessionPart};
use kv_core::{
    ClusterId, ConsistencyEngine, Counter, Incarnation, NodeId, Now, Outcome, Shortage, Status,
};
use kv_proto::{
    FrameMessage, Request, RequestBody, Response, ResponseBody, ServerState, put_message,
};

use crate::client_number::ClientNumber;
use crate::data::{DataEvent, DataNews, Persistence};
use crate::driver::clients::{Client, Clients, LocalRequests};
use crate::driver::clock::Clock;
use crate::driver::dump::DumpThread;
use crate::driver::event::LocalEvent;
use crate::driver::peers::{Inbound, Peers};
use crate::driver::redis::RedisClients;
use crate::driver::{Readiness, Telling};
use crate::failure::ServerError;
use crate::net::bounds::admission::Identity;
use crate::net::connection::Connection;
use crate::op_log::OpLog;

/// An engine's driver, and its disk, log, clients and peers. Tasks call it as things come in; the
/// loop has it take its turn once nothing more waits.
pub(crate) struct Hub<E: ConsistencyEngine> {
    pub(crate) core: DriverCore<E>,
    pub(crate) clock: Clock,
    pub(crate) persistence: Persistence<E::Record>,
    pub(crate) op_log: OpLog,
    pub(crate) clients: Clients,
    pub(crate) redis: RedisClients,
    pub(crate) local: LocalRequests,
    pub(crate) peers: Peers,
    pub(crate) telling: Telling,
    pub(crate) dumps: Option<DumpThread>,
    /// What handshakes name as the server's incarnation. It may be the one before for some moments:
    /// an engine takes note of no lesser one than it knows, and its own messages name it themselves.
    pub(crate) incarnation: Arc<AtomicU64>,
    pub(crate) looked_at: Duration,
    /// The cluster whose data the server holds, when that was last looked at.
    pub(crate) cluster_id: Option<ClusterId>,
    /// What the clients were told last of the server.
    pub(crate) state: ServerState,
    /// The sessions in whose buffers something was put in this turn.
    pub(crate) dirty: Vec<SessionId>,
    /// The sessions that are given a snapshot.
    pub(crate) snapshots: Vec<SessionId>,
    /// How the server has ended, once it has.
    pub(crate) ended: Option<Result<(), ServerError>>,
}

/// What a session's task does next.
pub(crate) enum Room {
    /// Read more.
    ForMore,
    /// Wait until answers were written.
    Full,
}

impl<E> Hub<E>
where
    E: ConsistencyEngine,
    E::Record: Send + 'static,
{
    pub(crate) fn connected(
        &mut self,
        number: ClientNumber,
        connection: Rc<Connection>,
        in_flight_max: usize,
    ) -> SessionId {
        let session = self.core.open_session(in_flight_max);
        self.clients.insert(Client { session, number, connection, is_dirty: false });
        session
    }

    pub(crate) fn disconnected(&mut self, now: Now, session: SessionId) {
        self.clients.remove(session);
        self.snapshots.retain(|other| *other != session);
        for request in self.core.close_session(now, session) {
            self.op_log.cancelled(request, now);
        }
    }

    /// Whether a session's next request may be taken.
    pub(crate) fn has_room(&mut self, session: SessionId) -> bool {
        let connection = self.clients.get_mut(session).map(|client| &client.connection);
        self.core.has_room(session)
            && connection.is_some_and(|connection| connection.waiting_bytes() < BYTES_BEFORE_WAIT)
    }

    /// Takes a request of a session.
    pub(crate) fn on_request(&mut self, now: Now, session: SessionId, request: Request) {
        let Request { id, body } = request;
        match body {
            RequestBody::Execute { op, options } => {
                let number = self.clients.get_mut(session).map(|client| client.number);
                let logged = self.op_log.invocation(&op, &options);
                let request = self.core.request(now, session, id, op, options);
                if let (Some(request), Some(number), Some(logged)) = (request, number, logged) {
                    self.op_log.invoked(request, number, now, &logged);
                }
            }
            RequestBody::Cancel => {
                if let Some(request) = self.core.cancel(now, session, id) {
                    self.op_log.cancelled(request, now);
                }
            }
            RequestBody::Status => {
                let status = Box::new(self.status());
                self.respond(session, &Response { id, body: ResponseBody::Status(status) });
            }
            RequestBody::Snapshot => match self.core.begin_session_snapshot(session, id) {
                Ok(()) => self.snapshots.push(session),
                Err(reason) => {
                    let body = ResponseBody::Outcome(Outcome::NotDone(reason));
                    self.respond(session, &Response { id, body });
                }
            },
        }
    }

    /// Tells a session's client that what it asked for is not legal.
    pub(crate) fn on_malformed(&mut self, session: SessionId, id: u64, why: String) {
        self.respond(session, &Response { id, body: ResponseBody::Malformed(why) });
    }

    pub(crate) fn on_local(&mut self, now: Now, event: LocalEvent) {
        match event {
            LocalEvent::Request { client, op, options, reply } => {
                let (session, tag) = (self.local.session(), self.local.begin(reply));
                let logged = self.op_log.invocation(&op, &options);
                let request = self.core.request(now, session, tag, op, *options);
                if let (Some(request), Some(logged)) = (request, logged) {
                    self.op_log.invoked(request, client, now, &logged);
                }
            }
            LocalEvent::Status { reply } => {
                // A caller that has gone misses no answer.
                let _ = reply.send(self.status());
            }
        }
    }

    /// This server has connected to a peer.
    pub(crate) fn on_connected(
        &mut self,
        now: Now,
        peer: NodeId,
        incarnation: Incarnation,
        connection: Rc<Connection>,
    ) {
        self.peers.connected(peer, connection, incarnation);
        self.note_up(now, peer);
    }

    /// This server has lost its connection to a peer, or got none.
    pub(crate) fn on_unconnected(&mut self, now: Now, peer: NodeId) {
        self.peers.lost(peer);
        self.note_down(now, peer);
    }

    /// A peer has connected to this server. The connection that it had before is closed.
    pub(crate) fn on_dialled(&mut self, now: Now, peer: NodeId, inbound: Rc<Inbound>) {
        match self.peers.dialled(peer, inbound) {
            Some(before) => before.connection.close(),
            None => self.note_up(now, peer),
        }
    }

    /// A connection that a peer has made has ended.
    pub(crate) fn on_hung_up(&mut self, now: Now, peer: NodeId, inbound: &Rc<Inbound>) {
        let was_up = self.peers.incarnation_if_up(peer).is_some();
        if self.peers.hung_up(peer, inbound) && was_up {
            self.note_down(now, peer);
        }
        inbound.gone.notify_waiters();
    }

    fn note_up(&mut self, now: Now, peer: NodeId) {
        if let Some(incarnation) = self.peers.incarnation_if_up(peer) {
            self.looked_at = Duration::ZERO;
            self.core.on_peer_up(now, peer, incarnation);
        }
    }

    fn note_down(&mut self, now: Now, peer: NodeId) {
        self.looked_at = Duration::ZERO;
        self.core.on_peer_down(now, peer);
    }

    pub(crate) fn on_frame(&mut self, now: Now, from: NodeId, frame: PeerFrame<E::Message>) {
        self.core.on_frame(now, from, frame);
    }

    pub(crate) fn on_data_event(&mut self, now: Now, event: DataEvent) {
        match self.persistence.on_event(event) {
            Ok(DataNews::Persisted { up_to }) => self.core.on_persisted(now, up_to),
            Ok(DataNews::Room { shortage }) => {
                self.looked_at = Duration::ZERO;
                self.core.on_room(now, shortage);
            }
            Ok(DataNews::ChangesTaken) => self.core.on_changes_taken(),
            Ok(DataNews::CheckpointWritten) => self.core.on_checkpoint_written(now),
            Ok(DataNews::CheckpointFailed) => self.core.on_checkpoint_failed(now),
            Err(error) => self.end(Err(error)),
        }
    }

    /// Takes a turn: steps what is due, and carries out everything that came of what came in. Calls
    /// `on_drained` once a socket takes more that had taken all it could.
    pub(crate) fn turn(&mut self, on_drained: impl Fn() + Clone + 'static) {
        let now = self.clock.now();
        if let Some(written) = self.persistence.written_bytes() {
            self.core.note_journal_bytes(written);
        }
        self.core.turn(now);
        while let Some(output) = self.core.next_output() {
            self.carry_out(now, output);
        }
        self.send_snapshots();
        self.show_readiness(now);
        self.tell_state();
        let core = &mut self.core;
        self.peers.write(on_drained.clone(), |peer, full| core.set_congested(peer, full));
        self.write_redis(&on_drained);
        self.write_replies(on_drained);
        self.op_log.flush();
        if self.core.is_stopped(now) {
            self.end(Ok(()));
        }
    }

    fn status(&self) -> Status {
        status_of(&self.core, &self.persistence)
    }

    fn carry_out(&mut self, now: Now, output: Output<E::Message, E::Record>) {
        match output {
            Output::Persist(records) => self.persistence.append(records),
            Output::Send { to, frame } => self.peers.send(to, &frame),
            Output::Reply(reply) => self.reply(now, reply),
            Output::BeginCheckpoint { covers, metadata, changes } => {
                self.persistence.begin_checkpoint(covers, metadata, changes);
            }
            Output::WriteChanges { changes, is_last } => {
                self.persistence.write_changes(changes, is_last);
            }
            Output::AbandonCheckpoint => self.persistence.abandon_checkpoint(),
            Output::Halt(reason) => self.end(Err(ServerError::Halted { reason })),
        }
    }

    fn reply(&mut self, now: Now, reply: Reply) {
        let Reply { session, tag, request, outcome } = reply;
        self.op_log.ended(request, now, &outcome);
        if session == self.local.session() {
            return self.local.answer(tag, outcome);
        }
        let Some(outcome) = self.redis_outcome(now, session, tag, outcome) else {
            return;
        };
        if let Some(dumps) = &self.dumps {
            dumps.show(&outcome);
        }
        self.respond(session, &Response { id: tag, body: ResponseBody::Outcome(outcome) });
    }

    /// Tells the clients of whatever has changed of the server.
    fn tell_state(&mut self) {
        let waiting = match &*self.telling.readiness.borrow() {
            Readiness::Waiting(waiting) => Some(*waiting),
            Readiness::Starting | Readiness::Ready => None,
        };
        let (sequencer, cluster_id) = (self.core.sequencer(), self.cluster_id);
        let state = ServerState { sequencer, waiting, cluster_id };
        if state == self.state {
            return;
        }
        let told = std::mem::replace(&mut self.state, state);
        for session in self.clients.sessions() {
            self.tell_session(session, &told);
        }
    }

    /// Tells a client how the server is, if that is not what it was told.
    pub(crate) fn tell_session(&mut self, session: SessionId, told: &ServerState) {
        if self.state != *told {
            self.respond(session, &{ self.state });
        }
    }

    fn respond(&mut self, session: SessionId, message: &impl FrameMessage) {
        let Some(client) = self.clients.get_mut(session) else {
            return;
        };
        let put = client.connection.put(|wire| put_message(Identity::GROUP, message, wire));
        if let Err(error) = put {
            // The client's own timeout answers its request.
            tracing::error!(%error, "a response does not fit into a frame");
        }
        if !std::mem::replace(&mut client.is_dirty, true) {
            self.dirty.push(session);
        }
    }

    /// Gives each session that asked for a snapshot its next part, if it takes one.
    fn send_snapshots(&mut self) {
        for session in std::mem::take(&mut self.snapshots) {
            let connection = self.clients.get_mut(session).map(|client| &client.connection);
            let Some(waiting_bytes) = connection.map(|connection| connection.waiting_bytes())
            else {
                continue;
            };
            if waiting_bytes < SNAPSHOT_BYTES_AHEAD && self.send_part(session).is_break() {
                continue;
            }
            self.snapshots.push(session);
        }
    }

    fn send_part(&mut self, session: SessionId) -> ControlFlow<()> {
        let (id, body, is_last) = match self.core.next_session_part(session) {
            Some(SessionPart::Part { tag, part }) => {
                let is_last = part.is_last;
                (tag, ResponseBody::Snapshot(part), is_last)
            }
            Some(SessionPart::Gone { tag }) => {
                let why = "the server's state was replaced meanwhile: ask again".to_owned();
                (tag, ResponseBody::Malformed(why), true)
            }
            None => return ControlFlow::Break(()),
        };
        self.respond(session, &Response { id, body });
        if is_last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Whether a snapshot can go on at once.
    pub(crate) fn has_work(&mut self) -> bool {
        let clients = &mut self.clients;
        self.snapshots.iter().any(|session| {
            let client = clients.get_mut(*session);
            client.is_some_and(|client| client.connection.waiting_bytes() < SNAPSHOT_BYTES_AHEAD)
        })
    }

    fn write_replies(&mut self, on_drained: impl Fn() + Clone + 'static) {
        for session in self.dirty.drain(..) {
            let Some(client) = self.clients.get_mut(session) else {
                continue;
            };
            client.is_dirty = false;
            client.connection.write(on_drained.clone());
            if client.connection.waiting_bytes() > BYTES_MAX {
                tracing::warn!(
                    client = client.number.0,
                    "closing the connection of a client that asks for much and does not read it"
                );
                client.connection.close();
            }
            client.connection.make_room();
        }
    }

    pub(crate) fn show_readiness(&mut self, now: Now) {
        let ready = matches!(*self.telling.readiness.borrow(), Readiness::Ready);
        if ready && now.mono < self.looked_at + READINESS_INTERVAL {
            return;
        }
        self.looked_at = now.mono;
        let status = self.core.status();
        self.incarnation.store(status.incarnation.0, Ordering::Relaxed);
        self.persistence.note_cluster(status.cluster_id);
        self.op_log.note_cluster(status.cluster_id);
        self.cluster_id = status.cluster_id;
        let connected = BTreeSet::from_iter(status.connected);
        self.telling.connected.send_if_modified(|known| {
            let has_changed = *known != connected;
            *known = connected;
            has_changed
        });
        let next = status.waiting.map_or(Readiness::Ready, Readiness::Waiting);
        self.telling.readiness.send_if_modified(|readiness| {
            let changed = *readiness != next;
            *readiness = next;
            changed
        });
    }

    pub(crate) fn end(&mut self, how: Result<(), ServerError>) {
        if self.ended.is_none() {
            self.ended = Some(how);
        }
    }
}

/// How a server is.
pub(crate) fn status_of<E>(core: &DriverCore<E>, persistence: &Persistence<E::Record>) -> Status
where
    E: ConsistencyEngine,
    E::Record: Send + 'static,
{
    let mut status = core.status();
    status.positions.journal_persisted = Some(core.persisted().0);
    status.positions.checkpoint_covers = Some(core.checkpoint_covers().0);
    let counters = core.counters();
    let lacks = |any: &[Shortage]| {
        u64::from(core.shortage().is_some_and(|shortage| any.contains(&shortage)))
    };
    status.counters.extend([
        (Counter::MessagesDropped, counters.messages_dropped),
        (Counter::SnapshotsBegun, counters.snapshots_begun),
        (Counter::SnapshotsSent, counters.snapshots_sent),
        (Counter::CheckpointsWritten, counters.checkpoints_written),
        (Counter::JournalWrittenBytes, core.journal_bytes()),
        (Counter::DiskFull, lacks(&[Shortage::SpaceForData, Shortage::Space])),
        (Counter::TooManyOpenFiles, lacks(&[Shortage::OpenFiles])),
    ]);
    status.counters.extend(persistence.counters());
    status
}

/// From here on no further request is taken from the client.
pub(crate) const BYTES_BEFORE_WAIT: usize = 16 << 20;

/// From here on the client counts as gone. Requests that were in flight may bring it so far.
pub(crate) const BYTES_MAX: usize = 512 << 20;

/// A snapshot's next part is read once fewer bytes wait to be written.
const SNAPSHOT_BYTES_AHEAD: usize = 256 << 10;

/// How often a server that serves looks whether it still does.
const READINESS_INTERVAL: Duration = Duration::from_millis(50);
