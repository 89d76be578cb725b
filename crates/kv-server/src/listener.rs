//! The one port, for clients and servers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kv_core::{NodeId, Wire};
use kv_proto::{CheckpointAssembly, FrameCodec, FrameError, Message, Refusal, RefusalCode};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::codec::FramedRead;

use crate::admission::{Admitted, Identity};
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
        loop {
            let accepted = tokio::select! {
                // An error means that the server has been dropped.
                _ = self.stop.wait_for(|stop| *stop) => break,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => {
                    let door = Arc::clone(&self.door);
                    connections.spawn(async move {
                        if let Err(error) = door.serve(stream).await {
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
    async fn serve(&self, stream: TcpStream) -> Result<(), FrameError> {
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
        let admitted = match first {
            Ok(None) => return Ok(()),
            Ok(Some(Message::Hello(hello))) => self.identity.admit(&hello),
            Ok(Some(_)) => {
                let why = "a connection begins with a hello: use a program of this release";
                Err(Refusal::new(RefusalCode::Malformed, why))
            }
            Err(error) => Err(framed::refusal_of(&error)),
        };
        let slot = match &admitted {
            Ok(Admitted::Client) => Some(self.client_slots.try_acquire()),
            Ok(Admitted::Server(_)) | Err(_) => None,
        };
        let full = || Refusal::new(RefusalCode::Full, FULL);
        let (admitted, slot) = match (admitted, slot) {
            (Ok(_), Some(Err(_))) => (Err(full()), None),
            (admitted, Some(Ok(slot))) => (admitted, Some(slot)),
            (admitted, _) => (admitted, None),
        };
        match admitted {
            Err(refusal) => {
                tracing::warn!("refused a connection: {refusal}");
                framed::send(&mut writer, Message::Refusal(refusal)).await?;
                drop(writer);
                framed::drain(reader).await;
            }
            Ok(admitted) => {
                framed::send(&mut writer, Message::Welcome(self.identity.welcome())).await?;
                match admitted {
                    Admitted::Client => self.session().run(reader, writer).await,
                    Admitted::Server(peer) => self.listen_to(peer, reader).await?,
                }
            }
        }
        drop(slot);
        Ok(())
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

const FULL: &str = "this server has as many clients as it may: connect to another one, or raise \
                    --clients-max";

/// How long a new connection may take to say hello.
const HELLO_MAX: Duration = Duration::from_secs(5);

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
