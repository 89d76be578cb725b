//! The frame around every message, whatever the message is.
//!
//! ```text
//! length      u32   of all that follows, at most 32 MiB; 4 KiB in a handshake
//! version     u8    of the protocol
//! kind        u8    of the message
//! group       u32   which group of the server is meant; 0 until there are several
//! checksum    u32   CRC-32C of the message
//! header      u32   CRC-32C of the 14 bytes above
//! message     ...
//! ```
//! All numbers are little endian. The header has a checksum of its own, so that a length that was
//! damaged, or read out of step, is noticed before the bytes that it announces are waited for.
//!
//! A refusal has the same form in every version of the protocol, so that older and newer programs can
//! show it; versions 1 and 2 had this form for all frames:
//!
//! ```text
//! length      u32   of all that follows, at most 4 KiB
//! version     u8    of the protocol
//! kind        u8    3
//! group       u32   not looked at
//! checksum    u32   CRC-32C of version, kind, group and message
//! message     ...
//! ```

mod header;
#[cfg(test)]
mod tests;

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kv_core::{DecodeError, GroupId, Wire};

use header::{
    Form, HEADER_LEN, HEADER_LEN_OF_ALL_VERSIONS, Header, LENGTH_LEN, checksum_of_all_versions,
    len_of, write_header,
};

/// The version of the protocol that this crate speaks. Programs of different versions refuse each
/// other, so it is raised with every change to the byte form of a message.
pub const PROTOCOL_VERSION: u8 = 9;

/// The greatest length of a frame, in bytes, without the length itself.
pub const FRAME_LEN_MAX: usize = 32 << 20;

/// The greatest length of a frame while it is not known who is at the other end.
pub const HANDSHAKE_FRAME_LEN_MAX: usize = 4 << 10;

/// A frame of this kind is read whatever its version and group are: it says why a connection ends.
pub(crate) const KIND_OF_ALL_VERSIONS: u8 = 3;

/// A frame of this kind has no message: its sender lives. The decoder passes over it.
const ALIVE: u8 = 8;

/// A message that is sent in frames of its own kind.
pub trait FrameMessage: Wire {
    /// Tells its frames from others.
    const KIND: u8;

    /// The greatest length of its frames.
    const FRAME_LEN_MAX: usize = FRAME_LEN_MAX;
}

/// A frame that arrived undamaged, for a group that is served here. What its kind means is up to
/// whoever reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The group that it is for.
    pub group: GroupId,
    /// The kind of message.
    pub kind: u8,
    /// The message: a slice of the buffer that the frame was read into.
    pub payload: Bytes,
}

/// Takes frames out of the bytes that were read from a connection.
#[derive(Clone, Debug)]
pub struct FrameDecoder {
    group: GroupId,
    len_max: usize,
}

impl FrameDecoder {
    /// A decoder for one group, which refuses frames for others. It takes no more than
    /// [`HANDSHAKE_FRAME_LEN_MAX`] until that limit is lifted.
    #[must_use]
    pub const fn new(group: GroupId) -> Self {
        Self { group, len_max: HANDSHAKE_FRAME_LEN_MAX }
    }

    /// The handshake is done: frames may have up to [`FRAME_LEN_MAX`] bytes.
    pub const fn lift_limit(&mut self) {
        self.len_max = FRAME_LEN_MAX;
    }

    /// Takes the next frame from the front of `wire`; `None` if it is not complete. Frames that only
    /// say that their sender lives are passed over. The frame's payload is not copied. Memory is
    /// reserved for a short frame only: for a long one `wire` grows with what arrives, whatever
    /// length the other side announces.
    ///
    /// # Errors
    /// [`FrameError`] if the bytes are no frame for this group; nothing after it can be read.
    pub fn decode(&self, wire: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        while let Some(frame) = self.decode_any(wire)? {
            if frame.kind != ALIVE {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// The length in bytes of the frame at the front of `wire`, once its header has come and is
    /// sound.
    #[must_use]
    pub fn announced_len(&self, wire: &[u8]) -> Option<usize> {
        let header = Header::read(wire.first_chunk()?);
        self.form_of(&header).ok().map(|_| LENGTH_LEN.saturating_add(header.len()))
    }

    fn decode_any(&self, wire: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(length) = wire.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) else {
            return Ok(None);
        };
        let len = len_of(length);
        if len > self.len_max {
            return Err(FrameError::TooLarge { size: u64::from(length), limit: self.len_max });
        }
        if LENGTH_LEN + len < HEADER_LEN {
            let needed = HEADER_LEN - LENGTH_LEN;
            return Err(DecodeError::Truncated { needed, left: len }.into());
        }
        let Some(header) = wire.first_chunk().map(Header::read) else {
            return Ok(None);
        };
        let form = self.form_of(&header)?;
        let left = (LENGTH_LEN + len).saturating_sub(wire.len());
        if left > 0 {
            wire.reserve(left.min(RESERVED_LEN_MAX));
            return Ok(None);
        }
        let frame = wire.split_to(LENGTH_LEN + len).freeze();
        self.open(&header, form, frame).map(Some)
    }

    /// The form of a frame, by its header alone.
    fn form_of(&self, header: &Header) -> Result<Form, FrameError> {
        let in_handshake = self.len_max <= HANDSHAKE_FRAME_LEN_MAX;
        let may_be_other = header.kind == KIND_OF_ALL_VERSIONS
            || (in_handshake && header.version != PROTOCOL_VERSION);
        if header.is_sound {
            Ok(Form::Current)
        } else if may_be_other && header.len() <= HANDSHAKE_FRAME_LEN_MAX {
            Ok(Form::OfAllVersions)
        } else {
            Err(FrameError::Checksum)
        }
    }

    fn open(&self, header: &Header, form: Form, mut frame: Bytes) -> Result<Frame, FrameError> {
        let &Header { version, kind, group, .. } = header;
        let computed = match form {
            Form::Current => {
                frame.advance(HEADER_LEN);
                crc32c::crc32c(&frame)
            }
            Form::OfAllVersions => {
                frame.advance(HEADER_LEN_OF_ALL_VERSIONS);
                checksum_of_all_versions(version, kind, group, &frame)
            }
        };
        if computed != header.checksum {
            return Err(FrameError::Checksum);
        }
        if kind != KIND_OF_ALL_VERSIONS {
            if version != PROTOCOL_VERSION {
                return Err(FrameError::Version { theirs: version });
            }
            if group != self.group {
                return Err(FrameError::Group { theirs: group });
            }
        }
        Ok(Frame { group, kind, payload: frame })
    }
}

/// Appends a message in its frame to what will be written to a connection.
///
/// # Errors
/// [`MessageTooLarge`] if the frame would be over its limit; nothing is appended then.
pub fn put_message<M: FrameMessage>(
    group: GroupId,
    message: &M,
    wire: &mut BytesMut,
) -> Result<(), MessageTooLarge> {
    put_frame(wire, M::KIND, group, M::FRAME_LEN_MAX, message)
}

/// A message does not fit into a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {size} bytes is over the limit of {limit}: send less at once")]
pub struct MessageTooLarge {
    /// The length that the frame would have, in bytes.
    pub size: u64,
    /// The limit for messages of this kind: [`FRAME_LEN_MAX`], or [`HANDSHAKE_FRAME_LEN_MAX`].
    pub limit: usize,
}

/// Why what was read from a connection cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(io::Error),
    /// The frame is over the limit: its sender speaks another protocol, or sends too much.
    #[error(
        "a frame of {size} bytes is over the limit of {limit}: send less at once, and \
        check that the program at the other end speaks this protocol"
    )]
    TooLarge {
        /// Its length in bytes.
        size: u64,
        /// The limit: [`FRAME_LEN_MAX`], or [`HANDSHAKE_FRAME_LEN_MAX`] in a handshake.
        limit: usize,
    },
    /// The frame is of another protocol version.
    #[error(
        "the other side speaks protocol version {theirs}, this one {PROTOCOL_VERSION}: use \
        programs of one release"
    )]
    Version {
        /// The other side's.
        theirs: u8,
    },
    /// The frame was damaged on its way.
    #[error("a frame's checksum is wrong: it was damaged on its way, or is not of this protocol")]
    Checksum,
    /// The frame is for a group that is not here.
    #[error("a frame is for group {theirs}, which is not served here")]
    Group {
        /// The group it is for.
        theirs: GroupId,
    },
    /// The message is of a kind that the other side does not send at this point.
    #[error("{expected}, not a message of kind {kind}: use programs of one release")]
    UnexpectedKind {
        /// Its kind.
        kind: u8,
        /// What may come here.
        expected: &'static str,
    },
    /// The message is not well formed.
    #[error("a message is not well formed: {0}")]
    Decode(DecodeError),
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<DecodeError> for FrameError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

/// Appends a frame that says no more than that its sender lives.
pub fn put_alive(group: GroupId, wire: &mut BytesMut) {
    let mut header = [0; HEADER_LEN];
    write_header(&mut header, ALIVE, group, &[]);
    wire.put_slice(&header);
}

pub(crate) fn put_frame(
    wire: &mut BytesMut,
    kind: u8,
    group: GroupId,
    limit: usize,
    message: &impl Wire,
) -> Result<(), MessageTooLarge> {
    let of_all_versions = kind == KIND_OF_ALL_VERSIONS;
    let header_len = if of_all_versions { HEADER_LEN_OF_ALL_VERSIONS } else { HEADER_LEN };
    let start = wire.len();
    wire.put_bytes(0, header_len);
    message.encode(wire);
    let size = wire.len() - start - LENGTH_LEN;
    if size > limit {
        wire.truncate(start);
        return Err(MessageTooLarge { size: u64::try_from(size).unwrap_or(u64::MAX), limit });
    }
    let frame = wire.get_mut(start..).unwrap_or_default();
    if let Some((header, body)) = frame.split_at_mut_checked(header_len) {
        write_header(header, kind, group, body);
    }
    Ok(())
}

/// Memory is reserved at once for the rest of a frame up to this length.
const RESERVED_LEN_MAX: usize = 64 << 10;
