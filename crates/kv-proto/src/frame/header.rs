//! What stands before a message in its frame.

use bytes::{Buf, BufMut};
use kv_core::GroupId;

use super::{KIND_OF_ALL_VERSIONS, PROTOCOL_VERSION};

/// What stands before a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) length: u32,
    pub(super) version: u8,
    pub(super) kind: u8,
    pub(super) group: GroupId,
    pub(super) checksum: u32,
    /// The header's own checksum is right.
    pub(super) is_sound: bool,
}

/// How the bytes of a frame are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Current,
    OfAllVersions,
}

impl Header {
    pub(super) fn read(bytes: &[u8; HEADER_LEN]) -> Self {
        let (mut fields, head) = (&bytes[..], bytes.first_chunk::<HEAD_LEN>());
        Self {
            length: fields.get_u32_le(),
            version: fields.get_u8(),
            kind: fields.get_u8(),
            group: GroupId(fields.get_u32_le()),
            checksum: fields.get_u32_le(),
            is_sound: head.map(|head| crc32c::crc32c(head)) == Some(fields.get_u32_le()),
        }
    }

    pub(super) fn len(&self) -> usize {
        len_of(self.length)
    }
}

/// Writes the header of a frame, whose length is that of its form.
pub(super) fn write_header(header: &mut [u8], kind: u8, group: GroupId, body: &[u8]) {
    let len = (header.len() + body.len()).saturating_sub(LENGTH_LEN);
    let checksum = if kind == KIND_OF_ALL_VERSIONS {
        checksum_of_all_versions(PROTOCOL_VERSION, kind, group, body)
    } else {
        crc32c::crc32c(body)
    };
    if let Some((head, mut rest)) = header.split_at_mut_checked(HEAD_LEN) {
        let mut fields = &mut *head;
        fields.put_u32_le(u32::try_from(len).unwrap_or(u32::MAX));
        fields.put_u8(PROTOCOL_VERSION);
        fields.put_u8(kind);
        fields.put_u32_le(group.0);
        fields.put_u32_le(checksum);
        if !rest.is_empty() {
            rest.put_u32_le(crc32c::crc32c(head));
        }
    }
}

pub(super) fn checksum_of_all_versions(version: u8, kind: u8, group: GroupId, body: &[u8]) -> u32 {
    let mut head = [0; 6];
    let mut fields = &mut head[..];
    fields.put_u8(version);
    fields.put_u8(kind);
    fields.put_u32_le(group.0);
    crc32c::crc32c_append(crc32c::crc32c(&head), body)
}

pub(super) fn len_of(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

pub(super) const LENGTH_LEN: usize = 4;

/// The part of a header that its own checksum covers.
pub(super) const HEAD_LEN: usize = 14;

pub(super) const HEADER_LEN: usize = HEAD_LEN + 4;

pub(super) const HEADER_LEN_OF_ALL_VERSIONS: usize = HEAD_LEN;
