//! What a command answers and changes, over keys that were read.

use kv_core::{Key, parse_integer};

use crate::data::overlay::Overlay;
use crate::data::{DataCommand, ObjectQuestion, copying, counting, expiring, lcs, ranges, setting};
use crate::error::ReplyError;
use crate::reply::Reply;

/// Carries a command out. All its keys are in the overlay.
pub(crate) fn evaluate(command: &DataCommand, overlay: &mut Overlay, now_ms: i64) -> Reply {
    match command {
        DataCommand::Get { key } => get(overlay, key),
        DataCommand::GetDelete { key } => {
            let before = get(overlay, key);
            if overlay.value(key).is_some() {
                overlay.delete(key);
            }
            before
        }
        DataCommand::GetExpire { key, expiry } => {
            expiring::get_expire(overlay, key, expiry.as_ref(), now_ms).into()
        }
        DataCommand::GetRange { key, start, end } => ranges::get_range(overlay, key, *start, *end),
        DataCommand::Length { key } => {
            Reply::count(overlay.value(key).map_or(0, |value| value.as_bytes().len()))
        }
        DataCommand::GetBit { key, offset } => ranges::get_bit(overlay, key, *offset),
        DataCommand::SetBit { key, offset, bit } => {
            ranges::set_bit(overlay, key, *offset, *bit).into()
        }
        DataCommand::Set(set) => setting::set(overlay, set, now_ms).into(),
        DataCommand::SetRange { key, offset, value } => {
            ranges::set_range(overlay, key, *offset, value).into()
        }
        DataCommand::Append { key, suffix } => ranges::append(overlay, key, suffix).into(),
        DataCommand::Increment { key, by } => counting::increment(overlay, key, *by).into(),
        DataCommand::IncrementFloat { key, by } => {
            counting::increment_float(overlay, key, by).into()
        }
        DataCommand::GetMany { keys } => {
            Reply::Array(keys.iter().map(|key| get(overlay, key)).collect())
        }
        DataCommand::SetMany { pairs, only_if_absent } => {
            setting::set_many(overlay, pairs, *only_if_absent, now_ms)
        }
        DataCommand::Delete { keys } => {
            let mut deleted = 0;
            for key in keys {
                if overlay.value(key).is_some() {
                    overlay.delete(key);
                    deleted += 1;
                }
            }
            Reply::Integer(deleted)
        }
        DataCommand::Exists { keys } => {
            Reply::count(keys.iter().filter(|key| overlay.value(key).is_some()).count())
        }
        DataCommand::Expire(expire) => expiring::expire(overlay, expire, now_ms).into(),
        DataCommand::Persist { key } => expiring::persist(overlay, key, now_ms),
        DataCommand::Lifetime { key, form } => expiring::lifetime(overlay, key, *form, now_ms),
        DataCommand::Type { key } => type_of(overlay.value(key).is_some()),
        DataCommand::Rename { from, to, only_if_absent } => {
            copying::rename(overlay, from, to, *only_if_absent, now_ms).into()
        }
        DataCommand::Copy { from, to, replace } => {
            copying::copy(overlay, from, to, *replace, now_ms)
        }
        DataCommand::Object { key, what } => object(overlay, key, *what),
        DataCommand::Lcs(lcs) => lcs::lcs(overlay, lcs).into(),
    }
}

fn get(overlay: &Overlay, key: &Key) -> Reply {
    overlay.value(key).map_or(Reply::Null, |value| Reply::Value(value.clone()))
}

/// The type of a key: there is one.
pub(crate) const fn type_of(is_there: bool) -> Reply {
    Reply::Simple(if is_there { "string" } else { "none" })
}

fn object(overlay: &Overlay, key: &Key, what: ObjectQuestion) -> Reply {
    let Some(value) = overlay.value(key) else {
        return Reply::Null;
    };
    match what {
        ObjectQuestion::Encoding => Reply::text(match value.as_bytes() {
            text if parse_integer(text).is_some() => "int",
            text if text.len() <= EMBEDDED_BYTES_MAX => "embstr",
            _ => "raw",
        }),
        ObjectQuestion::Frequency => Reply::Error(ReplyError::Other {
            what: "An LFU maxmemory policy is not selected, access frequency not tracked. Please \
                   note that when switching between policies at runtime LRU and LFU data will take \
                   some time to adjust.",
        }),
        ObjectQuestion::IdleTime => Reply::Integer(0),
        // Redis shares small numbers.
        ObjectQuestion::References => Reply::Integer(match parse_integer(value.as_bytes()) {
            Some(0..=9999) => i64::from(i32::MAX),
            Some(_) | None => 1,
        }),
    }
}

/// Redis keeps so long a string in one piece with its header.
const EMBEDDED_BYTES_MAX: usize = 44;
