//! How a client gets a connection: connect, then the handshake.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use kv_core::{GroupId, NodeId};
use kv_proto::{FrameCodec, Hello, Message, Refusal, Role, Welcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::codec::{Decoder, Encoder};

use crate::connection::Connection;
use crate::error::LostReason;

/// Why a server gave no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// It cannot be reached.
    #[error("{kind}")]
    Unreachable {
        /// How the attempt failed.
        kind: io::ErrorKind,
    },
    /// It did not accept the connection or answer the handshake in time.
    #[error("no answer within {after:?}")]
    Silent {
        /// How long the client waited.
        after: Duration,
    },
    /// It does not take this client.
    #[error("{0}")]
    Refused(Refusal),
    /// It ended the connection in the middle of the handshake, or what answers is no server.
    #[error("{0}")]
    Lost(LostReason),
    /// Another server than the one that is meant answers there.
    #[error("server {found} answers there: correct the list of servers")]
    OtherServer {
        /// Which.
        found: NodeId,
    },
}

/// An attempt to connect that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialFailure {
    /// The server that was tried.
    pub server: NodeId,
    /// What went wrong.
    pub error: DialError,
}

impl fmt::Display for DialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server {}: {}", self.server, self.error)
    }
}

/// Where and as whom to connect.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) server: NodeId,
    pub(crate) address: String,
    pub(crate) cluster: String,
    pub(crate) timeout: Duration,
}

impl Target {
    /// Connects and says hello.
    pub(crate) async fn dial(self) -> Result<(Connection, Welcome), DialFailure> {
        let (server, after) = (self.server, self.timeout);
        let result = tokio::time::timeout(after, self.shake_hands()).await;
        result
            .unwrap_or(Err(DialError::Silent { after }))
            .map_err(|error| DialFailure { server, error })
    }

    async fn shake_hands(self) -> Result<(Connection, Welcome), DialError> {
        let mut stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let mut codec = FrameCodec::new(GroupId(0));
        let mut buffer = BytesMut::new();
        let hello = Hello { cluster: self.cluster, role: Role::Client };
        let lost = |error| DialError::Lost(LostReason::from(error));
        codec.encode(Message::Hello(hello), &mut buffer).map_err(lost)?;
        // A server that is full may refuse, and close, before it reads; its reason is still there.
        let written = stream.write_all(&buffer).await;
        buffer.clear();
        loop {
            if let Some(message) = codec.decode(&mut buffer).map_err(lost)? {
                let welcome = accepted(self.server, message)?;
                let connection = Connection::new(stream, codec, buffer, self.server, &welcome);
                return Ok((connection, welcome));
            }
            buffer.reserve(HANDSHAKE_READ_BYTES);
            if stream.read_buf(&mut buffer).await? == 0 {
                written?;
                return Err(DialError::Lost(LostReason::Closed));
            }
        }
    }
}

fn accepted(server: NodeId, message: Message) -> Result<Welcome, DialError> {
    match message {
        Message::Welcome(welcome) if welcome.node == server => Ok(welcome),
        Message::Welcome(welcome) => Err(DialError::OtherServer { found: welcome.node }),
        Message::Refusal(refusal) => Err(DialError::Refused(refusal)),
        Message::Hello(_)
        | Message::Request(_)
        | Message::MalformedRequest { .. }
        | Message::Response(_)
        | Message::Peer(_)
        | Message::Checkpoint(_) => Err(DialError::Lost(LostReason::OutOfPlace)),
    }
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        Self::Unreachable { kind: error.kind() }
    }
}

/// ` (server 2: connection refused)`, or nothing where nothing is known.
pub(crate) fn first_of(failures: &[DialFailure]) -> String {
    failures.first().map_or_else(String::new, |failure| format!(" ({failure})"))
}

const HANDSHAKE_READ_BYTES: usize = 4 << 10;
