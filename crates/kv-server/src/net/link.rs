//! The connection from this server to a peer, made again whenever it is lost.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use kv_core::{Incarnation, NodeId, Wire};
use kv_proto::{FrameCodec, FrameError, Message, Refusal, checkpoint_chunks, put_peer_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::codec::{Encoder, FramedRead};

use crate::driver::{Outgoing, PeerEvent};
use crate::net::admission::Identity;
use crate::net::framed;
use crate::net::held_back::HeldBack;

/// Sends to one peer. The peer sends on a connection of its own.
pub(crate) struct Link<M> {
    pub(crate) peer: NodeId,
    pub(crate) address: String,
    pub(crate) identity: Arc<Identity>,
    pub(crate) outgoing: mpsc::Receiver<Outgoing<M>>,
    pub(crate) events: mpsc::Sender<PeerEvent<M>>,
    /// Rings when the peer has connected to this server: it is there, so dial it now.
    pub(crate) doorbell: Arc<Notify>,
    /// The peers that refuse this server, of all links.
    pub(crate) refused_by: watch::Sender<BTreeMap<NodeId, Refusal>>,
    pub(crate) checkpoints_sent: u64,
    pub(crate) held_back: HeldBack<Outgoing<M>>,
}

impl<M: Wire> Link<M> {
    /// Dials, sends, and dials again, until the driver has gone.
    pub(crate) async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        let mut last_problem = String::new();
        loop {
            let problem = match self.connect().await {
                Ok((reader, writer, incarnation)) => {
                    tracing::info!(peer = %self.peer, address = self.address, "connected");
                    backoff = BACKOFF_MIN;
                    self.note_refusal(None);
                    self.forget_stale();
                    if self.tell(PeerEvent::Up { peer: self.peer, incarnation }).await.is_err() {
                        return;
                    }
                    match self.pump(reader, writer).await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            self.report(&problem, &mut last_problem);
            if self.tell(PeerEvent::Down { peer: self.peer }).await.is_err() {
                return;
            }
            self.forget_stale();
            let pause = match problem {
                LinkError::Refused(refusal) => {
                    self.note_refusal(Some(refusal));
                    BACKOFF_MAX
                }
                // Whoever is not there refuses nothing any more.
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
                () = self.events.closed() => return,
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

    /// What was meant for a lost connection is stale.
    fn forget_stale(&mut self) {
        while self.outgoing.try_recv().is_ok() {}
        self.held_back.clear();
    }

    async fn connect(
        &mut self,
    ) -> Result<(FramedRead<OwnedReadHalf, FrameCodec>, OwnedWriteHalf, Incarnation), LinkError>
    {
        let dialled = timeout(DIAL_MAX, TcpStream::connect(&self.address));
        let stream = dialled.await.map_err(|_| LinkError::Slow)?.map_err(LinkError::Unreachable)?;
        framed::tune(&stream).map_err(LinkError::Unreachable)?;
        let (reader, mut writer) = stream.into_split();
        let mut reader = FramedRead::new(reader, FrameCodec::new(Identity::GROUP));
        let answered = timeout(DIAL_MAX, async {
            framed::send(&mut writer, Message::Hello(self.identity.hello())).await?;
            framed::next(&mut reader).await
        });
        match answered.await.map_err(|_| LinkError::Slow)?? {
            Some(Message::Welcome(welcome)) if welcome.node == self.peer => {
                Ok((reader, writer, welcome.incarnation))
            }
            Some(Message::Welcome(welcome)) => Err(LinkError::Other { node: welcome.node }),
            Some(Message::Refusal(refusal)) => Err(LinkError::Refused(refusal)),
            Some(_) => Err(LinkError::NoAnswer),
            None => Err(LinkError::Closed),
        }
    }

    /// Writes what the driver hands over, until the connection is lost (an error) or the driver
    /// has gone.
    async fn pump(
        &mut self,
        reader: FramedRead<OwnedReadHalf, FrameCodec>,
        mut writer: OwnedWriteHalf,
    ) -> Result<(), LinkError> {
        // Nothing is sent this way; reading notices that the peer has gone.
        let mut reader = reader.into_inner();
        let mut unexpected = [0; 64];
        let mut wire = BytesMut::new();
        loop {
            let due = self.held_back.due();
            tokio::select! {
                item = self.outgoing.recv(), if self.held_back.has_room() => match item {
                    Some(item) => self.take(item, &mut wire, &mut writer).await?,
                    None => return Ok(()),
                },
                () = until(due) => {}
                read = reader.read(&mut unexpected) => match read {
                    Ok(0) => return Err(LinkError::Closed),
                    Ok(_) => continue,
                    Err(error) => return Err(FrameError::Io(error).into()),
                },
            }
            // What else waits goes along, so that a slow connection gets few large writes.
            while wire.len() < WRITE_BYTES
                && self.held_back.has_room()
                && let Ok(outgoing) = self.outgoing.try_recv()
            {
                self.take(outgoing, &mut wire, &mut writer).await?;
            }
            self.release(&mut wire, &mut writer).await?;
            write_out(&mut wire, &mut writer).await?;
        }
    }

    /// Takes what the driver hands over: into the next write, or to be held back first.
    async fn take(
        &mut self,
        outgoing: Outgoing<M>,
        wire: &mut BytesMut,
        writer: &mut OwnedWriteHalf,
    ) -> Result<(), LinkError> {
        if self.held_back.is_off() {
            return self.put(outgoing, wire, writer).await;
        }
        let now = Instant::now();
        match outgoing {
            Outgoing::Messages(messages) => {
                for message in messages {
                    self.held_back.push(now, Outgoing::Messages(vec![message]));
                }
            }
            Outgoing::Checkpoint(_) => self.held_back.push(now, outgoing),
        }
        Ok(())
    }

    /// Puts into the next write what has been held back long enough.
    async fn release(
        &mut self,
        wire: &mut BytesMut,
        writer: &mut OwnedWriteHalf,
    ) -> Result<(), LinkError> {
        if self.held_back.is_off() {
            return Ok(());
        }
        let now = Instant::now();
        while wire.len() < WRITE_BYTES
            && let Some(outgoing) = self.held_back.pop_due(now)
        {
            self.put(outgoing, wire, writer).await?;
        }
        Ok(())
    }

    /// Puts messages into the next write; sends a checkpoint part by part at once.
    async fn put(
        &mut self,
        outgoing: Outgoing<M>,
        wire: &mut BytesMut,
        writer: &mut OwnedWriteHalf,
    ) -> Result<(), LinkError> {
        match outgoing {
            Outgoing::Messages(messages) => put_messages(&messages, wire),
            Outgoing::Checkpoint(checkpoint) => {
                self.checkpoints_sent += 1;
                let mut codec = FrameCodec::new(Identity::GROUP);
                for chunk in checkpoint_chunks(self.checkpoints_sent, checkpoint) {
                    codec.encode(Message::Checkpoint(chunk), wire)?;
                    write_out(wire, writer).await?;
                }
            }
        }
        Ok(())
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

    async fn tell(
        &mut self,
        event: PeerEvent<M>,
    ) -> Result<(), mpsc::error::SendError<PeerEvent<M>>> {
        self.events.send(event).await
    }
}

/// Completes at an instant; never, if there is none.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn put_messages<M: Wire>(messages: &[M], wire: &mut BytesMut) {
    for message in messages {
        if let Err(error) = put_peer_frame(Identity::GROUP, message, wire) {
            // The engines bound their messages; one that slips through is as good as lost.
            tracing::error!(%error, "a message to a peer does not fit into a frame");
        }
    }
}

async fn write_out(wire: &mut BytesMut, writer: &mut OwnedWriteHalf) -> Result<(), LinkError> {
    if wire.is_empty() {
        return Ok(());
    }
    match timeout(WRITE_MAX, writer.write_all(wire)).await {
        Ok(written) => written.map_err(FrameError::Io)?,
        Err(_) => return Err(LinkError::Slow),
    }
    wire.clear();
    Ok(())
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
const WRITE_MAX: Duration = Duration::from_secs(10);

/// A write takes no further batch once it has this many bytes.
const WRITE_BYTES: usize = 1 << 20;
