//! The one port, for clients and servers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kv_core::{NodeId, Wire};
use kv_proto::{
    CheckpointAssembly, FrameCodec, FrameError, Hello, Message, Refusal, RefusalCode, Role,
};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::codec::FramedRead;

use crate::admission::{Admitted, Identity};
use crate::complaints::Complaints;
use crate::config::DumpHook;
use crate::event::{ClientEvent, ClientNumber, PeerEvent};
use crate::framed;
use crate::session::Session;

/// Accepts connections and serves each in a task of its own.
pub(crate) struct Listener<M> {
    pub(crate) door: Arc<Door<M>>,
    pub(crate) socket: TcpListener,
    pub(crate) stop: watch::Receiver<bool>,
}

/// What every accepted connection is given.
pub(crate) struct Door<M> {
    pub(crate) identity: Arc<Identity>,
    pub(crate) peers: mpsc::Sender<PeerEvent<M>>,
    pub(crate) clients: mpsc::Sender<ClientEvent>,
    pub(crate) client_numbers: Arc<AtomicU64>,
    pub(crate) client_slots: Semaphore,
    /// For connections of servers, which have several for a short time when one is lost.
    pub(crate) server_slots: Semaphore,
    pub(crate) complaints: Mutex<Complaints>,
    pub(crate) doorbells: BTreeMap<NodeId, Arc<Notify>>,
    pub(crate) on_dump: Option<DumpHook>,
    /// Messages of peers that came while the driver's inbox was full.
    pub(crate) dropped: AtomicU64,
}

impl<M: Wire + Send + 'static> Listener<M> {
    /// Runs until the server is told to stop and every connection has ended, which they do once
    /// the driver has gone.
    pub(crate) async fn run(mut self) {
        let mut connections = JoinSet::new();
        let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        loop {
            let accept = async {
                // The system lets the others wait.
                let stranger = Arc::clone(&strangers).acquire_owned().await;
                (self.socket.accept().await, stranger)
            };
            let (accepted, stranger) = tokio::select! {
                // An error means that the server has been dropped.
                _ = self.stop.wait_for(|stop| *stop) => break,
                accepted = accept => accepted,
            };
            match accepted {
                Ok((stream, from)) => {
                    let door = Arc::clone(&self.door);
                    connections.spawn(async move {
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
            while connections.try_join_next().is_some() {}
        }
        drop(self.socket);
        while connections.join_next().await.is_some() {}
    }
}

impl<M: Wire + Send + 'static> Door<M> {
    /// Serves a connection until it ends. `stranger` is given back once it is known whose it is.
    async fn serve(
        &self,
        stream: TcpStream,
        stranger: Option<OwnedSemaphorePermit>,
    ) -> Result<(), FrameError> {
        framed::tune(&stream)?;
        let (reader, mut writer) = stream.into_split();
        let mut reader = FramedRead::new(reader, FrameCodec::new(Identity::GROUP));
        let first = tokio::select! {
            first = timeout(HELLO_MAX, framed::next(&mut reader)) => first,
            () = self.peers.closed() => return Ok(()),
        };
        let Ok(first) = first else {
            return Ok(());
        };
        let (who, admitted) = match first {
            Ok(None) => return Ok(()),
            Ok(Some(Message::Hello(hello))) => (server_of(&hello), self.identity.admit(&hello)),
            Ok(Some(_)) => {
                let why = "a connection begins with a hello: use a program of this release";
                (None, Err(Refusal::new(RefusalCode::Malformed, why)))
            }
            Err(error) => (None, Err(framed::refusal_of(&error))),
        };
        let admitted = admitted.and_then(|admitted| {
            let slots = match admitted {
                Admitted::Client => &self.client_slots,
                Admitted::Server(_) => &self.server_slots,
            };
            let slot = slots.try_acquire();
            slot.map_err(|_| full(admitted)).map(|slot| (admitted, slot))
        });
        match admitted {
            Err(refusal) => {
                self.complain(who, &refusal);
                framed::send(&mut writer, Message::Refusal(refusal)).await?;
                drop(writer);
                framed::drain(reader).await;
            }
            Ok((admitted, _slot)) => {
                drop(stranger);
                framed::send(&mut writer, Message::Welcome(self.identity.welcome())).await?;
                match admitted {
                    Admitted::Client => self.session().run(reader, writer).await,
                    Admitted::Server(peer) => self.listen_to(peer, reader).await?,
                }
            }
        }
        Ok(())
    }

    /// Says that somebody was refused, unless that has been said lately: a server that is refused
    /// tries again all the time.
    fn complain(&self, who: Option<NodeId>, refusal: &Refusal) {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        match complaints.tell(who, refusal.code, Instant::now()) {
            Some(0) => tracing::warn!("refused a connection: {refusal}"),
            Some(more) => tracing::warn!("refused a connection, and {more} before it: {refusal}"),
            None => tracing::debug!("refused a connection: {refusal}"),
        }
    }

    fn session(&self) -> Session {
        Session {
            client: ClientNumber(self.client_numbers.fetch_add(1, Ordering::Relaxed)),
            inbox: self.clients.clone(),
            in_flight_max: self.identity.in_flight_max,
            on_dump: self.on_dump.clone(),
        }
    }

    /// Hands on what a peer sends, until it goes. The writing half is kept by the caller: closing
    /// it would tell the peer that this server is gone.
    async fn listen_to(
        &self,
        peer: NodeId,
        mut reader: FramedRead<OwnedReadHalf, FrameCodec>,
    ) -> Result<(), FrameError> {
        if let Some(doorbell) = self.doorbells.get(&peer) {
            doorbell.notify_one();
        }
        let mut assembly = CheckpointAssembly::default();
        loop {
            let next = tokio::select! {
                next = framed::next(&mut reader) => next?,
                () = self.peers.closed() => return Ok(()),
            };
            let Some(message) = next else {
                return Ok(());
            };
            match message {
                Message::Peer(bytes) => match M::from_bytes(bytes) {
                    Ok(message) => {
                        let event = PeerEvent::Message { from: peer, message };
                        if self.peers.try_send(event).is_err() {
                            self.dropped.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%peer, %error, "dropped a message that is not well formed");
                    }
                },
                Message::Checkpoint(chunk) => match assembly.add(chunk) {
                    Ok(Some(staged)) => {
                        let event = PeerEvent::Checkpoint { from: peer, staged };
                        if self.peers.send(event).await.is_err() {
                            return Ok(());
                        }
                    }
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%peer, %error, "dropped a checkpoint"),
                },
                Message::Hello(_)
                | Message::Welcome(_)
                | Message::Refusal(_)
                | Message::Request(_)
                | Message::MalformedRequest { .. }
                | Message::Response(_) => {
                    tracing::warn!(%peer, "dropped a message that no server sends to another");
                }
            }
        }
    }
}

/// The server that says hello, if it is one.
fn server_of(hello: &Hello) -> Option<NodeId> {
    match hello.role {
        Role::Server { node, .. } => Some(node),
        Role::Client => None,
    }
}

fn full(admitted: Admitted) -> Refusal {
    let why = match admitted {
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

/// How long a new connection may take to say hello.
const HELLO_MAX: Duration = Duration::from_secs(5);

/// How many connections may be open that have not said hello; further ones wait to be accepted.
const STRANGERS_MAX: usize = 256;

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
