//! What happens by itself: messages arrive, syncs end, deadlines come, effects are carried out.

use std::time::Duration;

use kv_check::NamedRequests;
use kv_core::driver::{Output, PeerFrame};
use kv_core::{ConsistencyEngine, NodeId, RequestId, Wire, digest};

use crate::cluster::Cluster;
use crate::cluster::event::Event;
use crate::config::draw;
use crate::server::OutputOf;
use crate::server::arrival::Arrival;
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
            let starts = server.starts;
            self.queue.push(at, Event::Work { node, starts });
        }
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
            Event::ArriveSnapshot { from, to, frame } => {
                if !self.network.is_blocked((from, to)) && self.admits(from, to) {
                    let frame = PeerFrame::Snapshot(frame);
                    self.arrive(to, Arrival::Frame { from, frame });
                }
                Ok(())
            }
            Event::Work { node, starts } => {
                let server = self.server_mut(node);
                if server.starts != starts || server.paused {
                    server.work_scheduled &= server.starts != starts;
                    return Ok(());
                }
                server.work_scheduled = false;
                self.work(node)
            }
            Event::DiskWorkEnds { node, starts, work } => {
                self.on_disk_work_ends(node, starts, work)
            }
            Event::DiskLook { node, starts } => self.on_disk_look(node, starts),
            Event::Look { node, peer } => {
                self.look(node, peer);
                Ok(())
            }
            Event::ClientReads { node, starts, session } => {
                self.on_client_reads(node, starts, session);
                Ok(())
            }
            Event::ClientDrains { node, starts, session } => {
                self.on_client_drains(node, starts, session)
            }
        }
    }

    /// The server whose deadline is due first.
    fn next_deadline(&self) -> Option<(Duration, NodeId)> {
        let waiting = self.servers.values().filter(|server| !server.paused);
        let deadlines = waiting.filter_map(|server| Some((server.wake_at?, server.node)));
        deadlines.min().map(|(at, node)| (at.max(self.now), node))
    }

    /// Gives a server's driver all that has come in, and carries out what it then has to do.
    fn work(&mut self, node: NodeId) -> Result<(), Violation> {
        let (now, config) = (self.now, self.config.clone());
        let turn = self.server_mut(node).turn(now, &config);
        let turn = turn.map_err(|breach| self.violation(node, breach))?;
        self.steps += turn.steps;
        self.steps_at_once += turn.steps + 1;
        if self.steps_at_once > STEPS_AT_ONCE_MAX {
            let steps = self.steps_at_once;
            return Err(self.violation(node, Breach::Spinning { steps }));
        }
        let tape = self.tapes.get_mut(&node).and_then(|tape| tape.incarnations.last_mut());
        if let (Some(batch), Some(tape)) = (turn.batch, tape) {
            tape.batches.push(batch);
        }
        while let Some(output) = self.server_mut(node).next_output() {
            if self.dies_here(node) {
                break;
            }
            self.carry_out(node, output)?;
        }
        self.send_parts(node)?;
        self.tell_of_congestion(node);
        if self.server(node).is_stopped(now) {
            self.end_by_stop(node);
        }
        self.use_disk(node)
    }

    fn carry_out(&mut self, node: NodeId, output: OutputOf<E>) -> Result<(), Violation> {
        match output {
            Output::Persist(records) => {
                for (seq, record) in records {
                    let text = || format!("-> persist {seq} {record:?}");
                    let digest = digest(&record.to_bytes());
                    self.note(node, 3, |out| (seq, digest).encode(out), text);
                    self.note_kept(node, &record);
                    self.server_mut(node).storage.take(seq, record, digest);
                }
                Ok(())
            }
            Output::Send { to, frame: PeerFrame::Message(message) } => {
                self.send(node, to, &message)
            }
            Output::Send { to, frame: PeerFrame::Snapshot(frame) } => {
                self.send_snapshot(node, to, frame)
            }
            Output::Reply(reply) => {
                let (id, outcome) = (RequestId(reply.tag), &reply.outcome);
                let text = || format!("-> reply to request {id}: {outcome:?}");
                self.note(node, 5, |out| (id, outcome.to_bytes()).encode(out), text);
                self.reply(node, reply)
            }
            Output::BeginCheckpoint { covers, metadata, .. } => {
                self.begin_checkpoint(node, covers, metadata)
            }
            Output::WriteChanges { changes, is_last } => self.write_changes(node, changes, is_last),
            Output::AbandonCheckpoint => {
                self.server_mut(node).storage.abandon_checkpoint();
                Ok(())
            }
            Output::Halt(reason) => {
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
        let calls = NamedRequests::default();
        Violation { seed: self.config.seed, at: self.now, node, breach, calls }
    }

    /// One that has to do with a client's request.
    pub(crate) fn violation_of(&self, node: NodeId, breach: Breach, id: RequestId) -> Violation {
        Violation { calls: self.named([id]), ..self.violation(node, breach) }
    }
}

/// More steps than this without any time going by are no work but a loop.
const STEPS_AT_ONCE_MAX: u64 = 1_000_000;
