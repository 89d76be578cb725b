//! One client's connection.

use std::rc::Rc;

use kv_core::driver::SessionId;
use kv_core::{ConsistencyEngine, Now};
use kv_proto::{FrameError, Liveness, Refusal, RefusalCode, Request, RequestBody, put_message};
use tokio::time::Instant;

use crate::driver::Loop;
use crate::driver::hub::{Hub, Room};
use crate::net::bounds::admission::Identity;
use crate::net::connection::Connection;
use crate::net::framed;
use crate::net::pulse::Pulse;
use crate::net::reading::{FrameBytes, Overdue, Reading};

/// Serves a client whose handshake is done, until either side goes.
pub(crate) async fn serve<E>(
    shared: &Rc<Loop<E>>,
    session: SessionId,
    mut reading: Reading,
    connection: &Rc<Connection>,
    frame_bytes: &FrameBytes,
) where
    E: ConsistencyEngine + 'static,
    E::Record: Send + 'static,
{
    let mut pulse = Pulse::new(Liveness::OF_CLIENT);
    // A request that was read and for which there is no room yet.
    let mut next = None;
    let refusal = loop {
        let taken =
            shared.act(|hub, now| take_requests(hub, now, session, (&mut reading, &mut next)));
        let room = match taken {
            Ok(room) => room,
            Err(error) => break Some(framed::refusal_of(&error)),
        };
        let goes_on = match room {
            Room::ForMore => match reading.share_wanted() {
                None => tokio::select! {
                    biased;
                    read = reading.read() => read.unwrap_or(false),
                    () = connection.closed() => false,
                    () = pulse.due() => match pulse.overdue(&reading) {
                        None => true,
                        Some(Overdue::Silent) => false,
                        Some(Overdue::Frame) => break Some(overdue()),
                    },
                },
                Some(len) => {
                    let share = while_alive(frame_bytes.share(len), connection, &mut pulse).await;
                    let goes_on = share.is_some();
                    reading.take_share(share.flatten());
                    goes_on
                }
            },
            Room::Full => {
                let room = while_alive(connection.room(), connection, &mut pulse).await;
                reading.excuse();
                room.is_some()
            }
        };
        if !goes_on {
            break None;
        }
        pulse.beat(Instant::now(), connection);
    };
    shared.act(|hub, now| hub.disconnected(now, session));
    if let Some(refusal) = refusal {
        tracing::warn!("closing a client's connection: {refusal}");
        if connection.put(|wire| put_message(Identity::GROUP, &refusal, wire)).is_ok() {
            connection.write_out().await;
        }
        framed::drain(reading.into_socket()).await;
    }
}

/// Waits for something other than the client, to which this server shows meanwhile that it lives;
/// `None` if the connection is closed before.
async fn while_alive<T>(
    waited_for: impl Future<Output = T>,
    connection: &Rc<Connection>,
    pulse: &mut Pulse,
) -> Option<T> {
    tokio::pin!(waited_for);
    loop {
        tokio::select! {
            biased;
            came = &mut waited_for => return Some(came),
            () = connection.closed() => return None,
            () = pulse.due() => pulse.beat(Instant::now(), connection),
        }
    }
}

fn overdue() -> Refusal {
    let why = "a frame was begun and has not come to its end in time: send it again";
    Refusal::new(RefusalCode::Malformed, why)
}

/// Takes all requests that were read, as far as the session has room for them; the first for which
/// there is none becomes the `next`. What cancels a request needs no room: it may make some.
fn take_requests<E>(
    hub: &mut Hub<E>,
    now: Now,
    session: SessionId,
    (reading, next): (&mut Reading, &mut Option<Request>),
) -> Result<Room, FrameError>
where
    E: ConsistencyEngine,
    E::Record: Send + 'static,
{
    loop {
        let request = match next.take() {
            Some(request) => request,
            None => match reading.next()?.map(Request::from_frame).transpose()? {
                None => return Ok(Room::ForMore),
                Some(Ok(request)) => request,
                Some(Err(malformed)) => {
                    hub.on_malformed(session, malformed.id, malformed.error.to_string());
                    continue;
                }
            },
        };
        if request.body != RequestBody::Cancel && !hub.has_room(session) {
            *next = Some(request);
            return Ok(Room::Full);
        }
        hub.on_request(now, session, request);
    }
}
