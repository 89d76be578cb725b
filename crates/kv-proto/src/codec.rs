//! Frames for `tokio_util::codec`.

use std::io;

use bytes::BytesMut;
use kv_core::GroupId;
use tokio_util::codec::{Decoder, Encoder};

use crate::frame::{Frame, FrameDecoder, FrameError, FrameMessage, put_message};

/// A [`FrameDecoder`] and [`put_message`] as a codec, for `Framed` and the like.
#[derive(Clone, Debug)]
pub struct FrameCodec {
    group: GroupId,
    decoder: FrameDecoder,
}

impl FrameCodec {
    /// A codec for one group: it frames messages for that group and refuses others. What it reads
    /// is limited as in [`FrameDecoder::new`].
    #[must_use]
    pub const fn new(group: GroupId) -> Self {
        Self { group, decoder: FrameDecoder::new(group) }
    }

    /// See [`FrameDecoder::lift_limit`].
    pub const fn lift_limit(&mut self) {
        self.decoder.lift_limit();
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, wire: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        self.decoder.decode(wire)
    }
}

impl<M: FrameMessage> Encoder<M> for FrameCodec {
    type Error = io::Error;

    fn encode(&mut self, message: M, wire: &mut BytesMut) -> io::Result<()> {
        put_message(self.group, &message, wire)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }
}
