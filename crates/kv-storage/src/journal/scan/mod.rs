//! What a journal's segments hold, without changing them.

mod scanner;
mod verdict;

use kv_core::PersistSeq;

use crate::disk::{Disk, DiskFile};
use crate::identity::StoreIdentity;
use crate::journal::error::JournalError;
use crate::journal::segment::{self, Segment};
use crate::mutation::Broken;
use scanner::Scanner;

/// The journal as it was found.
#[derive(Debug)]
pub(crate) struct Scan<F> {
    /// All segments, each up to the last record that follows from those before it.
    pub(crate) segments: Vec<Segment<F>>,
    /// The last record that follows from those before it, or that went with removed segments.
    pub(crate) last: PersistSeq,
    /// How many records there are up to that one.
    pub(crate) records: u64,
    /// Bytes that follow from nothing.
    pub(crate) leftovers: Vec<Leftover>,
    /// Whole records among them.
    pub(crate) records_after: u64,
    /// Where records stand of which no frame knows that they were synced: the segment's place in
    /// [`Scan::segments`], and from which byte to which.
    pub(crate) unsure: Vec<Leftover>,
    /// The highest record that any frame knows to be on disk.
    pub(crate) durable_through: PersistSeq,
    /// Bytes of frames, or of what might have been one, whose checksum was computed. Where it is
    /// much more than there is, somebody has found out how to make the work long.
    pub(crate) checked_bytes: u64,
}

/// Bytes after a segment's last record that should be zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leftover {
    /// The segment's place in [`Scan::segments`].
    pub(crate) place: usize,
    pub(crate) from: u64,
    pub(crate) until: u64,
}

/// Reads all segments in order and tells a torn tail from damage: what is missing at or below the
/// `durable_through` of any frame was on disk once.
///
/// # Errors
/// [`JournalError`] for damage, which is left as it is.
pub(crate) fn scan<D: Disk>(
    disk: &D,
    identity: &StoreIdentity,
    covers: PersistSeq,
    sync: bool,
    broken: Broken,
) -> Result<Scan<D::File>, JournalError> {
    let mut scanner = Scanner::new(disk, covers, broken);
    for number in numbers(disk)? {
        let segment = Segment::open(disk, number, identity)?;
        if sync {
            segment.file().sync()?;
        }
        scanner.take(segment)?;
    }
    scanner.finish()
}

/// The numbers of the segments, which must follow each other.
fn numbers(disk: &impl Disk) -> Result<Vec<u64>, JournalError> {
    let mut numbers: Vec<u64> =
        disk.list()?.iter().filter_map(|name| segment::number_of(name)).collect();
    numbers.sort_unstable();
    let first = numbers.first().copied().unwrap_or_default();
    for (expected, number) in (first..).zip(&numbers) {
        if expected != *number {
            return Err(JournalError::MissingSegment { file: disk.path(&segment::name(expected)) });
        }
    }
    Ok(numbers)
}

/// The number of a journal's first segment.
pub(crate) const FIRST_NUMBER: u64 = 1;

#[cfg(test)]
mod tests {
    use kv_core::NodeId;

    use super::*;
    use crate::disk::SimDisk;
    use crate::journal::segment::SegmentHeader;
    use crate::journal::{Journal, JournalConfig};

    /// Each eight bytes of the value look like the header of a frame as long as half of it.
    #[test]
    fn no_value_of_a_client_makes_the_search_for_frames_long() {
        let identity = StoreIdentity { store: 1, node: NodeId::FIRST, engine: "e".to_owned() };
        let none = PersistSeq(0);
        let value_bytes = 64u32 << 10;
        let words = [1u32.to_le_bytes(), (value_bytes / 2).to_le_bytes()].concat();
        for shift in [0, 4] {
            let disk = SimDisk::new(1);
            let config = JournalConfig::new(identity.clone());
            let config = JournalConfig { segment_bytes: 256 << 10, reserve_bytes: 0, ..config };
            let (mut journal, _) = Journal::recover(disk.clone(), config, none).unwrap();
            let value: Vec<u8> = words.iter().copied().cycle().skip(shift).take(64 << 10).collect();
            journal.append(PersistSeq(1), &value).unwrap();
            journal.write().unwrap();
            disk.kill();
            let look = || scan(&disk, &identity, none, false, Broken::NONE).unwrap();
            let whole = look();
            assert_eq!((whole.records, whole.leftovers.len()), (1, 0));
            disk.damage(&segment::name(1), |bytes| bytes[SegmentHeader::LEN + 8] ^= 1);
            let torn = look();
            assert_eq!((torn.records, torn.leftovers.len()), (0, 1));
            let bound = u64::from(value_bytes);
            assert!(torn.checked_bytes <= bound, "{} bytes were checked", torn.checked_bytes);
        }
    }
}
