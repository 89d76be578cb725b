//! One file of the journal.

use std::path::PathBuf;

use bytes::{BufMut, Bytes, BytesMut};
use kv_core::{GroupId, PersistSeq, Wire, wire_struct};

use crate::disk::{Disk, DiskFile};
use crate::identity::{Preamble, PreambleFault, StoreIdentity};
use crate::journal::error::JournalError;
use crate::journal::frame::{FrameHeader, FrameKind, HEADER_LEN};
use crate::journal::sync::SYNCS_MAX;

/// An open segment: a header, records, zeros.
#[derive(Clone, Debug)]
pub(crate) struct Segment<F> {
    pub(crate) number: u64,
    /// The file, opened once for each sync of it that may be under way.
    pub(crate) handles: [F; SYNCS_MAX],
    /// What the checksums of its frames continue from, so that frames of other segments are not
    /// taken for its own.
    pub(crate) seed: u32,
    pub(crate) capacity_bytes: u64,
    /// Where the next frame goes.
    pub(crate) end: u64,
    /// The first and the last record in it.
    pub(crate) records: Option<(PersistSeq, PersistSeq)>,
    /// Whether a frame was read in it that says that records go on in the next segment.
    pub(crate) continues: bool,
}

/// What stands at the front of a segment, in 128 bytes with zeros before the checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) identity: StoreIdentity,
    pub(crate) number: u64,
    pub(crate) capacity_bytes: u64,
}

wire_struct!(SegmentHeader { identity, number, capacity_bytes });

impl SegmentHeader {
    pub(crate) const LEN: usize = 128;

    /// Where a segment's first frame stands.
    pub(crate) const END: u64 = 128;

    /// The header's bytes and the seed of the segment's frames.
    pub(crate) fn seal(&self) -> (Bytes, u32) {
        let mut out = BytesMut::with_capacity(Self::LEN);
        FORMAT.encode(&mut out);
        self.encode(&mut out);
        assert!(out.len() <= BODY_END, "the engine's name is too long for a segment's header");
        out.resize(BODY_END, 0);
        let checksum = crc32c::crc32c(&out);
        out.put_u32_le(checksum);
        (out.freeze(), checksum)
    }

    fn open(bytes: &[u8]) -> Result<(Self, u32), PreambleFault> {
        FORMAT.check(bytes)?;
        let damaged = PreambleFault::Damaged;
        let sealed = bytes.get(..Self::LEN).and_then(|bytes| bytes.split_last_chunk::<4>());
        let (body, checksum) = sealed.ok_or(damaged)?;
        let checksum = u32::from_le_bytes(*checksum);
        let mut fields = Bytes::copy_from_slice(body.get(Preamble::LEN..).ok_or(damaged)?);
        let header = Self::decode(&mut fields).map_err(|_| damaged)?;
        if crc32c::crc32c(body) == checksum { Ok((header, checksum)) } else { Err(damaged) }
    }
}

impl<F: DiskFile> Segment<F> {
    /// Opens a segment and looks at its header and its length.
    ///
    /// # Errors
    /// [`JournalError`] if it is not a whole segment of this store.
    pub(crate) fn open(
        disk: &impl Disk<File = F>,
        number: u64,
        identity: &StoreIdentity,
    ) -> Result<Self, JournalError> {
        let name = name(number);
        let file = disk.open(&name)?;
        let found_bytes = file.size_bytes()?;
        let path = || disk.path(&name);
        if found_bytes < SegmentHeader::END {
            return Err(JournalError::DamagedHeader { file: path() });
        }
        let mut bytes = [0; SegmentHeader::LEN];
        file.read_at(0, &mut bytes)?;
        format_of(&bytes, path)?;
        let (header, seed) = SegmentHeader::open(&bytes).map_err(|fault| refused(fault, path))?;
        if header.identity != *identity {
            return Err(JournalError::OtherStore { file: path() });
        }
        if header.number != number {
            let right = disk.path(&self::name(header.number));
            return Err(JournalError::OtherSegment { file: path(), right });
        }
        if header.capacity_bytes != found_bytes {
            let expected_bytes = header.capacity_bytes;
            return Err(JournalError::DamagedLength { file: path(), expected_bytes, found_bytes });
        }
        Ok(Self::empty(number, [file, disk.open(&name)?], seed, header.capacity_bytes))
    }

    pub(crate) fn empty(
        number: u64,
        handles: [F; SYNCS_MAX],
        seed: u32,
        capacity_bytes: u64,
    ) -> Self {
        let end = SegmentHeader::END;
        Self { number, handles, seed, capacity_bytes, end, records: None, continues: false }
    }

    /// The file, to read and write.
    pub(crate) const fn file(&self) -> &F {
        let [file, _] = &self.handles;
        file
    }

    /// The whole segment.
    ///
    /// # Errors
    /// [`JournalError::Failed`] if it cannot be read.
    pub(crate) fn read(&self) -> Result<Vec<u8>, JournalError> {
        let len = usize::try_from(self.capacity_bytes).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        self.file().read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Room for records: a mark always fits behind the last one.
    pub(crate) const fn left_bytes(&self) -> u64 {
        self.capacity_bytes.saturating_sub(self.end + MARK_BYTES)
    }

    /// Writes a mark behind the last record, in place of the one that is there.
    ///
    /// # Errors
    /// [`JournalError::Failed`] if it cannot be written.
    pub(crate) fn write_mark(
        &self,
        kind: FrameKind,
        seq: PersistSeq,
        durable_through: PersistSeq,
    ) -> Result<(), JournalError> {
        let header = FrameHeader { kind, group: GroupId(0), seq, durable_through };
        self.file().write_at(self.end, &header.encode_mark(self.seed))?;
        Ok(())
    }

    /// Notes that records up to `last` are in it.
    pub(crate) fn note(&mut self, last: PersistSeq) {
        let first = self.records.map_or(last, |(first, _)| first);
        self.records = Some((first, last));
    }
}

/// Whether this release reads the format of a segment, as far as that can be told without the rest
/// of it: a segment that is damaged or too short is found out when it is opened.
///
/// # Errors
/// [`JournalError::NewerFormat`], [`JournalError::OlderFormat`], or [`JournalError::Failed`] if it
/// cannot be read.
pub(crate) fn check_format(disk: &impl Disk, number: u64) -> Result<(), JournalError> {
    let name = name(number);
    let file = disk.open(&name)?;
    let mut bytes = [0; Preamble::LEN];
    if file.size_bytes()? < SegmentHeader::END {
        return Ok(());
    }
    file.read_at(0, &mut bytes)?;
    match format_of(&bytes, || disk.path(&name)) {
        Ok(()) | Err(JournalError::DamagedHeader { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn format_of(bytes: &[u8], path: impl Fn() -> PathBuf) -> Result<(), JournalError> {
    let found = FORMAT.check(bytes).map_err(|fault| refused(fault, &path))?;
    if found < OLDEST_VERSION {
        return Err(JournalError::OlderFormat { file: path(), found, oldest: OLDEST_VERSION });
    }
    Ok(())
}

fn refused(fault: PreambleFault, path: impl Fn() -> PathBuf) -> JournalError {
    match fault {
        PreambleFault::Damaged => JournalError::DamagedHeader { file: path() },
        PreambleFault::Newer { found } => {
            JournalError::NewerFormat { file: path(), found, known: FORMAT.version }
        }
    }
}

/// The file of a segment.
pub(crate) fn name(number: u64) -> String {
    format!("{PREFIX}{number:012}{SUFFIX}")
}

/// The name under which a segment is laid out.
pub(crate) fn draft_name(number: u64) -> String {
    format!("{PREFIX}{number:012}{DRAFT_SUFFIX}")
}

/// The number of the segment that has this name; `None` for other files.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let is_plain = number.len() >= 12 && number.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { number.parse().ok() } else { None }
}

/// Whether a file is a segment that was not laid out to its end.
pub(crate) fn is_draft(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(DRAFT_SUFFIX)
}

const FORMAT: Preamble = Preamble { magic: *b"KVJOURNL", version: 5 };

/// In the first version a frame's header had no checksum, so its frames would not be found. Up to
/// the second one the records of the linearizable engine had another form, and up to the third one
/// those of the eventual engine. The fifth one has commands that the fourth one had not.
const OLDEST_VERSION: u32 = 4;

const PREFIX: &str = "journal-";
const SUFFIX: &str = ".segment";
const DRAFT_SUFFIX: &str = ".draft";

/// What is kept free in each segment for the mark behind the last record.
pub(crate) const MARK_BYTES: u64 = 32;

const _: () = assert!(HEADER_LEN == 32);

/// Where a header's checksum stands.
const BODY_END: usize = SegmentHeader::LEN - 4;

#[cfg(test)]
mod tests {
    use kv_core::NodeId;

    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_not_taken_for_segments() {
        assert_eq!(name(7), "journal-000000000007.segment");
        assert_eq!(number_of(&name(7)), Some(7));
        assert_eq!(number_of(&name(10_000_000_000_000)), Some(10_000_000_000_000));
        for other in [&draft_name(7), "lock", "journal-7.segment", "journal-+00000000007.segment"] {
            assert_eq!(number_of(other), None, "{other}");
        }
        assert!(is_draft(&draft_name(7)) && !is_draft(&name(7)));
    }

    #[test]
    fn no_flipped_bit_of_a_header_goes_unseen() {
        let identity = StoreIdentity { store: 9, node: NodeId::FIRST, engine: "e".to_owned() };
        let header = SegmentHeader { identity, number: 4, capacity_bytes: 4096 };
        let (bytes, seed) = header.seal();
        assert_eq!(SegmentHeader::open(&bytes), Ok((header, seed)));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::open(&flipped), Err(PreambleFault::Damaged), "bit {bit}");
        }
    }
}
