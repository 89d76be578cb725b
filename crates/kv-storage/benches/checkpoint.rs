//! A checkpoint of a million keys of 16 bytes with values of 100: the first one, one with a
//! thousand changes, and the way back.
//!
//! `cargo bench -p kv-storage --bench checkpoint`; `KV_BENCH_DIR` says where (the current
//! directory).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for people to read")]

use std::time::Instant;

use bytes::Bytes;
use kv_core::{Checkpoint, NodeId, PersistSeq};
use kv_storage::{CheckpointStore, StoreIdentity};

const KEYS: u64 = 1_000_000;

fn checkpoint(covers: u64, is_changed: fn(u64) -> bool) -> Checkpoint {
    let value = move |n| if is_changed(n) { vec![8; 100] } else { vec![7; 100] };
    let items = (0..KEYS).map(move |n| (Bytes::from(format!("{n:016}")), Bytes::from(value(n))));
    Checkpoint { covers: PersistSeq(covers), metadata: Bytes::new(), items: Box::new(items) }
}

fn main() {
    let base = std::env::var("KV_BENCH_DIR").unwrap_or_else(|_| ".".to_owned());
    let directory = tempfile::tempdir_in(base).unwrap();
    let identity = StoreIdentity { store: 1, node: NodeId::FIRST, engine: "bench".to_owned() };
    let mut store = CheckpointStore::open(directory.path(), identity.clone()).unwrap();
    let began = Instant::now();
    let written = store.write(checkpoint(1, |_| false)).unwrap();
    println!("the first one:       {:>8.2?}, {} rows", began.elapsed(), written.changed);
    let began = Instant::now();
    let written = store.write(checkpoint(2, |n| n % 1000 == 0)).unwrap();
    println!("a thousand changes:  {:>8.2?}, {} rows", began.elapsed(), written.changed);
    drop(store);
    let began = Instant::now();
    let mut store = CheckpointStore::open(directory.path(), identity).unwrap();
    let opened = began.elapsed();
    let (checkpoint, reading) = store.read().unwrap().unwrap();
    let items = checkpoint.items.count();
    reading.finish().unwrap();
    println!("opened in {opened:.2?}, read in {:.2?}, {items} items", began.elapsed() - opened);
}
