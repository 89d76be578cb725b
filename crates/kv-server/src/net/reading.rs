//! Frames out of a socket, several with one read.

use std::io;

use bytes::BytesMut;
use kv_proto::{Frame, FrameDecoder, FrameError};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

use crate::net::admission::Identity;

/// The reading side of a connection.
pub(crate) struct Reading {
    socket: OwnedReadHalf,
    buffer: BytesMut,
    decoder: FrameDecoder,
}

impl Reading {
    /// Reads no long frames until the handshake is done.
    pub(crate) fn new(socket: OwnedReadHalf) -> Self {
        Self { socket, buffer: BytesMut::new(), decoder: FrameDecoder::new(Identity::GROUP) }
    }

    /// Waits for the one frame of a handshake; `None` if the other side closed the connection
    /// before that frame was complete.
    ///
    /// # Errors
    /// [`FrameError`] if what came is no frame, or the connection fails.
    pub(crate) async fn first(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(frame) = self.next()? {
                return Ok(Some(frame));
            }
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// The handshake is done: frames of every length are read.
    pub(crate) const fn lift_limit(&mut self) {
        self.decoder.lift_limit();
    }

    /// The next frame of those that were read.
    ///
    /// # Errors
    /// [`FrameError`] if what came is no frame; nothing after it can be read.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        self.decoder.decode(&mut self.buffer)
    }

    /// Waits for more to come; false at the end.
    ///
    /// # Errors
    /// If the connection fails.
    pub(crate) async fn read(&mut self) -> io::Result<bool> {
        self.buffer.reserve(READ_BYTES);
        Ok(self.socket.read_buf(&mut self.buffer).await? > 0)
    }

    pub(crate) fn into_socket(self) -> OwnedReadHalf {
        self.socket
    }
}

/// So much is read at once, at the least.
const READ_BYTES: usize = 16 << 10;
