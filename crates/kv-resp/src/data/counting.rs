//! Numbers that keys hold.

use bytes::Bytes;
use kv_core::{Key, Value, parse_integer};

use crate::data::overlay::Overlay;
use crate::error::ReplyError;
use crate::float::LongDouble;
use crate::reply::Reply;

pub(super) fn increment(overlay: &mut Overlay, key: &Key, by: i64) -> Result<Reply, ReplyError> {
    let old: i64 = match overlay.value(key) {
        None => 0,
        // As the engine reads it where it counts by itself.
        Some(value) => parse_integer(value.as_bytes()).ok_or(ReplyError::NotAnInteger)?,
    };
    let sum = old.checked_add(by).ok_or(ReplyError::Overflow)?;
    let value = Value::new(sum.to_string()).map_err(|_| ReplyError::TooLong)?;
    overlay.rewrite(key, value);
    Ok(Reply::Integer(sum))
}

pub(super) fn increment_float(
    overlay: &mut Overlay,
    key: &Key,
    by: &LongDouble,
) -> Result<Reply, ReplyError> {
    let old = overlay.value(key).map_or(&b"0"[..], |value| value.as_bytes());
    let old = LongDouble::parse(old);
    let sum = old.ok_or(ReplyError::NotAFloat)?.plus(by).ok_or(ReplyError::NotFinite)?;
    let text = Bytes::from(sum.to_text());
    let value = Value::new(text.clone()).map_err(|_| ReplyError::TooLong)?;
    overlay.rewrite(key, value);
    Ok(Reply::Bulk(text))
}
