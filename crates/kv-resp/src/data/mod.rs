//! The commands on keys and values.

mod copying;
mod counting;
mod evaluate;
mod expiring;
mod lcs;
mod overlay;
mod parse;
mod ranges;
mod setting;
mod straight;

use bytes::Bytes;
use kv_core::{Key, Value};

pub(crate) use evaluate::evaluate;
pub(crate) use overlay::{KeyState, Overlay, Read};
pub(crate) use parse::{check_database, parse};
pub(crate) use straight::{Shape, put_replies, straight};

use crate::error::ReplyError;
use crate::float::LongDouble;

/// A command on keys and values. All of them can be part of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DataCommand {
    Get {
        key: Key,
    },
    GetDelete {
        key: Key,
    },
    /// `GETEX`, which looks whether the time makes sense only if there is the key.
    GetExpire {
        key: Key,
        expiry: Option<Result<NewExpiry, ReplyError>>,
    },
    GetRange {
        key: Key,
        start: i64,
        end: i64,
    },
    Length {
        key: Key,
    },
    GetBit {
        key: Key,
        offset: usize,
    },
    SetBit {
        key: Key,
        offset: usize,
        bit: bool,
    },
    Set(Set),
    SetRange {
        key: Key,
        offset: usize,
        value: Value,
    },
    Append {
        key: Key,
        suffix: Value,
    },
    Increment {
        key: Key,
        by: i64,
    },
    IncrementFloat {
        key: Key,
        by: LongDouble,
    },
    GetMany {
        keys: Vec<Key>,
    },
    SetMany {
        pairs: Vec<(Key, Value)>,
        only_if_absent: bool,
    },
    Delete {
        keys: Vec<Key>,
    },
    /// `EXISTS` and `TOUCH`.
    Exists {
        keys: Vec<Key>,
    },
    Expire(Expire),
    Persist {
        key: Key,
    },
    Lifetime {
        key: Key,
        form: LifetimeForm,
    },
    Type {
        key: Key,
    },
    Rename {
        from: Key,
        to: Key,
        only_if_absent: bool,
    },
    Copy {
        from: Key,
        to: Key,
        replace: bool,
    },
    Object {
        key: Key,
        what: ObjectQuestion,
    },
    Lcs(Lcs),
}

/// `SET` and its kin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Set {
    pub(crate) key: Key,
    pub(crate) value: Value,
    pub(crate) expiry: SetExpiry,
    pub(crate) condition: Option<Presence>,
    pub(crate) reply: SetReply,
    /// Shown in errors.
    pub(crate) command: &'static str,
}

/// How long a key lasts that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetExpiry {
    Never,
    Keep,
    New(NewExpiry),
}

/// A time to live, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewExpiry {
    /// None (`PERSIST` of `GETEX`).
    Persist,
    /// So long from now on.
    In(i64),
    /// Until then, since the Unix epoch.
    At(i64),
}

/// Whether a key must be there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Absent,
    Present,
}

/// What a set answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetReply {
    /// `OK`, or nothing if the condition does not hold.
    Ok,
    /// 1 or 0.
    Flag,
    /// What the key held before.
    Before,
}

/// `EXPIRE` and its kin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expire {
    pub(crate) key: Key,
    pub(crate) expiry: NewExpiry,
    pub(crate) condition: Option<ExpireCondition>,
    /// Shown in errors.
    pub(crate) command: &'static str,
}

/// When a key's end is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpireCondition {
    /// NX: it has none.
    HasNone,
    /// XX: it has one.
    HasOne,
    /// GT: the new end is later.
    Later,
    /// LT: the new end is sooner.
    Sooner,
    /// XX and LT.
    HasOneAndSooner,
}

/// How a key's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LifetimeForm {
    /// In seconds, or else milliseconds.
    pub(crate) in_seconds: bool,
    /// Since the Unix epoch, or else from now on.
    pub(crate) is_absolute: bool,
}

/// What `OBJECT` tells of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ObjectQuestion {
    Encoding,
    Frequency,
    IdleTime,
    References,
}

/// `LCS`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lcs {
    pub(crate) keys: [Key; 2],
    pub(crate) form: LcsForm,
}

/// What `LCS` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LcsForm {
    Text,
    Length,
    Matches { len_min: usize, with_len: bool },
}

impl DataCommand {
    /// Calls `each` for each key of the command.
    pub(crate) fn for_each_key(&self, mut each: impl FnMut(&Key)) {
        match self {
            Self::Get { key }
            | Self::GetDelete { key }
            | Self::GetExpire { key, .. }
            | Self::GetRange { key, .. }
            | Self::Length { key }
            | Self::Set(Set { key, .. })
            | Self::SetRange { key, .. }
            | Self::GetBit { key, .. }
            | Self::SetBit { key, .. }
            | Self::Append { key, .. }
            | Self::Increment { key, .. }
            | Self::IncrementFloat { key, .. }
            | Self::Expire(Expire { key, .. })
            | Self::Persist { key }
            | Self::Lifetime { key, .. }
            | Self::Type { key }
            | Self::Object { key, .. } => each(key),
            Self::GetMany { keys } | Self::Delete { keys } | Self::Exists { keys } => {
                keys.iter().for_each(each);
            }
            Self::SetMany { pairs, .. } => pairs.iter().for_each(|(key, _)| each(key)),
            Self::Rename { from, to, .. } | Self::Copy { from, to, .. } => {
                each(from);
                each(to);
            }
            Self::Lcs(lcs) => lcs.keys.iter().for_each(each),
        }
    }
}

/// Makes a key of a word.
pub(crate) fn key_of(word: &Bytes) -> Result<Key, ReplyError> {
    Key::new(word.clone()).map_err(|_| ReplyError::Key { size: word.len() })
}

/// Makes a value of a word.
pub(crate) fn value_of(word: &Bytes) -> Result<Value, ReplyError> {
    Value::new(word.clone()).map_err(|_| ReplyError::TooLong)
}
