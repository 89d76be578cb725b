//! The checkpoint on real files.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod store;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kv_core::{Checkpoint, CheckpointItem, NodeId, PersistSeq};
use kv_storage::{CheckpointError, CheckpointStore, CheckpointWritten, StoreIdentity};

use crate::store::identity;

fn open(directory: &Path) -> Result<CheckpointStore, CheckpointError> {
    CheckpointStore::open(directory, identity())
}

fn checkpoint(covers: u64, items: &BTreeMap<String, String>) -> Checkpoint {
    let item = |(key, value): (String, String)| (Bytes::from(key), Bytes::from(value));
    Checkpoint {
        covers: PersistSeq(covers),
        metadata: Bytes::from(format!("metadata {covers}")),
        items: Box::new(items.clone().into_iter().map(item)),
    }
}

fn read(store: &mut CheckpointStore) -> Result<(u64, BTreeMap<String, String>), CheckpointError> {
    let (checkpoint, reading) = store.read().unwrap().unwrap();
    assert_eq!(checkpoint.metadata, format!("metadata {}", checkpoint.covers));
    let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
    let items = checkpoint.items.map(|(key, value)| (text(key), text(value))).collect();
    reading.finish()?;
    Ok((checkpoint.covers.0, items))
}

fn items(count: usize) -> BTreeMap<String, String> {
    (0..count).map(|n| (format!("key {n:05}"), format!("value {n}"))).collect()
}

#[test]
fn only_what_differs_is_written_and_all_of_it_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path()).unwrap();
    assert!(store.read().unwrap().is_none());
    let mut state = items(2000);
    let written = store.write(checkpoint(10, &state)).unwrap();
    let covers = PersistSeq(10);
    assert_eq!(written, CheckpointWritten { covers, rows: 2000, changed: 2000, removed: 0 });
    state.insert("key 00007".to_owned(), "other".to_owned());
    state.insert("a new key".to_owned(), String::new());
    state.remove("key 01999");
    let covers = PersistSeq(25);
    let written = store.write(checkpoint(25, &state)).unwrap();
    assert_eq!(written, CheckpointWritten { covers, rows: 2000, changed: 2, removed: 1 });
    assert_eq!(read(&mut store).unwrap(), (25, state.clone()));
    drop(store);
    let mut store = open(directory.path()).unwrap();
    assert_eq!(store.covers(), covers);
    assert_eq!(read(&mut store).unwrap(), (25, state.clone()));
    let written = store.write(checkpoint(30, &BTreeMap::new())).unwrap();
    assert_eq!((written.rows, written.removed), (0, 2000));
    drop(store);
    assert_eq!(read(&mut open(directory.path()).unwrap()).unwrap(), (30, BTreeMap::new()));
}

#[test]
fn a_write_that_fails_half_way_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path()).unwrap();
    store.write(checkpoint(1, &items(100))).unwrap();
    let unordered: Vec<CheckpointItem> =
        ["b", "c", "a"].map(|key| (Bytes::from(key), Bytes::new())).to_vec();
    let (covers, metadata) = (PersistSeq(2), Bytes::new());
    let (still_read, reading) = store.read().unwrap().unwrap();
    let unordered = Checkpoint { covers, metadata, items: Box::new(unordered.into_iter()) };
    let error = store.write(unordered).unwrap_err();
    assert!(matches!(error, CheckpointError::NotAscending { covers: PersistSeq(2) }));
    let again = store.write(checkpoint(1, &items(100)));
    assert_eq!(still_read.items.count(), 100, "a reader goes on through a write that fails");
    reading.finish().unwrap();
    assert_eq!(again.unwrap().changed, 0);
    assert_eq!(read(&mut store).unwrap(), (1, items(100)));
    drop(store);
    let mut store = open(directory.path()).unwrap();
    assert_eq!(read(&mut store).unwrap(), (1, items(100)));
    let error = store.write(checkpoint(0, &items(1))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the checkpoint on disk reflects records up to 1, this one only to 0"
    );
}

#[test]
fn a_checkpoint_that_was_not_read_to_its_end_vouches_for_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path()).unwrap();
    store.write(checkpoint(1, &items(3))).unwrap();
    let (checkpoint, reading) = store.read().unwrap().unwrap();
    assert_eq!(checkpoint.items.take(3).count(), 3);
    assert!(matches!(reading.finish(), Err(CheckpointError::NotReadThrough)));
}

#[test]
fn another_stores_checkpoint_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).unwrap().write(checkpoint(1, &items(3))).unwrap();
    let node = NodeId::new(2).unwrap();
    let error = CheckpointStore::open(directory.path(), StoreIdentity { node, ..identity() });
    assert!(matches!(error.unwrap_err(), CheckpointError::OtherStore { .. }));
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort_unstable();
    found
}

/// Copies a checkpoint, with `changed` in place of one file's content.
fn copy(from: &Path, to: &Path, changed: (&Path, &[u8])) {
    for file in files(from) {
        let name = file.strip_prefix(from).unwrap();
        let target = to.join(name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        if name == changed.0 {
            fs::write(target, changed.1).unwrap();
        } else if is_unused_journal(&file) {
            let len = fs::metadata(&file).unwrap().len();
            fs::File::create(target).unwrap().set_len(len).unwrap();
        } else {
            fs::copy(&file, target).unwrap();
        }
    }
}

/// The store's own journal is large and all zeros: checkpoints do not go through it.
fn is_unused_journal(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "jnl")
}

#[test]
fn damaged_files_are_refused_or_did_not_matter() {
    let original = tempfile::tempdir().unwrap();
    let mut store = open(original.path()).unwrap();
    store.write(checkpoint(1, &items(300))).unwrap();
    let mut state = items(300);
    state.insert("key 00007".to_owned(), "other".to_owned());
    store.write(checkpoint(2, &state)).unwrap();
    drop(store);
    let (mut refused, mut harmless) = (0, 0);
    for file in files(original.path()).iter().filter(|file| !is_unused_journal(file)) {
        let name = file.strip_prefix(original.path()).unwrap();
        let content = fs::read(file).unwrap();
        for place in (0..content.len()).step_by(content.len().div_ceil(16).max(1)) {
            let damaged = tempfile::tempdir().unwrap();
            let mut bytes = content.clone();
            bytes[place] ^= 0x10;
            copy(original.path(), damaged.path(), (name, &bytes));
            let outcome =
                std::panic::catch_unwind(|| open(damaged.path()).and_then(|mut s| read(&mut s)));
            match outcome {
                Ok(Ok(found)) if found == (2, state.clone()) => harmless += 1,
                Ok(Ok((covers, _))) => panic!("{} byte {place}: {covers}", name.display()),
                Ok(Err(_)) => refused += 1,
                Err(_) => panic!("{} byte {place} panics", name.display()),
            }
        }
    }
    assert!(refused > 30 && harmless > 0, "{refused} {harmless}");
}

#[test]
fn a_row_that_is_gone_or_was_changed_from_outside_is_noticed() {
    for tamper in [
        |rows: &fjall::Keyspace| rows.remove(*b"\0key 00001").unwrap(),
        |rows: &fjall::Keyspace| rows.insert(*b"\0key 00001", *b"other").unwrap(),
    ] {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path()).unwrap().write(checkpoint(1, &items(3))).unwrap();
        let database = fjall::Database::builder(directory.path()).open().unwrap();
        tamper(&database.keyspace("rows", fjall::KeyspaceCreateOptions::default).unwrap());
        drop(database);
        let mut store = open(directory.path()).unwrap();
        assert!(matches!(read(&mut store), Err(CheckpointError::Damaged { .. })));
        let error = store.write(checkpoint(2, &items(3))).unwrap_err();
        assert!(matches!(error, CheckpointError::Damaged { .. }));
    }
}
