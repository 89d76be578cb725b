//! Segments are laid out in full before they are used.
//!
//! Every block of a segment is written and synced once, so that a record's sync later has no
//! metadata to write, and cannot find the disk full. It is synced in small pieces, since the syncs
//! of records wait behind whatever the disk was given before them.

use crate::disk::{Disk, DiskFile};
use crate::journal::JournalConfig;
use crate::journal::error::JournalError;
use crate::journal::segment::{self, Segment, SegmentHeader};

/// The work of laying out the journal's next segment. It touches no other segment, so it may run
/// on a thread of its own.
#[derive(Debug)]
pub struct LayoutJob<D: Disk> {
    pub(crate) disk: D,
    pub(crate) config: JournalConfig,
    pub(crate) number: u64,
    pub(crate) capacity_bytes: u64,
    /// It may leave half of the reserve alone, since records find no room otherwise.
    pub(crate) may_use_reserve: bool,
}

/// How a [`LayoutJob`] went, for [`Journal::end_layout`](crate::Journal::end_layout).
#[derive(Debug)]
pub struct LayoutDone<D: Disk> {
    pub(crate) result: Result<Segment<D::File>, JournalError>,
    /// The lack of room in spite of which it was laid out, from the reserve.
    pub(crate) lack: Option<Box<JournalError>>,
}

impl<D: Disk> LayoutJob<D> {
    /// Lays out the segment.
    #[must_use]
    pub fn run(self) -> LayoutDone<D> {
        self.run_unless(|| false).unwrap_or_else(|| unreachable!("it is never given up"))
    }

    /// Lays out the segment, unless that is to be given up: this is looked at before each piece.
    pub(crate) fn run_unless(self, is_over: impl Fn() -> bool) -> Option<LayoutDone<D>> {
        let mut lack = None;
        let room = self.check_room().or_else(|error| self.use_reserve(error, &mut lack));
        let result = room.and_then(|()| self.lay_out(is_over)).transpose();
        if !matches!(result, Some(Ok(_))) {
            // Room that was taken is given back; what stays is removed by the next recovery.
            let _ = self.disk.remove(&segment::draft_name(self.number));
        }
        result.map(|result| LayoutDone { result, lack })
    }

    /// What the segment takes, and what it must leave free.
    pub(crate) fn needed_bytes(&self) -> u64 {
        self.capacity_bytes.saturating_add(self.config.reserve_bytes)
    }

    fn check_room(&self) -> Result<(), JournalError> {
        let needed_bytes = self.needed_bytes();
        let free_bytes = self.disk.free_bytes()?;
        if free_bytes < needed_bytes {
            return Err(JournalError::Full { needed_bytes, free_bytes });
        }
        Ok(())
    }

    /// Takes what half of the reserve leaves.
    fn use_reserve(
        &self,
        error: JournalError,
        lack: &mut Option<Box<JournalError>>,
    ) -> Result<(), JournalError> {
        let free_bytes =
            if let JournalError::Full { free_bytes, .. } = &error { *free_bytes } else { 0 };
        let least_bytes = self.capacity_bytes.saturating_add(self.config.reserve_bytes / 2);
        if !self.may_use_reserve || free_bytes < least_bytes {
            return Err(error);
        }
        *lack = Some(Box::new(error));
        Ok(())
    }

    fn lay_out(
        &self,
        is_over: impl Fn() -> bool,
    ) -> Result<Option<Segment<D::File>>, JournalError> {
        let capacity_bytes = self.capacity_bytes;
        let draft = segment::draft_name(self.number);
        let identity = self.config.identity.clone();
        let (header, seed) = SegmentHeader { identity, number: self.number, capacity_bytes }.seal();
        // Before the zeros, which may take as long as records need to fill the segment before this
        // one: a process that may open no more files is to know it while that has room.
        let file = self.disk.create(&draft).map_err(|e| self.room_or_failure(e))?;
        let other = self.disk.open(&draft).map_err(|e| self.room_or_failure(e))?;
        file.write_at(0, &header).map_err(|e| self.room_or_failure(e))?;
        let longest = usize::try_from(capacity_bytes).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let zeros = vec![0; longest];
        let mut offset = SegmentHeader::END;
        assert!(offset < capacity_bytes, "the header is synced with what follows it");
        while offset < capacity_bytes {
            if is_over() {
                return Ok(None);
            }
            let len = usize::try_from(capacity_bytes - offset).unwrap_or(CHUNK_BYTES);
            let chunk = zeros.get(..len.min(longest)).unwrap_or_default();
            file.write_at(offset, chunk).map_err(|e| self.room_or_failure(e))?;
            file.sync().map_err(|e| self.room_or_failure(e))?;
            offset += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        }
        let name = segment::name(self.number);
        self.disk.rename(&draft, &name)?;
        self.disk.sync_directory()?;
        let handles = [file, other].map(|file| file.renamed(self.disk.path(&name)));
        Ok(Some(Segment::empty(self.number, handles, seed, capacity_bytes)))
    }

    fn room_or_failure(&self, error: crate::DiskError) -> JournalError {
        if error.is_full() {
            let needed_bytes = self.needed_bytes();
            let free_bytes = self.disk.free_bytes().unwrap_or(0);
            return JournalError::Full { needed_bytes, free_bytes };
        }
        if error.lacks_descriptors() {
            return JournalError::TooManyFiles(error);
        }
        JournalError::Failed(error)
    }
}

/// How much is given to the disk before it is synced.
const CHUNK_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use kv_core::NodeId;

    use super::*;
    use crate::disk::{SimDisk, SimFile};
    use crate::identity::StoreIdentity;

    fn lay_out(disk: &SimDisk, pieces: u64) -> Result<Segment<SimFile>, JournalError> {
        let identity = StoreIdentity { store: 1, node: NodeId::FIRST, engine: "e".to_owned() };
        let config = JournalConfig::new(identity);
        let capacity_bytes = SegmentHeader::END + (pieces << 20);
        let (disk, may_use_reserve) = (disk.clone(), false);
        let job = LayoutJob { disk, config, number: 1, capacity_bytes, may_use_reserve };
        let segment = job.run().result?;
        assert_eq!(segment.capacity_bytes, capacity_bytes);
        Ok(segment)
    }

    /// How many operations laying out a segment of so many pieces takes.
    fn operations(pieces: u64) -> u64 {
        let disk = SimDisk::new(1);
        lay_out(&disk, pieces).unwrap();
        disk.operations()
    }

    #[test]
    fn every_piece_is_synced_before_the_next_one_is_written() {
        assert_eq!(operations(3) - operations(1), 4);
    }

    /// Else records may fill the segment before it, until they have no room to wait in.
    #[test]
    fn a_want_of_open_files_is_known_before_anything_is_written() {
        let disk = SimDisk::new(1);
        disk.fail_next_open();
        let error = lay_out(&disk, 1).unwrap_err();
        assert!(matches!(error, JournalError::TooManyFiles(_)), "{error}");
        let measured_made_and_removed = 3;
        assert_eq!(disk.operations(), measured_made_and_removed);
        assert!(disk.list().unwrap().is_empty());
    }

    #[test]
    fn errors_name_the_segment_and_not_its_draft() {
        let disk = SimDisk::new(1);
        let segment = lay_out(&disk, 1).unwrap();
        for file in &segment.handles {
            disk.fail_next_sync();
            let error = file.sync().unwrap_err().to_string();
            assert!(error.contains("journal-000000000001.segment:"), "{error}");
        }
    }
}
