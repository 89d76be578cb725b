//! Frames out of a socket, several with one read.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use kv_proto::{FRAME_LEN_MAX, Frame, FrameDecoder, FrameError};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::net::bounds::admission::Identity;

/// The reading side of a connection.
pub(crate) struct Reading {
    socket: OwnedReadHalf,
    buffer: BytesMut,
    decoder: FrameDecoder,
    last_read: Instant,
    /// Since when the frame at the front of the buffer has been incomplete.
    frame_since: Option<Instant>,
    /// What that frame takes of the bytes for all connections, if it is large.
    share: Option<OwnedSemaphorePermit>,
}

/// What is wrong with a connection that is read too slowly to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// Nothing has come for a while.
    Silent,
    /// A frame was begun and not finished in its time.
    Frame,
}

impl Reading {
    /// Reads no long frames until the handshake is done.
    pub(crate) fn new(socket: OwnedReadHalf) -> Self {
        Self {
            socket,
            buffer: BytesMut::new(),
            decoder: FrameDecoder::new(Identity::GROUP),
            last_read: Instant::now(),
            frame_since: None,
            share: None,
        }
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
        let frame = self.decoder.decode(&mut self.buffer)?;
        if frame.is_some() {
            self.frame_since = None;
            self.share = None;
        } else if self.buffer.is_empty() {
            self.frame_since = None;
        } else {
            self.frame_since.get_or_insert(self.last_read);
        }
        Ok(frame)
    }

    /// Waits for more to come; false at the end.
    ///
    /// # Errors
    /// If the connection fails.
    pub(crate) async fn read(&mut self) -> io::Result<bool> {
        self.buffer.reserve(READ_BYTES);
        let count = self.socket.read_buf(&mut self.buffer).await?;
        self.last_read = Instant::now();
        Ok(count > 0)
    }

    /// When something last came.
    pub(crate) const fn last_read(&self) -> Instant {
        self.last_read
    }

    /// What was not read meanwhile was not asked for: the other side has its time again.
    pub(crate) fn excuse(&mut self) {
        self.last_read = Instant::now();
        self.frame_since = self.frame_since.map(|_| self.last_read);
    }

    /// Whether the other side takes too long: one that sends nothing for `silence_max`, or a frame
    /// that is begun and not finished.
    pub(crate) fn overdue(&self, now: Instant, silence_max: Duration) -> Option<Overdue> {
        let silence = now.saturating_duration_since(self.last_read);
        let Some(since) = self.frame_since else {
            return (silence > silence_max).then_some(Overdue::Silent);
        };
        let len = self.decoder.announced_len(&self.buffer).unwrap_or(0);
        let is_late = now.saturating_duration_since(since) > time_max(len);
        (is_late || silence > silence_max.min(STALL_MAX)).then_some(Overdue::Frame)
    }

    /// What a large frame that has begun still has to get of the bytes for all connections before
    /// more of it is read; `None` if nothing.
    pub(crate) fn share_wanted(&self) -> Option<u32> {
        if self.frame_since.is_none() || self.share.is_some() {
            return None;
        }
        let len = self.decoder.announced_len(&self.buffer).filter(|len| *len > FREE_LEN_MAX)?;
        u32::try_from(len).ok()
    }

    /// A large frame has got its share: memory for it is taken at once, which spares copies, and
    /// given back once it is read.
    pub(crate) fn take_share(&mut self, share: Option<OwnedSemaphorePermit>) {
        let len = self.decoder.announced_len(&self.buffer).unwrap_or(0);
        self.buffer.reserve(len.saturating_sub(self.buffer.len()));
        self.share = share;
        self.excuse();
    }

    pub(crate) fn into_socket(self) -> OwnedReadHalf {
        self.socket
    }
}

/// The bytes that large frames of all clients together may take while they are incomplete. One that
/// finds no room waits in its socket.
#[derive(Clone, Debug)]
pub(crate) struct FrameBytes(Arc<Semaphore>);

impl FrameBytes {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(FRAME_BYTES_MAX)))
    }

    /// Waits for a share of so many bytes, first come, first served.
    pub(crate) async fn share(&self, len: u32) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.0).acquire_many_owned(len).await.ok()
    }
}

/// The time that a message of so many bytes has from its first byte to its last.
pub(crate) fn time_max(len: usize) -> Duration {
    let kibibytes = u32::try_from(len >> 10).unwrap_or(u32::MAX);
    FRAME_TIME_MIN + FRAME_TIME_PER_KIBIBYTE * kibibytes
}

/// So much is read at once, at the least.
const READ_BYTES: usize = 16 << 10;

/// A frame up to this length is read without a share.
const FREE_LEN_MAX: usize = 64 << 10;

/// Eight of the largest frames with their length.
const FRAME_BYTES_MAX: usize = 8 * (FRAME_LEN_MAX + 4);

/// The least time that a frame has from its first byte to its last.
const FRAME_TIME_MIN: Duration = Duration::from_secs(10);

/// The time that it has for its length in addition: 512 KiB in a second.
const FRAME_TIME_PER_KIBIBYTE: Duration = Duration::from_millis(2);

/// In the middle of a frame nothing may be missing for longer than this.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(5);
