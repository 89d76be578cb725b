//! An entry of the log: some operations with their position, or the beginning of an epoch.

use bytes::{Bytes, BytesMut};
use kv_core::{DecodeError, Incarnation, NodeId, Wire, digest, wire_struct};

use crate::log::epoch::{Epoch, LogIndex};

/// A log entry. It is encoded once, by its sequencer; everybody else keeps and passes on the same
/// bytes, and its hash is the digest of these bytes. They hold the hash of the entry before, so
/// equal hashes mean equal logs up to here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    header: EntryHeader,
    hash: u64,
    bytes: Bytes,
}

/// What a sequencer adds to the operations of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// The entry's position.
    pub index: LogIndex,
    /// The epoch in which it was assigned this position.
    pub epoch: Epoch,
    /// Milliseconds since the Unix epoch at the sequencer, but never less than in the entry
    /// before.
    pub log_time_ms: u64,
    /// How many operations are in the log before it. Operations are numbered from 1 through the
    /// whole log; that number is the version that a client sees.
    pub operations_before: u64,
    /// How many operations it has; 0 for the one that opens an epoch.
    pub operations: u32,
    /// The hash of the entry before; 0 for the first.
    pub previous_hash: u64,
}

wire_struct!(EntryHeader {
    index,
    epoch,
    log_time_ms,
    operations_before,
    operations,
    previous_hash
});

/// The request that an operation carries out, named so that it takes effect at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The server that a client asked.
    pub server: NodeId,
    /// That server's incarnation.
    pub incarnation: Incarnation,
    /// The request's number in that incarnation, from 1.
    pub number: u64,
    /// The server never sends a number below this one again.
    pub settled_below: u64,
}

wire_struct!(Origin { server, incarnation, number, settled_below });

impl Entry {
    /// Makes an entry of operations in their byte form.
    #[must_use]
    pub fn new(header: EntryHeader, operations: &[(Origin, Bytes)]) -> Self {
        let header = EntryHeader {
            operations: u32::try_from(operations.len()).unwrap_or(u32::MAX),
            ..header
        };
        let size: usize = operations.iter().map(|(_, bytes)| ORIGIN_LEN + 4 + bytes.len()).sum();
        let mut bytes = BytesMut::with_capacity(HEADER_LEN + size);
        header.encode(&mut bytes);
        for (origin, operation) in operations {
            origin.encode(&mut bytes);
            operation.encode(&mut bytes);
        }
        let bytes = bytes.freeze();
        Self { header, hash: digest(&bytes), bytes }
    }

    /// What the sequencer added to the operations.
    #[must_use]
    pub const fn header(&self) -> &EntryHeader {
        &self.header
    }

    /// The entry's position.
    #[must_use]
    pub const fn index(&self) -> LogIndex {
        self.header.index
    }

    /// The operations in their byte form, in order, as far as the entry can be read.
    pub fn operations(&self) -> impl Iterator<Item = (Origin, Bytes)> + use<> {
        let mut rest = self.bytes.slice(HEADER_LEN.min(self.bytes.len())..);
        (0..self.header.operations).map_while(move |_| {
            let origin = Origin::decode(&mut rest).ok()?;
            Some((origin, Bytes::decode(&mut rest).ok()?))
        })
    }

    /// The hash of the log up to and with this entry.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How much room the entry takes, in bytes.
    #[must_use]
    pub const fn size_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// The length of a header's byte form, in bytes.
const HEADER_LEN: usize = 50;

/// What one operation takes in an entry, beside its own bytes.
pub(crate) const OPERATION_OVERHEAD: usize = ORIGIN_LEN + 4;

/// The length of an origin's byte form, in bytes.
const ORIGIN_LEN: usize = 26;

impl Wire for Entry {
    fn encode(&self, out: &mut BytesMut) {
        self.bytes.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        let bytes = Bytes::decode(input)?;
        let header = EntryHeader::decode(&mut bytes.clone())?;
        Ok(Self { header, hash: digest(&bytes), bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(number: u64) -> Origin {
        let server = NodeId::FIRST;
        Origin { server, incarnation: Incarnation(3), number, settled_below: 4 }
    }

    fn header() -> EntryHeader {
        EntryHeader {
            index: LogIndex(7),
            epoch: Epoch::first(NodeId::FIRST, Incarnation(2)),
            log_time_ms: 9,
            operations_before: 8,
            operations: 0,
            previous_hash: 6,
        }
    }

    fn entry() -> Entry {
        Entry::new(header(), &[(origin(5), Bytes::from_static(b"op"))])
    }

    #[test]
    fn golden_bytes() {
        let mut expected = vec![82, 0, 0, 0];
        expected.extend([7, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([9, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([8, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([1, 0, 0, 0]);
        expected.extend([6, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([1, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([5, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([4, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([2, 0, 0, 0]);
        expected.extend(b"op");
        assert_eq!(entry().to_bytes(), expected);
    }

    #[test]
    fn a_decoded_entry_has_the_same_operations_and_hash() {
        let batch = [(origin(5), Bytes::from_static(b"op")), (origin(6), Bytes::new())];
        let entry = Entry::new(header(), &batch);
        assert_eq!(entry.header().operations, 2);
        assert_eq!(Entry::from_bytes(entry.to_bytes()), Ok(entry.clone()));
        assert_eq!(entry.operations().collect::<Vec<_>>(), batch);
        assert_eq!(Entry::new(header(), &[]).operations().count(), 0);
    }

    #[test]
    fn an_entry_that_ends_early_has_the_operations_before_its_end() {
        let batch = [(origin(5), Bytes::from_static(b"op")), (origin(6), Bytes::new())];
        let whole = Entry::new(header(), &batch).to_bytes();
        let mut cut = BytesMut::new();
        whole.slice(4..whole.len() - 1).encode(&mut cut);
        let cut = Entry::from_bytes(cut.freeze()).unwrap();
        assert_eq!(cut.operations().collect::<Vec<_>>(), batch[..1]);
    }

    #[test]
    fn the_hash_covers_every_byte() {
        let bytes = entry().to_bytes();
        for position in 4..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[position] ^= 0x01;
            let Ok(decoded) = Entry::from_bytes(changed.into()) else {
                continue;
            };
            assert_ne!(decoded.hash(), entry().hash(), "byte {position}");
        }
    }
}
