//! A journal goes on from what its segments hold.

use std::collections::VecDeque;
use std::path::PathBuf;

use bytes::BytesMut;
use kv_core::PersistSeq;

use crate::disk::{Disk, DiskFile};
use crate::journal::error::JournalError;
use crate::journal::frame::FrameKind;
use crate::journal::scan::{FIRST_NUMBER, Leftover, Scan, scan};
use crate::journal::segment::{self, MARK_BYTES, Segment};
use crate::journal::sync::Syncs;
use crate::journal::{Journal, JournalConfig};
use crate::mutation::Mutation;

/// What a recovery found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The last record; 0 before the first.
    pub last: PersistSeq,
    /// How many records there are.
    pub records: u64,
    /// What was cut off, if anything was.
    pub torn: Option<TornTail>,
}

/// Bytes after the last record that were being written when the process or the power went. No
/// record among them was ever said to be on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The first segment that had some.
    pub file: PathBuf,
    /// From which byte on.
    pub offset: u64,
    /// How many whole records were among them.
    pub records: u64,
}

impl<D: Disk> Journal<D> {
    /// Opens the journal of a disk, or makes an empty one if there is none.
    ///
    /// First everything is synced, since what an ended process wrote may be in the system's
    /// memory only, and must not be served before it is on disk. Then all records are read: a
    /// torn tail is cut off, damage is an error and is left as it is. Records of which none knows
    /// that they were synced are written once more: the sync that failed before that process ended
    /// may have left them in the system's memory, where the next sync takes them for written.
    /// `covers` is the last record that the checkpoint reflects, 0 without one.
    ///
    /// # Errors
    /// [`JournalError`] if the journal is damaged or not the checkpoint's, or if the disk fails.
    pub fn recover(
        disk: D,
        config: JournalConfig,
        covers: PersistSeq,
    ) -> Result<(Self, Recovery), JournalError> {
        Self::check_formats(&disk)?;
        for name in disk.list()?.iter().filter(|name| segment::is_draft(name)) {
            disk.remove(name)?;
        }
        let sync = !config.broken.is(Mutation::UnsyncedTailTrusted);
        let scan = scan(&disk, &config.identity, covers, sync, config.broken)?;
        disk.sync_directory()?;
        if sync {
            write_again(&scan)?;
        }
        if !config.broken.is(Mutation::TornTailKept) {
            cut(&scan)?;
        }
        tracing::debug!(records = scan.records, checked_bytes = scan.checked_bytes, "journal read");
        let torn = scan.torn(&disk);
        let recovery = Recovery { last: scan.last, records: scan.records, torn };
        note_continuations(&scan)?;
        let mut journal = Self::going_on(disk, config, scan);
        if journal.segments.is_empty() {
            let first = journal.layout_job(0).run().result?;
            assert_eq!(first.number, FIRST_NUMBER);
            journal.segments.push_back(first);
        }
        journal.note_durable()?;
        if sync {
            // So that later damage to the last records is not taken for a torn tail.
            journal.active().file().sync()?;
        }
        Ok((journal, recovery))
    }

    /// Looks whether there is a journal, where there was one: [`Journal::recover`] would begin anew.
    ///
    /// # Errors
    /// [`JournalError::MissingSegment`] if there is none.
    pub fn check_present(disk: &D) -> Result<(), JournalError> {
        if disk.list()?.iter().any(|name| segment::number_of(name).is_some()) {
            return Ok(());
        }
        Err(JournalError::MissingSegment { file: disk.path(&segment::name(FIRST_NUMBER)) })
    }

    /// Looks whether this release reads the formats of the segments, before anything is changed.
    ///
    /// # Errors
    /// [`JournalError::NewerFormat`] or [`JournalError::OlderFormat`] if it does not read one of
    /// them, [`JournalError::Failed`] if the disk fails.
    pub fn check_formats(disk: &D) -> Result<(), JournalError> {
        let numbers: Vec<u64> =
            disk.list()?.iter().filter_map(|name| segment::number_of(name)).collect();
        numbers.into_iter().try_for_each(|number| segment::check_format(disk, number))
    }

    fn going_on(disk: D, config: JournalConfig, scan: Scan<D::File>) -> Self {
        let mut segments = VecDeque::from(scan.segments);
        let active = segments.iter().rposition(|segment| segment.records.is_some()).unwrap_or(0);
        let spares = segments.split_off(segments.len().min(active + 1));
        if config.broken.is(Mutation::TornTailKept)
            && let Some(torn) = scan.leftovers.iter().find(|leftover| leftover.place == active)
            && let Some(segment) = segments.back_mut()
        {
            let end = torn.until.next_multiple_of(8);
            segment.end = end.min(segment.capacity_bytes - MARK_BYTES);
        }
        Self {
            disk,
            config,
            segments,
            spares,
            layout_under_way: false,
            awaited_bytes: 0,
            lack: None,
            buffer: BytesMut::new(),
            last: scan.last,
            written: scan.last,
            durable: scan.last,
            noted: PersistSeq(0),
            syncs: Syncs::after(scan.last),
            failure: None,
        }
    }
}

impl<F> Scan<F> {
    /// What follows from nothing, if anything does.
    pub(crate) fn torn(&self, disk: &impl Disk) -> Option<TornTail> {
        let leftover = self.leftovers.first()?;
        let segment = self.segments.get(leftover.place)?;
        Some(TornTail {
            file: disk.path(&segment::name(segment.number)),
            offset: leftover.from,
            records: self.records_after,
        })
    }
}

/// Writes records once more that may be in the system's memory only, though no sync says so.
fn write_again<F: DiskFile>(scan: &Scan<F>) -> Result<(), JournalError> {
    for Leftover { place, from, until } in &scan.unsure {
        let Some(segment) = scan.segments.get(*place) else {
            continue;
        };
        let mut bytes = vec![0; usize::try_from(until - from).unwrap_or(usize::MAX)];
        segment.file().read_at(*from, &mut bytes)?;
        segment.file().write_at(*from, &bytes)?;
        segment.file().sync()?;
    }
    Ok(())
}

/// Notes in each segment that the next one goes on, where that may not be on disk: it is where it
/// is read and some frame knows that the next record is on disk, which was synced later.
fn note_continuations<F: DiskFile>(scan: &Scan<F>) -> Result<(), JournalError> {
    let mut next_first = None;
    for segment in scan.segments.iter().rev() {
        let is_noted = |first| segment.continues && first <= scan.durable_through;
        if next_first.is_some_and(|first| !is_noted(first)) {
            let last = segment.records.map_or(PersistSeq(0), |(_, last)| last);
            segment.write_mark(FrameKind::Continuation, last, scan.durable_through.min(last))?;
            segment.file().sync()?;
        }
        next_first = segment.records.map(|(first, _)| first).or(next_first);
    }
    Ok(())
}

/// Writes zeros over what follows from nothing, so that no later recovery takes it for records.
fn cut<F: DiskFile>(scan: &Scan<F>) -> Result<(), JournalError> {
    scan.leftovers.iter().try_for_each(|leftover| {
        scan.segments.get(leftover.place).map_or(Ok(()), |segment| clear(segment, *leftover))
    })
}

fn clear<F: DiskFile>(segment: &Segment<F>, leftover: Leftover) -> Result<(), JournalError> {
    let len = usize::try_from(leftover.until - leftover.from).unwrap_or(usize::MAX);
    segment.file().write_at(leftover.from, &vec![0; len])?;
    segment.file().sync()?;
    Ok(())
}
