//! A disk that is really full: a small file system in memory, where the test may mount one.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests, and one that says why it did nothing"
)]

mod store;

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use kv_core::{CheckpointChange, CheckpointDelta, PersistSeq};
use kv_storage::{CheckpointStore, Disk, Journal, RealDisk, Room};

use crate::store::{append, config, identity, replayed};

const DISK_BYTES: u64 = 4 << 20;
const SEGMENT_BYTES: u64 = 64 << 10;
const RESERVE_BYTES: u64 = 1 << 20;

/// A mounted file system, until it is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// With room for so many files and directories.
    fn mount(files: u32) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={DISK_BYTES},nr_inodes={files}");
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays", self.path().display());
    }
}

fn delta(covers: PersistSeq, items: usize) -> CheckpointDelta {
    let change = |n| -> CheckpointChange {
        (Bytes::from(format!("{n:08}")), Some(Bytes::from(vec![7; 1000])))
    };
    CheckpointDelta { covers, metadata: Bytes::new(), changes: Box::new((0..items).map(change)) }
}

#[test]
fn a_full_disk_stops_neither_reads_nor_checkpoints_and_writes_go_on_once_there_is_room() {
    let Some(small) = SmallDisk::mount(1000) else {
        eprintln!("\n*** NOT TESTED: a really full disk. Mounting one needs the rights to. ***\n");
        return;
    };
    let disk = RealDisk::open(small.path().join("data")).unwrap();
    let mut store = CheckpointStore::open(small.path().join("checkpoint"), identity()).unwrap();
    let config =
        kv_storage::JournalConfig { reserve_bytes: RESERVE_BYTES, ..config(SEGMENT_BYTES) };
    let (mut journal, _) = Journal::recover(disk.clone(), config.clone(), PersistSeq(0)).unwrap();
    let full = loop {
        if let Err(error) = append(&mut journal, 1) {
            break error;
        }
        journal.lay_out().unwrap();
    };
    assert!(full.is_full(), "{full}");
    assert!(matches!(journal.room(), Room::Low { .. }));
    let last = journal.sync().unwrap();
    assert_eq!(last, journal.last());
    let free = disk.free_bytes().unwrap();
    // The last segments took half of the reserve; the other half suffices for a checkpoint.
    let left = RESERVE_BYTES / 2;
    assert!((left..left + SEGMENT_BYTES).contains(&free), "{free} bytes free");

    let too_large = store.write(delta(PersistSeq(1), 2_000)).unwrap_err();
    assert!(too_large.is_full(), "{too_large}");
    assert_eq!(store.covers(), PersistSeq(0));
    let written = store.write(delta(last, 200)).unwrap();
    assert!(journal.remove_through(written.covers).unwrap() > 10);

    append(&mut journal, 100).unwrap();
    assert_eq!(journal.room(), Room::Enough);
    assert_eq!(journal.sync(), Ok(PersistSeq(last.0 + 100)));
    drop((journal, store));
    let mut store = CheckpointStore::open(small.path().join("checkpoint"), identity()).unwrap();
    let (found, reading) = store.read().unwrap().unwrap();
    assert_eq!((found.covers, found.items.count()), (last, 200));
    reading.finish().unwrap();
    drop(store);
    let (journal, _) = Journal::recover(disk, config, last).unwrap();
    assert_eq!(replayed(&journal, last.0), Ok(100));
}

#[test]
fn a_disk_that_takes_no_further_file_is_full_and_no_failure() {
    let Some(small) = SmallDisk::mount(4) else {
        eprintln!(
            "\n*** NOT TESTED: a disk without inodes. Mounting one needs the rights to. ***\n"
        );
        return;
    };
    let disk = RealDisk::open(small.path().join("data")).unwrap();
    let config = config(SEGMENT_BYTES);
    let (mut journal, _) = Journal::recover(disk.clone(), config.clone(), PersistSeq(0)).unwrap();
    disk.create("in the way").unwrap();
    journal.lay_out().unwrap();
    assert!(matches!(journal.room(), Room::Low { .. }));
    let full = loop {
        if let Err(error) = append(&mut journal, 1) {
            break error;
        }
    };
    assert!(full.is_full(), "{full}");
    let last = journal.sync().unwrap();
    disk.remove("in the way").unwrap();
    append(&mut journal, 10).unwrap();
    assert_eq!(journal.room(), Room::Enough);
    assert_eq!(journal.sync(), Ok(PersistSeq(last.0 + 10)));
}
