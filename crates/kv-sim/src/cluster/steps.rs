//! What happens by itself: messages arrive, syncs end, deadlines come, effects are carried out.

use std::time::Duration;

use kv_check::CallText;
use kv_core::{ConsistencyEngine, Effect, Input, NodeId, Operation, Wire, digest};

use super::Cluster;
use super::event::Event;
use super::tape::TapedBatch;
use crate::config::draw;
use crate::violation::{Breach, Violation};

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
            let incarnation = server.incarnation;
            self.queue.push(at, Event::Work { node, incarnation });
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
        let text = || match input {
            Input::Request { id, op: Operation::Batch(batch), options } => {
                format!("<- request {id}:{}, {options:?}", CallText(batch))
            }
            Input::Request { id, op, options } => format!("<- request {id}: {op:?}, {options:?}"),
            Input::Message { from, message } => format!("<- from {from}: {message:?}"),
            Input::Persisted { .. }
            | Input::CheckpointWritten { .. }
            | Input::CheckpointInstalled { .. }
            | Input::Cancel { .. }
            | Input::Admin { .. }
            | Input::PeerUp { .. }
            | Input::PeerDown { .. }
            | Input::Timeout => format!("<- {input:?}"),
        };
        self.trace.note(self.now, node, encode, text);
    }

    fn on_event(&mut self, event: Event) -> Result<(), Violation> {
        let event = match event.link() {
            Some(link) => self.network.hold_back(link, event),
            None => Some(event),
        };
        match event {
            None => Ok(()),
            Some(event) => self.on_event_in_time(event),
        }
    }

    fn on_event_in_time(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Arrive { from, to, bytes } => self.on_arrive(from, to, bytes),
            Event::ArriveCheckpoint { from, to, checkpoint } => {
                if !self.network.is_blocked((from, to)) && self.admits(from, to) {
                    self.give(to, Input::CheckpointInstalled { from, checkpoint });
                }
                Ok(())
            }
            Event::Work { node, incarnation } => {
                let server = self.server_mut(node);
                if server.incarnation != incarnation || server.paused {
                    server.work_scheduled &= server.incarnation != incarnation;
                    return Ok(());
                }
                server.work_scheduled = false;
                self.work(node)
            }
            Event::DiskWorkEnds { node, incarnation, work } => {
                self.on_disk_work_ends(node, incarnation, work)
            }
            Event::DiskLook { node, incarnation } => self.on_disk_look(node, incarnation),
            Event::Look { node, peer } => {
                self.look(node, peer);
                Ok(())
            }
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
        if taped
            && let Some(incarnation) =
                self.tapes.get_mut(&node).and_then(|t| t.incarnations.last_mut())
        {
            incarnation.batches.push(TapedBatch {
                now: stepped.now,
                inputs: stepped.inputs,
                effects: carried_out,
            });
        }
        self.use_disk(node)
    }

    fn carry_out(
        &mut self,
        node: NodeId,
        effect: Effect<E::Message, E::Record>,
    ) -> Result<(), Violation> {
        match effect {
            Effect::Persist { seq, record } => {
                let text = || format!("-> persist {seq} {record:?}");
                let digest = digest(&record.to_bytes());
                self.note(node, 3, |out| (seq, digest).encode(out), text);
                self.note_kept(node, &record);
                self.server_mut(node).storage.take(seq, record, digest);
                Ok(())
            }
            Effect::Send { to, message } => self.send(node, to, &message),
            Effect::Reply { id, outcome } => {
                let text = || format!("-> reply to request {id}: {outcome:?}");
                self.note(node, 5, |out| (id, outcome.to_bytes()).encode(out), text);
                self.reply(node, id, outcome)
            }
            Effect::SendCheckpoint { to } => self.send_checkpoint(node, to),
            Effect::Halt { reason } => {
                let text = || format!("-> halt: {reason}");
                self.note(node, 7, |_| {}, text);
                self.halt(node, reason);
                Ok(())
            }
        }
    }

    pub(crate) fn note(
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

    pub(crate) fn violation(&self, node: NodeId, breach: Breach) -> Violation {
        Violation { seed: self.config.seed, at: self.now, node, breach }
    }
}

/// More steps than this without any time going by are no work but a loop.
const STEPS_AT_ONCE_MAX: u64 = 1_000_000;
