//! How long keys last.

use kv_core::{Command, ExpiryMs, Key};

use crate::data::overlay::{End, Overlay};
use crate::data::{Expire, ExpireCondition, LifetimeForm, NewExpiry};
use crate::error::ReplyError;
use crate::reply::Reply;

/// The end of a key that a command asks for.
pub(super) fn end(
    expiry: NewExpiry,
    now_ms: i64,
    command: &'static str,
) -> Result<End, ReplyError> {
    match expiry {
        NewExpiry::Persist => Ok(End::Never),
        NewExpiry::In(ms) => {
            let is_in_range = now_ms.checked_add(ms).is_some();
            is_in_range.then_some(End::In(ms)).ok_or(ReplyError::ExpireTime { command })
        }
        NewExpiry::At(ms) => Ok(End::At(moment(ms))),
    }
}

/// A moment at which a key ends; the first of all for one before that.
pub(super) fn moment(ms: i64) -> ExpiryMs {
    ExpiryMs(u64::try_from(ms).unwrap_or(0))
}

pub(super) fn get_expire(
    overlay: &mut Overlay,
    key: &Key,
    expiry: Option<&Result<NewExpiry, ReplyError>>,
    now_ms: i64,
) -> Result<Reply, ReplyError> {
    let Some(value) = overlay.value(key) else {
        return Ok(Reply::Null);
    };
    let reply = Reply::Value(value.clone());
    match expiry.cloned().transpose()? {
        None => {}
        Some(NewExpiry::Persist) => {
            persist(overlay, key, now_ms);
        }
        Some(expiry) => overlay.expire(key, end(expiry, now_ms, "getex")?, now_ms),
    }
    Ok(reply)
}

pub(super) fn expire(
    overlay: &mut Overlay,
    expire: &Expire,
    now_ms: i64,
) -> Result<Reply, ReplyError> {
    let new = end(expire.expiry, now_ms, expire.command)?;
    if overlay.value(&expire.key).is_none() {
        return Ok(Reply::Integer(0));
    }
    let holds = expire.condition.is_none_or(|condition| {
        let held = overlay.held(&expire.key);
        let old_ms = held.and_then(|held| held.end.deadline_ms(now_ms));
        let new_ms = new.deadline_ms(now_ms);
        let is_sooner = old_ms.is_none_or(|old_ms| new_ms < Some(old_ms));
        match condition {
            ExpireCondition::HasNone => old_ms.is_none(),
            ExpireCondition::HasOne => old_ms.is_some(),
            ExpireCondition::Later => old_ms.is_some_and(|old_ms| new_ms > Some(old_ms)),
            ExpireCondition::Sooner => is_sooner,
            ExpireCondition::HasOneAndSooner => old_ms.is_some() && is_sooner,
        }
    });
    if holds {
        overlay.expire(&expire.key, new, now_ms);
    }
    Ok(Reply::flag(holds))
}

pub(super) fn persist(overlay: &mut Overlay, key: &Key, now_ms: i64) -> Reply {
    let has_end = overlay.held(key).is_some_and(|held| held.end != End::Never);
    if has_end {
        overlay.expire(key, End::Never, now_ms);
    }
    Reply::flag(has_end)
}

pub(super) fn lifetime(overlay: &mut Overlay, key: &Key, form: LifetimeForm, now_ms: i64) -> Reply {
    match overlay.held(key) {
        None => Reply::Integer(MISSING),
        Some(held) => held.end.deadline_ms(now_ms).map_or(Reply::Integer(ENDLESS), |deadline_ms| {
            let left_ms = deadline_ms.saturating_sub(now_ms);
            form.reply(if form.is_absolute { deadline_ms } else { left_ms })
        }),
    }
}

impl LifetimeForm {
    /// What reads it.
    pub(super) const fn read(self, key: Key) -> Command {
        if self.is_absolute { Command::Expiry { key } } else { Command::TimeToLive { key } }
    }

    /// Tells an end, or how far off it is, as is asked.
    pub(super) fn reply(self, ms: i64) -> Reply {
        let ms = ms.max(0);
        Reply::Integer(if self.in_seconds { ms.saturating_add(500) / 1000 } else { ms })
    }
}

/// How long a key lasts that is not there.
pub(super) const MISSING: i64 = -2;

/// How long a key lasts that has no end.
pub(super) const ENDLESS: i64 = -1;
