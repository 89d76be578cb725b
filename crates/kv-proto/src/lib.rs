//! Framed messages between clients and servers and between servers.
//!
//! Two types to read first: [`Message`], everything that a connection carries, and
//! [`FrameCodec`], which turns messages into frames and back. A connection begins with a
//! [`Hello`], which is answered by a [`Welcome`] or a [`Refusal`]; after that a client sends
//! [`Request`]s, many at once if it likes, and gets a [`Response`] with the same id for each, in
//! any order. A server sends its engine's messages and its checkpoints, and nothing comes back on
//! that connection: the other direction is the peer's own connection.
//!
//! Use it to write a client in place of `kv-client`, a proxy, or a tool that looks at what goes over
//! the wire; who only wants to read and write keys takes `kv-client`.
//!
//! ```
//! use bytes::BytesMut;
//! use kv_core::{GroupId, Key, Operation, RequestOptions};
//! use kv_proto::{FrameCodec, Message, Request, RequestBody};
//! use tokio_util::codec::{Decoder, Encoder};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let op = Operation::get(Key::new("x")?);
//! let body = RequestBody::Execute { op, options: RequestOptions::default() };
//! let request = Message::Request(Request { id: 1, body });
//!
//! let (mut codec, mut wire) = (FrameCodec::new(GroupId(0)), BytesMut::new());
//! codec.encode(request.clone(), &mut wire)?;
//! assert_eq!(codec.decode(&mut wire)?, Some(request));
//! # Ok(())
//! # }
//! ```

mod duration;
mod frame;
mod handshake;
mod message;
mod quoting;
mod servers;

pub use duration::{DurationError, parse_duration};
pub use frame::{
    FRAME_LEN_MAX, FrameCodec, FrameError, PROTOCOL_VERSION, put_peer_frame, put_refusal,
    put_response, put_snapshot_frame,
};
pub use handshake::{Hello, Refusal, RefusalCode, Role, Welcome};
pub use message::{Message, Request, RequestBody, Response, ResponseBody};
pub use quoting::{as_line, as_word, in_quotes, is_printable};
pub use servers::{ServerList, ServerListError, id_ranges, parse_server_id};
