//! What a server is asked, and how a request ends.

pub(crate) mod batch;
pub(crate) mod not_done;
pub(crate) mod operation;
pub(crate) mod outcome;
