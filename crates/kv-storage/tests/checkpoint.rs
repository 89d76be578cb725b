//! The checkpoint on real files.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod store;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kv_core::{CheckpointChange, CheckpointDelta, NodeId, PersistSeq, SeedStream};
use kv_storage::{CheckpointError, CheckpointStore, CheckpointWritten, StoreIdentity};

use crate::store::identity;

fn open(directory: &Path) -> Result<CheckpointStore, CheckpointError> {
    CheckpointStore::open(directory, identity())
}

/// What makes the checkpoint hold these items, whatever else it holds.
fn delta(covers: u64, items: &BTreeMap<String, String>) -> CheckpointDelta {
    let held = items.clone().into_iter().map(|(key, value)| (key, Some(value)));
    changes(covers, held.collect())
}

fn changes(covers: u64, changes: Vec<(String, Option<String>)>) -> CheckpointDelta {
    let change = |(key, value): (String, Option<String>)| -> CheckpointChange {
        (Bytes::from(key), value.map(Bytes::from))
    };
    CheckpointDelta {
        covers: PersistSeq(covers),
        metadata: Bytes::from(format!("metadata {covers}")),
        changes: Box::new(changes.into_iter().map(change)),
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
    let written = store.write(delta(10, &state)).unwrap();
    let covers = PersistSeq(10);
    assert_eq!(written, CheckpointWritten { covers, rows: 2000, changed: 2000, removed: 0 });
    state.insert("key 00007".to_owned(), "other".to_owned());
    state.insert("a new key".to_owned(), String::new());
    state.remove("key 01999");
    let covers = PersistSeq(25);
    let change = |key: &str| (key.to_owned(), state.get(key).cloned());
    let unchanged = ["key 00008", "never there"];
    let all = ["a new key", "key 00007", unchanged[0], "key 01999", unchanged[1]];
    let written = store.write(changes(25, all.map(change).to_vec())).unwrap();
    assert_eq!(written, CheckpointWritten { covers, rows: 2000, changed: 2, removed: 1 });
    assert_eq!(read(&mut store).unwrap(), (25, state.clone()));
    drop(store);
    let mut store = open(directory.path()).unwrap();
    assert_eq!(store.covers(), covers);
    assert_eq!(read(&mut store).unwrap(), (25, state.clone()));
    let none = state.into_keys().map(|key| (key, None)).collect();
    let written = store.write(changes(30, none)).unwrap();
    assert_eq!((written.rows, written.removed), (0, 2000));
    drop(store);
    assert_eq!(read(&mut open(directory.path()).unwrap()).unwrap(), (30, BTreeMap::new()));
}

#[test]
fn a_write_that_fails_half_way_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path()).unwrap();
    store.write(delta(1, &items(100))).unwrap();
    let unordered = ["b", "c", "a"].map(|key| (key.to_owned(), Some(String::new())));
    let (still_read, reading) = store.read().unwrap().unwrap();
    let error = store.write(changes(2, unordered.to_vec())).unwrap_err();
    assert!(matches!(error, CheckpointError::NotAscending { covers: PersistSeq(2) }));
    let again = store.write(delta(1, &items(100)));
    assert_eq!(still_read.items.count(), 100, "a reader goes on through a write that fails");
    reading.finish().unwrap();
    assert_eq!(again.unwrap().changed, 0);
    assert_eq!(read(&mut store).unwrap(), (1, items(100)));
    drop(store);
    let mut store = open(directory.path()).unwrap();
    assert_eq!(read(&mut store).unwrap(), (1, items(100)));
    let error = store.write(delta(0, &items(1))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the checkpoint on disk reflects records up to 1, this one only to 0"
    );
}

#[test]
fn changes_that_did_not_all_come_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path()).unwrap();
    store.write(delta(1, &items(100))).unwrap();
    let error = store.write_if(delta(2, &items(50)), || false).unwrap_err();
    assert!(matches!(error, CheckpointError::Abandoned { covers: PersistSeq(2) }));
    assert_eq!(read(&mut store).unwrap(), (1, items(100)));
    let written = store.write_if(delta(2, &items(101)), || true).unwrap();
    assert_eq!(written.changed, 1);
}

#[test]
fn a_checkpoint_that_was_not_read_to_its_end_vouches_for_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path()).unwrap();
    store.write(delta(1, &items(3))).unwrap();
    let (checkpoint, reading) = store.read().unwrap().unwrap();
    assert_eq!(checkpoint.items.take(3).count(), 3);
    assert!(matches!(reading.finish(), Err(CheckpointError::NotReadThrough)));
}

#[test]
fn another_stores_checkpoint_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).unwrap().write(delta(1, &items(3))).unwrap();
    let node = NodeId::new(2).unwrap();
    let error = CheckpointStore::open(directory.path(), StoreIdentity { node, ..identity() });
    assert!(matches!(error.unwrap_err(), CheckpointError::OtherStore { .. }));
}

#[test]
fn a_checkpoint_that_was_not_made_to_its_end_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("checkpoint");
    drop(open(&directory).unwrap());
    let draft = folder.path().join("checkpoint.draft");
    fs::rename(&directory, &draft).unwrap();
    // What stays where the process went before the last file of it was written.
    fs::remove_file(draft.join("version")).unwrap();
    let mut store = open(&directory).unwrap();
    assert!(!draft.exists(), "it came into being under another name");
    store.write(delta(1, &items(3))).unwrap();
    drop(store);
    assert_eq!(read(&mut open(&directory).unwrap()).unwrap(), (1, items(3)));
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
    store.write(delta(1, &items(300))).unwrap();
    let mut state = items(300);
    state.insert("key 00007".to_owned(), "other".to_owned());
    store.write(delta(2, &state)).unwrap();
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
fn a_flipped_byte_among_the_rows_is_called_damage() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path()).unwrap();
    store.write(delta(1, &items(300))).unwrap();
    drop(store);
    let largest = |file: &PathBuf| fs::metadata(file).unwrap().len();
    let files = files(directory.path());
    let table = files.iter().filter(|file| !is_unused_journal(file)).max_by_key(|f| largest(f));
    let mut bytes = fs::read(table.unwrap()).unwrap();
    bytes[100] ^= 1;
    fs::write(table.unwrap(), bytes).unwrap();
    let error = open(directory.path()).and_then(|mut store| read(&mut store)).unwrap_err();
    assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}");
}

#[test]
fn an_emptied_file_is_called_damage_and_no_other_format() {
    let original = tempfile::tempdir().unwrap();
    let mut store = open(original.path()).unwrap();
    store.write(delta(1, &items(300))).unwrap();
    drop(store);
    let name = Path::new("version");
    assert!(original.path().join(name).is_file());
    let damaged = tempfile::tempdir().unwrap();
    copy(original.path(), damaged.path(), (name, b""));
    let error = open(damaged.path()).unwrap_err();
    assert!(error.is_damage(), "{error}");
    let text = error.to_string();
    assert!(text.contains("its files are not as they were written"), "{text}");
    assert!(!text.contains("format"), "{text}");
}

#[test]
fn a_row_that_is_gone_or_was_changed_from_outside_is_noticed() {
    let tampers: [fn(&fjall::Keyspace); 2] = [remove_a_row, change_a_row];
    let keys = ["key 00001", "key 00002"];
    for (tamper, key) in tampers.into_iter().flat_map(|tamper| keys.map(|key| (tamper, key))) {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path()).unwrap().write(delta(1, &items(3))).unwrap();
        let database = fjall::Database::builder(directory.path()).open().unwrap();
        tamper(&database.keyspace("rows", fjall::KeyspaceCreateOptions::default).unwrap());
        drop(database);
        let mut store = open(directory.path()).unwrap();
        assert!(matches!(read(&mut store), Err(CheckpointError::Damaged { .. })));
        // No later checkpoint hides it, be it of that very key.
        let other = Some("another value".to_owned());
        store.write(changes(2, vec![(key.to_owned(), other)])).unwrap();
        assert!(matches!(read(&mut store), Err(CheckpointError::Damaged { .. })));
    }
}

fn remove_a_row(rows: &fjall::Keyspace) {
    rows.remove(*b"\0key 00001").unwrap();
}

fn change_a_row(rows: &fjall::Keyspace) {
    rows.insert(*b"\0key 00001", *b"other").unwrap();
}

#[test]
fn one_of_several_very_long_keys_changes_alone() {
    let long = |end: &str| "x".repeat(65_000) + end;
    // Few rows are all read in order, of many some are looked up.
    for others in [2, 40] {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open(directory.path()).unwrap();
        let mut state = items(others);
        for end in ["", "a", "b", "c"] {
            state.insert(long(end), format!("value {end}"));
        }
        let rows = u64::try_from(others).unwrap() + 1;
        assert_eq!(store.write(delta(1, &state)).unwrap().rows, rows);
        state.insert(long("a"), "other".to_owned());
        state.remove(&long("b"));
        let change = |end: &str| (long(end), state.get(&long(end)).cloned());
        let written = store.write(changes(2, ["a", "b", "z"].map(change).to_vec())).unwrap();
        assert_eq!((written.rows, written.changed, written.removed), (rows, 1, 0));
        assert_eq!(read(&mut store).unwrap(), (2, state.clone()));
        let gone = ["", "a", "b", "c"].map(|end| (long(end), None));
        let written = store.write(changes(3, gone.to_vec())).unwrap();
        assert_eq!((written.rows, written.changed, written.removed), (rows - 1, 0, 1));
        drop(store);
        assert_eq!(read(&mut open(directory.path()).unwrap()).unwrap(), (3, items(others)));
    }
}

#[test]
fn changes_of_any_number_of_keys_sum_up_to_the_state() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path()).unwrap();
    let mut state = BTreeMap::new();
    let mut stream = SeedStream::new(7);
    for covers in 1..=40 {
        // From one key to half of all.
        let keys = 1 << stream.below(8);
        let mut changed = BTreeMap::new();
        for _ in 0..keys {
            let n = stream.below(300);
            let long = if n < 6 { "x".repeat(65_000) } else { String::new() };
            let value = stream.chance(700).then(|| stream.below(5).to_string());
            changed.insert(format!("{long}{n}"), value);
        }
        for (key, value) in &changed {
            match value {
                Some(value) => state.insert(key.clone(), value.clone()),
                None => state.remove(key),
            };
        }
        let before = store.covers();
        if stream.chance(100) {
            let unordered = changed.clone().into_iter().chain([(String::new(), None)]);
            store.write(changes(covers, unordered.collect())).unwrap_err();
            assert_eq!(store.covers(), before);
        }
        store.write(changes(covers, changed.into_iter().collect())).unwrap();
        if stream.chance(200) {
            drop(store);
            store = open(directory.path()).unwrap();
        }
        assert_eq!(read(&mut store).unwrap(), (covers, state.clone()));
    }
}
