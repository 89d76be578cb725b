//! A record in the journal's byte form.

use bytes::{Bytes, BytesMut};
use kv_core::{DecodeError, GroupId, PersistSeq, Wire, wire_struct};

/// The bytes of one record with what recovery needs to trust them.
///
/// On the wire: checksum (CRC-32C of all that follows it), then the header and the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The group whose record it is.
    pub(crate) group: GroupId,
    /// The record's place.
    pub(crate) seq: PersistSeq,
    /// The last record that was known to be on disk when this one was written.
    pub(crate) durable_through: PersistSeq,
    /// The record's own byte form.
    pub(crate) record: Bytes,
}

wire_struct!(Frame { group, seq, durable_through, record });

impl Frame {
    /// The frame with its checksum in front.
    pub(crate) fn sealed(&self) -> Bytes {
        let body = self.to_bytes();
        let mut out = BytesMut::with_capacity(body.len() + size_of::<u32>());
        crc32c::crc32c(&body).encode(&mut out);
        out.extend_from_slice(&body);
        out.freeze()
    }

    /// Reads a sealed frame.
    ///
    /// # Errors
    /// [`DecodeError`] if the checksum does not match or the bytes are no frame.
    pub(crate) fn open(mut sealed: Bytes) -> Result<Self, DecodeError> {
        let checksum = u32::decode(&mut sealed)?;
        if crc32c::crc32c(&sealed) == checksum {
            Self::from_bytes(sealed)
        } else {
            Err(DecodeError::Invalid { what: "checksum" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame {
            group: GroupId(0),
            seq: PersistSeq(5),
            durable_through: PersistSeq(3),
            record: Bytes::from_static(b"ab"),
        }
    }

    #[test]
    fn golden_bytes() {
        let body: &[u8] =
            &[0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, b'a', b'b'];
        let sealed = frame().sealed();
        assert_eq!(&sealed[4..], body);
        assert_eq!(sealed[..4], crc32c::crc32c(body).to_le_bytes());
        assert_eq!(Frame::open(sealed), Ok(frame()));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let sealed = frame().sealed();
        for bit in 0..sealed.len() * 8 {
            let mut bytes = sealed.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::open(bytes.into()).is_err(), "bit {bit}");
        }
    }
}
