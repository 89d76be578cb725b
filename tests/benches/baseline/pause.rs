//! How long a server with a million keys stands still while it writes a checkpoint and while it sends
//! its state to a slow peer, and what memory that takes. A client asks at a fixed rate for what needs
//! neither a disk nor a peer, so that what it waits for is the server's loop.

use std::time::{Duration, Instant};

use kv_client::Client;
use kv_core::{Value, digest};
use kv_proto::PROTOCOL_VERSION;
use kv_tests::{Process, Site, fill};
use tokio::runtime::Runtime;

use crate::build::{Build, folder, resident_bytes};
use crate::raw;

/// Prints the longest waits of each build.
pub(crate) fn run(runtime: &Runtime, builds: &[Build], engines: &[&str]) {
    println!(
        "\nwaits of a client that asks {} times a second how a server of {KEYS} keys is; ms",
        1_000 / EVERY_MS
    );
    let builds: Vec<&Build> =
        builds.iter().filter(|build| runtime.block_on(can_be_asked(build))).collect();
    for consistency in engines {
        for build in &builds {
            runtime.block_on(checkpoint(build, consistency));
        }
    }
    // Servers of the other engine send each other none.
    if engines.contains(&"linearizability") {
        for build in &builds {
            runtime.block_on(snapshot(build));
        }
    }
}

/// Whether a build says how it is in the form of this one.
async fn can_be_asked(build: &Build) -> bool {
    let site = Site::of(1);
    let mut server = build.server(&site, "1 eventual 1 1 --memory --op-log off");
    server.wait_for("ready");
    let version = raw::version_of(site.address(1)).await;
    if version != PROTOCOL_VERSION {
        println!("{:<12} left out: it speaks protocol version {version}", build.name);
    }
    version == PROTOCOL_VERSION
}

/// A checkpoint of one server.
async fn checkpoint(build: &Build, consistency: &str) {
    let (site, folder) = (Site::of(1), folder());
    let words = format!(
        "1 {consistency} 1 1 --op-log off --checkpoint-mib 32 --data-dir {}",
        folder.path().display()
    );
    let mut server = build.server(&site, &words);
    server.wait_for("ready");
    fill(vec![site.connect(1).await], 0..KEYS, item).await;
    let client = site.connect(1).await;
    until_written(&client, 0).await;
    let quiet = waits(&client, Duration::from_secs(3), || false).await;
    show(build, consistency, "quiet", &quiet);
    let before = (covers(&client).await, resident_bytes(&server));
    // What calls for the next one is written beside the probes, at a rate that the server keeps.
    let (writer, covered) = (site.connect(1).await, before.0);
    let writing = tokio::spawn(async move {
        let mut due = Instant::now();
        for first in (0..KEYS / 4).step_by(WRITTEN_AT_ONCE) {
            due += Duration::from_millis(EVERY_MS);
            tokio::time::sleep_until(due.into()).await;
            fill(vec![writer.clone()], first..first + WRITTEN_AT_ONCE as u64, item).await;
        }
        until_written(&writer, covered).await;
    });
    let during = waits(&client, Duration::from_secs(60), || writing.is_finished()).await;
    show(build, consistency, "checkpoint", &during);
    println!(
        "{:<12} {consistency:<16} memory {:+.1} MiB",
        build.name,
        (resident_bytes(&server) as f64 - before.1 as f64) / f64::from(1 << 20)
    );
    server.kill();
}

/// The state of a sequencer goes to a follower that starts empty and is frozen most of the time.
async fn snapshot(build: &Build) {
    let site = Site::of(3);
    let words = |id| format!("{id} linearizability 2 2 --op-log off --memory");
    let mut servers: Vec<Process> = (1..=3).map(|id| build.server(&site, &words(id))).collect();
    for server in &mut servers {
        server.wait_for("ready");
    }
    fill(vec![site.connect(1).await, site.connect(2).await], 0..KEYS, item).await;
    let client = site.connect(1).await;
    let quiet = waits(&client, Duration::from_secs(3), || false).await;
    show(build, "linearizability", "quiet", &quiet);
    servers[2].kill();
    let before = resident_bytes(&servers[0]);
    let late = build.server(&site, &words(3));
    let mut most = 0;
    let began = Instant::now();
    let during = waits(&client, SNAPSHOT_TIME, || {
        let at = began.elapsed().as_millis() % 100;
        if at < 80 {
            late.freeze()
        } else {
            late.thaw()
        }
        most = most.max(resident_bytes(&servers[0]));
        false
    })
    .await;
    late.thaw();
    show(build, "linearizability", "snapshot", &during);
    println!(
        "{:<12} {:<16} memory at most {:+.1} MiB",
        build.name,
        "linearizability",
        (most as f64 - before as f64) / f64::from(1 << 20)
    );
    drop(late);
}

/// Asks at a fixed rate, for so long or until `ends`; how long each answer took, counted from when
/// it was asked for.
async fn waits(client: &Client, time: Duration, mut ends: impl FnMut() -> bool) -> Vec<Duration> {
    let began = Instant::now();
    let mut asked = Vec::new();
    for number in 0_u32.. {
        let due = began + Duration::from_millis(EVERY_MS) * number;
        if due >= began + time || ends() {
            break;
        }
        tokio::time::sleep_until(due.into()).await;
        let client = client.clone();
        // The sleep may end late, which is not the server's.
        let sent = Instant::now();
        asked.push(tokio::spawn(async move {
            client.status().await.expect("a server says how it is");
            sent.elapsed()
        }));
    }
    let mut waits = Vec::new();
    for answer in asked {
        waits.push(answer.await.unwrap());
    }
    waits.sort();
    waits
}

fn show(build: &Build, consistency: &str, what: &str, waits: &[Duration]) {
    let at = |per_mille: usize| {
        let place = (waits.len() * per_mille / 1_000).min(waits.len() - 1);
        waits[place].as_secs_f64() * 1e3
    };
    println!(
        "{:<12} {consistency:<16} {what:<11} p50 {:>6.2} p99 {:>6.2} p99.9 {:>7.2} longest {:>7.2}",
        build.name,
        at(500),
        at(990),
        at(999),
        at(1_000)
    );
}

async fn covers(client: &Client) -> u64 {
    client.status().await.unwrap().positions.checkpoint_covers.unwrap_or_default()
}

/// Waits until a checkpoint beyond this record is on disk.
async fn until_written(client: &Client, covered: u64) {
    let patience = Instant::now() + Duration::from_secs(60);
    while covers(client).await <= covered {
        assert!(Instant::now() < patience, "no checkpoint is written");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The key of a number, 16 bytes, and its value of 100 bytes; keys come in no order.
fn item(number: u64) -> (Vec<u8>, Vec<u8>) {
    let key = format!("{:016x}", digest(&number.to_le_bytes()));
    let value = Value::new(vec![b'v'; 100]).unwrap();
    (key.into_bytes(), value.as_bytes().to_vec())
}

const KEYS: u64 = 1_000_000;
const EVERY_MS: u64 = 2;
const WRITTEN_AT_ONCE: usize = 20;
const SNAPSHOT_TIME: Duration = Duration::from_secs(15);
