//! What goes wrong around a server.

pub(crate) mod network;
pub(crate) mod proxy;
pub(crate) mod small_disk;
