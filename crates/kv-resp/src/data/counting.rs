//! Numbers that keys hold.

use bytes::Bytes;
use kv_core::{Key, Value};

use crate::data::overlay::{Held, Overlay};
use crate::error::ReplyError;
use crate::float::LongDouble;
use crate::reply::Reply;

pub(super) fn increment(
    overlay: &mut Overlay,
    key: &Key,
    by: i64,
    now_ms: i64,
) -> Result<Reply, ReplyError> {
    let (old, deadline_ms): (i64, _) = match overlay.get(key) {
        None => (0, None),
        Some(held) => {
            // As the engine reads it where it counts by itself.
            let text = std::str::from_utf8(held.value.as_bytes()).ok();
            let old = text.and_then(|text| text.parse().ok()).ok_or(ReplyError::NotAnInteger)?;
            (old, held.deadline_ms)
        }
    };
    let sum = old.checked_add(by).ok_or(ReplyError::Overflow)?;
    let value = Value::new(sum.to_string()).map_err(|_| ReplyError::TooLong)?;
    overlay.put(key, Held { value, deadline_ms }, now_ms);
    Ok(Reply::Integer(sum))
}

pub(super) fn increment_float(
    overlay: &mut Overlay,
    key: &Key,
    by: &LongDouble,
    now_ms: i64,
) -> Result<Reply, ReplyError> {
    let (old, deadline_ms) = match overlay.get(key) {
        None => (LongDouble::parse(b"0"), None),
        Some(held) => (LongDouble::parse(held.value.as_bytes()), held.deadline_ms),
    };
    let sum = old.ok_or(ReplyError::NotAFloat)?.plus(by).ok_or(ReplyError::NotFinite)?;
    let text = Bytes::from(sum.to_text());
    let value = Value::new(text.clone()).map_err(|_| ReplyError::TooLong)?;
    overlay.put(key, Held { value, deadline_ms }, now_ms);
    Ok(Reply::Bulk(text))
}
