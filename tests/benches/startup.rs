//! How soon a server with a million keys answers after it is started, beside redis-server.
//!
//! `cargo bench -p kv-tests --bench startup` puts 1,000,000 keys of 16 bytes with values of 100
//! bytes into a server of its own (a cluster of one, its data on disk), ends it, takes its files
//! out of the system's cache as far as the system lets go of them, and starts it again. It is
//! ended in three ways: stopped; killed while it is written to; and killed before its first
//! checkpoint, so that all keys come from the journal. The time runs from the start of the process
//! to its line `ready`, and to the answer of the first get. Beside it stand the time to read the
//! same files and do nothing with them, and redis-server on the same keys, from its snapshot and
//! from its append-only file. Data directories lie in `KV_BENCH_DIR`, or where temporary files do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::as_conversions,
    reason = "a benchmark prints its figures and fails by panicking"
)]

#[path = "startup/files.rs"]
mod files;

use std::path::Path;
use std::time::{Duration, Instant};

use kv_core::{Key, digest};
use kv_tests::{RedisServer, Site, fill};

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let base = std::env::var_os("KV_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    println!("{KEYS} keys of 16 bytes with values of 100 bytes, one server; medians of {STARTS}");
    println!(
        "{:<16} {:<30} {:>7} {:>9} {:>9} {:>11} {:>9}",
        "", "", "MiB", "read s", "ready s", "first get s", "of redis"
    );
    let folder = tempfile::tempdir_in(&base).unwrap();
    let snapshot = measure_redis(&folder.path().join("rdb"), &["--save", "3600 1"]);
    let log = ["--save", "", "--appendonly", "yes", "--aof-use-rdb-preamble", "no"];
    let log = measure_redis(&folder.path().join("aof"), &log);
    report("redis-server", "snapshot", snapshot, None);
    report("redis-server", "append-only file", log, None);
    for consistency in ["eventual", "linearizability"] {
        for ending in [Ending::Stopped, Ending::Killed, Ending::KilledBeforeCheckpoint] {
            let folder = tempfile::tempdir_in(&base).unwrap();
            let start = runtime.block_on(measure(consistency, ending, folder.path()));
            let redis = if ending == Ending::KilledBeforeCheckpoint { log } else { snapshot };
            report(consistency, ending.name(), Some(start), redis);
        }
    }
}

/// How a server with all keys ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Stopped,
    Killed,
    KilledBeforeCheckpoint,
}

impl Ending {
    const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Killed => "killed under writes",
            Self::KilledBeforeCheckpoint => "killed, all in the journal",
        }
    }
}

/// How a start went.
#[derive(Clone, Copy)]
struct Start {
    bytes: u64,
    read: Duration,
    ready: Duration,
    answered: Duration,
}

fn report(name: &str, how: &str, start: Option<Start>, redis: Option<Start>) {
    let Some(start) = start else {
        return println!("{name:<16} is not there: install Debian's package redis-server");
    };
    let of_redis = redis.map(|redis| start.answered.as_secs_f64() / redis.answered.as_secs_f64());
    println!(
        "{name:<16} {how:<30} {:>7} {:>9.2} {:>9.2} {:>11.2} {:>9}",
        start.bytes >> 20,
        start.read.as_secs_f64(),
        start.ready.as_secs_f64(),
        start.answered.as_secs_f64(),
        of_redis.map_or(String::new(), |ratio| format!("{ratio:.2}")),
    );
}

async fn measure(consistency: &str, ending: Ending, folder: &Path) -> Start {
    let site = Site::of(1);
    let words = format!("1 {consistency} 1 1 --op-log off --data-dir {}", folder.display());
    let pace = match ending {
        Ending::Stopped | Ending::Killed => "",
        Ending::KilledBeforeCheckpoint => " --checkpoint-mib 4096",
    };
    let mut server = site.ready_server(&format!("{words}{pace}"));
    fill(vec![site.connect(1).await], 0..KEYS, item).await;
    match ending {
        Ending::Stopped => {
            server.terminate();
            assert_eq!(server.exit_code(), Some(0), "{}", server.report());
        }
        Ending::KilledBeforeCheckpoint => server.kill(),
        Ending::Killed => {
            let client = site.connect(1).await;
            let load = tokio::spawn(async move { put_until_it_fails(&client).await });
            tokio::time::sleep(Duration::from_millis(500)).await;
            server.kill();
            load.await.unwrap();
        }
    }
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        files::forget(folder);
        let (bytes, read) = files::read(folder);
        files::forget(folder);
        let began = Instant::now();
        let mut server = site.server(&format!("{words}{pace}"));
        server.wait_for("ready");
        let ready = began.elapsed();
        let client = site.connect(1).await;
        let found = client.get(Key::new(item(KEYS - 1).0).unwrap()).await.unwrap().found;
        let answered = began.elapsed();
        assert!(found.is_some(), "the last key is there");
        let positions = client.status().await.unwrap().positions;
        assert_eq!(positions.keys, Some(KEYS), "{}", server.report());
        starts.push(Start { bytes, read, ready, answered });
        server.kill();
    }
    median(starts)
}

/// Puts the same keys again, one after the other, until the server is gone.
async fn put_until_it_fails(client: &kv_client::Client) {
    for (key, value) in (0..KEYS).map(item) {
        let put = client.put(Key::new(key).unwrap(), kv_core::Value::new(value).unwrap());
        match tokio::time::timeout(Duration::from_secs(1), put).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// The same of redis-server; `None` where it is not installed.
fn measure_redis(folder: &Path, words: &[&str]) -> Option<Start> {
    std::fs::create_dir(folder).unwrap();
    let words = [&["--dir", folder.to_str().unwrap()], words].concat();
    let server = RedisServer::start(&words)?;
    server.fill(0..KEYS, item);
    server.stop();
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        files::forget(folder);
        let (bytes, read) = files::read(folder);
        files::forget(folder);
        let began = Instant::now();
        let server = RedisServer::start(&words)?;
        server.wait_for_key(&item(KEYS - 1).0);
        let answered = began.elapsed();
        starts.push(Start { bytes, read, ready: answered, answered });
    }
    Some(median(starts))
}

fn median(mut starts: Vec<Start>) -> Start {
    starts.sort_by_key(|start| start.answered);
    starts.swap_remove(starts.len() / 2)
}

/// The key of a number, 16 bytes, and its value of 100 bytes; keys come in no order.
fn item(number: u64) -> (Vec<u8>, Vec<u8>) {
    let key = format!("{:016x}", digest(&number.to_le_bytes()));
    (key.into_bytes(), format!("{number:0100}").into_bytes())
}

const KEYS: u64 = 1_000_000;
const STARTS: usize = 3;
