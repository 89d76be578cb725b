//! One client's connection.

use std::rc::Rc;

use kv_core::driver::SessionId;
use kv_core::{ConsistencyEngine, Now};
use kv_proto::{FrameError, Message, Refusal, RefusalCode, put_refusal};

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
            Err(refusal) => break Some(refusal),
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
        if connection.put(|wire| put_refusal(Identity::GROUP, &refusal, wire)).is_ok() {
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
) -> Result<Room, Refusal>
where
    E: ConsistencyEngine,
    E::Record: Send + 'static,
{
    while hub.has_room(session) {
        match reading.next() {
            Ok(Some(Message::Request(request))) => hub.on_request(now, session, request),
            Ok(Some(Message::MalformedRequest { id, error })) => {
                hub.on_malformed(session, id, error.to_string());
            }
            Ok(Some(_)) => {
                let why = "only requests may follow a client's hello: use a client of this release";
                return Err(Refusal::new(RefusalCode::Malformed, why));
            }
            Ok(None) => return Ok(Room::ForMore),
            Err(FrameError::Io(error)) => {
                return Err(Refusal::new(RefusalCode::Malformed, error));
            }
            Err(error) => return Err(framed::refusal_of(&error)),
        }
    }
    Ok(Room::Full)
}
