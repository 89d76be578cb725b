//! The program, run as a person runs it, against a server that does what a test says.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test says what went wrong by panicking"
)]

#[path = "../fake/mod.rs"]
mod fake;

mod bench;
mod environment;
mod full_output;
mod health;
mod invocation;
mod listing;
mod manual;
mod one_shot;
mod session;
