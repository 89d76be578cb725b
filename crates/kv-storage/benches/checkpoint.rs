//! A checkpoint of a million keys of 16 bytes with values of 112: the first one, some with a part
//! of the keys changed, and the way back.
//!
//! `cargo bench -p kv-storage --bench checkpoint`; `KV_BENCH_DIR` says where (the current
//! directory).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for people to read")]

use std::time::Instant;

use bytes::Bytes;
use kv_core::{CheckpointDelta, NodeId, PersistSeq};
use kv_storage::{CheckpointStore, StoreIdentity};

const KEYS: u64 = 1_000_000;

/// Every `step`th key changes, and no checkpoint changes one to what it was.
fn delta(covers: u64, step: usize) -> CheckpointDelta {
    let value = move |n: u64| [n + covers, n].map(u64::to_le_bytes).concat().repeat(7);
    let change = move |n| (Bytes::from(format!("{n:016}")), Some(Bytes::from(value(n))));
    let changes = (0..KEYS).step_by(step).map(change);
    CheckpointDelta {
        covers: PersistSeq(covers),
        metadata: Bytes::new(),
        changes: Box::new(changes),
    }
}

fn main() {
    let base = std::env::var("KV_BENCH_DIR").unwrap_or_else(|_| ".".to_owned());
    let directory = tempfile::tempdir_in(base).unwrap();
    let identity = StoreIdentity { store: 1, node: NodeId::FIRST, engine: "bench".to_owned() };
    let mut store = CheckpointStore::open(directory.path(), identity.clone()).unwrap();
    for (covers, step) in (1..).zip([1, 1_000, 100, 100, 10, 1]) {
        let began = Instant::now();
        let written = store.write(delta(covers, step)).unwrap();
        println!("{:>9} changes: {:>9.2?}", written.changed, began.elapsed());
    }
    drop(store);
    let began = Instant::now();
    let mut store = CheckpointStore::open(directory.path(), identity).unwrap();
    let opened = began.elapsed();
    let (checkpoint, reading) = store.read().unwrap().unwrap();
    let items = checkpoint.items.count();
    reading.finish().unwrap();
    println!("opened in {opened:.2?}, read in {:.2?}, {items} items", began.elapsed() - opened);
}
