//! What a request brings.

mod commit;
mod expiry;
mod forwarding;
mod refusals;
pub mod requests;
mod sequential;
mod sessions;
