//! How much memory a million keys take, beside redis-server.
//!
//! `cargo bench -p kv-tests --bench memory` puts 1,000,000 keys of 16 bytes with values of 16 bytes
//! into real servers (one after the other: redis-server without persistence, three servers of each
//! engine in memory, W=2 R=2) and reads each process' resident set from `/proc`. Of three servers
//! the largest counts. redis-server is Debian's package of that name; without it there is no ratio.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "a benchmark prints its figures and fails by panicking"
)]

use kv_core::{Key, digest};
use kv_tests::{Process, RedisServer, Site, fill};

fn main() {
    println!("{KEYS} keys of 16 bytes with values of 16 bytes, in memory; MiB of resident set");
    println!(
        "{:<16} {:>8} {:>8} {:>14} {:>10}",
        "", "empty", "loaded", "bytes per key", "of redis"
    );
    let redis = measure_redis();
    match redis {
        Some(sizes) => report("redis-server", sizes, Some(sizes)),
        None => println!("redis-server     is not there: install Debian's package redis-server"),
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for consistency in ["eventual", "linearizability"] {
        report(consistency, runtime.block_on(measure(consistency)), redis);
    }
}

/// Bytes of resident set before and after.
#[derive(Clone, Copy)]
struct Sizes {
    empty: u64,
    loaded: u64,
}

fn report(name: &str, sizes: Sizes, redis: Option<Sizes>) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let of_redis = redis.map(|redis| sizes.loaded as f64 / redis.loaded as f64);
    println!(
        "{name:<16} {:>8.1} {:>8.1} {:>14} {:>10}",
        mib(sizes.empty),
        mib(sizes.loaded),
        (sizes.loaded - sizes.empty) / KEYS,
        of_redis.map_or(String::new(), |ratio| format!("{ratio:.2}")),
    );
}

async fn measure(consistency: &str) -> Sizes {
    let site = Site::of(3);
    let start = |id| site.server(&format!("{id} {consistency} 2 2 --memory --op-log off"));
    let mut servers: Vec<Process> = (1..=3).map(start).collect();
    for server in &mut servers {
        server.wait_for("ready");
    }
    let largest = || servers.iter().map(|server| resident_bytes(server.id())).max().unwrap();
    let empty = largest();
    let clients = vec![site.connect(1).await, site.connect(2).await, site.connect(3).await];
    fill(clients.clone(), 0..KEYS, item).await;
    // The last writes reach the third server a little later than the second.
    let last = Key::new(item(KEYS - 1).0).unwrap();
    for client in &clients {
        assert!(client.get(last.clone()).await.unwrap().found.is_some());
    }
    Sizes { empty, loaded: largest() }
}

/// The same of redis-server; `None` where it is not installed.
fn measure_redis() -> Option<Sizes> {
    let server = RedisServer::start(&["--save", "", "--appendonly", "no"])?;
    let empty = resident_bytes(server.id());
    server.fill(0..KEYS, item);
    Some(Sizes { empty, loaded: resident_bytes(server.id()) })
}

/// The key and the value of a number, 16 bytes each; keys come in no order.
fn item(number: u64) -> (Vec<u8>, Vec<u8>) {
    let key = format!("{:016x}", digest(&number.to_le_bytes()));
    (key.into_bytes(), format!("{number:016}").into_bytes())
}

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib << 10
}

const KEYS: u64 = 1_000_000;
