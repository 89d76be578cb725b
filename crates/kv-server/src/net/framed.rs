//! Sending and refusing, for every kind of connection.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use bytes::BytesMut;
use kv_proto::{FrameError, FrameMessage, Refusal, RefusalCode, put_message};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

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

/// Says that nothing more comes, then reads what the other side still sends and throws it away, for
/// a short time: closing a connection with unread bytes resets it, and what was just written, a
/// refusal or the last reply, would be lost with it.
pub(crate) async fn drain(reader: OwnedReadHalf) {
    // A connection that is gone already has nothing to be told.
    let _ = SockRef::from(reader.as_ref()).shutdown(Shutdown::Write);
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Both halves are held: only the words of [`drain`] can end what the other side reads.
    #[tokio::test]
    async fn the_other_side_reads_the_end_before_it_has_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut other = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (reader, mut writer) = listener.accept().await.unwrap().0.into_split();
        writer.write_all(b"bye").await.unwrap();
        let mut read = Vec::new();
        tokio::select! {
            biased;
            end = other.read_to_end(&mut read) => assert_eq!(end.unwrap(), 3),
            () = drain(reader) => panic!("it was drained, and the other side knows of no end"),
        }
        assert_eq!(read, b"bye");
        drop(writer);
    }
}
