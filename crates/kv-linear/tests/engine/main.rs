//! The linearizable engine, one file per behaviour. One program, so that what it makes of the
//! simulator is compiled once.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test says what went wrong by panicking"
)]

mod stand;
mod witness;

mod conformance;
mod epochs;
mod local_cluster;
mod members;
mod reads;
mod serving;
mod simulation;
mod status;
mod wire;
