//! The connections of a server: to its peers and from its clients.

mod admission;
mod complaints;
mod connection_bounds;
mod framed;
mod held_back;
mod link;
mod listener;
mod session;

pub(crate) use admission::Identity;
pub(crate) use complaints::Complaints;
pub(crate) use connection_bounds::ConnectionSlots;
pub(crate) use held_back::HeldBack;
pub(crate) use link::Link;
pub(crate) use listener::{Door, Listener};
