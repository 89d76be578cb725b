//! Redis's protocol and commands on top of the store, without sockets.
//!
//! Read [`Session`] first: bytes of a client go in, operations for an engine and bytes for the client
//! come out. Then [`Front`], which the sessions of a server share. What each command means is in
//! `data`: `straight.rs` for those that are one operation of the engine, `evaluate.rs` for those that
//! look before they write, and `docs/redis.md` for users.

mod clock;
mod cursors;
mod data;
mod error;
mod float;
mod front;
mod glob;
mod line;
mod reader;
mod reply;
mod session;
mod spec;

pub use error::ReplyError;
pub use front::{Context, Facts, Front, Usage};
pub use reader::{ProtocolError, RequestReader};
pub use reply::{Protocol, Reply};
pub use session::{Next, Session};
