//! The connection from this server to a peer, made again whenever it is lost.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kv_core::{ConsistencyEngine, Incarnation, NodeId};
use kv_proto::{Frame, FrameError, HelloReply, Liveness, Refusal};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::driver::Loop;
use crate::driver::peers::Delayed;
use crate::net::bounds::admission::Identity;
use crate::net::connection::Connection;
use crate::net::framed;
use crate::net::pulse::Pulse;
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
                        hub.on_connected(now, self.peer, incarnation, Rc::clone(&connection));
                    });
                    self.keep(reading, &connection).await
                }
                Err(error) => error,
            };
            self.report(&problem, &mut last_problem);
            self.shared.act(|hub, now| hub.on_unconnected(now, self.peer));
            let pause = match problem {
                LinkError::Refused(refusal) => {
                    self.note_refusal(Some(refusal));
                    REFUSED_PAUSE
                }
                // A server that is not there refuses nothing.
                LinkError::Unreachable(_) => {
                    self.note_refusal(None);
                    backoff
                }
                LinkError::Slow
                | LinkError::Silent
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
        let stream = self.dial().await?;
        framed::tune(&stream, PEER_PATIENCE).map_err(LinkError::Unreachable)?;
        let (reader, mut writer) = stream.into_split();
        let mut reading = Reading::new(reader);
        let answered = timeout(HELLO_MAX, async {
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

    /// Connects. If the peer calls while that hangs, a packet was lost and the way is free again: a
    /// new attempt succeeds sooner than the old one.
    async fn dial(&self) -> Result<TcpStream, LinkError> {
        let connect = TcpStream::connect(&self.address);
        tokio::pin!(connect);
        let connected = match timeout(DIAL_MIN, &mut connect).await {
            Ok(connected) => connected,
            Err(_) => tokio::select! {
                connected = timeout(DIAL_MAX, &mut connect) => {
                    connected.map_err(|_| LinkError::Slow)?
                }
                () = self.doorbell.notified() => {
                    let again = timeout(DIAL_MAX, TcpStream::connect(&self.address));
                    again.await.map_err(|_| LinkError::Slow)?
                }
            },
        };
        connected.map_err(LinkError::Unreachable)
    }

    /// Keeps the connection until it is lost, and lets go of what is held back in time.
    async fn keep(&self, mut reading: Reading, connection: &Rc<Connection>) -> LinkError {
        reading.lift_limit();
        let mut pulse = Pulse::new(Liveness::PEERS);
        loop {
            tokio::select! {
                biased;
                read = reading.read() => match read {
                    Ok(true) => {}
                    Ok(false) => return LinkError::Closed,
                    Err(error) => return FrameError::Io(error).into(),
                },
                () = connection.closed() => return LinkError::Slow,
                () = self.delayed.due() => {
                    self.delayed.release(connection);
                    connection.write(|| {});
                }
                () = pulse.due() => {
                    if pulse.overdue(&reading).is_some() {
                        return LinkError::Silent;
                    }
                }
            }
            pulse.beat(Instant::now(), connection);
            // The peer only shows that it lives.
            match reading.next() {
                Ok(None) => {}
                Ok(Some(Frame { kind, .. })) => {
                    let expected = "a server sends nothing on a connection that another has made";
                    return FrameError::UnexpectedKind { kind, expected }.into();
                }
                Err(error) => return error.into(),
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
            LinkError::Slow
            | LinkError::Silent
            | LinkError::Closed
            | LinkError::Frame(FrameError::Io(_)) => {
                tracing::info!("server {peer} is lost: {text}");
            }
            LinkError::Frame(_) => {
                tracing::warn!("closing the connection to server {peer}: {text}");
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
    #[error("nothing has come from it for {:?}", Liveness::PEERS.silence_max)]
    Silent,
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

/// So long a peer that comes back may go unnoticed, if it does not call first.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// A peer that refuses this server is asked again so often.
const REFUSED_PAUSE: Duration = Duration::from_secs(2);

/// An attempt to connect is left alone for this long.
const DIAL_MIN: Duration = Duration::from_millis(100);

/// A further attempt sends a first packet at once; the system would send the lost one again after a
/// second only.
const DIAL_MAX: Duration = Duration::from_millis(600);

/// How long the peer may take to answer a hello.
const HELLO_MAX: Duration = Duration::from_secs(2);

/// A peer that takes nothing for this long counts as lost.
const PEER_PATIENCE: Duration = Duration::from_secs(10);
