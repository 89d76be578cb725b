//! Requests whose time is up, or whose callers have gone.

use tokio::time::Instant;

use super::{Table, cancel};
use crate::connection::Connection;
use crate::connection::error::LostReason;
use crate::error::ClientError;

impl Table {
    /// When the next request's time is up.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Forgets the requests whose callers have gone, and tells the server of those that it has.
    pub(crate) fn drop_abandoned(&mut self, mut connection: Option<&mut Connection>) {
        let abandoned = self.pending.iter();
        let abandoned = abandoned.filter(|(_, pending)| pending.submission.reply.is_closed());
        let abandoned: Vec<u64> = abandoned.map(|(id, _)| *id).collect();
        for id in abandoned {
            self.forget(id, connection.as_deref_mut());
        }
    }

    /// Ends the requests that wait to be sent and whose time is up.
    pub(crate) fn expire_unsent(&mut self, now: Instant, error: impl Fn() -> ClientError) {
        for id in self.due(now) {
            self.give_up(id, error());
        }
    }

    /// Ends the requests whose time is up while there is a connection.
    ///
    /// # Errors
    /// [`LostReason::Silent`] if nothing at all went over the connection for as long as one of them
    /// waited: the server hangs.
    pub(crate) fn expire(
        &mut self,
        now: Instant,
        connection: &mut Connection,
    ) -> Result<(), LostReason> {
        let server = connection.server();
        let mut silent = None;
        for id in self.due(now) {
            let Some(pending) = self.pending.get(&id) else {
                continue;
            };
            let waited = pending.submission.timeout + self.grace;
            let read_only = pending.is_read_only();
            if self.unnamed.contains(&id) {
                let waited = pending.submission.timeout;
                self.give_up(id, ClientError::TimedOut { server, waited });
                continue;
            }
            let Some((frame_end, since)) = pending.sent else {
                let limit = u32::try_from(connection.window()).unwrap_or(u32::MAX);
                self.give_up(id, ClientError::Busy { limit });
                continue;
            };
            if connection.is_silent(since, frame_end, self.grace) {
                silent = Some(LostReason::Silent { after: waited });
            }
            cancel(id, connection);
            let error = if read_only {
                ClientError::TimedOut { server, waited }
            } else {
                ClientError::NoAnswer { server, waited }
            };
            self.finish(id, Err(error));
        }
        silent.map_or(Ok(()), Err)
    }

    /// Ends all requests that wait to be sent.
    pub(crate) fn fail_unsent(&mut self, error: impl Fn() -> ClientError) {
        self.unsent.append(&mut self.unnamed);
        while let Some(id) = self.unsent.pop_first() {
            self.give_up(id, error());
        }
    }

    /// A request that is not sent has its own time, without the grace for an answer.
    pub(super) fn renew_deadline(&mut self, id: u64) {
        if let Some(pending) = self.pending.get_mut(&id) {
            let deadline = pending.submission.since + pending.submission.timeout;
            self.deadlines.remove(&(pending.deadline, id));
            self.deadlines.insert((deadline, id));
            pending.deadline = deadline;
        }
    }

    /// Ends a request that is not sent; what a server said of it is worth more than what the client
    /// knows.
    fn give_up(&mut self, id: u64, error: ClientError) {
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        let refusal = pending.refusal.take();
        let result = pending.unclear.take().unwrap_or_else(|| refusal.ok_or(error));
        self.finish(id, result);
    }

    fn due(&self, now: Instant) -> Vec<u64> {
        let due = self.deadlines.range(..=(now, u64::MAX));
        due.map(|(_, id)| *id).collect()
    }
}
