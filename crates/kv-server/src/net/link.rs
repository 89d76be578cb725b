//! The connection from this server to a peer, made again whenever it is lost.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kv_core::{ConsistencyEngine, Incarnation, NodeId};
use kv_proto::{FrameError, HelloReply, Refusal};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::driver::Loop;
use crate::driver::peers::Delayed;
use crate::net::admission::Identity;
use crate::net::connection::Connection;
use crate::net::framed;
use crate::net::reading::Reading;

/// Connects to one peer, and sends to it. The peer sends on a connection of its own.
pub(crate) struct Link<E: ConsistencyEngine> {
    pub(crate) shared: Rc<Loop<E>>,
    pub(crate) peer: NodeId,
    pub(crate) address: String,
    pub(crate) identity: Arc<Identity>,
    /// Rings when the peer has connected to this server: it is there, so dial it now.
    pub(crate) doorbell: Rc<Notify>,
    /// The peers that refuse this server, of all links.
    pub(crate) refused_by: watch::Sender<BTreeMap<NodeId, Refusal>>,
    pub(crate) delayed: Rc<Delayed>,
}

impl<E> Link<E>
where
    E: ConsistencyEngine + 'static,
    E::Record: Send + 'static,
{
    /// Dials, keeps the connection, and dials again once it is lost.
    pub(crate) async fn run(self) {
        let mut backoff = BACKOFF_MIN;
        let mut last_problem = String::new();
        loop {
            let problem = match self.connect().await {
                Ok((reading, writer, incarnation)) => {
                    tracing::info!(peer = %self.peer, address = self.address, "connected");
                    backoff = BACKOFF_MIN;
                    self.note_refusal(None);
                    let connection = Connection::new(writer, PEER_PATIENCE);
                    self.shared.act(|hub, now| {
                        hub.on_peer_up(now, self.peer, incarnation, Rc::clone(&connection));
                    });
                    self.keep(reading, &connection).await
                }
                Err(error) => error,
            };
            self.report(&problem, &mut last_problem);
            self.shared.act(|hub, now| hub.on_peer_down(now, self.peer));
            let pause = match problem {
                LinkError::Refused(refusal) => {
                    self.note_refusal(Some(refusal));
                    BACKOFF_MAX
                }
                // A server that is not there refuses nothing.
                LinkError::Unreachable(_) => {
                    self.note_refusal(None);
                    backoff
                }
                LinkError::Slow
                | LinkError::Closed
                | LinkError::Other { .. }
                | LinkError::NoAnswer
                | LinkError::Frame(_) => backoff,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.doorbell.notified() => {}
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Notes whether the peer refuses this server, for whoever shows it to a person.
    fn note_refusal(&self, refusal: Option<Refusal>) {
        self.refused_by.send_if_modified(|refused_by| match refusal {
            Some(refusal) => {
                refused_by.insert(self.peer, refusal.clone()).as_ref() != Some(&refusal)
            }
            None => refused_by.remove(&self.peer).is_some(),
        });
    }

    async fn connect(&self) -> Result<(Reading, OwnedWriteHalf, Incarnation), LinkError> {
        let dialled = timeout(DIAL_MAX, TcpStream::connect(&self.address));
        let stream = dialled.await.map_err(|_| LinkError::Slow)?.map_err(LinkError::Unreachable)?;
        framed::tune(&stream).map_err(LinkError::Unreachable)?;
        let (reader, mut writer) = stream.into_split();
        let mut reading = Reading::new(reader);
        let answered = timeout(DIAL_MAX, async {
            framed::send(&mut writer, &self.identity.hello()).await?;
            reading.first().await
        });
        let Some(frame) = answered.await.map_err(|_| LinkError::Slow)?? else {
            return Err(LinkError::Closed);
        };
        match HelloReply::from_frame(frame) {
            Ok(HelloReply::Welcome(welcome)) if welcome.node == self.peer => {
                Ok((reading, writer, welcome.incarnation))
            }
            Ok(HelloReply::Welcome(welcome)) => Err(LinkError::Other { node: welcome.node }),
            Ok(HelloReply::Refusal(refusal)) => Err(LinkError::Refused(refusal)),
            Err(FrameError::UnexpectedKind { .. }) => Err(LinkError::NoAnswer),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps the connection until it is lost, and lets go of what is held back in time.
    async fn keep(&self, reading: Reading, connection: &Rc<Connection>) -> LinkError {
        // Nothing is sent this way; reading notices that the peer has gone.
        let mut socket = reading.into_socket();
        let mut unexpected = [0; 64];
        loop {
            tokio::select! {
                read = socket.read(&mut unexpected) => match read {
                    Ok(0) => return LinkError::Closed,
                    Ok(_) => {}
                    Err(error) => return FrameError::Io(error).into(),
                },
                () = connection.closed() => return LinkError::Slow,
                () = self.delayed.due() => {
                    self.delayed.release(connection);
                    connection.write(|| {});
                }
            }
        }
    }

    /// Says what is wrong once, not at every attempt. A peer that is not there is nothing
    /// unusual.
    fn report(&self, problem: &LinkError, last: &mut String) {
        let text = problem.to_string();
        if *last == text {
            return;
        }
        let peer = self.peer;
        match problem {
            // `Server::refused_by` has it as well.
            LinkError::Refused(_) => tracing::info!("server {peer} refuses this server: {text}"),
            LinkError::Other { .. } | LinkError::NoAnswer => {
                tracing::error!("server {peer} cannot be reached at {}: {text}", self.address);
            }
            LinkError::Unreachable(_) => tracing::debug!("server {peer} is not there: {text}"),
            LinkError::Slow | LinkError::Closed | LinkError::Frame(_) => {
                tracing::info!("server {peer} is lost: {text}");
            }
        }
        *last = text;
    }
}

/// Why there is no connection to a peer.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("{0}")]
    Unreachable(io::Error),
    #[error("it does not answer in time")]
    Slow,
    #[error("it closed the connection")]
    Closed,
    #[error("{0}")]
    Refused(Refusal),
    #[error("it says that it is server {node}: correct its address in --servers")]
    Other { node: NodeId },
    #[error("it does not answer a hello: check that its address in --servers is a kv-server's")]
    NoAnswer,
    #[error(transparent)]
    Frame(#[from] FrameError),
}

const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
const DIAL_MAX: Duration = Duration::from_secs(2);

/// A peer that takes nothing for this long counts as lost.
const PEER_PATIENCE: Duration = Duration::from_secs(10);
