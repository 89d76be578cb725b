//! How long keys last.

use kv_core::Key;

use crate::data::overlay::Overlay;
use crate::data::{Expire, ExpireCondition, LifetimeForm, NewExpiry};
use crate::error::ReplyError;
use crate::reply::Reply;

/// The end of a key, in milliseconds since the Unix epoch.
pub(super) fn deadline(
    expiry: NewExpiry,
    now_ms: i64,
    command: &'static str,
) -> Result<Option<i64>, ReplyError> {
    match expiry {
        NewExpiry::Persist => Ok(None),
        NewExpiry::In(ms) => {
            let deadline_ms = now_ms.checked_add(ms);
            deadline_ms.map(Some).ok_or(ReplyError::ExpireTime { command })
        }
        NewExpiry::At(ms) => Ok(Some(ms)),
    }
}

pub(super) fn get_expire(
    overlay: &mut Overlay,
    key: &Key,
    expiry: Option<&Result<NewExpiry, ReplyError>>,
    now_ms: i64,
) -> Result<Reply, ReplyError> {
    let Some(held) = overlay.get(key) else {
        return Ok(Reply::Null);
    };
    let reply = Reply::Value(held.value.clone());
    let has_end = held.deadline_ms.is_some();
    match expiry.cloned().transpose()? {
        None => {}
        Some(NewExpiry::Persist) if !has_end => {}
        Some(expiry) => overlay.expire(key, deadline(expiry, now_ms, "getex")?, now_ms),
    }
    Ok(reply)
}

pub(super) fn expire(
    overlay: &mut Overlay,
    expire: &Expire,
    now_ms: i64,
) -> Result<Reply, ReplyError> {
    let new_ms = deadline(expire.expiry, now_ms, expire.command)?;
    let Some(held) = overlay.get(&expire.key) else {
        return Ok(Reply::Integer(0));
    };
    let is_sooner = held.deadline_ms.is_none_or(|old_ms| new_ms < Some(old_ms));
    let holds = match expire.condition {
        None => true,
        Some(ExpireCondition::HasNone) => held.deadline_ms.is_none(),
        Some(ExpireCondition::HasOne) => held.deadline_ms.is_some(),
        Some(ExpireCondition::Later) => {
            held.deadline_ms.is_some_and(|old_ms| new_ms > Some(old_ms))
        }
        Some(ExpireCondition::Sooner) => is_sooner,
        Some(ExpireCondition::HasOneAndSooner) => held.deadline_ms.is_some() && is_sooner,
    };
    if holds {
        overlay.expire(&expire.key, new_ms, now_ms);
    }
    Ok(Reply::flag(holds))
}

pub(super) fn persist(overlay: &mut Overlay, key: &Key, now_ms: i64) -> Reply {
    let has_end = overlay.get(key).is_some_and(|held| held.deadline_ms.is_some());
    if has_end {
        overlay.expire(key, None, now_ms);
    }
    Reply::flag(has_end)
}

pub(super) fn lifetime(overlay: &Overlay, key: &Key, form: LifetimeForm, now_ms: i64) -> Reply {
    match overlay.get(key) {
        None => Reply::Integer(MISSING),
        Some(held) => held.deadline_ms.map_or(Reply::Integer(ENDLESS), |deadline_ms| {
            form.reply(deadline_ms.saturating_sub(now_ms), deadline_ms)
        }),
    }
}

impl LifetimeForm {
    /// Tells an end that is so far off.
    pub(super) fn reply(self, left_ms: i64, deadline_ms: i64) -> Reply {
        let ms = if self.is_absolute { deadline_ms } else { left_ms.max(0) };
        Reply::Integer(if self.in_seconds { ms.saturating_add(500) / 1000 } else { ms })
    }
}

/// How long a key lasts that is not there.
pub(super) const MISSING: i64 = -2;

/// How long a key lasts that has no end.
pub(super) const ENDLESS: i64 = -1;
