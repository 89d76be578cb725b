//! Keys under other names.

use kv_core::Key;

use crate::data::overlay::Overlay;
use crate::error::ReplyError;
use crate::reply::Reply;

pub(super) fn rename(
    overlay: &mut Overlay,
    from: &Key,
    to: &Key,
    only_if_absent: bool,
    now_ms: i64,
) -> Result<Reply, ReplyError> {
    let held = overlay.held(from).cloned().ok_or(ReplyError::NoSuchKey)?;
    if only_if_absent && (from == to || overlay.value(to).is_some()) {
        return Ok(Reply::Integer(0));
    }
    if from != to {
        overlay.delete(from);
        overlay.put(to, held, now_ms);
    }
    Ok(if only_if_absent { Reply::Integer(1) } else { Reply::OK })
}

pub(super) fn copy(
    overlay: &mut Overlay,
    from: &Key,
    to: &Key,
    replace: bool,
    now_ms: i64,
) -> Reply {
    match overlay.held(from).cloned() {
        Some(held) if replace || overlay.value(to).is_none() => {
            overlay.put(to, held, now_ms);
            Reply::Integer(1)
        }
        Some(_) | None => Reply::Integer(0),
    }
}
