//! The eventual engine, one file per behaviour. One program, so that what it makes of the simulator is
//! compiled once.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what went wrong by panicking"
)]

mod atomic;
mod audit;
mod comparison;
mod conformance;
mod deletes;
mod forgetting;
mod get;
mod join;
mod knowledge;
mod local;
mod put;
mod replica;
mod simulation;
mod stand;
mod wire;
