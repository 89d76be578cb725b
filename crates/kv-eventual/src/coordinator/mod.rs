//! This server as the coordinator of its clients' requests.

pub(crate) mod outcome;
pub(crate) mod queue;
pub(crate) mod reads;
pub(crate) mod request;
pub(crate) mod scans;
mod table;
mod write_back;
pub(crate) mod writes;
