//! The port for clients of Redis's protocol.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use kv_core::ConsistencyEngine;
use kv_core::driver::SessionId;
use kv_resp::{Next, Protocol, Reply, ReplyError};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::client_number::ClientNumber;
use crate::driver::Loop;
use crate::driver::event::Ending;
use crate::driver::hub_redis::Going;
use crate::net::accepting::{accept, spawn};
use crate::net::connection::Connection;
use crate::net::framed;
use crate::net::listener::{CLIENT_PATIENCE, Door};
use crate::net::reading::{STALL_MAX, time_max};

/// Accepts clients of Redis's protocol and serves each in a task of its own.
pub(crate) struct RedisListener<E: ConsistencyEngine> {
    pub(crate) door: Rc<Door<E>>,
    pub(crate) socket: TcpListener,
    pub(crate) ending: watch::Receiver<Ending>,
}

impl<E> RedisListener<E>
where
    E: ConsistencyEngine + 'static,
    E::Record: Send + 'static,
{
    /// Runs until the server is told to stop.
    pub(crate) async fn run(self) {
        accept(self.socket, self.ending, async |stream, from| {
            let door = Rc::clone(&self.door);
            spawn(from, async move { serve(&door, stream, from).await });
        })
        .await;
    }
}

/// Serves a client until either side goes.
async fn serve<E>(door: &Door<E>, stream: TcpStream, from: SocketAddr) -> io::Result<()>
where
    E: ConsistencyEngine + 'static,
    E::Record: Send + 'static,
{
    framed::tune(&stream, CLIENT_PATIENCE)?;
    let (socket, writer) = stream.into_split();
    let connection = Connection::new(writer, CLIENT_PATIENCE);
    let Ok(_slot) = door.slots.clients.try_acquire() else {
        door.shared.act(|hub, _| hub.redis.front.rejected());
        refuse(&connection, ReplyError::TooManyClients).await;
        return Ok(());
    };
    let number = ClientNumber(door.client_numbers.fetch_add(1, Ordering::Relaxed));
    let session = door
        .shared
        .act(|hub, now| hub.redis_connected(now, number, from.to_string(), Rc::clone(&connection)));
    let mut reading = RedisReading { door, socket, input: BytesMut::new(), session, share: None };
    let served = reading.serve(&connection).await;
    door.shared.act(|hub, now| hub.redis_disconnected(now, session));
    connection.write_out().await;
    if let Ok(Last::Reply) = served {
        framed::drain(reading.socket).await;
    }
    served.map(|_| ())
}

async fn refuse(connection: &Connection, error: ReplyError) {
    put_error(connection, error);
    connection.write_out().await;
}

fn put_error(connection: &Connection, error: ReplyError) {
    connection.put(|out: &mut BytesMut| Reply::Error(error).encode(Protocol::Resp2, out));
}

/// What came last on a connection.
enum Last {
    /// Something of the client, or its end.
    Request,
    /// A reply behind which the server closes the connection, whatever the client still sends.
    Reply,
}

/// The reading side of a client's connection.
struct RedisReading<'a, E: ConsistencyEngine> {
    door: &'a Door<E>,
    socket: OwnedReadHalf,
    /// What was read and is not carried out yet.
    input: BytesMut,
    session: SessionId,
    /// What a large request takes of the bytes for all connections.
    share: Option<Share>,
}

/// Memory for a request that is large and not there as a whole.
struct Share {
    _permit: OwnedSemaphorePermit,
    len: u32,
    since: Instant,
}

impl<E> RedisReading<'_, E>
where
    E: ConsistencyEngine + 'static,
    E::Record: Send + 'static,
{
    async fn serve(&mut self, connection: &Rc<Connection>) -> io::Result<Last> {
        let shared: &Rc<Loop<E>> = &self.door.shared;
        let mut is_at_end = false;
        loop {
            let (session, input) = (self.session, &mut self.input);
            let going = shared.act(|hub, now| hub.redis_advance(now, session, input, is_at_end));
            let Some(going) = going else {
                return Ok(Last::Request);
            };
            let wanted = going.announced_len.max(self.input.len());
            if wanted <= FREE_LEN_MAX && self.share.take().is_some() {
                // What is left begins anew, so that it does not hold the memory of what was large.
                self.input = BytesMut::from(&self.input[..]);
            }
            let may_read = match going.next {
                Next::Close => return Ok(Last::Reply),
                Next::Input if is_at_end => return Ok(Last::Request),
                Next::Input => {
                    if !self.make_space(&going, wanted, connection).await {
                        return Ok(Last::Reply);
                    }
                    true
                }
                Next::Outcomes | Next::Room => !is_at_end && self.input.len() < READ_AHEAD_BYTES,
                Next::Time(pause) => {
                    tokio::select! {
                        biased;
                        () = connection.closed() => return Ok(Last::Request),
                        () = shared.ended() => return Ok(Last::Request),
                        () = tokio::time::sleep(pause) => {}
                    }
                    continue;
                }
            };
            let is_waited_for = going.next == Next::Input;
            let late = self
                .share
                .as_ref()
                .filter(|_| is_waited_for)
                .map(|share| (Instant::now() + STALL_MAX).min(share.since + time_max(wanted)));
            if self.input.capacity() - self.input.len() < SPARE_BYTES_MIN {
                self.input.reserve(READ_BYTES);
            }
            tokio::select! {
                biased;
                read = self.socket.read_buf(&mut self.input), if may_read => is_at_end = read? == 0,
                () = connection.room() => {}
                () = connection.closed() => return Ok(Last::Request),
                () = until(late) => {
                    tracing::debug!("closing a connection whose large request does not come");
                    return Ok(Last::Request);
                }
            }
        }
    }

    /// Waits for a share of the memory for large requests, if the one that has begun is large; false
    /// if the connection ended meanwhile, or there was no share to be had.
    async fn make_space(
        &mut self,
        going: &Going,
        wanted: usize,
        connection: &Rc<Connection>,
    ) -> bool {
        let has_share = |share: &Share| usize::try_from(share.len).is_ok_and(|len| len >= wanted);
        if wanted <= FREE_LEN_MAX || self.share.as_ref().is_some_and(has_share) {
            return true;
        }
        // A request that grows bulk string by bulk string does not ask again for each.
        let len = u32::try_from(wanted.saturating_mul(2)).unwrap_or(u32::MAX).min(SHARE_LEN_MAX);
        self.share = None;
        let share = timeout(SHARE_TIME_MAX, self.door.frame_bytes.share(len));
        tokio::select! {
            biased;
            () = connection.closed() => false,
            share = share => {
                let Some(permit) = share.ok().flatten() else {
                    put_error(connection, ReplyError::LargeRequests);
                    return false;
                };
                self.share = Some(Share { _permit: permit, len, since: Instant::now() });
                // Taken at once, memory need not be copied again and again.
                self.input.reserve(going.announced_len.saturating_sub(self.input.len()));
                true
            }
        }
    }
}

/// Completes at a time, if there is one.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// So much is read at once, at the most unless a request is longer, and at the least.
const READ_BYTES: usize = 16 << 10;
const SPARE_BYTES_MIN: usize = 2 << 10;

/// So much is read while requests before it are carried out.
const READ_AHEAD_BYTES: usize = 256 << 10;

/// A request up to this length is read without a share.
const FREE_LEN_MAX: usize = 64 << 10;

/// The largest share: of a request as long as any may be.
const SHARE_LEN_MAX: u32 = 64 << 20;

/// How long a client waits for memory before its connection is closed.
const SHARE_TIME_MAX: Duration = Duration::from_secs(30);
