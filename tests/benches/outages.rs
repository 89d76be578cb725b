//! How long clients wait when a server is lost, and when one that was away catches up.
//!
//! `cargo bench -p kv-tests --bench outages [-- part...]` starts three real servers (W=2 R=2, with data
//! directories, synced before anything is acknowledged) and keeps 64 puts under way through clients
//! of the library with its defaults. Parts:
//! - `loss`: the sequencer is killed, told to stop, told to hand over, stopped with `SIGSTOP`, cut
//!   off from the others; a follower is killed; a server of the eventual engine is killed. Each ten
//!   times, or as often as `KV_BENCH_ROUNDS` says.
//! - `hand-over`: of these, only what goes by plan.
//! - `catch-up`: a follower misses 100,000 puts, then one loses its data; both come back under load.
//!
//! *Pause* is the longest time in which no put was acknowledged, *wait* the longest that an
//! acknowledged put took. The same is measured without any fault in between, so that it can be told
//! from what the machine does. Data directories lie in `KV_BENCH_DIR`, or where temporary files do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "a benchmark prints its figures and fails by panicking"
)]

#[path = "outages/catch_up.rs"]
mod catch_up;
#[path = "outages/cluster.rs"]
mod cluster;
#[path = "outages/figures.rs"]
mod figures;
#[path = "outages/load.rs"]
mod load;
#[path = "outages/loss.rs"]
mod loss;

fn main() {
    let wanted = kv_tests::chosen_parts();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|word| word == part);
    println!("{}", kv_tests::machine());
    if is_wanted("loss") {
        loss::run();
    }
    if wanted.iter().any(|word| word == "hand-over") {
        loss::run_planned();
    }
    if is_wanted("catch-up") {
        catch_up::run();
    }
}
