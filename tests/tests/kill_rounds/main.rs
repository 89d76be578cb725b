//! Servers killed as `kill -9` does, one or all at once, under the load of several clients, again
//! and again on the same data: nothing acknowledged is lost, no older value of a key comes back, and
//! what clients of the linearizable engine see is explained by one order of all operations.
//!
//! Both models have a test, which mostly waits, for servers that start and for disks, so that the two
//! run beside each other. `KV_KILL_ROUNDS=100` asks for that many rounds, half of them of each model,
//! instead of a quarter of a minute; `KV_TEST_SEED` draws the lots of another run again.
//!
//! `turmoil` has five servers of the eventual engine that are lost in turn, in more ways than by a kill.
//!
//! `losses` has the ways in which a linearizable cluster loses one server, its sequencer above all,
//! and continues without it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells its seed and its rounds"
)]

mod cluster;
mod judgement;
mod load;
mod losses;
mod own_keys;
mod rising;
mod rounds;
mod tally;
mod told_of_key;
mod traffic;
mod turmoil;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::rounds::Rounds;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Deadlines are for servers that have the machine's processors: tests that have some take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What draws the lots of a test.
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    setting("KV_TEST_SEED").unwrap_or(now.subsec_nanos().into())
}

/// Kills servers of a model again and again, for a while or for half of the rounds asked for.
fn kill_again_and_again(model: &str) {
    let seed = seed();
    println!("{model}: the lots were drawn by KV_TEST_SEED={seed}");
    let rounds_max = setting("KV_KILL_ROUNDS");
    let mut rounds = Rounds::begin(model, seed);
    let began = Instant::now();
    let mut number = 0;
    let is_over = |time: Duration, rounds: &Rounds| {
        time >= TIME && (rounds.first_segment_is_gone() || time >= TIME_MAX)
    };
    while rounds_max.map_or(!is_over(began.elapsed(), &rounds), |max| number < max / 2) {
        rounds.run(number);
        number += 1;
    }
    let held = rounds.end();
    println!("{model}: {number} rounds of kill -9 in {:.0?}, {held}", began.elapsed());
}

#[test]
fn linearizable_servers_killed_again_and_again_lose_nothing() {
    kill_again_and_again("linearizability");
}

#[test]
fn eventual_servers_killed_again_and_again_lose_nothing() {
    kill_again_and_again("eventual");
}

/// How long each model is tried where no number of rounds is asked for.
const TIME: Duration = Duration::from_secs(13);

/// How long at most until a checkpoint has let a segment go.
const TIME_MAX: Duration = Duration::from_secs(60);
