//! `SET` and its kin.

use kv_core::{Key, Value};

use crate::data::expiring::deadline;
use crate::data::overlay::{Held, Overlay};
use crate::data::{NewExpiry, Presence, Set, SetExpiry, SetReply};
use crate::error::ReplyError;
use crate::reply::Reply;

pub(super) fn set(overlay: &mut Overlay, set: &Set, now_ms: i64) -> Result<Reply, ReplyError> {
    let before = overlay.get(&set.key);
    let deadline_ms = match set.expiry {
        SetExpiry::Never | SetExpiry::New(NewExpiry::Persist) => None,
        SetExpiry::Keep => before.and_then(|held| held.deadline_ms),
        SetExpiry::New(expiry) => deadline(expiry, now_ms, set.command)?,
    };
    let holds = match set.condition {
        None => true,
        Some(Presence::Absent) => before.is_none(),
        Some(Presence::Present) => before.is_some(),
    };
    let reply = match set.reply {
        SetReply::Before => before.map_or(Reply::Null, |held| Reply::Value(held.value.clone())),
        SetReply::Flag => Reply::flag(holds),
        SetReply::Ok if holds => Reply::OK,
        SetReply::Ok => Reply::Null,
    };
    if holds {
        overlay.put(&set.key, Held { value: set.value.clone(), deadline_ms }, now_ms);
    }
    Ok(reply)
}

pub(super) fn set_many(
    overlay: &mut Overlay,
    pairs: &[(Key, Value)],
    only_if_absent: bool,
    now_ms: i64,
) -> Reply {
    if only_if_absent && pairs.iter().any(|(key, _)| overlay.get(key).is_some()) {
        return Reply::Integer(0);
    }
    for (key, value) in pairs {
        overlay.put(key, Held { value: value.clone(), deadline_ms: None }, now_ms);
    }
    if only_if_absent { Reply::Integer(1) } else { Reply::OK }
}
