//! Synced batches a second: the journal beside a plain loop of append and `fdatasync`, and beside
//! fjall's own synced batch, in one run on one disk.
//!
//! `cargo bench -p kv-storage --bench journal`; `KV_BENCH_SECONDS` sets how long each turn takes
//! (1), `KV_BENCH_DIR` where (the current directory: temporary ones may be in memory).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::disallowed_methods,
    reason = "a measurement for people to read"
)]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kv_core::{NodeId, PersistSeq};
use kv_storage::{
    Journal, JournalConfig, JournalEvent, JournalThread, RealDisk, StoreIdentity, SyncPolicy,
};

/// As measured when the journal was designed.
const BATCH: u64 = 32;
const RECORD_BYTES: usize = 48;
const ROUNDS: usize = 5;

fn main() {
    let seconds = std::env::var("KV_BENCH_SECONDS").ok().and_then(|text| text.parse().ok());
    let turn = Duration::from_secs_f64(seconds.unwrap_or(1.0));
    let base = std::env::var("KV_BENCH_DIR").unwrap_or_else(|_| ".".to_owned());
    let directory = tempfile::tempdir_in(base).unwrap();
    let contenders: [(&str, Contender); 5] = [
        ("plain append + fdatasync", plain),
        ("journal", journal),
        ("journal on its thread, 1 batch at a time", |d, t| threaded(d, t, 1)),
        ("journal on its thread, 8 batches at a time", |d, t| threaded(d, t, 8)),
        ("fjall, a synced batch", fjall_batches),
    ];
    let mut runs = vec![Vec::new(); contenders.len()];
    for round in 0..ROUNDS {
        for ((name, contender), runs) in contenders.iter().zip(&mut runs) {
            let path = directory.path().join(format!("{round}"));
            std::fs::create_dir(&path).unwrap();
            let latencies = contender(&path, turn);
            assert!(!latencies.is_empty(), "{name} did nothing");
            runs.push(Run::of(latencies, turn));
            std::fs::remove_dir_all(&path).unwrap();
        }
    }
    println!("{BATCH} records of {RECORD_BYTES} bytes a batch; medians of {ROUNDS} rounds");
    println!("{:<44} {:>12} {:>10} {:>10} {:>9}", "", "batches/s", "p50 µs", "p99 µs", "of plain");
    let plain = median(&runs, 0, |run| run.rate);
    for (place, (name, _)) in contenders.iter().enumerate() {
        let rate = median(&runs, place, |run| run.rate);
        let (p50, p99) = (median(&runs, place, |r| r.p50), median(&runs, place, |r| r.p99));
        println!("{name:<44} {rate:>12.0} {p50:>10.0} {p99:>10.0} {:>8.2}x", rate / plain);
    }
}

/// Does synced batches for so long in an empty directory; the time that each took.
type Contender = fn(&Path, Duration) -> Vec<Duration>;

#[derive(Clone, Copy)]
struct Run {
    rate: f64,
    p50: f64,
    p99: f64,
}

impl Run {
    fn of(mut latencies: Vec<Duration>, turn: Duration) -> Self {
        latencies.sort_unstable();
        let at = |part: f64| {
            let place = (latencies.len() as f64 * part) as usize;
            latencies.get(place).copied().unwrap_or_default().as_secs_f64() * 1e6
        };
        Self { rate: latencies.len() as f64 / turn.as_secs_f64(), p50: at(0.5), p99: at(0.99) }
    }
}

fn median(runs: &[Vec<Run>], place: usize, figure: impl Fn(&Run) -> f64) -> f64 {
    let mut figures: Vec<f64> = runs.get(place).unwrap().iter().map(figure).collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap()
}

fn timed(turn: Duration, mut batch: impl FnMut()) -> Vec<Duration> {
    let mut latencies = Vec::new();
    let began = Instant::now();
    while began.elapsed() < turn {
        let batch_began = Instant::now();
        batch();
        latencies.push(batch_began.elapsed());
    }
    latencies
}

fn record() -> Bytes {
    // The byte form has a length of four bytes before it.
    Bytes::from(vec![7; RECORD_BYTES - 4])
}

fn plain(directory: &Path, turn: Duration) -> Vec<Duration> {
    let mut file = File::create(directory.join("log")).unwrap();
    let batch = vec![7; RECORD_BYTES * BATCH as usize];
    timed(turn, || {
        file.write_all(&batch).unwrap();
        file.sync_data().unwrap();
    })
}

fn open(directory: &Path) -> Journal<RealDisk> {
    let identity = StoreIdentity { store: 1, node: NodeId::FIRST, engine: "bench".to_owned() };
    let disk = RealDisk::open(directory).unwrap();
    let (mut journal, _) =
        Journal::recover(disk, JournalConfig::new(identity), PersistSeq(0)).unwrap();
    journal.lay_out().unwrap();
    journal
}

fn journal(directory: &Path, turn: Duration) -> Vec<Duration> {
    let mut journal = open(directory);
    let record = record();
    timed(turn, || {
        for _ in 0..BATCH {
            journal.append(journal.last().next(), &record).unwrap();
        }
        journal.sync().unwrap();
    })
}

fn threaded(directory: &Path, turn: Duration, under_way: u64) -> Vec<Duration> {
    let (sender, events) = mpsc::channel();
    let notify = move |event| drop(sender.send(event));
    let thread = JournalThread::start(open(directory), SyncPolicy::Always, notify).unwrap();
    let (mut handed, mut persisted) = (0, 0);
    let mut began = std::collections::VecDeque::new();
    let mut latencies = Vec::new();
    let start = Instant::now();
    while start.elapsed() < turn {
        while handed - persisted < under_way * BATCH {
            let records = (handed + 1..=handed + BATCH).map(|seq| (PersistSeq(seq), record()));
            thread.append(records.collect());
            handed += BATCH;
            began.push_back(Instant::now());
        }
        match events.recv().unwrap() {
            JournalEvent::Persisted { up_to } => {
                for _ in 0..(up_to.0 - persisted) / BATCH {
                    latencies.push(began.pop_front().unwrap().elapsed());
                }
                persisted = up_to.0;
            }
            JournalEvent::Room(_) => {}
            JournalEvent::Failed(error) => panic!("{error}"),
        }
    }
    thread.close().unwrap();
    latencies
}

fn fjall_batches(directory: &Path, turn: Duration) -> Vec<Duration> {
    let database = fjall::Database::builder(directory).open().unwrap();
    let keyspace = database.keyspace("log", fjall::KeyspaceCreateOptions::default).unwrap();
    let value = vec![7; RECORD_BYTES];
    let mut key = 0u64;
    timed(turn, || {
        let mut batch = database.batch().durability(Some(fjall::PersistMode::SyncData));
        for _ in 0..BATCH {
            key += 1;
            batch.insert(&keyspace, key.to_be_bytes(), value.as_slice());
        }
        batch.commit().unwrap();
    })
}
