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
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::codec::FramedRead;

use crate::client_number::ClientNumber;
use crate::config::DumpHook;
use crate::driver::{ClientEvent, PeerEvent};
use crate::net::admission::{Admitted, Identity};
use crate::net::complaints::Complaints;
use crate::net::connection_bounds::ConnectionSlots;
use crate::net::framed;
use crate::net::session::Session;

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
    pub(crate) slots: ConnectionSlots,
    pub(crate) complaints: Mutex<Complaints>,
    /// The peers that refuse this server, as the links see it.
    pub(crate) refused_by: watch::Receiver<BTreeMap<NodeId, Refusal>>,
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
        let strangers = Arc::clone(&self.door.slots.strangers);
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
                Admitted::Client => &self.slots.clients,
                Admitted::Server(_) => &self.slots.servers,
            };
            let slot = slots.try_acquire();
            slot.map_err(|_| full(admitted, self.slots.are_lowered)).map(|slot| (admitted, slot))
        });
        match admitted {
            Err(refusal) => {
                framed::send(&mut writer, Message::Refusal(refusal.clone())).await?;
                drop(writer);
                framed::drain(reader).await;
                drop(stranger);
                self.complain(who, &refusal).await;
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
    /// tries again all the time. A server that refuses this one as well is in
    /// `Server::refused_by` with the same words, and is not warned of again.
    async fn complain(&self, who: Option<NodeId>, refusal: &Refusal) {
        let told = {
            let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
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
            () = self.peers.closed() => false,
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

/// How long a new connection may take to say hello.
const HELLO_MAX: Duration = Duration::from_secs(5);

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
