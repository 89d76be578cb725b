//! Servers as Redis clients see them: beside a real redis-server, byte by byte, and with the programs
//! and libraries that people use. What needs one of them is left out where it is not installed,
//! unless `KV_TEST_REDIS` is set, and `KV_TEST_NODE` for the libraries of Node.js.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by it, and says what it leaves out"
)]

mod clients;
mod cluster;
mod commands;
mod differential;
mod leaving;
mod protocol;
mod redis_rs;
mod wire;
