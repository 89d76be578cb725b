//! Parts of strings.

use bytes::{Bytes, BytesMut};
use kv_core::{Key, Value};

use crate::data::overlay::Overlay;
use crate::error::ReplyError;
use crate::reply::Reply;

/// The bytes from `start` to `end`, both included; below 0 they count from the end.
pub(super) fn get_range(overlay: &Overlay, key: &Key, start: i64, end: i64) -> Reply {
    let bytes = overlay.value(key).map_or_else(Bytes::new, |held| held.to_shared());
    if start < 0 && end < 0 && start > end {
        return Reply::text("");
    }
    let len = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    let from_front = |place: i64| if place < 0 { len.saturating_add(place).max(0) } else { place };
    let (start, end) = (from_front(start), from_front(end).min(len - 1));
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    match range.filter(|(start, end)| start <= end) {
        Some((start, end)) => Reply::Bulk(bytes.slice(start..=end)),
        None => Reply::text(""),
    }
}

/// Overwrites from `offset` on; what is missing before it becomes zero bytes.
pub(super) fn set_range(
    overlay: &mut Overlay,
    key: &Key,
    offset: usize,
    value: &Value,
) -> Result<Reply, ReplyError> {
    let held = overlay.value(key);
    let old = held.map_or(&[][..], |held| held.as_bytes());
    if value.as_bytes().is_empty() {
        return Ok(Reply::count(old.len()));
    }
    let end = offset.saturating_add(value.as_bytes().len());
    if end > Value::LEN_MAX {
        return Err(ReplyError::TooLong);
    }
    let mut new = BytesMut::zeroed(end.max(old.len()));
    if let Some(front) = new.get_mut(..old.len()) {
        front.copy_from_slice(old);
    }
    if let Some(part) = new.get_mut(offset..end) {
        part.copy_from_slice(value.as_bytes());
    }
    put(overlay, key, new)
}

pub(super) fn append(
    overlay: &mut Overlay,
    key: &Key,
    suffix: &Value,
) -> Result<Reply, ReplyError> {
    let held = overlay.value(key);
    let old = held.map_or(&[][..], |held| held.as_bytes());
    let mut new = BytesMut::with_capacity(old.len() + suffix.as_bytes().len());
    new.extend_from_slice(old);
    new.extend_from_slice(suffix.as_bytes());
    put(overlay, key, new)
}

/// A bit, of which number 0 is the highest of the first byte.
pub(super) fn get_bit(overlay: &Overlay, key: &Key, offset: usize) -> Reply {
    let byte = overlay.value(key).and_then(|held| held.as_bytes().get(offset / 8).copied());
    Reply::flag(byte.is_some_and(|byte| byte & mask(offset) != 0))
}

/// Sets a bit; gives what it was before.
pub(super) fn set_bit(
    overlay: &mut Overlay,
    key: &Key,
    offset: usize,
    bit: bool,
) -> Result<Reply, ReplyError> {
    let before = get_bit(overlay, key, offset);
    let held = overlay.value(key);
    let mut new = BytesMut::from(held.map_or(&[][..], |held| held.as_bytes()));
    new.resize(new.len().max(offset / 8 + 1), 0);
    if let Some(byte) = new.get_mut(offset / 8) {
        *byte = if bit { *byte | mask(offset) } else { *byte & !mask(offset) };
    }
    put(overlay, key, new).map(|_| before)
}

const fn mask(offset: usize) -> u8 {
    0x80 >> (offset % 8)
}

fn put(overlay: &mut Overlay, key: &Key, bytes: BytesMut) -> Result<Reply, ReplyError> {
    let len = bytes.len();
    overlay.spend(len);
    let value = Value::new(bytes.freeze()).map_err(|_| ReplyError::TooLong)?;
    overlay.rewrite(key, value);
    Ok(Reply::count(len))
}
