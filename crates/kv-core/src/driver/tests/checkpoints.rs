//! When a checkpoint is taken, and how it comes to its writer.

use super::*;

/// A checkpoint at 100 bytes of journal, at most one a second, two chunks ahead of its writer.
const POLICY: CheckpointPolicy =
    CheckpointPolicy { bytes_max: 100, interval_min: Duration::from_secs(1), chunks_max: 2 };

/// A driver whose disk has one record that no checkpoint covers, and whose checkpoints have so many
/// changes, each a chunk.
fn with_changes(count: u8) -> Core {
    let mut core = core(durable(POLICY));
    hold_items(&mut core, count);
    core.engine_mut().covers = PersistSeq(1);
    persist_through(&mut core, at(0), 1);
    core
}

fn begin(covers: u64, changes: usize) -> Output<u64, u64> {
    let metadata = Bytes::from_static(b"metadata");
    Output::BeginCheckpoint { covers: PersistSeq(covers), metadata, changes }
}

fn write(name: u8, is_last: bool) -> Output<u64, u64> {
    Output::WriteChanges { changes: vec![(item(name), Some(item(name)))], is_last }
}

fn written_bytes(core: &mut Core, now: Now, bytes: u64) -> Outputs {
    core.note_journal_bytes(bytes);
    settle(core, now)
}

fn views(core: &Core) -> usize {
    core.engine().views.len()
}

#[test]
fn a_checkpoint_begins_once_the_journal_has_grown_so_much() {
    let mut core = with_changes(1);
    assert_eq!(written_bytes(&mut core, at(1), 99), []);
    assert_eq!(written_bytes(&mut core, at(2), 100), [begin(1, 1), write(0, true)]);
    assert_eq!(written_bytes(&mut core, at(3), 500), [], "one at a time");
}

#[test]
fn a_journal_that_was_found_at_the_start_counts() {
    let disk = DriverDisk {
        persisted: PersistSeq(7),
        covers: PersistSeq(3),
        journal_bytes: 60,
        checkpoints: POLICY,
    };
    let mut core = DriverCore::new(Scripted::default(), [], DriverConfig::durable(disk));
    core.engine_mut().covers = PersistSeq(7);
    assert_eq!(core.checkpoint_covers(), PersistSeq(3));
    assert_eq!(written_bytes(&mut core, at(0), 39), []);
    let nothing = Output::WriteChanges { changes: Vec::new(), is_last: true };
    assert_eq!(written_bytes(&mut core, at(1), 40), [begin(7, 0), nothing]);
}

#[test]
fn a_checkpoint_begins_when_the_disk_is_short() {
    let mut core = with_changes(1);
    core.on_room(at(1), Some(Shortage::Space));
    assert_eq!(settle(&mut core, at(1)), [begin(1, 1), write(0, true)]);
}

#[test]
fn no_checkpoint_begins_that_would_cover_nothing_new() {
    let mut core = with_changes(1);
    core.engine_mut().covers = PersistSeq(0);
    assert_eq!(written_bytes(&mut core, at(1), 100), []);
    assert_eq!(views(&core), 0);
    assert_eq!(core.next_deadline(), Some(at(1_001).mono), "it is tried again");
}

#[test]
fn a_driver_without_a_disk_takes_no_checkpoints() {
    let mut core = core(DriverConfig::MEMORY);
    core.engine_mut().covers = PersistSeq(1);
    step(&mut core, at(0), [persist(1)]);
    assert_eq!(written_bytes(&mut core, at(1), u64::MAX), []);
    assert_eq!((views(&core), core.next_deadline()), (0, None));
}

#[test]
fn a_writer_is_handed_no_more_chunks_than_it_has_room_for() {
    let mut core = with_changes(4);
    let outputs = written_bytes(&mut core, at(1), 100);
    assert_eq!(outputs, [begin(1, 4), write(0, false), write(1, false)]);
    assert_eq!(core.next_deadline(), None, "it waits for the writer");
    core.on_changes_taken();
    assert_eq!(settle(&mut core, at(2)), [write(2, false)]);
    core.on_changes_taken();
    core.on_changes_taken();
    assert_eq!(settle(&mut core, at(3)), [write(3, true)]);
    core.on_changes_taken();
    assert_eq!(settle(&mut core, at(4)), []);
}

#[test]
fn an_engine_is_told_that_its_checkpoint_is_written() {
    let mut core = with_changes(1);
    written_bytes(&mut core, at(1), 100);
    assert_eq!((core.checkpoint_covers(), views(&core)), (PersistSeq(0), 1));
    core.on_checkpoint_written(at(2));
    let written = Input::CheckpointWritten { covers: PersistSeq(1) };
    assert_eq!(core.engine().inputs.last(), Some(&written));
    assert_eq!((core.checkpoint_covers(), views(&core)), (PersistSeq(1), 0));
    assert_eq!(core.counters().checkpoints_written, 1);
    core.on_checkpoint_written(at(3));
    assert_eq!(core.counters().checkpoints_written, 1, "none was under way");
}

#[test]
fn the_next_checkpoint_begins_after_as_much_again_and_not_at_once() {
    let mut core = with_changes(1);
    written_bytes(&mut core, at(1), 100);
    core.on_checkpoint_written(at(2));
    persist_through(&mut core, at(3), 2);
    core.engine_mut().covers = PersistSeq(2);
    assert_eq!(written_bytes(&mut core, at(4), 199), []);
    assert_eq!(written_bytes(&mut core, at(5), 200), []);
    assert_eq!(core.next_deadline(), Some(at(1_002).mono));
    assert_eq!(settle(&mut core, at(1_002)), [begin(2, 1), write(0, true)]);
}

#[test]
fn a_checkpoint_that_was_not_written_is_tried_again() {
    let mut core = with_changes(3);
    written_bytes(&mut core, at(1), 100);
    core.on_checkpoint_failed(at(2));
    assert_eq!(views(&core), 0);
    assert_eq!(settle(&mut core, at(1_001)), []);
    assert_eq!(core.next_deadline(), Some(at(1_002).mono));
    let outputs = settle(&mut core, at(1_002));
    assert_eq!(outputs, [begin(1, 3), write(0, false), write(1, false)]);
    assert_eq!(core.counters().checkpoints_written, 0);
}

#[test]
fn a_checkpoint_is_abandoned_when_its_view_is_gone() {
    let mut core = with_changes(3);
    written_bytes(&mut core, at(1), 100);
    core.engine_mut().views.clear();
    core.on_changes_taken();
    assert_eq!(settle(&mut core, at(2)), [Output::AbandonCheckpoint]);
    let outputs = settle(&mut core, at(1_002));
    assert_eq!(outputs, [begin(1, 3), write(0, false), write(1, false)]);
}

#[test]
fn a_checkpoint_waits_until_the_engine_can_open_a_view() {
    let mut core = with_changes(1);
    core.engine_mut().opens_no_views = true;
    assert_eq!(written_bytes(&mut core, at(1), 100), []);
    core.engine_mut().opens_no_views = false;
    assert_eq!(core.next_deadline(), Some(at(1_001).mono));
    assert_eq!(settle(&mut core, at(1_001)), [begin(1, 1), write(0, true)]);
}
