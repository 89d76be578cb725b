//! The library against a server that does what a test says.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what went wrong by panicking"
)]

#[path = "../fake/mod.rs"]
mod fake;

mod dump;
mod exactly_once;
mod examples;
mod failover;
mod following;
mod liveness;
mod pipelining;
mod refusal;
mod session;
mod timeouts;
mod waiting;
