//! The requests in flight: which wait to be sent, which wait for an answer, and until when.

mod deadlines;
mod exactly_once;
mod pending;
mod responses;
mod send_state;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kv_core::{Operation, RequestOptions};
use kv_proto::{MessageTooLarge, Request, RequestBody};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::connection::error::LostReason;
use crate::error::ClientError;
use exactly_once::{Naming, Session};
use pending::Pending;
use responses::PAUSE_MIN;

pub(crate) use pending::{Answered, Submission};
pub(crate) use responses::reason_for_now;
pub use send_state::SendState;

/// The requests in flight, at most as many as there are permits.
#[derive(Debug)]
pub(crate) struct Table {
    grace: Duration,
    pending: BTreeMap<u64, Pending>,
    unsent: BTreeSet<u64>,
    /// Those that a server could not serve yet, and when each is sent again.
    held: BTreeSet<(Instant, u64)>,
    deadlines: BTreeSet<(Instant, u64)>,
    session: Session,
    /// Writes that wait for the session.
    unnamed: BTreeSet<u64>,
}

impl Table {
    pub(crate) fn new(grace: Duration) -> Self {
        Self {
            grace,
            pending: BTreeMap::new(),
            unsent: BTreeSet::new(),
            held: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            session: Session::default(),
            unnamed: BTreeSet::new(),
        }
    }

    /// A server says whether it keeps sessions.
    pub(crate) fn on_connected(&mut self, keeps_sessions: bool) {
        self.session.on_connected(keeps_sessions);
    }

    /// When the next request is sent again that was refused for now.
    pub(crate) fn next_release(&self) -> Option<Instant> {
        self.held.first().map(|(at, _)| *at)
    }

    /// Lets requests be sent again that were refused for now and have waited.
    pub(crate) fn release(&mut self, now: Instant) {
        while let Some((_, id)) = self.held.first().copied().filter(|(at, _)| *at <= now) {
            self.held.pop_first();
            if let Some(pending) = self.pending.get_mut(&id) {
                pending.held = None;
                self.unsent.insert(id);
            }
        }
    }

    /// Lets all of those be sent again.
    pub(crate) fn release_all(&mut self) {
        while let Some((at, _)) = self.held.first().copied() {
            self.release(at);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// How many requests wait for a server's answer.
    pub(crate) fn in_flight(&self) -> usize {
        let waiting = self.unsent.len() + self.held.len() + self.unnamed.len();
        self.pending.len() - waiting + usize::from(self.session.is_opening())
    }

    pub(crate) fn add(&mut self, submission: Submission) {
        let id = submission.id;
        let deadline = submission.since + submission.timeout;
        let pending = Pending {
            submission,
            deadline,
            sent: None,
            refusal: None,
            held: None,
            pause: PAUSE_MIN,
            name: None,
            unclear: None,
        };
        self.pending.insert(id, pending);
        self.unsent.insert(id);
        self.deadlines.insert((deadline, id));
    }

    /// Puts as many waiting requests into the next write as it and the server take.
    pub(crate) fn send_waiting(&mut self, connection: &mut Connection) {
        if self.session.has_room() {
            self.unsent.append(&mut self.unnamed);
        }
        while connection.has_room() && self.in_flight() < connection.window() {
            let Some(id) = self.unsent.pop_first() else {
                break;
            };
            self.send(id, connection);
        }
        self.open_session(connection);
    }

    /// Opens a session if writes wait for one.
    fn open_session(&mut self, connection: &mut Connection) {
        let first = self.unnamed.first().and_then(|id| self.pending.get(id));
        let Some(first) = first.filter(|_| self.in_flight() < connection.window()) else {
            return;
        };
        let timeout = first.time_left(Instant::now());
        if let Some(id) = self.session.begin_opening() {
            let options = RequestOptions::default().with_timeout(timeout);
            let body = RequestBody::Execute { op: Operation::OpenSession, options };
            if let Err(error) = connection.put(&Request { id, body }) {
                tracing::debug!(id, %error, "the opening of a session makes no frame");
            }
        }
    }

    /// Ends the writes without a name that a lost connection may have brought to the server; all
    /// other requests wait to be sent again.
    pub(crate) fn on_lost(&mut self, connection: &Connection, why: &LostReason) {
        self.session.on_not_opened();
        self.unsent.append(&mut self.unnamed);
        let server = connection.server();
        let (mut unknown, mut again) = (Vec::new(), Vec::new());
        for (&id, pending) in &mut self.pending {
            let Some((frame_end, _)) = pending.sent else {
                continue;
            };
            if pending.is_read_only() || !connection.has_written(frame_end) {
                if !connection.has_written(frame_end) && pending.unclear.is_none() {
                    pending.submission.send_state.fail();
                }
                pending.sent = None;
                again.push(id);
            } else if pending.name.is_some() {
                let lost = ClientError::Lost { server, why: why.clone() };
                pending.unclear.get_or_insert(Err(lost));
                pending.sent = None;
                again.push(id);
            } else {
                unknown.push(id);
            }
        }
        for id in again {
            self.unsent.insert(id);
            self.renew_deadline(id);
        }
        // Another server may serve what this one could not.
        self.release_all();
        for id in unknown {
            let why = why.clone();
            self.finish(id, Err(ClientError::Lost { server, why }));
        }
    }

    fn send(&mut self, id: u64, connection: &mut Connection) {
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        if pending.submission.reply.is_closed() || !pending.submission.send_state.begin() {
            self.forget(id, None);
            return;
        }
        if pending.is_nameable() && pending.name.is_none() {
            match self.session.name() {
                Naming::As(session, number) => pending.name = Some((session, number)),
                Naming::Nameless => {}
                Naming::NotYet => {
                    pending.submission.send_state.fail();
                    self.unnamed.insert(id);
                    return;
                }
            }
        }
        let now = Instant::now();
        let identity = pending.name.map(|name| self.session.identity(name));
        let request = pending.request(now, identity);
        match connection.put(&request) {
            Ok(frame_end) => {
                pending.sent = Some((frame_end, now));
                self.deadlines.remove(&(pending.deadline, id));
                pending.deadline += self.grace;
                self.deadlines.insert((pending.deadline, id));
            }
            Err(MessageTooLarge { size, .. }) => {
                self.finish(id, Err(ClientError::TooLarge { size }));
            }
        }
    }

    fn finish(&mut self, id: u64, result: Result<Answered, ClientError>) {
        if let Some(pending) = self.remove(id) {
            // The caller may have gone in the meantime.
            let _ = pending.submission.reply.send(result);
            drop(pending.submission.permit);
        }
    }

    fn forget(&mut self, id: u64, connection: Option<&mut Connection>) {
        if let Some(pending) = self.remove(id)
            && pending.sent.is_some()
            && let Some(connection) = connection
        {
            cancel(id, connection);
        }
    }

    fn remove(&mut self, id: u64) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        self.unsent.remove(&id);
        self.unnamed.remove(&id);
        if let Some(name) = pending.name {
            self.session.finish(name);
        }
        if let Some(at) = pending.held {
            self.held.remove(&(at, id));
        }
        self.deadlines.remove(&(pending.deadline, id));
        Some(pending)
    }
}

/// Tells the server that nobody waits any more.
fn cancel(id: u64, connection: &mut Connection) {
    let body = RequestBody::Cancel;
    if let Err(error) = connection.put(&Request { id, body }) {
        tracing::debug!(id, %error, "a cancel makes no frame");
    }
}
