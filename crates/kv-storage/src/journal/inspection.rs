//! A journal looked at and left as it is.

use std::path::PathBuf;

use kv_core::{PersistSeq, Wire};

use crate::disk::Disk;
use crate::identity::StoreIdentity;
use crate::journal::error::JournalError;
use crate::journal::recovery::TornTail;
use crate::journal::replay::Replay;
use crate::journal::scan::{FIRST_NUMBER, Scan, scan};
use crate::journal::segment;
use crate::mutation::Broken;

/// What a journal holds, every checksum verified, and nothing changed, not even a torn tail.
#[derive(Debug)]
pub struct JournalInspection<D: Disk> {
    disk: D,
    scan: Scan<D::File>,
}

/// One file of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// The file.
    pub file: PathBuf,
    /// The first and the last record in it.
    pub records: Option<(PersistSeq, PersistSeq)>,
    /// Bytes of its header and its records.
    pub used_bytes: u64,
    /// The file's length.
    pub capacity_bytes: u64,
}

impl<D: Disk> JournalInspection<D> {
    /// Looks at a journal. The server should not be running: what it writes meanwhile may look
    /// like a torn tail.
    ///
    /// # Errors
    /// [`JournalError`], as [`Journal::recover`](crate::Journal::recover) would give.
    pub fn open(
        disk: D,
        identity: &StoreIdentity,
        covers: PersistSeq,
    ) -> Result<Self, JournalError> {
        let scan = scan(&disk, identity, covers, false, Broken::NONE)?;
        Ok(Self { disk, scan })
    }

    /// The last record, 0 before the first.
    #[must_use]
    pub const fn last(&self) -> PersistSeq {
        self.scan.last
    }

    /// How many records there are.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.scan.records
    }

    /// Whether no record ever came to the disk, not even one that a checkpoint has let go.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        let first = self.scan.segments.first();
        let from_the_start = first.is_none_or(|segment| segment.number == FIRST_NUMBER);
        self.scan.records == 0 && self.scan.leftovers.is_empty() && from_the_start
    }

    /// The last record that the journal itself says was on disk.
    #[must_use]
    pub const fn durable_through(&self) -> PersistSeq {
        self.scan.durable_through
    }

    /// What the next start would cut off.
    #[must_use]
    pub fn torn(&self) -> Option<TornTail> {
        self.scan.torn(&self.disk)
    }

    /// The files, in order.
    pub fn segments(&self) -> impl Iterator<Item = SegmentReport> + '_ {
        self.scan.segments.iter().map(|segment| SegmentReport {
            file: self.disk.path(&segment::name(segment.number)),
            records: segment.records,
            used_bytes: segment.end,
            capacity_bytes: segment.capacity_bytes,
        })
    }

    /// The records after `after`, in order.
    pub fn replay<R: Wire>(&self, after: PersistSeq) -> Replay<D, R> {
        Replay::over(self.disk.clone(), &self.scan.segments, after)
    }
}
