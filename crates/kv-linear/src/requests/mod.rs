//! The requests of this server's clients, from their arrival to their answers.

pub(crate) mod forward;
mod request;
pub(crate) mod unsupported;
