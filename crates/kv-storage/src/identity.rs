//! Whose data a file holds, and in which format.

use std::fmt;

use bytes::{BufMut, BytesMut};
use kv_core::{NodeId, wire_struct};

/// The owner of a data directory, named in each of its files, so that files of two directories
/// are not mixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreIdentity {
    /// A random number, drawn when the directory is made.
    pub store: u64,
    /// The server.
    pub node: NodeId,
    /// The engine's name, [`kv_core::ConsistencyEngine::NAME`].
    pub engine: String,
}

wire_struct!(StoreIdentity { store, node, engine });

/// `server 1, eventual, store 00000000000000ff`
impl fmt::Display for StoreIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server {}, {}, store {:016x}", self.node, self.engine, self.store)
    }
}

/// The first bytes of every file: what it is and in which version of its format, with a checksum
/// of their own, so that a newer format is told from damage whatever follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preamble {
    pub(crate) magic: [u8; 8],
    pub(crate) version: u32,
}

/// Why a file is not to be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PreambleFault {
    /// It is none of ours, or damaged.
    Damaged,
    /// A newer release wrote it.
    Newer { found: u32 },
}

impl Preamble {
    pub(crate) const LEN: usize = 16;

    pub(crate) fn encode(self, out: &mut BytesMut) {
        let mut bytes = BytesMut::with_capacity(Self::LEN);
        bytes.put_slice(&self.magic);
        bytes.put_u32_le(self.version);
        let checksum = crc32c::crc32c(&bytes);
        out.put_slice(&bytes);
        out.put_u32_le(checksum);
    }

    /// Whether `bytes` begin as this format does, in this version or an older one; returns the
    /// version found.
    pub(crate) fn check(self, bytes: &[u8]) -> Result<u32, PreambleFault> {
        let (body, checksum) = bytes
            .get(..Self::LEN)
            .and_then(|bytes| bytes.split_last_chunk::<4>())
            .ok_or(PreambleFault::Damaged)?;
        let (magic, version) = body.split_last_chunk::<4>().ok_or(PreambleFault::Damaged)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) || magic != self.magic {
            return Err(PreambleFault::Damaged);
        }
        match u32::from_le_bytes(*version) {
            0 => Err(PreambleFault::Damaged),
            found if found > self.version => Err(PreambleFault::Newer { found }),
            found => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Preamble = Preamble { magic: *b"KVSTTEST", version: 2 };

    fn bytes(preamble: Preamble) -> BytesMut {
        let mut out = BytesMut::new();
        preamble.encode(&mut out);
        out
    }

    #[test]
    fn older_formats_are_read_newer_ones_named_and_all_else_is_damage() {
        assert_eq!(OURS.check(&bytes(OURS)), Ok(2));
        assert_eq!(OURS.check(&bytes(Preamble { version: 1, ..OURS })), Ok(1));
        let newer = bytes(Preamble { version: 3, ..OURS });
        assert_eq!(OURS.check(&newer), Err(PreambleFault::Newer { found: 3 }));
        let other = bytes(Preamble { magic: *b"KVOTHERS", ..OURS });
        assert_eq!(OURS.check(&other), Err(PreambleFault::Damaged));
        assert_eq!(OURS.check(&newer[..15]), Err(PreambleFault::Damaged));
        for bit in 0..Preamble::LEN * 8 {
            let mut flipped = newer.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(OURS.check(&flipped), Err(PreambleFault::Damaged), "bit {bit}");
        }
    }
}
