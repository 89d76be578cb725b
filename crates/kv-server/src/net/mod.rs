//! Connections: of clients, from other servers and to them.

pub(crate) mod admission;
pub(crate) mod complaints;
pub(crate) mod connection;
pub(crate) mod connection_bounds;
pub(crate) mod framed;
pub(crate) mod held_back;
pub(crate) mod link;
pub(crate) mod listener;
pub(crate) mod pulse;
pub(crate) mod reading;
pub(crate) mod redis;
pub(crate) mod session;
pub(crate) mod strangers;
