//! What the hub does for clients of Redis's protocol.

use std::rc::Rc;

use bytes::BytesMut;
use kv_core::driver::SessionId;
use kv_core::{ConsistencyEngine, Now, Outcome, RequestOptions};
use kv_resp::{Context, Next, Session};

use crate::client_number::ClientNumber;
use crate::driver::hub::{BYTES_BEFORE_WAIT, BYTES_MAX, Hub, status_of};
use crate::driver::redis::RedisClient;
use crate::net::connection::Connection;

/// What the task of such a client does next.
pub(crate) struct Going {
    pub(crate) next: Next,
    /// How long the request at the front is at least, where that is known.
    pub(crate) announced_len: usize,
}

impl<E> Hub<E>
where
    E: ConsistencyEngine,
    E::Record: Send + 'static,
{
    pub(crate) fn redis_connected(
        &mut self,
        now: Now,
        number: ClientNumber,
        address: String,
        connection: Rc<Connection>,
    ) -> SessionId {
        // A session has one batch in flight, or the requests of a few commands.
        let id = self.core.open_session(usize::MAX);
        // Redis counts clients from 1, and 0 names none.
        let redis_id = number.0.saturating_add(1);
        self.redis.front.connected(redis_id, address, now);
        self.redis.insert(RedisClient {
            id,
            number,
            session: Session::new(redis_id),
            has_input: false,
            connection,
            is_dirty: false,
            is_called: false,
        });
        id
    }

    pub(crate) fn redis_disconnected(&mut self, now: Now, id: SessionId) {
        self.redis.remove(id);
        for request in self.core.close_session(now, id) {
            self.op_log.cancelled(request, now);
        }
    }

    /// Carries out what a client has sent, as far as that goes; `None` if it is not there any more.
    /// The task of one that sends nothing more (`is_at_end`) is called all the same once everything
    /// is answered, so that it ends.
    pub(crate) fn redis_advance(
        &mut self,
        now: Now,
        id: SessionId,
        input: &mut BytesMut,
        is_at_end: bool,
    ) -> Option<Going> {
        let Self { core, persistence, redis, op_log, .. } = self;
        let (client, front) = redis.get_mut(id)?;
        let RedisClient { session, connection, number, .. } = client;
        let number = *number;
        let status = || status_of(core, persistence);
        let context = &mut Context { front, now, status: &status };
        let next = connection.put(|out| session.advance(context, input, out));
        client.is_called |= next == Next::Room;
        if next == Next::Close && session.is_http() {
            tracing::warn!(
                client = session.id(),
                "closing the connection of a client that speaks HTTP: a web page may try to reach \
                 the store"
            );
        }
        for (tag, op) in (0..).zip(session.take_asks()) {
            let options = RequestOptions::default();
            let logged = op_log.invocation(&op, &options);
            let request = core.request(now, id, tag, op, options);
            if let (Some(request), Some(logged)) = (request, logged) {
                op_log.invoked(request, number, now, &logged);
            }
        }
        client.has_input = is_at_end || !input.is_empty();
        let going = Going { next, announced_len: client.session.announced_len().unwrap_or(0) };
        // Once this is written the task goes on that found no room.
        if client.connection.waiting_bytes() > 0 {
            redis.mark(id);
        }
        redis.close_killed();
        Some(going)
    }

    /// Hands an outcome to the client that asked; gives it back if it is none of these.
    pub(crate) fn redis_outcome(
        &mut self,
        now: Now,
        id: SessionId,
        tag: u64,
        outcome: Outcome,
    ) -> Option<Outcome> {
        let Self { core, persistence, redis, .. } = self;
        let Some((client, front)) = redis.get_mut(id) else {
            return Some(outcome);
        };
        let RedisClient { session, connection, .. } = client;
        let status = || status_of(core, persistence);
        let context = &mut Context { front, now, status: &status };
        let place = usize::try_from(tag).unwrap_or(usize::MAX);
        let goes_on = connection.put(|out| session.on_outcome(context, place, outcome, out));
        client.is_called |= goes_on && (session.has_more() || client.has_input);
        redis.mark(id);
        redis.close_killed();
        None
    }

    /// Writes what came of this turn, and calls the tasks of clients that go on.
    pub(crate) fn write_redis(&mut self, on_drained: &(impl Fn() + Clone + 'static)) {
        let mut dirty = std::mem::take(&mut self.redis.dirty);
        for id in dirty.drain(..) {
            let Some((client, _)) = self.redis.get_mut(id) else {
                continue;
            };
            client.is_dirty = false;
            client.connection.write(on_drained.clone());
            if client.connection.waiting_bytes() > BYTES_MAX {
                tracing::warn!(
                    client = client.session.id(),
                    "closing the connection of a client that asks for much and does not read it"
                );
                client.connection.close();
            }
            let has_room = client.connection.waiting_bytes() < BYTES_BEFORE_WAIT;
            // Where there is none, what writes the rest tells that there is.
            if std::mem::take(&mut client.is_called) && has_room {
                client.connection.make_room();
            }
        }
        self.redis.dirty = dirty;
    }
}
