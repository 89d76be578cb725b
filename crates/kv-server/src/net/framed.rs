//! Sending and refusing, for every kind of connection.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use kv_proto::{FrameError, FrameMessage, Refusal, RefusalCode, put_message};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::net::bounds::admission::Identity;

/// Sends small messages at once, and has the system give up what the other machine does not
/// acknowledge for `patience`. That the other side lives is seen from what it sends
/// ([`Liveness`](kv_proto::Liveness)); this is for what the system still holds of a connection
/// after that.
pub(crate) fn tune(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(patience))?;
    Ok(())
}

/// Sends one message.
pub(crate) async fn send<W: AsyncWrite + Unpin>(
    writer: &mut W,
    message: &impl FrameMessage,
) -> io::Result<()> {
    let mut wire = BytesMut::new();
    put_message(Identity::GROUP, message, &mut wire)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    writer.write_all(&wire).await
}

/// What to tell the other side about a frame that cannot be read.
pub(crate) fn refusal_of(error: &FrameError) -> Refusal {
    match error {
        FrameError::Version { theirs } => Refusal::of_version(*theirs),
        FrameError::TooLarge { .. }
        | FrameError::Checksum
        | FrameError::Group { .. }
        | FrameError::UnexpectedKind { .. }
        | FrameError::Decode(_)
        | FrameError::Io(_) => Refusal::new(RefusalCode::Malformed, error),
    }
}

/// Reads what the other side still sends and throws it away, for a short time: closing a
/// connection with unread bytes resets it, and the refusal just written would be lost with it.
pub(crate) async fn drain(reader: impl AsyncRead + Unpin) {
    let mut reader = reader.take(DRAIN_BYTES_MAX);
    let mut nowhere = tokio::io::sink();
    let drained = tokio::io::copy(&mut reader, &mut nowhere);
    // Whatever ends it, there is nothing left to do for this connection.
    let _ = tokio::time::timeout(DRAIN_MAX, drained).await;
}

const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

const DRAIN_MAX: Duration = Duration::from_millis(500);
const DRAIN_BYTES_MAX: u64 = 64 << 20;
