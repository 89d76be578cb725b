//! One call, one answer: what a journal refuses, and what stays refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod store;

use kv_core::{DecodeError, NodeId, PersistSeq};
use kv_storage::{
    CrashHabits, Disk, DiskAction, DiskFile, Journal, JournalConfig, JournalError,
    JournalInspection, RealDisk, Room, SegmentReport, Shortage, SimDisk, StoreIdentity,
};

use crate::store::{append, config, identity, recover, replayed};

const SEGMENT_BYTES: u64 = 512;

fn fresh() -> (SimDisk, Journal<SimDisk>) {
    let disk = SimDisk::new(1);
    let (journal, _) = recover(&disk, SEGMENT_BYTES).unwrap();
    (disk, journal)
}

/// Appends until the journal has to go on in a segment that it does not have.
fn fill(journal: &mut Journal<SimDisk>) -> JournalError {
    loop {
        if let Err(error) = append(journal, 1) {
            return error;
        }
    }
}

#[test]
fn records_are_dense() {
    let (_, mut journal) = fresh();
    append(&mut journal, 2).unwrap();
    let not_dense = |found| {
        let (expected, found) = (PersistSeq(3), PersistSeq(found));
        Err(JournalError::NotDense { expected, found })
    };
    assert_eq!(journal.append(PersistSeq(4), &0u64), not_dense(4));
    assert_eq!(journal.append(PersistSeq(2), &0u64), not_dense(2));
}

#[test]
fn a_record_larger_than_a_segment_gets_one_of_its_own_size() {
    for (before, spare) in [(0, false), (2, false), (2, true)] {
        let (disk, mut journal) = fresh();
        append(&mut journal, before).unwrap();
        if spare {
            journal.lay_out().unwrap();
        }
        let large = PersistSeq(before + 1);
        journal.append(large, &vec![1u8; 5000]).unwrap();
        append(&mut journal, 3).unwrap();
        assert_eq!(journal.sync(), Ok(PersistSeq(before + 4)));
        let sizes: Vec<usize> =
            disk.list().unwrap().iter().map(|name| disk.read(name).unwrap().len()).collect();
        let expected: &[usize] = if spare { &[512, 512, 5200, 512] } else { &[512, 5200, 512] };
        assert_eq!(sizes, expected);

        disk.crash();
        let (journal, _) = recover(&disk, SEGMENT_BYTES).unwrap();
        let all: Vec<_> = journal.replay::<Vec<u8>>(PersistSeq(0)).map(|(seq, _)| seq.0).collect();
        assert_eq!(all, (1..=before + 4).collect::<Vec<_>>());

        // The segments before it may be removed, and a crash come between any two of them.
        for removed in 1..sizes.len() - 1 {
            disk.remove(&disk.list().unwrap()[0]).unwrap();
            disk.sync_directory().unwrap();
            let covers = if removed == sizes.len() - 2 { large } else { PersistSeq(before) };
            let recovered = Journal::recover(disk.synced(), config(SEGMENT_BYTES), covers);
            let (journal, recovery) = recovered.unwrap();
            assert_eq!(recovery.last, PersistSeq(before + 4), "{removed} removed");
            assert_eq!(
                journal.replay::<Vec<u8>>(covers).count(),
                usize::try_from(before + 4 - covers.0).unwrap()
            );
        }
    }
}

#[test]
fn syncs_overlap_and_make_durable_what_was_written_before_them() {
    let (_, mut journal) = fresh();
    assert!(journal.begin_sync().unwrap().is_none(), "nothing to sync");
    append(&mut journal, 2).unwrap();
    let job = journal.begin_sync().unwrap().unwrap();
    assert_eq!(job.up_to(), PersistSeq(2));
    assert!(journal.begin_sync().unwrap().is_none(), "nothing new to sync");
    append(&mut journal, 3).unwrap();
    let second = journal.begin_sync().unwrap().unwrap();
    append(&mut journal, 1).unwrap();
    assert!(journal.begin_sync().unwrap().is_none(), "two are under way");
    assert_eq!((journal.last(), journal.durable()), (PersistSeq(6), PersistSeq(0)));
    assert_eq!(journal.end_sync(second.run()), Ok(PersistSeq(0)));
    assert_eq!(journal.end_sync(job.run()), Ok(PersistSeq(5)));
    assert!(!journal.is_syncing());
    assert_eq!(journal.sync(), Ok(PersistSeq(6)));
}

#[test]
fn a_failed_write_or_sync_is_for_ever() {
    type Fault = fn(&SimDisk);
    let failures: [(Fault, DiskAction); 2] = [
        (SimDisk::fail_next_write, DiskAction::Write),
        (SimDisk::fail_next_sync, DiskAction::Sync),
    ];
    for (fail, action) in failures {
        let (disk, mut journal) = fresh();
        append(&mut journal, 2).unwrap();
        journal.sync().unwrap();
        append(&mut journal, 1).unwrap();
        fail(&disk);
        let error = journal.sync().unwrap_err();
        let JournalError::Failed(cause) = &error else { panic!("{error}") };
        assert_eq!(cause.action, action);
        assert_eq!(journal.append(PersistSeq(4), &0u64), Err(error.clone()));
        assert_eq!(journal.sync(), Err(error.clone()));
        assert_eq!(journal.remove_through(PersistSeq(2)), Err(error.clone()));
        assert!(!journal.needs_layout());
        assert_eq!(journal.durable(), PersistSeq(2));
        disk.crash();
        let (journal, recovery) = recover(&disk, SEGMENT_BYTES).unwrap();
        assert!(recovery.last >= PersistSeq(2));
        assert_eq!(replayed(&journal, 0), Ok(recovery.last.0));
    }
}

#[test]
fn a_full_disk_is_told_while_a_segment_is_left_and_is_no_failure() {
    let (disk, mut journal) = fresh();
    assert_eq!(journal.room(), Room::Enough);
    disk.set_quota(Some(SEGMENT_BYTES + 100));
    journal.lay_out().unwrap();
    let low = |left_bytes| {
        let takes_deletes = left_bytes >= SEGMENT_BYTES / 8;
        Room::Low { left_bytes, shortage: Shortage::Space, takes_deletes }
    };
    assert_eq!(journal.room(), low(SEGMENT_BYTES - 128 - 32));
    append(&mut journal, 1).unwrap();
    assert_eq!(journal.room(), low(SEGMENT_BYTES - 128 - 32 - 48));
    assert_eq!(disk.list().unwrap(), ["journal-000000000001.segment"]);

    let full = fill(&mut journal);
    assert_eq!(full, JournalError::Full { needed_bytes: SEGMENT_BYTES, free_bytes: 100 });
    assert_eq!(fill(&mut journal), full);
    let last = journal.last();
    assert_eq!(journal.sync(), Ok(last), "what was appended is persisted");
    disk.set_quota(None);
    append(&mut journal, 1).unwrap();
    assert_eq!(journal.room(), Room::Enough);
    assert_eq!(journal.sync(), Ok(last.next()));
    disk.crash();
    let (journal, _) = recover(&disk, SEGMENT_BYTES).unwrap();
    assert_eq!(replayed(&journal, 0), Ok(last.next().0));
}

#[test]
fn the_last_of_the_disk_is_kept_free_for_the_checkpoint() {
    let (disk, reserve_bytes) = (SimDisk::new(1), 1000);
    let config = JournalConfig { reserve_bytes, ..config(SEGMENT_BYTES) };
    let (mut journal, _) = Journal::recover(disk.clone(), config, PersistSeq(0)).unwrap();
    disk.set_quota(Some(2 * SEGMENT_BYTES + reserve_bytes - 1));
    journal.lay_out().unwrap();
    assert!(matches!(journal.room(), Room::Low { .. }));
    disk.set_quota(Some(2 * SEGMENT_BYTES + reserve_bytes));
    journal.lay_out().unwrap();
    assert_eq!(journal.room(), Room::Enough);
}

#[test]
fn a_full_disk_takes_deletes_until_half_of_the_reserve_is_used() {
    let (disk, reserve_bytes) = (SimDisk::new(1), 4 * SEGMENT_BYTES);
    let config = JournalConfig { reserve_bytes, ..config(SEGMENT_BYTES) };
    let (mut journal, _) = Journal::recover(disk.clone(), config.clone(), PersistSeq(0)).unwrap();
    disk.set_quota(Some(5 * SEGMENT_BYTES));
    let segments = |disk: &SimDisk| disk.list().unwrap().len();
    journal.lay_out().unwrap();
    assert_eq!(segments(&disk), 1, "there is room for deletes without the reserve");
    assert!(journal.room().takes_deletes());
    // Two segments come of the reserve, and the third one would take of the other half.
    let full = fill(&mut journal);
    assert_eq!(segments(&disk), 3);
    assert_eq!(full.to_string(), fill(&mut journal).to_string());
    assert!(matches!(journal.room(), Room::Low { takes_deletes: false, .. }));
    let last = journal.sync().unwrap();
    // A checkpoint lets them go, and half of the reserve is there again.
    assert_eq!(journal.remove_through(last), Ok(2));
    append(&mut journal, 1).unwrap();
    assert!(journal.room().takes_deletes());
    assert_eq!(journal.sync(), Ok(last.next()));
    disk.crash();
    let (journal, _) = Journal::recover(disk, config, last).unwrap();
    assert_eq!(journal.last(), last.next());
}

#[test]
fn only_whole_segments_of_durable_and_covered_records_go() {
    let (disk, mut journal) = fresh();
    append(&mut journal, 20).unwrap();
    journal.write().unwrap();
    assert_eq!(journal.remove_through(PersistSeq(20)), Ok(0), "nothing is durable");
    journal.sync().unwrap();
    let first = journal.status().segments;
    assert_eq!(journal.remove_through(PersistSeq(1)), Ok(0));
    assert_eq!(journal.remove_through(PersistSeq(20)), Ok(first - 1));
    assert_eq!(disk.list().unwrap().len(), 1, "the last one stays");
    let covers = PersistSeq(20);
    assert_eq!(append(&mut journal, 1), Ok(()));
    journal.sync().unwrap();
    disk.crash();
    let (journal, recovery) =
        Journal::recover(disk.clone(), config(SEGMENT_BYTES), covers).unwrap();
    assert_eq!((recovery.last, replayed(&journal, 20)), (PersistSeq(21), Ok(1)));
}

#[test]
fn a_journal_that_is_not_the_checkpoints_is_refused() {
    let (disk, mut journal) = fresh();
    append(&mut journal, 20).unwrap();
    journal.sync().unwrap();
    journal.remove_through(PersistSeq(20)).unwrap();
    let with = |covers| Journal::recover(disk.clone(), config(SEGMENT_BYTES), PersistSeq(covers));
    let missing = with(3).unwrap_err();
    assert!(matches!(missing, JournalError::MissingRecords { from: PersistSeq(4), .. }));
    let (last, covers) = (PersistSeq(20), PersistSeq(21));
    assert_eq!(with(21).unwrap_err(), JournalError::BehindCheckpoint { last, covers });
    assert!(with(20).is_ok());
    let (last, covers) = (PersistSeq(0), PersistSeq(1));
    let lost = Journal::recover(SimDisk::new(2), config(SEGMENT_BYTES), covers).unwrap_err();
    assert_eq!(lost, JournalError::BehindCheckpoint { last, covers });
}

#[test]
fn other_stores_and_other_formats_are_refused() {
    let (disk, journal) = fresh();
    drop(journal);
    let other = StoreIdentity { node: NodeId::new(2).unwrap(), ..identity() };
    let config = JournalConfig::new(other);
    let error = Journal::recover(disk.clone(), config, PersistSeq(0)).unwrap_err();
    assert!(matches!(error, JournalError::OtherStore { .. }), "{error}");
    let with_format = |format| {
        disk.damage("journal-000000000001.segment", |bytes| {
            bytes[8] = format;
            let checksum = crc32c::crc32c(&bytes[..12]);
            bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        });
        recover(&disk, SEGMENT_BYTES).unwrap_err().to_string()
    };
    assert_eq!(
        with_format(6),
        "journal-000000000001.segment has format 6 and this release reads up to 5: start the \
         newer release again"
    );
    for older in [1, 2, 3] {
        assert_eq!(
            with_format(older),
            format!(
                "journal-000000000001.segment has format {older} and this release reads 4 and \
                 later; nothing was changed. Start the older release again, back its data up \
                 (`kv-server backup`), and restore the backup into a new cluster of this release"
            )
        );
    }
}

#[test]
fn a_record_of_another_kind_ends_the_replay_with_an_error_that_names_it() {
    let (_, mut journal) = fresh();
    journal.append(PersistSeq(1), &7u64).unwrap();
    journal.append(PersistSeq(2), &7u32).unwrap();
    journal.append(PersistSeq(3), &7u64).unwrap();
    journal.sync().unwrap();
    let mut replay = journal.replay::<u64>(PersistSeq(0));
    assert_eq!(replay.by_ref().collect::<Vec<_>>(), [(PersistSeq(1), 7)]);
    let Err(JournalError::NotReadable { seq, problem, .. }) = replay.finish() else {
        panic!("record 2 is no u64");
    };
    assert_eq!((seq, problem), (PersistSeq(2), DecodeError::Truncated { needed: 8, left: 4 }));
}

#[test]
fn a_directory_that_may_not_be_written_is_named_with_the_reason() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = RealDisk::open(file.path().join("data")).unwrap_err();
    assert_eq!(error.action, DiskAction::Create);
    let text = error.to_string();
    assert!(text.contains("data: Not a directory (os error 20)"), "{text}");
}

#[test]
fn an_inspection_reads_all_and_changes_nothing() {
    let (disk, mut journal) = fresh();
    append(&mut journal, 12).unwrap();
    journal.sync().unwrap();
    append(&mut journal, 2).unwrap();
    journal.write().unwrap();
    let inspect = || JournalInspection::open(disk.clone(), &identity(), PersistSeq(0)).unwrap();
    let whole = inspect();
    assert_eq!((whole.last(), whole.torn()), (PersistSeq(14), None));
    let end = usize::try_from(whole.segments().last().unwrap().used_bytes).unwrap();
    let segment = disk.list().unwrap().pop().unwrap();
    assert!(disk.damage(&segment, |bytes| bytes[end - 1] ^= 1), "the last record is torn");
    let before = disk.read(&segment).unwrap();
    let inspection = inspect();
    assert_eq!((inspection.last(), inspection.records()), (PersistSeq(13), 13));
    let torn = inspection.torn().unwrap();
    assert_eq!((torn.file.to_str(), torn.records), (Some(segment.as_str()), 0));
    let reports: Vec<SegmentReport> = inspection.segments().collect();
    assert_eq!(reports.len(), disk.list().unwrap().len());
    assert_eq!(reports[0].records.unwrap().0, PersistSeq(1));
    assert_eq!(reports[reports.len() - 1].used_bytes, torn.offset);
    let mut replay = inspection.replay::<Vec<u8>>(PersistSeq(10));
    assert_eq!(replay.by_ref().count(), 3);
    replay.finish().unwrap();
    assert_eq!(disk.read(&segment).unwrap(), before);
    let (_, recovery) = recover(&disk, SEGMENT_BYTES).unwrap();
    assert_eq!(recovery.torn, Some(torn));
    assert_eq!(inspect().torn(), None, "a recovery has cut it");
}

#[test]
fn a_record_that_fits_no_smaller_segment_goes_on_to_the_next_one() {
    let disk = SimDisk::new(1);
    // A torn mark would be a torn tail.
    disk.set_crash_habits(CrashHabits { tears: false, reorders: true });
    let (mut journal, _) = recover(&disk, SEGMENT_BYTES).unwrap();
    append(&mut journal, 2).unwrap();
    journal.lay_out().unwrap();
    journal.sync().unwrap();
    drop(journal);
    let (mut journal, _) = recover(&disk, 8 * SEGMENT_BYTES).unwrap();
    let large = vec![3u8; 2000];
    journal.append(PersistSeq(3), &large).unwrap();
    journal.append(PersistSeq(4), &large).unwrap();
    assert_eq!(journal.sync(), Ok(PersistSeq(4)));
    disk.crash();
    let (mut journal, recovery) = recover(&disk, SEGMENT_BYTES).unwrap();
    assert_eq!((recovery.last, recovery.torn), (PersistSeq(4), None));
    let held: Vec<_> = journal.replay::<Vec<u8>>(PersistSeq(2)).collect();
    assert_eq!(held, [(PersistSeq(3), large.clone()), (PersistSeq(4), large)]);
    assert_eq!(journal.remove_through(PersistSeq(4)), Ok(3), "the one that was passed by as well");
}

/// Power is lost after the segments before it were removed, and before a sync of the large record.
#[test]
fn a_torn_mark_in_a_segment_that_was_passed_by_hides_no_record() {
    let (disk, mut journal) = fresh();
    append(&mut journal, 2).unwrap();
    let covers = journal.sync().unwrap();
    journal.lay_out().unwrap();
    journal.append(PersistSeq(3), &vec![1u8; 5000]).unwrap();
    journal.write().unwrap();
    disk.kill();
    let names = disk.list().unwrap();
    assert_eq!(names.len(), 3);
    disk.remove(&names[0]).unwrap();
    assert!(disk.flip_bit(&names[1], 128 * 8), "the mark says that records go on");
    let (_, recovery) = Journal::recover(disk, config(SEGMENT_BYTES), covers).unwrap();
    assert_eq!((recovery.last, recovery.records), (PersistSeq(3), 1));
}

/// Smaller segments, for which there is room, would be laid out one after the other and passed by.
#[test]
fn a_large_record_without_room_does_not_fill_the_disk_with_segments_that_cannot_hold_it() {
    let (disk, mut journal) = fresh();
    disk.set_quota(Some(20 * SEGMENT_BYTES));
    let large = vec![1u8; 25 * usize::try_from(SEGMENT_BYTES).unwrap()];
    for _ in 0..10 {
        assert!(journal.append(PersistSeq(1), &large).unwrap_err().is_full());
        if let Some(layout) = journal.begin_layout() {
            journal.end_layout(layout.run()).unwrap();
        }
        assert!(matches!(journal.room(), Room::Low { .. }));
    }
    assert_eq!(disk.used_bytes(), SEGMENT_BYTES);
    disk.set_quota(None);
    let layout = journal.begin_layout().unwrap();
    journal.end_layout(layout.run()).unwrap();
    assert_eq!(journal.room(), Room::Enough);
    journal.append(PersistSeq(1), &large).unwrap();
    append(&mut journal, 1).unwrap();
    assert_eq!(journal.sync(), Ok(PersistSeq(2)));
}

#[test]
fn a_segment_that_was_not_laid_out_to_its_end_is_made_anew() {
    let (disk, journal) = fresh();
    drop(journal);
    let draft = disk.create("journal-000000000002.draft").unwrap();
    draft.write_at(0, &[1; 100]).unwrap();
    let (mut journal, _) = recover(&disk, SEGMENT_BYTES).unwrap();
    journal.lay_out().unwrap();
    assert_eq!(disk.list().unwrap(), names_of(2));
}

fn names_of(segments: u64) -> Vec<String> {
    (1..=segments).map(|number| format!("journal-{number:012}.segment")).collect()
}
