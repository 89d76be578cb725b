//! Frames out of a socket, several with one read.

use std::io;

use bytes::BytesMut;
use kv_proto::{FrameCodec, FrameError, Message};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio_util::codec::{Decoder, FramedRead};

use crate::net::admission::Identity;

/// The reading side of a connection whose handshake is done.
pub(crate) struct Reading {
    socket: OwnedReadHalf,
    buffer: BytesMut,
    codec: FrameCodec,
}

impl Reading {
    /// Goes on where a handshake ended.
    pub(crate) fn after(mut handshake: FramedRead<OwnedReadHalf, FrameCodec>) -> Self {
        let buffer = std::mem::take(handshake.read_buffer_mut());
        Self { socket: handshake.into_inner(), buffer, codec: FrameCodec::new(Identity::GROUP) }
    }

    /// The next message of those that were read.
    ///
    /// # Errors
    /// [`FrameError`] if what came is no frame; nothing after it can be read.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, FrameError> {
        self.codec.decode(&mut self.buffer)
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
