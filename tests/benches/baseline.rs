//! This build of `kv-server` beside another one: what a put costs, how many there are in a second,
//! what a read costs the sequencer that a follower serves,
//! and how long the server stands still while a checkpoint or a snapshot is taken.
//!
//! `KV_BASELINE=path/to/kv-server cargo bench -p kv-tests --bench baseline [-- part... engine...]`
//! runs both builds in turns (parts are `cost`, `throughput`, `reads` and `pause`, engines `eventual` and
//! `linearizability`), several rounds of them; each ratio is taken within a round, since a
//! machine that others use is not as fast a minute later. Without `KV_BASELINE` this build runs
//! alone. A build of another protocol version is left out of `pause`. Data directories lie in
//! `KV_BENCH_DIR`, or where temporary files do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "a benchmark prints its figures and fails by panicking"
)]

#[path = "baseline/build.rs"]
mod build;
#[path = "baseline/cost.rs"]
mod cost;
#[path = "baseline/follower_reads.rs"]
mod follower_reads;
#[path = "baseline/pause.rs"]
mod pause;
#[path = "baseline/rates.rs"]
mod rates;
#[path = "baseline/raw.rs"]
mod raw;

use build::Build;

fn main() {
    let wanted = kv_tests::chosen_parts();
    let chosen = |among: &[&'static str]| {
        let chosen = among.iter().copied().filter(|name| wanted.iter().any(|word| word == name));
        let chosen: Vec<&str> = chosen.collect();
        if chosen.is_empty() { among.to_vec() } else { chosen }
    };
    let parts = chosen(&["cost", "throughput", "reads", "pause"]);
    let engines = chosen(&["eventual", "linearizability"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let builds = Build::all();
    println!("{}", kv_tests::machine());
    if parts.contains(&"cost") {
        cost::run(&runtime, &builds, &engines);
    }
    if parts.contains(&"throughput") {
        rates::run(&runtime, &builds, &engines);
    }
    if parts.contains(&"reads") && engines.contains(&"linearizability") {
        follower_reads::run(&runtime, &builds);
    }
    if parts.contains(&"pause") {
        pause::run(&runtime, &builds, &engines);
    }
}
