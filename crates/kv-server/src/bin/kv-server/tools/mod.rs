//! Commands that look after the data of servers.

pub(crate) mod backup;
mod error_text;
pub(crate) mod inspect;
mod kept_log;
pub(crate) mod recover;
mod remote;
mod resting;
mod resting_error;
pub(crate) mod restore;
mod tree;
