//! One operation with its position in the log.

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

/// What a sequencer adds to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// The entry's position.
    pub index: LogIndex,
    /// The epoch in which it was assigned this position.
    pub epoch: Epoch,
    /// Milliseconds since the Unix epoch at the sequencer, but never less than in the entry
    /// before.
    pub log_time_ms: u64,
    /// Whose request it is.
    pub origin: Origin,
    /// The hash of the entry before; 0 for the first.
    pub previous_hash: u64,
}

wire_struct!(EntryHeader { index, epoch, log_time_ms, origin, previous_hash });

/// The request that an entry carries out, named so that it takes effect at most once.
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
    /// Makes an entry of an operation in its byte form.
    #[must_use]
    pub fn new(header: EntryHeader, operation: &Bytes) -> Self {
        let mut bytes = BytesMut::with_capacity(EntryHeader::LEN + operation.len());
        header.encode(&mut bytes);
        bytes.extend_from_slice(operation);
        let bytes = bytes.freeze();
        Self { header, hash: digest(&bytes), bytes }
    }

    /// What the sequencer added to the operation.
    #[must_use]
    pub const fn header(&self) -> &EntryHeader {
        &self.header
    }

    /// The entry's position.
    #[must_use]
    pub const fn index(&self) -> LogIndex {
        self.header.index
    }

    /// The byte form of the operation.
    #[must_use]
    pub fn operation(&self) -> Bytes {
        self.bytes.slice(EntryHeader::LEN.min(self.bytes.len())..)
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

impl EntryHeader {
    /// The length of the byte form, in bytes.
    const LEN: usize = 58;
}

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

    fn entry() -> Entry {
        let header = EntryHeader {
            index: LogIndex(7),
            epoch: Epoch::first(NodeId::FIRST),
            log_time_ms: 9,
            origin: Origin {
                server: NodeId::FIRST,
                incarnation: Incarnation(3),
                number: 5,
                settled_below: 4,
            },
            previous_hash: 6,
        };
        Entry::new(header, &Bytes::from_static(b"op"))
    }

    #[test]
    fn golden_bytes() {
        let mut expected = vec![60, 0, 0, 0];
        expected.extend([7, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        expected.extend([9, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([1, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([5, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([4, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([6, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend(b"op");
        assert_eq!(entry().to_bytes(), expected);
    }

    #[test]
    fn a_decoded_entry_has_the_same_parts_and_hash() {
        assert_eq!(Entry::from_bytes(entry().to_bytes()), Ok(entry()));
        assert_eq!(entry().operation().as_ref(), b"op");
    }

    #[test]
    fn the_hash_covers_every_byte() {
        let bytes = entry().to_bytes();
        for position in 4..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[position] ^= 0x80;
            let decoded = Entry::from_bytes(changed.into()).unwrap();
            assert_ne!(decoded.hash(), entry().hash(), "byte {position}");
        }
    }
}
