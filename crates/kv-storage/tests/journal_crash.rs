//! Crashes at any moment: what was synced is there, and nothing is there that was not appended.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod store;

use kv_core::PersistSeq;
use kv_storage::{Disk, Journal, JournalError, JournalInspection, SimDisk};
use proptest::prelude::*;

use crate::store::{append, identity, recover, replayed};

const SEGMENT_BYTES: u64 = 512;

/// No recovery of so small a journal takes more.
const RECOVERY_OPERATIONS_MAX: u64 = 200;

fn lose_power(disk: &SimDisk) {
    disk.crash();
}

#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    Write,
    Sync,
    /// A sync under way while more is appended and written.
    SyncMeanwhile(u64),
    LayOut,
    Prune,
    Crash,
    Kill,
    /// Power is lost within the next operations.
    StopAfter(u64),
    FailSync,
    FailWrite,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..8u64).prop_map(Step::Append),
        3 => Just(Step::Write),
        6 => Just(Step::Sync),
        3 => (1..8u64).prop_map(Step::SyncMeanwhile),
        2 => Just(Step::LayOut),
        1 => Just(Step::Prune),
        2 => Just(Step::Crash),
        1 => Just(Step::Kill),
        2 => (0..12u64).prop_map(Step::StopAfter),
        1 => Just(Step::FailSync),
        1 => Just(Step::FailWrite),
    ]
}

struct Run {
    disk: SimDisk,
    journal: Journal<SimDisk>,
    /// The last record that was said to be on disk.
    promised: PersistSeq,
    /// The last record that a checkpoint reflects.
    covers: PersistSeq,
    appended: PersistSeq,
}

impl Run {
    fn start(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let (journal, _) = recover(&disk, SEGMENT_BYTES).unwrap();
        let none = PersistSeq(0);
        Self { disk, journal, promised: none, covers: none, appended: none }
    }

    /// Errors are those of a disk that fails; the process then ends by them.
    fn take(&mut self, step: &Step) -> Result<(), JournalError> {
        match step {
            Step::Append(records) => append(&mut self.journal, *records)?,
            Step::Write => self.journal.write()?,
            Step::Sync => {
                self.promised = self.journal.sync()?;
                self.lose_last_segment();
            }
            Step::SyncMeanwhile(records) => {
                let first = self.journal.begin_sync()?;
                append(&mut self.journal, *records)?;
                let second = self.journal.begin_sync()?;
                // The first one to begin is the last one to end.
                for job in [second, first].into_iter().flatten() {
                    self.promised = self.journal.end_sync(job.run())?;
                }
            }
            Step::LayOut => self.journal.lay_out()?,
            Step::Prune => {
                self.covers = self.journal.durable();
                self.journal.remove_through(self.covers)?;
            }
            Step::Crash => self.restart(lose_power),
            Step::Kill => self.restart(SimDisk::kill),
            Step::StopAfter(operations) => self.disk.stop_after(*operations),
            Step::FailSync => self.disk.fail_next_sync(),
            Step::FailWrite => self.disk.fail_next_write(),
        }
        Ok(())
    }

    fn restart(&mut self, end: fn(&SimDisk)) {
        self.appended = self.appended.max(self.journal.last());
        end(&self.disk);
        let config = store::config(SEGMENT_BYTES);
        let recovered = Journal::recover(self.disk.clone(), config, self.covers);
        let (journal, recovery) = recovered.unwrap();
        assert!(recovery.last >= self.promised, "{recovery:?}, promised {}", self.promised);
        assert!(recovery.last <= self.appended);
        let after = replayed(&journal, self.covers.0).unwrap();
        assert_eq!(self.covers.0 + after, recovery.last.0);
        // What is recovered is on disk from here on.
        self.promised = recovery.last;
        self.appended = recovery.last;
        self.journal = journal;
        self.lose_last_segment();
    }

    /// All that was appended is on disk. On a copy of it, the last segment with records is lost
    /// with all that follow it, and the others do not pass for a whole journal.
    fn lose_last_segment(&self) {
        let disk = self.disk.synced();
        let inspect = JournalInspection::open(disk.clone(), &identity(), self.covers).unwrap();
        let segments: Vec<_> = inspect.segments().collect();
        let last = segments.iter().rposition(|segment| segment.records.is_some());
        let Some(last) = last.filter(|last| *last > 0) else {
            return;
        };
        for segment in &segments[last..] {
            disk.remove(segment.file.to_str().unwrap()).unwrap();
        }
        let lost = JournalInspection::open(disk, &identity(), self.covers);
        assert!(matches!(lost, Err(JournalError::MissingSegment { .. })), "{lost:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_recovery_finds_a_prefix_with_all_that_was_synced(
        seed: u64,
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut run = Run::start(seed);
        for step in &steps {
            if run.take(step).is_err() {
                let stays = run.journal.write();
                prop_assert!(stays.is_err() && stays == run.journal.write());
                let power_is_lost = run.disk.has_stopped() || seed % 2 == 0;
                run.restart(if power_is_lost { lose_power } else { SimDisk::kill });
            }
        }
        run.restart(lose_power);
    }
}

/// The system takes what a failed sync left in its memory for written: no later sync would bring it
/// to the disk.
#[test]
fn what_a_failed_sync_left_behind_is_written_again_before_it_is_served() {
    for seed in 0..50 {
        let mut run = Run::start(seed);
        for step in [Step::Append(3), Step::Sync, Step::Append(3), Step::FailSync] {
            run.take(&step).unwrap();
        }
        run.take(&Step::Sync).unwrap_err();
        run.restart(SimDisk::kill);
        assert_eq!(run.promised, PersistSeq(6), "it is in memory, and was served from there");
        run.restart(lose_power);
    }
}

/// A disk may keep the later of two removals and lose the earlier one: that would be a gap.
#[test]
fn power_lost_while_segments_are_removed_leaves_no_gap_between_them() {
    for seed in 0..40 {
        for stop in 0..8 {
            let mut run = Run::start(seed);
            for step in [Step::Append(60), Step::Sync] {
                run.take(&step).unwrap();
            }
            assert!(run.journal.status().segments > 4);
            run.disk.stop_after(stop);
            run.take(&Step::Prune).unwrap_err();
            run.restart(lose_power);
        }
    }
}

/// Every operation of a fixed course is once the one before which power is lost, recoveries
/// included.
#[test]
fn power_may_be_lost_between_any_two_operations() {
    let course = |run: &mut Run| -> Result<(), JournalError> {
        for _ in 0..6 {
            for step in [Step::Append(3), Step::Sync, Step::LayOut, Step::SyncMeanwhile(4)] {
                run.take(&step)?;
            }
            run.take(&Step::Prune)?;
        }
        Ok(())
    };
    let mut whole = Run::start(0);
    course(&mut whole).unwrap();
    let operations = whole.disk.operations();
    assert!(operations > 80, "{operations}");
    for stop in 0..operations {
        for seed in 0..4 {
            let mut run = Run::start(seed);
            run.disk.stop_after(stop);
            let ended = course(&mut run);
            run.disk.crash();
            // Power is lost in the recovery as well, once before each of its operations.
            for stop in 0..RECOVERY_OPERATIONS_MAX {
                run.disk.stop_after(stop);
                let config = store::config(SEGMENT_BYTES);
                let recovered = Journal::recover(run.disk.clone(), config, run.covers);
                run.disk.crash();
                if recovered.is_ok() {
                    break;
                }
            }
            run.restart(lose_power);
            assert!(ended.is_err() || run.promised >= whole.promised);
        }
    }
}
