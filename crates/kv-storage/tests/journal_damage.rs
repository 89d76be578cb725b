//! Damage at every place of a small journal, and what is made of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod store;

use kv_core::PersistSeq;
use kv_storage::{Disk, Journal, JournalError, JournalInspection, SimDisk};

use crate::store::{append, identity, recover, replayed};

const SEGMENT_BYTES: u64 = 512;

/// A few segments; records 1 to `durable` are on disk, and records know of it, or the mark behind
/// them; the others are written.
fn journal(durable: u64, unsynced: u64) -> SimDisk {
    let disk = SimDisk::new(1);
    let (mut journal, _) = recover(&disk, SEGMENT_BYTES).unwrap();
    for _ in 0..durable / 2 {
        append(&mut journal, 2).unwrap();
        journal.sync().unwrap();
    }
    append(&mut journal, unsynced).unwrap();
    journal.write().unwrap();
    assert_eq!(journal.durable(), PersistSeq(durable / 2 * 2));
    disk.kill();
    disk
}

/// What a recovery says, on a copy of the disk that was changed.
fn recovered(
    original: &SimDisk,
    name: &str,
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<u64, JournalError> {
    let disk = SimDisk::new(1);
    for copied in original.list().unwrap() {
        let bytes = original.read(&copied).unwrap();
        disk.create(&copied).unwrap();
        disk.damage(&copied, |content| *content = bytes);
    }
    assert!(disk.damage(name, change));
    let (journal, recovery) = recover(&disk, SEGMENT_BYTES)?;
    let count = replayed(&journal, 0)?;
    assert_eq!(recovery.last, PersistSeq(count));
    assert_eq!(recovery.records, count);
    going_on(&disk, journal, count);
    Ok(count)
}

/// A journal that was recovered takes more, and finds all of it again after a crash.
fn going_on(disk: &SimDisk, mut journal: Journal<SimDisk>, held: u64) {
    append(&mut journal, 3).unwrap();
    assert_eq!(journal.sync(), Ok(PersistSeq(held + 3)));
    disk.crash();
    let (journal, _) = recover(disk, SEGMENT_BYTES).unwrap();
    assert_eq!(replayed(&journal, 0), Ok(held + 3));
}

fn names(disk: &SimDisk) -> Vec<String> {
    disk.list().unwrap()
}

#[test]
fn a_flipped_byte_is_seen_or_does_not_matter() {
    let durable = 20;
    let disk = journal(durable, 0);
    assert_eq!(names(&disk).len(), 4);
    let mut refused = 0;
    for name in names(&disk) {
        for place in 0..disk.read(&name).unwrap().len() {
            match recovered(&disk, &name, |bytes| bytes[place] ^= 0x41) {
                Ok(count) => assert_eq!(count, durable, "{name} byte {place}"),
                Err(JournalError::Damaged { offset, seq, .. }) => {
                    assert!(offset <= u64::try_from(place).unwrap(), "{name} byte {place}");
                    assert!(seq <= PersistSeq(durable));
                    refused += 1;
                }
                Err(JournalError::DamagedHeader { .. }) => {
                    assert!(place < 128);
                    refused += 1;
                }
                Err(other) => panic!("{name} byte {place}: {other}"),
            }
        }
    }
    assert!(refused > 20 * 32, "{refused}");
}

#[test]
fn a_flipped_byte_costs_nothing_but_what_was_never_promised() {
    let (durable, unsynced) = (14, 6);
    let disk = journal(durable, unsynced);
    let mut cut = 0;
    for name in names(&disk) {
        for place in 128..disk.read(&name).unwrap().len() {
            match recovered(&disk, &name, |bytes| bytes[place] ^= 0x80) {
                Ok(count) => {
                    assert!((durable..=durable + unsynced).contains(&count), "{name} {place}");
                    cut += u64::from(count < durable + unsynced);
                }
                Err(JournalError::Damaged { seq, .. }) => assert!(seq <= PersistSeq(durable)),
                Err(other) => panic!("{name} byte {place}: {other}"),
            }
        }
    }
    assert!(cut > 6 * 32, "{cut}");
}

#[test]
fn an_emptied_segment_does_not_begin_as_one_does() {
    let disk = journal(20, 0);
    for name in names(&disk) {
        let error = recovered(&disk, &name, Vec::clear).unwrap_err();
        assert!(matches!(error, JournalError::DamagedHeader { .. }), "{name}: {error}");
        let text = error.to_string();
        assert!(text.contains(&name) && text.contains("does not begin as a journal"), "{text}");
    }
}

/// The mark that a sync leaves behind the last record is not synced, and may be lost with the power.
#[test]
fn damage_to_the_last_record_is_refused_once_a_recovery_has_served_it() {
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let (mut journal, _) = recover(&disk, SEGMENT_BYTES).unwrap();
        append(&mut journal, 2).unwrap();
        journal.sync().unwrap();
        let last_byte = journal.status().used_bytes - 1;
        disk.crash();
        let (journal, recovery) = recover(&disk, SEGMENT_BYTES).unwrap();
        assert_eq!(recovery.last, PersistSeq(2));
        drop(journal);
        disk.crash();
        assert!(disk.flip_bit(&names(&disk)[0], last_byte * 8));
        match recover(&disk, SEGMENT_BYTES).map(|(_, recovery)| recovery) {
            Err(JournalError::Damaged { seq: PersistSeq(2), .. }) => {}
            other => panic!("seed {seed}: {other:?}"),
        }
    }
}

/// Not even where the checkpoint has all that is in them: the disk is not to be trusted.
#[test]
fn damage_to_records_that_a_checkpoint_reflects_is_refused() {
    let original = SimDisk::new(1);
    let (mut journal, _) = recover(&original, SEGMENT_BYTES).unwrap();
    for _ in 0..10 {
        append(&mut journal, 2).unwrap();
        journal.sync().unwrap();
    }
    let covers = journal.durable();
    assert!(journal.remove_through(covers).unwrap() > 0);
    let end = usize::try_from(journal.status().used_bytes).unwrap();
    assert_eq!(journal.close(), Ok(covers), "the mark behind the last record is on disk");
    let name = names(&original)[0].clone();
    let mut seen = 0;
    for place in 128..end {
        let disk = original.synced();
        assert!(disk.damage(&name, |bytes| bytes[place] ^= 0x41));
        match Journal::recover(disk, store::config(SEGMENT_BYTES), covers) {
            Err(JournalError::Damaged { .. }) => seen += 1,
            other => panic!("byte {place}: {other:?}"),
        }
    }
    assert!(seen > 2 * 32, "{seen}");
    let kept = Journal::recover(original.synced(), store::config(SEGMENT_BYTES), covers).unwrap();
    assert_eq!((kept.0.last(), kept.1.torn), (covers, None));
}

#[test]
fn a_segment_that_was_cut_short_is_refused_and_so_is_a_missing_one() {
    let disk = journal(20, 0);
    for name in names(&disk) {
        for len in 0..disk.read(&name).unwrap().len() {
            let error = recovered(&disk, &name, |bytes| bytes.truncate(len)).unwrap_err();
            let is_named = matches!(
                error,
                JournalError::DamagedHeader { .. } | JournalError::DamagedLength { .. }
            );
            assert!(is_named, "{name} {len}: {error}");
        }
    }
    disk.remove(&names(&disk)[1]).unwrap();
    let error = recover(&disk, SEGMENT_BYTES).unwrap_err();
    assert_eq!(
        error.to_string(),
        "journal-000000000002.segment is missing from the journal; put it back, or restore a \
         backup"
    );
}

/// The next segment lies there empty: it does not stand for a journal without records.
#[test]
fn a_missing_first_segment_is_refused_where_no_checkpoint_can_have_let_it_go() {
    let disk = SimDisk::new(1);
    let (mut journal, _) = recover(&disk, SEGMENT_BYTES).unwrap();
    append(&mut journal, 2).unwrap();
    journal.sync().unwrap();
    journal.lay_out().unwrap();
    journal.close().unwrap();
    assert_eq!(names(&disk).len(), 2);
    disk.remove(&names(&disk)[0]).unwrap();
    let error = recover(&disk, SEGMENT_BYTES).unwrap_err();
    assert!(matches!(error, JournalError::MissingSegment { .. }), "{error}");
    assert!(error.to_string().starts_with("journal-000000000001.segment is missing"), "{error}");
}

/// With the last records goes the empty segment behind them, so that none is missing in between.
#[test]
fn missing_last_segments_are_refused() {
    let disk = journal(20, 0);
    let (mut journal, _) = recover(&disk, SEGMENT_BYTES).unwrap();
    journal.lay_out().unwrap();
    drop(journal);
    let all = names(&disk);
    assert_eq!(all.len(), 5);
    for kept in 1..4 {
        let disk = disk.synced();
        all.iter().skip(kept).for_each(|name| disk.remove(name).unwrap());
        let error = recover(&disk, SEGMENT_BYTES).map(|(_, recovery)| recovery).unwrap_err();
        let missing = format!("{} is missing", all[kept]);
        assert!(error.to_string().starts_with(&missing), "{error}");
    }
    disk.remove(&all[4]).unwrap();
    assert_eq!(recover(&disk, SEGMENT_BYTES).unwrap().1.last, PersistSeq(20), "it was empty");
}

/// An empty segment in the place of one with records would pass for it.
#[test]
fn a_segment_under_the_name_of_another_is_refused() {
    let disk = journal(20, 0);
    let (mut journal, _) = recover(&disk, SEGMENT_BYTES).unwrap();
    journal.lay_out().unwrap();
    drop(journal);
    let all = names(&disk);
    disk.rename(&all[4], &all[3]).unwrap();
    let error = recover(&disk, SEGMENT_BYTES).map(|(_, recovery)| recovery).unwrap_err();
    assert_eq!(
        error.to_string(),
        "journal-000000000004.segment is really journal-000000000005.segment: give each file its \
         own name again"
    );
}

#[test]
fn a_note_that_records_go_on_is_written_again_where_it_is_damaged() {
    let disk = journal(20, 0);
    let inspection = JournalInspection::open(disk.clone(), &identity(), PersistSeq(0)).unwrap();
    let end = inspection.segments().next().unwrap().used_bytes;
    let all = names(&disk);
    assert!(disk.flip_bit(&all[0], end * 8));
    assert_eq!(recover(&disk, SEGMENT_BYTES).unwrap().1.last, PersistSeq(20));
    disk.crash();
    all.iter().skip(1).for_each(|name| disk.remove(name).unwrap());
    let error = recover(&disk, SEGMENT_BYTES).map(|(_, recovery)| recovery).unwrap_err();
    assert!(matches!(error, JournalError::MissingSegment { .. }), "{error}");
}

/// Passed by for a large record, a segment has none of its own to say that they go on.
#[test]
fn a_missing_segment_behind_an_empty_one_is_refused() {
    let disk = SimDisk::new(1);
    let (mut journal, _) = recover(&disk, SEGMENT_BYTES).unwrap();
    append(&mut journal, 2).unwrap();
    journal.sync().unwrap();
    journal.lay_out().unwrap();
    journal.append(PersistSeq(3), &vec![1u8; 5000]).unwrap();
    journal.sync().unwrap();
    drop(journal);
    disk.crash();
    let all = names(&disk);
    assert_eq!(all.len(), 3);
    disk.remove(&all[2]).unwrap();
    let error = recover(&disk, SEGMENT_BYTES).map(|(_, recovery)| recovery).unwrap_err();
    assert!(error.to_string().starts_with(&format!("{} is missing", all[2])), "{error}");
}

#[test]
fn zeros_over_what_was_on_disk_are_seen() {
    let durable = 20;
    let disk = journal(durable, 0);
    let last = names(&disk).pop().unwrap();
    for name in names(&disk) {
        let len = disk.read(&name).unwrap().len();
        for from in (128..len).step_by(8) {
            // Only the last segment itself knows that its records were on disk.
            match recovered(&disk, &name, |bytes| bytes[from..].fill(0)) {
                Ok(count) => assert!(count == durable || name == last, "{name} from {from}"),
                Err(JournalError::Damaged { .. }) => {}
                Err(other) => panic!("{name} from {from}: {other}"),
            }
        }
    }
}

#[test]
fn damage_names_file_place_record_and_remedy() {
    let disk = journal(4, 0);
    let name = names(&disk)[0].clone();
    let error = recovered(&disk, &name, |bytes| bytes[128 + 48] ^= 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "journal-000000000001.segment is damaged at byte 176: record 2 was on disk and is not \
         readable; do not start this server on it: restore a backup, or move the data directory \
         away and let the server join again (not server 1 of a linearizable cluster with W=1 or \
         R=1: save what the others hold with `kv-server backup DATA_DIRECTORY... FILE`, \
         naming those of all of them)"
    );
}
