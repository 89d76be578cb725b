//! What happens by itself: messages arrive, syncs end, deadlines come, effects are carried out.

use std::time::Duration;

use bytes::Bytes;
use kv_core::{
    ConsistencyEngine, Effect, Input, NodeId, Outcome, PersistSeq, RequestId, StagedCheckpoint,
    Wire,
};
use kv_storage::StorageError;

use crate::cluster::Cluster;
use crate::config::draw;
use crate::connection::Hint;
use crate::request::RequestState;
use crate::server::Server;
use crate::tape::{Tape, TapedBatch, TapedLife};
use crate::violation::{Breach, Violation};

/// Something that happens at its time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message arrives.
    Arrive { from: NodeId, to: NodeId, bytes: Bytes },
    /// A peer's checkpoint has arrived whole.
    ArriveCheckpoint { from: NodeId, to: NodeId, checkpoint: StagedCheckpoint },
    /// A server steps what has come in.
    Work { node: NodeId, life: u64 },
    /// A sync ends.
    Synced { node: NodeId, life: u64, up_to: PersistSeq },
    /// A server looks at its connection to a peer.
    Look { node: NodeId, peer: NodeId },
}

impl<E: ConsistencyEngine> Cluster<E> {
    /// When the next event or deadline is due.
    pub(crate) fn next_event_at(&self) -> Option<Duration> {
        let queued = self.queue.next_at();
        let deadline = self.next_deadline().map(|(at, _)| at);
        match (queued, deadline) {
            (Some(queued), Some(deadline)) => Some(queued.min(deadline)),
            (queued, deadline) => queued.or(deadline),
        }
    }

    /// Lets what is due at `at` happen, queued events before deadlines.
    pub(crate) fn happen(&mut self, at: Duration) -> Result<(), Violation> {
        // A deadline that passed while its server was paused is due at once, not in the past.
        if at > self.now {
            self.now = at;
            self.steps_at_once = 0;
        }
        if self.queue.next_at() == Some(at)
            && let Some((_, event)) = self.queue.pop()
        {
            return self.on_event(event);
        }
        match self.next_deadline() {
            Some((_, node)) => self.work(node),
            None => Ok(()),
        }
    }

    /// Puts work on the queue for a server that has something to do.
    pub(crate) fn schedule_work(&mut self, node: NodeId) {
        let delay = draw(&mut self.driver_stream, &self.config.processing);
        let at = self.now + delay;
        let server = self.server_mut(node);
        if server.is_running() && !server.paused && !server.work_scheduled {
            server.work_scheduled = true;
            let life = server.life;
            self.queue.push(at, Event::Work { node, life });
        }
    }

    /// Starts a server's process on what its disk holds.
    pub(crate) fn start(&mut self, node: NodeId) -> Result<(), Violation> {
        let (now, config) = (self.now, self.config.clone());
        let started = self.server_mut(node).start(now, &config);
        started.map_err(|breach| self.violation(node, breach))?;
        self.tape_start(node);
        self.note(node, 1, |_| {}, || "starts".to_owned());
        self.connections.forget(node);
        self.hint_everybody();
        Ok(())
    }

    /// Ends a server's process by `end`, and the requests that it had in hand.
    pub(crate) fn end_process(&mut self, node: NodeId, end: impl FnOnce(&mut Server<E>)) {
        if !self.is_running(node) {
            return;
        }
        end(self.server_mut(node));
        let at = self.now;
        let requests = self.requests.values_mut();
        for request in requests.filter(|request| request.node == node && !request.has_ended()) {
            request.state = RequestState::Lost { at };
        }
        self.note(node, 2, |_| {}, || "crashes".to_owned());
        self.hint_everybody();
    }

    /// Has every server look at its connections before long.
    pub(crate) fn hint_everybody(&mut self) {
        let nodes: Vec<NodeId> = self.nodes().collect();
        for &node in &nodes {
            for &peer in nodes.iter().filter(|peer| **peer != node) {
                let at = self.now + self.network.hint_delay();
                self.queue.push(at, Event::Look { node, peer });
            }
        }
    }

    pub(crate) fn note_input(&mut self, node: NodeId, input: &Input<E::Message>) {
        let encode = |out: &mut bytes::BytesMut| match input {
            Input::Request { id, op, options } => {
                (*id, op.to_bytes(), options.to_bytes()).encode(out);
            }
            Input::Message { from, message } => (*from, message.to_bytes()).encode(out),
            Input::PeerUp { peer, incarnation } => (*peer, *incarnation).encode(out),
            Input::PeerDown { peer } => peer.encode(out),
            Input::Cancel { id } | Input::Admin { id, .. } => id.encode(out),
            Input::Persisted { up_to: seq } | Input::CheckpointWritten { covers: seq } => {
                seq.encode(out);
            }
            Input::CheckpointInstalled { from, checkpoint } => {
                (*from, checkpoint.metadata.clone(), checkpoint.items.clone()).encode(out);
            }
            Input::Timeout => {}
        };
        let text = || format!("<- {input:?}");
        self.trace.note(self.now, node, encode, text);
    }

    fn on_event(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Arrive { from, to, bytes } => self.on_arrive(from, to, bytes),
            Event::ArriveCheckpoint { from, to, checkpoint } => {
                if !self.network.is_blocked((from, to)) {
                    self.give(to, Input::CheckpointInstalled { from, checkpoint });
                }
                Ok(())
            }
            Event::Work { node, life } => {
                let server = self.server_mut(node);
                if server.life != life || server.paused {
                    server.work_scheduled &= server.life != life;
                    return Ok(());
                }
                server.work_scheduled = false;
                self.work(node)
            }
            Event::Synced { node, life, up_to } => {
                let server = self.server_mut(node);
                let durable = server.journal.durable();
                if server.life == life && !server.disk_held && up_to > durable {
                    let up_to = server.journal.sync_through(up_to);
                    self.give(node, Input::Persisted { up_to });
                }
                Ok(())
            }
            Event::Look { node, peer } => {
                self.look(node, peer);
                Ok(())
            }
        }
    }

    fn on_arrive(&mut self, from: NodeId, to: NodeId, bytes: Bytes) -> Result<(), Violation> {
        if self.network.is_blocked((from, to)) {
            return Ok(());
        }
        let message = E::Message::from_bytes(bytes)
            .map_err(|_| self.violation(from, Breach::MessageChanged))?;
        self.give(to, Input::Message { from, message });
        Ok(())
    }

    /// Tells a server what has become of its connection to a peer.
    fn look(&mut self, node: NodeId, peer: NodeId) {
        if !self.is_running(node) {
            return;
        }
        let open = !self.network.is_blocked((node, peer)) && !self.network.is_blocked((peer, node));
        let server = self.server(peer);
        let life = (open && server.is_running()).then_some(server.life);
        let incarnation = server.engine.as_ref().map(|engine| engine.status().incarnation);
        let hint = self.connections.hint(node, peer, life);
        if matches!(hint, Hint::Down | Hint::DownThenUp) {
            self.give(node, Input::PeerDown { peer });
        }
        if let (Hint::Up | Hint::DownThenUp, Some(incarnation)) = (hint, incarnation) {
            self.give(node, Input::PeerUp { peer, incarnation });
        }
    }

    /// The server whose deadline is due first.
    fn next_deadline(&self) -> Option<(Duration, NodeId)> {
        let waiting = self.servers.values().filter(|server| !server.paused);
        let deadlines = waiting.filter_map(|server| Some((server.wake_at?, server.node)));
        deadlines.min().map(|(at, node)| (at.max(self.now), node))
    }

    /// Steps a server for all that has come in, then carries out the effects.
    fn work(&mut self, node: NodeId) -> Result<(), Violation> {
        let (now, taped) = (self.now, self.config.keep_tapes);
        let stepped = self.server_mut(node).step_all(now, taped);
        let stepped = stepped.map_err(|breach| self.violation(node, breach))?;
        self.steps += stepped.steps;
        self.steps_at_once += stepped.steps;
        if self.steps_at_once > STEPS_AT_ONCE_MAX {
            let steps = self.steps_at_once;
            return Err(self.violation(node, Breach::Spinning { steps }));
        }
        let mut carried_out = Vec::new();
        while let Some(effect) = self.server_mut(node).next_effect() {
            if self.dies_here(node) {
                break;
            }
            if taped {
                carried_out.push(effect.clone());
            }
            self.carry_out(node, effect)?;
        }
        if taped && let Some(life) = self.tapes.get_mut(&node).and_then(|t| t.lives.last_mut()) {
            life.batches.push(TapedBatch {
                now: stepped.now,
                inputs: stepped.inputs,
                effects: carried_out,
            });
        }
        self.sync_and_checkpoint(node)
    }

    /// Counts down to a crash that the test has set; true if it comes now.
    fn dies_here(&mut self, node: NodeId) -> bool {
        match &mut self.server_mut(node).effects_to_live {
            Some(0) => {
                self.crash(node);
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn carry_out(
        &mut self,
        node: NodeId,
        effect: Effect<E::Message, E::Record>,
    ) -> Result<(), Violation> {
        match effect {
            Effect::Persist { seq, record } => {
                let text = || format!("-> persist {seq} {record:?}");
                self.note(node, 3, |out| (seq, record.to_bytes()).encode(out), text);
                let journal = &mut self.server_mut(node).journal;
                let appended = journal.append(seq, &record);
                appended.map_err(|error| self.violation(node, breach_of(error)))
            }
            Effect::Send { to, message } => self.send(node, to, &message),
            Effect::Reply { id, outcome } => {
                let text = || format!("-> reply to {id}: {outcome:?}");
                self.note(node, 5, |out| (id, outcome.to_bytes()).encode(out), text);
                self.reply(node, id, outcome)
            }
            Effect::SendCheckpoint { to } => self.send_checkpoint(node, to),
            Effect::Halt { reason } => {
                let text = || format!("-> halt: {reason}");
                self.note(node, 7, |_| {}, text);
                self.end_process(node, |server| {
                    server.crash(0);
                    server.halted = Some(reason);
                });
                Ok(())
            }
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: &E::Message) -> Result<(), Violation> {
        let bytes = message.to_bytes();
        let text = || format!("-> {to} {message:?}");
        self.note(from, 4, |out| (to, bytes.clone()).encode(out), text);
        self.check_receiver(from, to)?;
        if bytes.len() > MESSAGE_BYTES_MAX {
            let size = bytes.len();
            return Err(self.violation(from, Breach::MessageTooLarge { size }));
        }
        if E::Message::from_bytes(bytes.clone()).as_ref() != Ok(message) {
            return Err(self.violation(from, Breach::MessageChanged));
        }
        if self.intercept.lets_pass(self.now, (from, to), message) {
            for at in self.network.arrivals((from, to), self.now).into_iter().flatten() {
                let bytes = bytes.clone();
                self.queue.push(at, Event::Arrive { from, to, bytes });
            }
        }
        Ok(())
    }

    fn send_checkpoint(&mut self, from: NodeId, to: NodeId) -> Result<(), Violation> {
        self.note(from, 6, |out| to.encode(out), || format!("-> {to} its checkpoint"));
        self.check_receiver(from, to)?;
        let Some(checkpoint) = self.engine(from).map(E::checkpoint) else {
            return Ok(());
        };
        let checkpoint = StagedCheckpoint::from(checkpoint);
        for at in self.network.arrivals((from, to), self.now).into_iter().flatten() {
            let checkpoint = checkpoint.clone();
            self.queue.push(at, Event::ArriveCheckpoint { from, to, checkpoint });
        }
        Ok(())
    }

    fn check_receiver(&self, from: NodeId, to: NodeId) -> Result<(), Violation> {
        if to == from || !self.servers.contains_key(&to) {
            return Err(self.violation(from, Breach::SentToStranger { to }));
        }
        Ok(())
    }

    fn reply(&mut self, node: NodeId, id: RequestId, outcome: Outcome) -> Result<(), Violation> {
        let at = self.now;
        let request = self.requests.get_mut(&id).filter(|request| request.node == node);
        let breach = match request {
            Some(request) => match &request.state {
                RequestState::Waiting => {
                    request.state = RequestState::Replied { at, outcome };
                    return Ok(());
                }
                RequestState::Replied { .. } => Breach::SecondReply { id },
                RequestState::Refused | RequestState::Lost { .. } => Breach::StrayReply { id },
            },
            None => Breach::StrayReply { id },
        };
        Err(self.violation(node, breach))
    }

    /// Begins a sync of what was appended, and writes a checkpoint when it is time.
    fn sync_and_checkpoint(&mut self, node: NodeId) -> Result<(), Violation> {
        let every = self.config.disk.checkpoint_every;
        let server = self.server_mut(node);
        let (life, up_to) = (server.life, server.journal.last());
        if server.is_running() && up_to > server.sync_asked {
            server.sync_asked = up_to;
            let at = self.now + draw(&mut self.driver_stream, &self.config.disk.sync_delay);
            self.queue.push(at, Event::Synced { node, life, up_to });
        }
        let written = self.server_mut(node).checkpoint_if_due(every);
        if written.map_err(|breach| self.violation(node, breach))? {
            self.note(node, 8, |_| {}, || "checkpoint written".to_owned());
            self.schedule_work(node);
        }
        Ok(())
    }

    /// Begins a new life on the server's tape.
    fn tape_start(&mut self, node: NodeId) {
        if !self.config.keep_tapes {
            return;
        }
        let server = self.server(node);
        let covers = server.checkpoint.covers();
        let checkpoint = server.checkpoint.read();
        let records = server.journal.records().flatten();
        let life = TapedLife {
            config: server.engine_config(&self.config),
            checkpoint: checkpoint.map(|checkpoint| (covers, checkpoint.into())),
            records: records.filter(|(seq, _)| *seq > covers).collect(),
            batches: Vec::new(),
        };
        let tape = self.tapes.entry(node).or_insert(Tape { lives: Vec::new() });
        tape.lives.push(life);
    }

    fn note(
        &mut self,
        node: NodeId,
        kind: u8,
        encode: impl FnOnce(&mut bytes::BytesMut),
        text: impl FnOnce() -> String,
    ) {
        let encode = |out: &mut bytes::BytesMut| {
            kind.encode(out);
            encode(out);
        };
        self.trace.note(self.now, node, encode, text);
    }

    fn violation(&self, node: NodeId, breach: Breach) -> Violation {
        Violation { seed: self.config.seed, at: self.now, node, breach }
    }
}

fn breach_of(error: StorageError) -> Breach {
    match error {
        StorageError::NotDense { expected, found } => Breach::SeqNotDense { expected, found },
        StorageError::Damaged { .. } | StorageError::NotReadable { .. } => {
            Breach::JournalNotReadable(error)
        }
    }
}

/// The largest frame that servers exchange; a message must fit into it.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// More steps than this without any time going by are no work but a loop.
const STEPS_AT_ONCE_MAX: u64 = 1_000_000;
