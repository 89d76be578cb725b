//! `SET` and its kin.

use kv_core::{Key, Value};

use crate::data::expiring::end;
use crate::data::overlay::{End, Held, Overlay};
use crate::data::{Presence, Set, SetExpiry, SetReply};
use crate::error::ReplyError;
use crate::reply::Reply;

pub(super) fn set(overlay: &mut Overlay, set: &Set, now_ms: i64) -> Result<Reply, ReplyError> {
    let before = overlay.value(&set.key);
    let end = match set.expiry {
        SetExpiry::Never => Some(End::Never),
        SetExpiry::Keep => None,
        SetExpiry::New(expiry) => Some(end(expiry, now_ms, set.command)?),
    };
    let holds = match set.condition {
        None => true,
        Some(Presence::Absent) => before.is_none(),
        Some(Presence::Present) => before.is_some(),
    };
    let reply = match set.reply {
        SetReply::Before => before.map_or(Reply::Null, |value| Reply::Value(value.clone())),
        SetReply::Flag => Reply::flag(holds),
        SetReply::Ok if holds => Reply::OK,
        SetReply::Ok => Reply::Null,
    };
    if holds {
        let value = set.value.clone();
        match end {
            Some(end) => overlay.put(&set.key, Held { value, end }, now_ms),
            None => overlay.rewrite(&set.key, value),
        }
    }
    Ok(reply)
}

pub(super) fn set_many(
    overlay: &mut Overlay,
    pairs: &[(Key, Value)],
    only_if_absent: bool,
    now_ms: i64,
) -> Reply {
    if only_if_absent && pairs.iter().any(|(key, _)| overlay.value(key).is_some()) {
        return Reply::Integer(0);
    }
    for (key, value) in pairs {
        overlay.put(key, Held { value: value.clone(), end: End::Never }, now_ms);
    }
    if only_if_absent { Reply::Integer(1) } else { Reply::OK }
}
