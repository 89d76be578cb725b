//! The journal on a thread of its own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod store;

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use kv_core::PersistSeq;
use kv_storage::{
    Disk, Journal, JournalError, JournalEvent, JournalThread, RealDisk, Room, SimDisk, SyncPolicy,
};

use crate::store::{config, record, recover, replayed};

const SEGMENT_BYTES: u64 = 4096;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn start<D: Disk>(
    disk: &D,
    segment_bytes: u64,
    policy: SyncPolicy,
) -> (JournalThread<Vec<u8>>, Receiver<JournalEvent>) {
    let (mut journal, _) = recover(disk, segment_bytes).unwrap();
    journal.lay_out().unwrap();
    let (sender, events) = mpsc::channel();
    let notify = move |event| drop(sender.send(event));
    (JournalThread::start(journal, policy, notify).unwrap(), events)
}

fn batch(from: u64, until: u64) -> Vec<(PersistSeq, Vec<u8>)> {
    (from..=until).map(|seq| (PersistSeq(seq), record(seq))).collect()
}

fn wait_for_persisted(events: &Receiver<JournalEvent>, wanted: u64) {
    loop {
        match events.recv_timeout(PATIENCE).unwrap() {
            JournalEvent::Persisted { up_to } if up_to == PersistSeq(wanted) => return,
            JournalEvent::Persisted { up_to } => assert!(up_to < PersistSeq(wanted)),
            other @ (JournalEvent::Room(_) | JournalEvent::Failed(_)) => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_was_said_to_be_persisted_outlives_a_crash_and_segments_are_made_as_needed() {
    let disk = SimDisk::new(1);
    let (thread, events) = start(&disk, SEGMENT_BYTES, SyncPolicy::Always);
    for n in 0..50 {
        thread.append(batch(n * 10 + 1, n * 10 + 10));
    }
    wait_for_persisted(&events, 500);
    disk.crash();
    let (journal, recovery) = recover(&disk, SEGMENT_BYTES).unwrap();
    assert_eq!((recovery.last, replayed(&journal, 0)), (PersistSeq(500), Ok(500)));
    assert!(journal.status().segments > 5);
    drop(thread);
}

/// Whoever opens the journal next lays out segments of the same names.
#[test]
fn once_it_is_closed_no_segment_is_being_laid_out() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(directory.path()).unwrap();
    let segment_bytes = 64 << 20;
    for round in 0..3 {
        // It is closed while the next segment is laid out, which takes far longer than this.
        let (journal, _) = recover(&disk, segment_bytes).unwrap();
        let thread = JournalThread::start(journal, SyncPolicy::Always, |_| {}).unwrap();
        thread.append(batch(round + 1, round + 1));
        thread.close().unwrap();
        let names = disk.list().unwrap();
        assert!(!names.iter().any(|name| name.ends_with(".draft")), "{names:?}");
    }
    let (journal, recovery) = recover(&disk, segment_bytes).unwrap();
    assert_eq!((recovery.last, replayed(&journal, 0)), (PersistSeq(3), Ok(3)));
}

#[test]
fn real_files_are_gone_on_with_and_pruned() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(directory.path()).unwrap();
    let (thread, events) = start(&disk, SEGMENT_BYTES, SyncPolicy::Always);
    thread.append(batch(1, 300));
    wait_for_persisted(&events, 300);
    thread.remove_through(PersistSeq(290));
    thread.append(batch(301, 310));
    assert_eq!(thread.close(), Ok(PersistSeq(310)));
    let covers = PersistSeq(290);
    let (journal, recovery) =
        Journal::recover(disk.clone(), config(SEGMENT_BYTES), covers).unwrap();
    assert_eq!((recovery.last, recovery.torn), (PersistSeq(310), None));
    assert!(journal.status().first > PersistSeq(100), "{:?}", journal.status());
    assert_eq!(replayed(&journal, 290), Ok(20));
    let error = recover(&disk, SEGMENT_BYTES).unwrap_err();
    assert!(matches!(error, JournalError::MissingRecords { from: PersistSeq(1), .. }), "{error}");
}

#[test]
fn without_syncs_records_are_persisted_at_once_and_synced_at_the_end() {
    for policy in [SyncPolicy::Never, SyncPolicy::Interval(Duration::from_secs(3600))] {
        let disk = SimDisk::new(3);
        let (thread, events) = start(&disk, SEGMENT_BYTES, policy);
        thread.append(batch(1, 20));
        wait_for_persisted(&events, 20);
        assert_eq!(thread.close(), Ok(PersistSeq(20)));
        disk.crash();
        let (journal, _) = recover(&disk, SEGMENT_BYTES).unwrap();
        assert_eq!(replayed(&journal, 0), Ok(20));
    }
}

#[test]
fn a_full_disk_is_told_and_writes_go_on_once_there_is_room() {
    let disk = SimDisk::new(1);
    disk.set_quota(Some(2 * SEGMENT_BYTES + SEGMENT_BYTES / 2));
    let (thread, events) = start(&disk, SEGMENT_BYTES, SyncPolicy::Always);
    thread.append(batch(1, 400));
    let mut persisted = PersistSeq(0);
    loop {
        match events.recv_timeout(PATIENCE).unwrap() {
            JournalEvent::Persisted { up_to } => persisted = up_to,
            JournalEvent::Room(Room::Low { .. }) => break,
            other @ (JournalEvent::Room(_) | JournalEvent::Failed(_)) => panic!("{other:?}"),
        }
    }
    assert!(persisted < PersistSeq(400));
    disk.set_quota(None);
    let mut is_low = true;
    while is_low || persisted < PersistSeq(400) {
        match events.recv_timeout(PATIENCE).unwrap() {
            JournalEvent::Persisted { up_to } => persisted = up_to,
            JournalEvent::Room(room) => is_low = room != Room::Enough,
            JournalEvent::Failed(error) => panic!("{error}"),
        }
    }
    assert_eq!(thread.close(), Ok(PersistSeq(400)));
}

#[test]
fn a_failed_sync_ends_the_journal_and_says_so() {
    let disk = SimDisk::new(1);
    let (thread, events) = start(&disk, SEGMENT_BYTES, SyncPolicy::Always);
    thread.append(batch(1, 3));
    wait_for_persisted(&events, 3);
    disk.fail_next_sync();
    thread.append(batch(4, 5));
    let JournalEvent::Failed(error) = events.recv_timeout(PATIENCE).unwrap() else {
        panic!("persisted though the sync failed");
    };
    thread.append(batch(6, 6));
    assert_eq!(thread.close(), Err(error));
    assert!(events.recv_timeout(PATIENCE).is_err(), "nothing more is said");
}
