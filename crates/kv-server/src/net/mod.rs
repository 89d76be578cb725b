//! The connections of a server: to its peers and from its clients.

mod admission;
mod backlog;
mod complaints;
mod connection_bounds;
mod delay;
mod framed;
mod link;
mod listener;
mod session;

pub(crate) use admission::Identity;
pub(crate) use backlog::Replies;
pub(crate) use complaints::Complaints;
pub(crate) use connection_bounds::ConnectionSlots;
pub(crate) use delay::HeldBack;
pub use delay::{Delay, DelayError};
pub(crate) use link::Link;
pub(crate) use listener::{Door, Listener};
pub(crate) use session::SessionReply;
