//! Servers inside a program.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test says what went wrong by panicking"
)]

mod delay;
mod embedding;
mod errors;
mod idle_checkpoint;
mod in_process;
mod limits;
mod links;
mod protocol;
mod proxy;
mod redis;
