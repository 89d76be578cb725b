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

mod commit;
mod conformance;
mod crashes;
mod elections;
mod entries;
mod expiry;
mod fetching;
mod forwarding;
mod founding;
mod hand_over;
mod local_cluster;
mod membership;
mod promises;
mod reads;
mod recovering;
mod refusals;
mod replication;
mod requests;
mod restart;
mod salvage;
mod sequential;
mod sessions;
mod set_back;
mod simulation;
mod status;
mod wire;
