//! The one task that owns an engine.
//!
//! It takes everything that waits, steps the engine for each, and then carries out the effects of
//! the whole batch at once: one write for each peer, one for each client. That batching is where
//! the speed comes from.

mod clock;
mod event;
mod outbox;
mod pending;
mod replies;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kv_core::{
    ConsistencyEngine, Effect, Effects, HaltReason, Input, NotDone, Now, Operation, Outcome,
    RequestId, RequestOptions, Status, Waiting,
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::client_number::ClientNumber;
use crate::data::{DataEvent, Persistence, Progress};
use crate::failure::ServerError;
use crate::op_log::OpLog;

pub(crate) use clock::Clock;
pub(crate) use event::{ClientEvent, PeerEvent};
pub(crate) use outbox::{Outbox, Outgoing};
pub(crate) use pending::Pending;
pub(crate) use replies::{Backlog, Replies, SessionReply};

/// An engine, what it hears from and what it speaks to.
pub(crate) struct Driver<E: ConsistencyEngine> {
    pub(crate) engine: E,
    pub(crate) clock: Clock,
    pub(crate) peers: mpsc::Receiver<PeerEvent<E::Message>>,
    pub(crate) clients: mpsc::Receiver<ClientEvent>,
    pub(crate) persistence: Persistence<E::Record>,
    pub(crate) outbox: Outbox<E::Message>,
    pub(crate) op_log: OpLog,
    pub(crate) readiness: watch::Sender<Readiness>,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) pending: Pending,
    pub(crate) effects: Effects<E::Message, E::Record>,
    pub(crate) halted: Option<HaltReason>,
    pub(crate) looked_at: Duration,
    /// What handshakes name as the server's life. It may be the one before for some moments: an
    /// engine takes note of no lesser life than it knows, and its own messages name it themselves.
    pub(crate) life: Arc<AtomicU64>,
}

/// Whether a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It has not looked yet.
    Starting,
    /// It waits for something; some requests may be served all the same.
    Waiting(Waiting),
    /// It serves.
    Ready,
}

impl<E> Driver<E>
where
    E: ConsistencyEngine,
    E::Record: Send + 'static,
{
    /// Runs until it is told to stop, the engine halts or the disk fails. Told to stop, it takes no
    /// new requests, and answers those in hand as far as that takes no longer than [`DRAIN_MAX`].
    /// At the end all records are on disk, unless it is the disk that fails.
    pub(crate) async fn run(mut self) -> Result<(), ServerError> {
        let outcome = self.serve().await;
        let closed = self.persistence.close().await;
        outcome.and(closed)
    }

    async fn serve(&mut self) -> Result<(), ServerError> {
        let mut data_events = Vec::new();
        let mut peer_events = Vec::with_capacity(BATCH_MAX);
        let mut client_events = Vec::with_capacity(BATCH_MAX);
        let mut stop_by: Option<Duration> = None;
        // What an engine has recovered may be all that it needs.
        self.show_readiness(self.clock.now());
        loop {
            let deadlines = [self.engine.next_deadline(), stop_by];
            let wake = deadlines.into_iter().flatten().min();
            let wake =
                wake.map_or_else(|| Instant::now() + IDLE_MAX, |due| self.clock.instant(due));
            tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop), if stop_by.is_none() => {
                    stop_by = Some(self.clock.now().mono + DRAIN_MAX);
                }
                () = self.persistence.wait(&mut data_events) => {}
                _ = self.peers.recv_many(&mut peer_events, BATCH_MAX), if !self.peers.is_closed() => {}
                _ = self.clients.recv_many(&mut client_events, BATCH_MAX),
                    if !self.clients.is_closed() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
            take_waiting(&mut self.peers, &mut peer_events);
            take_waiting(&mut self.clients, &mut client_events);
            let now = self.clock.now();
            for event in data_events.drain(..) {
                self.on_data_event(now, event)?;
            }
            for event in peer_events.drain(..) {
                self.on_peer_event(now, event);
            }
            for event in client_events.drain(..) {
                self.on_client_event(now, event, stop_by.is_some());
            }
            self.carry_out(now);
            self.persistence.hand_over();
            if self.persistence.wants_checkpoint() {
                let delta = self.engine.checkpoint();
                self.persistence.write_checkpoint(delta);
            }
            self.flush(now);
            if let Some(reason) = self.halted {
                return Err(ServerError::Halted { reason });
            }
            if stop_by.is_some_and(|by| now.mono >= by || self.pending.is_empty()) {
                return Ok(());
            }
        }
    }

    fn step(&mut self, now: Now, input: Input<E::Message>) {
        self.engine.step(now, input, &mut self.effects);
    }

    fn on_data_event(&mut self, now: Now, event: DataEvent) -> Result<(), ServerError> {
        let input = match self.persistence.on_event(event)? {
            Some(Progress::Persisted { up_to }) => Input::Persisted { up_to },
            Some(Progress::CheckpointWritten { covers }) => Input::CheckpointWritten { covers },
            None => {
                self.looked_at = Duration::ZERO;
                return Ok(());
            }
        };
        self.step(now, input);
        Ok(())
    }

    fn on_peer_event(&mut self, now: Now, event: PeerEvent<E::Message>) {
        match event {
            PeerEvent::Up { peer, incarnation } => {
                self.outbox.set_up(peer, true);
                self.looked_at = Duration::ZERO;
                self.step(now, Input::PeerUp { peer, incarnation });
            }
            PeerEvent::Down { peer } => {
                self.outbox.set_up(peer, false);
                self.looked_at = Duration::ZERO;
                self.step(now, Input::PeerDown { peer });
            }
            PeerEvent::Message { from, message } => {
                self.step(now, Input::Message { from, message });
            }
            PeerEvent::Checkpoint { from, staged: checkpoint } => {
                self.step(now, Input::CheckpointInstalled { from, checkpoint });
            }
        }
    }

    fn on_client_event(&mut self, now: Now, event: ClientEvent, stopping: bool) {
        match event {
            ClientEvent::Opened { client, replies } => self.pending.open(client, replies),
            ClientEvent::Closed { client } => {
                for request in self.pending.close(client) {
                    self.cancel(now, request);
                }
            }
            ClientEvent::Request { client, id, op, options } => {
                let id = self.pending.begin_session(client, id);
                self.on_request(now, client, (id, op, options), stopping);
            }
            ClientEvent::Local { client, op, options, reply } => {
                let id = self.pending.begin_local(reply);
                self.on_request(now, client, (id, op, options), stopping);
            }
            ClientEvent::Cancel { client, id } => {
                if let Some(request) = self.pending.cancel(client, id) {
                    self.cancel(now, request);
                }
            }
            ClientEvent::Status { reply } => {
                let mut status = self.status();
                let dropped = ("messages_without_way".to_owned(), self.outbox.dropped());
                status.counters.push(dropped);
                status.counters.extend(self.persistence.counters());
                // Whoever asked may have gone; then nobody misses the answer.
                let _ = reply.send(status);
            }
            ClientEvent::Checkpoint { reply } => {
                let _ = reply.send(self.engine.snapshot());
            }
        }
    }

    fn on_request(
        &mut self,
        now: Now,
        client: ClientNumber,
        (id, op, options): (RequestId, Operation, RequestOptions),
        stopping: bool,
    ) {
        self.op_log.invoked(id, client, now, &op);
        let refusal = if stopping {
            Some(Waiting::Stopping)
        } else {
            self.persistence.shortage().filter(|_| !op.is_read_only())
        };
        match refusal {
            Some(why) => self.effects.reply(id, Outcome::NotDone(NotDone::Waiting(why))),
            None => self.step(now, Input::Request { id, op, options }),
        }
    }

    /// How the server is, its disk included.
    fn status(&self) -> Status {
        let mut status = self.engine.status();
        status.waiting = status.waiting.or(self.persistence.shortage());
        status
    }

    /// Tells the engine that nobody waits. What the request did stays open in the log of
    /// operations.
    fn cancel(&mut self, now: Now, id: RequestId) {
        self.op_log.cancelled(id, now);
        self.step(now, Input::Cancel { id });
    }

    /// Carries out effects until the engine wants nothing more at this moment.
    fn carry_out(&mut self, now: Now) {
        loop {
            while let Some(effect) = self.effects.pop() {
                match effect {
                    Effect::Persist { seq, record } => self.persistence.take(seq, record),
                    Effect::Send { to, message } => self.outbox.send(to, message),
                    Effect::SendCheckpoint { to } => {
                        self.outbox.send_checkpoint(to, self.engine.snapshot());
                    }
                    Effect::Reply { id, outcome } => self.reply(now, id, outcome),
                    Effect::Halt { reason } => {
                        self.halted = Some(reason);
                        return;
                    }
                }
            }
            if let Some(up_to) = self.persistence.persisted_at_once() {
                self.step(now, Input::Persisted { up_to });
            } else if self.engine.next_deadline().is_some_and(|due| due <= now.mono) {
                self.step(now, Input::Timeout);
            } else if self.effects.is_empty() {
                return;
            }
        }
    }

    fn reply(&mut self, now: Now, request: RequestId, outcome: Outcome) {
        self.op_log.ended(request, now, &outcome);
        if !self.pending.answer(request, outcome) {
            tracing::debug!(%request, "nobody waits for the answer");
        }
    }

    fn flush(&mut self, now: Now) {
        self.outbox.flush();
        self.pending.flush();
        self.op_log.flush();
        self.show_readiness(now);
    }

    fn show_readiness(&mut self, now: Now) {
        let ready = matches!(*self.readiness.borrow(), Readiness::Ready);
        if ready && now.mono < self.looked_at + READINESS_INTERVAL {
            return;
        }
        self.looked_at = now.mono;
        let status = self.status();
        self.life.store(status.incarnation.0, Ordering::Relaxed);
        self.persistence.note_cluster(&status);
        let next = status.waiting.map_or(Readiness::Ready, Readiness::Waiting);
        self.readiness.send_if_modified(|readiness| {
            let changed = *readiness != next;
            *readiness = next;
            changed
        });
    }
}

fn take_waiting<T>(inbox: &mut mpsc::Receiver<T>, events: &mut Vec<T>) {
    while events.len() < BATCH_MAX
        && let Ok(event) = inbox.try_recv()
    {
        events.push(event);
    }
}

/// How many events of each kind one batch takes at most, so that no reply waits for long.
const BATCH_MAX: usize = 1024;

/// How long requests in hand may take once the server has been told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// How long to sleep without a deadline; only bounds a wait that any event ends.
const IDLE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// How often a server that serves looks whether it still does.
const READINESS_INTERVAL: Duration = Duration::from_millis(50);
