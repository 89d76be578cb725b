//! The requests of this server's clients, from their arrival to their answers.

pub(crate) mod forward;
pub(crate) mod leads;
pub(crate) mod numbered;
pub(crate) mod reads;
pub(crate) mod unsupported;
