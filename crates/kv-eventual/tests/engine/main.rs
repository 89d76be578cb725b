//! The eventual engine, one file per behaviour. One program, so that what it makes of the simulator is
//! compiled once.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what went wrong by panicking"
)]

mod audit;
mod conformance;
mod deletes;
mod join;
mod local;
mod losses;
mod put;
mod reads;
mod replica;
mod simulation;
mod stand;
mod sync;
mod wire;
