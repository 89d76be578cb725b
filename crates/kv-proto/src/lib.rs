//! Framed messages between clients and servers and between servers.
//!
//! Read [`FrameDecoder`] first, which takes frames out of the bytes of a connection, and then the
//! messages that a frame can hold, one type for each direction. A connection begins with a [`Hello`],
//! which is answered by a [`HelloReply`]: a [`Welcome`] or a [`Refusal`]. After that a client sends
//! [`Request`]s, many at once if it likes, and gets a [`Response`] with the same id for each, in any
//! order, as a [`ServerToClient`]. A server sends its engine's messages and snapshots as
//! [`PeerToPeer`], and nothing comes back on that connection: the other direction is the peer's own
//! connection. Each of these types has a `from_frame`, for which a frame of any other kind is a
//! [`FrameError::UnexpectedKind`]; [`put_message`] and [`put_peer_frame`] write frames into a buffer.
//!
//! Use it to write a client in place of `kv-client`, a proxy, or a tool that looks at what goes over
//! the wire. If you only want to read and write keys, use `kv-client`.
//!
//! ```
//! use bytes::BytesMut;
//! use kv_core::{GroupId, Key, Operation, RequestOptions};
//! use kv_proto::{FrameDecoder, Request, RequestBody, put_message};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let op = Operation::get(Key::new("x")?);
//! let body = RequestBody::Execute { op, options: RequestOptions::default() };
//! let request = Request { id: 1, body };
//!
//! let (group, mut wire) = (GroupId(0), BytesMut::new());
//! put_message(group, &request, &mut wire)?;
//! let frame = FrameDecoder::new(group).decode(&mut wire)?.ok_or("not complete")?;
//! assert_eq!(Request::from_frame(frame)?, Ok(request));
//! # Ok(())
//! # }
//! ```

mod codec;
mod duration;
mod frame;
mod handshake;
mod liveness;
mod message;
mod quoting;
mod request;
mod servers;

pub use codec::FrameCodec;
pub use duration::{DurationError, parse_duration};
pub use frame::{
    FRAME_LEN_MAX, Frame, FrameDecoder, FrameError, FrameMessage, HANDSHAKE_FRAME_LEN_MAX,
    MessageTooLarge, PROTOCOL_VERSION, put_alive, put_message,
};
pub use handshake::{
    CLUSTER_NAME_LEN_MAX, Hello, Refusal, RefusalCode, Role, ServerState, Welcome,
};
pub use liveness::Liveness;
pub use message::{HelloReply, PeerToPeer, ServerToClient, put_peer_frame};
pub use quoting::{as_line, as_word, in_quotes, is_printable};
pub use request::{MalformedRequest, Request, RequestBody, Response, ResponseBody};
pub use servers::{
    AddressError, ServerList, ServerListError, check_address, id_ranges, parse_server_id,
};
