//! Connections: of clients, from other servers and to them.

pub(crate) mod accepting;
pub(crate) mod bounds;
pub(crate) mod complaints;
pub(crate) mod connection;
pub(crate) mod framed;
pub(crate) mod link;
pub(crate) mod listener;
pub(crate) mod pulse;
pub(crate) mod reading;
pub(crate) mod redis;
pub(crate) mod session;
