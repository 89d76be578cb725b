//! One client's connection.

use std::rc::Rc;

use kv_core::driver::SessionId;
use kv_core::{ConsistencyEngine, Now};
use kv_proto::{FrameError, Request, put_message};

use crate::driver::Loop;
use crate::driver::hub::{Hub, Room};
use crate::net::admission::Identity;
use crate::net::connection::Connection;
use crate::net::framed;
use crate::net::reading::Reading;

/// Serves a client whose handshake is done, until either side goes.
pub(crate) async fn serve<E>(
    shared: &Rc<Loop<E>>,
    session: SessionId,
    mut reading: Reading,
    connection: &Connection,
) where
    E: ConsistencyEngine + 'static,
    E::Record: Send + 'static,
{
    let refusal = loop {
        let taken = shared.act(|hub, now| take_requests(hub, now, session, &mut reading));
        let room = match taken {
            Ok(room) => room,
            Err(error) => break Some(framed::refusal_of(&error)),
        };
        let goes_on = match room {
            Room::ForMore => tokio::select! {
                biased;
                read = reading.read() => read.unwrap_or(false),
                () = connection.closed() => false,
            },
            Room::Full => tokio::select! {
                () = connection.room() => true,
                () = connection.closed() => false,
            },
        };
        if !goes_on {
            break None;
        }
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

/// Takes all requests that were read, as far as the session has room for them.
fn take_requests<E>(
    hub: &mut Hub<E>,
    now: Now,
    session: SessionId,
    reading: &mut Reading,
) -> Result<Room, FrameError>
where
    E: ConsistencyEngine,
    E::Record: Send + 'static,
{
    while hub.has_room(session) {
        let Some(frame) = reading.next()? else {
            return Ok(Room::ForMore);
        };
        match Request::from_frame(frame)? {
            Ok(request) => hub.on_request(now, session, request),
            Err(malformed) => {
                hub.on_malformed(session, malformed.id, malformed.error.to_string());
            }
        }
    }
    Ok(Room::Full)
}
