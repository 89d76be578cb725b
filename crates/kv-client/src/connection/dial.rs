//! How a client gets a connection: connect, then the handshake.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use kv_core::NodeId;
use kv_proto::{CLUSTER_NAME_LEN_MAX, FrameDecoder, Hello, HelloReply, Role, Welcome, put_message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};

use super::error::{DialError, DialFailure, LostReason};
use super::{Connection, GROUP};

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
        let mut stream = connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let mut decoder = FrameDecoder::new(GROUP);
        let mut buffer = BytesMut::new();
        let hello = Hello { cluster: self.cluster, role: Role::Client };
        let lost = |error| DialError::Lost(LostReason::from(error));
        let too_long = || DialError::ClusterNameTooLong;
        if hello.cluster.len() > CLUSTER_NAME_LEN_MAX {
            return Err(too_long());
        }
        put_message(GROUP, &hello, &mut buffer).map_err(|_| too_long())?;
        // A server that is full may refuse, and close, before it reads; its reason is still there.
        let written = stream.write_all(&buffer).await;
        buffer.clear();
        loop {
            if let Some(frame) = decoder.decode(&mut buffer).map_err(lost)? {
                let reply = HelloReply::from_frame(frame).map_err(lost)?;
                let welcome = accepted(self.server, reply)?;
                decoder.lift_limit();
                let connection = Connection::new(stream, decoder, buffer, self.server, &welcome);
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

/// Connects to the first address of a host that accepts.
async fn connect(address: &str) -> Result<TcpStream, DialError> {
    let found: Vec<SocketAddr> = match lookup_host(address).await {
        Ok(found) => found.collect(),
        Err(error) => {
            let (address, why) = (address.to_owned(), error.to_string());
            return Err(DialError::NameNotFound { address, why });
        }
    };
    Ok(TcpStream::connect(found.as_slice()).await?)
}

fn accepted(server: NodeId, reply: HelloReply) -> Result<Welcome, DialError> {
    match reply {
        HelloReply::Welcome(welcome) if welcome.node == server => Ok(welcome),
        HelloReply::Welcome(welcome) => Err(DialError::OtherServer { found: welcome.node }),
        HelloReply::Refusal(refusal) => Err(DialError::Refused(refusal)),
    }
}

const HANDSHAKE_READ_BYTES: usize = 4 << 10;
