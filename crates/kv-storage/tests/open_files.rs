//! A process that may open no more files.

#![allow(clippy::unwrap_used, reason = "tests")]

mod store;

use std::fs::File;

use bytes::Bytes;
use kv_core::{CheckpointChange, CheckpointDelta, PersistSeq};
use kv_storage::{CheckpointStore, Disk, Journal, RealDisk, Room, Shortage};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::store::{append, config, identity, recover, replayed};

const SEGMENT_BYTES: u64 = 4096;

/// Opens files until there is no further one.
fn use_up_descriptors() -> Vec<File> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(200);
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut opened = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        opened.push(file);
    }
    opened
}

fn delta(covers: PersistSeq) -> CheckpointDelta {
    let item: CheckpointChange = (Bytes::from_static(b"key"), Some(Bytes::from_static(b"value")));
    CheckpointDelta { covers, metadata: Bytes::new(), changes: Box::new([item].into_iter()) }
}

/// The only test of its process, whose limit it changes.
#[test]
fn too_many_open_files_are_waited_out_like_a_full_disk() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(directory.path().join("data")).unwrap();
    let config = config(SEGMENT_BYTES);
    let (mut journal, _) = Journal::recover(disk.clone(), config.clone(), PersistSeq(0)).unwrap();
    let checkpoint = directory.path().join("checkpoint");
    let mut store = CheckpointStore::open(checkpoint, identity()).unwrap();
    append(&mut journal, 300).unwrap();
    assert!(journal.status().segments > 2);
    journal.sync().unwrap();

    let opened = use_up_descriptors();
    journal.lay_out().unwrap();
    assert_eq!(journal.room().shortage(), Some(Shortage::OpenFiles));
    let layout = journal.begin_layout().unwrap();
    journal.end_layout(layout.run()).unwrap();
    let full = loop {
        if let Err(error) = append(&mut journal, 1) {
            break error;
        }
    };
    assert!(full.is_full(), "{full}");
    let told = full.to_string();
    assert!(
        told.starts_with("the journal cannot grow: ") && told.contains("`ulimit -n`"),
        "{told}"
    );
    let last = journal.sync().unwrap();
    assert_eq!(last, journal.last());
    let unread = recover(&disk, SEGMENT_BYTES).unwrap_err().to_string();
    assert!(unread.contains("`ulimit -n`"), "{unread}");
    let error = store.write(delta(PersistSeq(1))).unwrap_err();
    assert!(error.is_full(), "{error}");
    assert!(error.to_string().ends_with("raise the limit of open files (`ulimit -n`)"), "{error}");
    let again = store.write(delta(PersistSeq(1))).unwrap_err();
    assert!(again.is_full(), "{again}");
    let more = use_up_descriptors();
    assert!(journal.remove_through(PersistSeq(300)).unwrap() > 0, "the directory is synced");

    drop((opened, more));
    assert_eq!(store.write(delta(PersistSeq(300))).unwrap().rows, 1);
    append(&mut journal, 100).unwrap();
    assert_eq!(journal.room(), Room::Enough);
    assert_eq!(journal.sync(), Ok(PersistSeq(last.0 + 100)));
    drop(journal);
    let (journal, _) = Journal::recover(disk.clone(), config, PersistSeq(300)).unwrap();
    assert_eq!(replayed(&journal, 300), Ok(last.0 + 100 - 300));
    disk.sync_directory().unwrap();
}
