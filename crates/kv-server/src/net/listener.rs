//! The one port, for clients and servers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kv_core::driver::PeerFrame;
use kv_core::{ConsistencyEngine, NodeId, Now, Wire};
use kv_proto::{FrameError, Hello, PeerToPeer, Refusal, RefusalCode, Role};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout};

use crate::client_number::ClientNumber;
use crate::driver::Loop;
use crate::driver::event::Ending;
use crate::driver::hub::Hub;
use crate::net::admission::{Admitted, Identity};
use crate::net::complaints::Complaints;
use crate::net::connection::Connection;
use crate::net::connection_bounds::ConnectionSlots;
use crate::net::reading::Reading;
use crate::net::{framed, session};

/// Accepts connections and serves each in a task of its own.
pub(crate) struct Listener<E: ConsistencyEngine> {
    pub(crate) door: Rc<Door<E>>,
    pub(crate) socket: TcpListener,
    pub(crate) ending: watch::Receiver<Ending>,
}

/// What every accepted connection is given.
pub(crate) struct Door<E: ConsistencyEngine> {
    pub(crate) shared: Rc<Loop<E>>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) client_numbers: Arc<AtomicU64>,
    pub(crate) slots: ConnectionSlots,
    pub(crate) complaints: RefCell<Complaints>,
    /// The peers that refuse this server, as the links see it.
    pub(crate) refused_by: watch::Receiver<BTreeMap<NodeId, Refusal>>,
    pub(crate) doorbells: BTreeMap<NodeId, Rc<Notify>>,
}

impl<E> Listener<E>
where
    E: ConsistencyEngine + 'static,
    E::Record: Send + 'static,
{
    /// Runs until the server is told to stop.
    pub(crate) async fn run(mut self) {
        let strangers = Arc::clone(&self.door.slots.strangers);
        loop {
            let accept = async {
                // The system lets the others wait.
                let stranger = Arc::clone(&strangers).acquire_owned().await;
                (self.socket.accept().await, stranger)
            };
            let (accepted, stranger) = tokio::select! {
                // An error means that the server has been dropped.
                _ = self.ending.wait_for(|ending| *ending != Ending::Not) => break,
                accepted = accept => accepted,
            };
            match accepted {
                Ok((stream, from)) => {
                    let door = Rc::clone(&self.door);
                    tokio::task::spawn_local(async move {
                        if let Err(error) = door.serve(stream, stranger.ok()).await {
                            tracing::debug!(%from, %error, "a connection ended");
                        }
                    });
                }
                Err(error) => {
                    // Most often there are no more file descriptors; connections that end free
                    // some, and trying at once would only burn the processor.
                    tracing::error!(%error, "cannot accept connections: raise `ulimit -n`");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl<E> Door<E>
where
    E: ConsistencyEngine + 'static,
    E::Record: Send + 'static,
{
    /// Serves a connection until it ends. `stranger` is given back once it is known whose it is.
    async fn serve(
        &self,
        stream: TcpStream,
        stranger: Option<OwnedSemaphorePermit>,
    ) -> Result<(), FrameError> {
        framed::tune(&stream)?;
        let (reader, mut writer) = stream.into_split();
        let mut reading = Reading::new(reader);
        let first = tokio::select! {
            first = timeout(HELLO_MAX, reading.first()) => first,
            () = self.shared.ended() => return Ok(()),
        };
        let Ok(first) = first else {
            return Ok(());
        };
        let hello = first.and_then(|frame| frame.map(Hello::from_frame).transpose());
        let (who, admitted) = match hello {
            Ok(None) => return Ok(()),
            Ok(Some(hello)) => (server_of(&hello), self.identity.admit(&hello)),
            Err(error) => (None, Err(framed::refusal_of(&error))),
        };
        let admitted = admitted.and_then(|admitted| {
            let slots = match admitted {
                Admitted::Client => &self.slots.clients,
                Admitted::Server(_) => &self.slots.servers,
            };
            let slot = slots.try_acquire();
            slot.map_err(|_| full(admitted, self.slots.are_lowered)).map(|slot| (admitted, slot))
        });
        match admitted {
            Err(refusal) => {
                framed::send(&mut writer, &refusal).await?;
                drop(writer);
                framed::drain(reading.into_socket()).await;
                drop(stranger);
                self.complain(who, &refusal).await;
            }
            Ok((admitted, _slot)) => {
                drop(stranger);
                framed::send(&mut writer, &self.identity.welcome()).await?;
                reading.lift_limit();
                match admitted {
                    Admitted::Client => self.serve_client(reading, writer).await,
                    // The writing half is kept: closing it would tell the peer that this server is
                    // gone.
                    Admitted::Server(peer) => self.listen_to(peer, reading).await?,
                }
            }
        }
        Ok(())
    }

    /// Says that somebody was refused, unless that has been said lately: a server that is refused
    /// tries again all the time. A server that refuses this one as well is in
    /// `Server::refused_by` with the same words, and is not warned of again.
    async fn complain(&self, who: Option<NodeId>, refusal: &Refusal) {
        let told = {
            let mut complaints = self.complaints.borrow_mut();
            complaints.tell(who, refusal.code, Instant::now())
        };
        let Some(more) = told else {
            tracing::debug!("refused a connection: {refusal}");
            return;
        };
        if let Some(peer) = who
            && self.is_refused_by(peer).await
        {
            tracing::info!("refused a connection: {refusal}");
            return;
        }
        match more {
            0 => tracing::warn!("refused a connection: {refusal}"),
            _ => tracing::warn!("refused a connection, and {more} before it: {refusal}"),
        }
    }

    /// Whether a server refuses this one; it is given the time to be asked.
    async fn is_refused_by(&self, peer: NodeId) -> bool {
        let mut refused_by = self.refused_by.clone();
        let mutual = refused_by.wait_for(|refused_by| refused_by.contains_key(&peer));
        tokio::select! {
            mutual = timeout(MUTUAL_MAX, mutual) => matches!(mutual, Ok(Ok(_))),
            () = self.shared.ended() => false,
        }
    }

    async fn serve_client(&self, reading: Reading, writer: OwnedWriteHalf) {
        let number = ClientNumber(self.client_numbers.fetch_add(1, Ordering::Relaxed));
        let in_flight_max = usize::try_from(self.identity.in_flight_max).unwrap_or(usize::MAX);
        let connection = Connection::new(writer, CLIENT_PATIENCE);
        let session =
            self.shared.act(|hub, _| hub.connected(number, Rc::clone(&connection), in_flight_max));
        session::serve(&self.shared, session, reading, &connection).await;
    }

    /// Hands on what a peer sends, until it goes.
    async fn listen_to(&self, peer: NodeId, mut reading: Reading) -> Result<(), FrameError> {
        if let Some(doorbell) = self.doorbells.get(&peer) {
            doorbell.notify_one();
        }
        loop {
            let taken = self.shared.act(|hub, now| take_frames(hub, now, peer, &mut reading));
            taken.inspect_err(|error| {
                tracing::warn!(%peer, %error, "closing a server's connection");
            })?;
            let goes_on = tokio::select! {
                biased;
                read = reading.read() => read?,
                () = self.shared.ended() => false,
            };
            if !goes_on {
                return Ok(());
            }
        }
    }
}

/// Takes all that was read of what a peer sent.
fn take_frames<E>(
    hub: &mut Hub<E>,
    now: Now,
    peer: NodeId,
    reading: &mut Reading,
) -> Result<(), FrameError>
where
    E: ConsistencyEngine,
    E::Record: Send + 'static,
{
    while let Some(frame) = reading.next()? {
        match PeerToPeer::from_frame(frame)? {
            PeerToPeer::Message(bytes) => match E::Message::from_bytes(bytes) {
                Ok(message) => hub.on_frame(now, peer, PeerFrame::Message(message)),
                Err(error) => {
                    tracing::warn!(%peer, %error, "dropped a message that is not well formed");
                }
            },
            PeerToPeer::Snapshot(frame) => hub.on_frame(now, peer, PeerFrame::Snapshot(frame)),
        }
    }
    Ok(())
}

/// The server that says hello, if it is one.
fn server_of(hello: &Hello) -> Option<NodeId> {
    match hello.role {
        Role::Server { node, .. } => Some(node),
        Role::Client => None,
    }
}

fn full(admitted: Admitted, are_lowered: bool) -> Refusal {
    let why = match admitted {
        Admitted::Client if are_lowered => {
            "this server has as many clients as its limit of open files allows: connect to another \
             one, or raise `ulimit -n` there"
        }
        Admitted::Client => {
            "this server has as many clients as it may: connect to another one, or raise \
             --clients-max"
        }
        Admitted::Server(_) => {
            "this server has too many connections of servers: look for servers that run twice"
        }
    };
    Refusal::new(RefusalCode::Full, why)
}

/// So soon a server that runs has been asked by its link, which tries every two seconds.
const MUTUAL_MAX: Duration = Duration::from_secs(5);

/// A client that takes nothing for this long counts as gone.
const CLIENT_PATIENCE: Duration = Duration::from_secs(30);

/// How long a new connection may take to say hello.
const HELLO_MAX: Duration = Duration::from_secs(5);

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
