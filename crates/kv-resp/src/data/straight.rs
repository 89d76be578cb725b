//! Commands that the engine carries out as they are, and replies made of its results.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use kv_core::{Batch, Command, CommandResult, Key, KeyExpiry, TimeToLive, Value};

use crate::clock::{left, millis};
use crate::data::evaluate::type_of;
use crate::data::expiring::{ENDLESS, MISSING, moment};
use crate::data::{DataCommand, Expire, LifetimeForm, NewExpiry, Set, SetExpiry, SetReply};
use crate::reply::{Protocol, Reply, put_bulk, put_number};

/// How a reply is made of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A value, or none.
    Value,
    /// The value of the first of so many results.
    ValueFirst { count: usize },
    /// An array of so many values.
    Values { count: usize },
    /// How long a value is.
    ValueLength,
    /// `OK` for so many writes.
    Written { count: usize },
    /// A number that is known before, for so many writes.
    WrittenOf { reply: i64, count: usize },
    /// A number, or a length.
    Number,
    /// 1 or 0.
    Changed,
    /// How many of so many keys were there; each was looked at and then deleted.
    Deleted { keys: usize },
    /// How many of so many keys are there.
    Existing { keys: usize },
    /// How long a key lasts.
    Lifetime(LifetimeForm),
    /// The type of a key.
    Type,
}

impl Shape {
    /// How many results it is made of.
    pub(crate) const fn results(self) -> usize {
        match self {
            Self::Value
            | Self::ValueLength
            | Self::Number
            | Self::Changed
            | Self::Lifetime(_)
            | Self::Type => 1,
            Self::ValueFirst { count }
            | Self::Values { count }
            | Self::Written { count }
            | Self::WrittenOf { count, .. }
            | Self::Existing { keys: count } => count,
            Self::Deleted { keys } => 2 * keys,
        }
    }
}

/// Appends what carries a command out as it is; `None`, with nothing appended, for a command that
/// must look at keys first.
pub(crate) fn straight(
    command: &DataCommand,
    now_ms: i64,
    commands: &mut Vec<Command>,
) -> Option<Shape> {
    let time_to_live = |key| Command::TimeToLive { key };
    match command {
        DataCommand::Get { key } | DataCommand::GetExpire { key, expiry: None } => {
            commands.push(Command::Get { key: key.clone() });
            Some(Shape::Value)
        }
        DataCommand::Length { key } => {
            commands.push(Command::Get { key: key.clone() });
            Some(Shape::ValueLength)
        }
        DataCommand::GetDelete { key } => {
            commands.push(Command::Get { key: key.clone() });
            commands.push(Command::Delete { key: key.clone() });
            Some(Shape::ValueFirst { count: 2 })
        }
        DataCommand::Set(set) => straight_set(set, now_ms, commands),
        DataCommand::Append { key, suffix } => {
            commands.push(Command::Append { key: key.clone(), suffix: suffix.clone() });
            Some(Shape::Number)
        }
        DataCommand::Increment { key, by } => {
            commands.push(Command::Increment { key: key.clone(), by: *by });
            Some(Shape::Number)
        }
        DataCommand::GetMany { keys } => {
            commands.extend(keys.iter().map(|key| Command::Get { key: key.clone() }));
            Some(Shape::Values { count: keys.len() })
        }
        DataCommand::SetMany { pairs, only_if_absent: false } => {
            Some(straight_set_many(pairs, commands))
        }
        DataCommand::Delete { keys } => {
            for key in keys {
                commands.push(time_to_live(key.clone()));
                commands.push(Command::Delete { key: key.clone() });
            }
            Some(Shape::Deleted { keys: keys.len() })
        }
        DataCommand::Exists { keys } => {
            commands.extend(keys.iter().cloned().map(time_to_live));
            Some(Shape::Existing { keys: keys.len() })
        }
        DataCommand::Expire(expire) => straight_expire(expire, now_ms, commands),
        DataCommand::Persist { key } => {
            commands.push(Command::Expire { key: key.clone(), time_to_live: None });
            Some(Shape::Changed)
        }
        DataCommand::Lifetime { key, form } => {
            commands.push(form.read(key.clone()));
            Some(Shape::Lifetime(*form))
        }
        DataCommand::Type { key } => {
            commands.push(time_to_live(key.clone()));
            Some(Shape::Type)
        }
        DataCommand::GetExpire { expiry: Some(_), .. }
        | DataCommand::GetRange { .. }
        | DataCommand::SetRange { .. }
        | DataCommand::GetBit { .. }
        | DataCommand::SetBit { .. }
        | DataCommand::IncrementFloat { .. }
        | DataCommand::SetMany { only_if_absent: true, .. }
        | DataCommand::Rename { .. }
        | DataCommand::Copy { .. }
        | DataCommand::Object { .. }
        | DataCommand::Lcs(_) => None,
    }
}

fn straight_set(set: &Set, now_ms: i64, commands: &mut Vec<Command>) -> Option<Shape> {
    let (key, value) = (set.key.clone(), set.value.clone());
    let put = |time_to_live| Command::Put { key: key.clone(), value: value.clone(), time_to_live };
    let mut expire = None;
    let write = match set.expiry {
        SetExpiry::Never => put(None),
        SetExpiry::New(NewExpiry::In(ms)) => {
            now_ms.checked_add(ms)?;
            put(Some(left(ms, 0)))
        }
        SetExpiry::New(NewExpiry::At(ms)) => {
            expire = Some(Command::ExpireAt { key: key.clone(), expiry: moment(ms) });
            put(None)
        }
        SetExpiry::Keep => Command::Rewrite { key: key.clone(), value: value.clone() },
        SetExpiry::New(NewExpiry::Persist) => return None,
    };
    let writes = 1 + usize::from(expire.is_some());
    let shape = match (set.condition, set.reply) {
        (None, SetReply::Ok) => Shape::Written { count: writes },
        (None, SetReply::Before) => {
            commands.push(Command::Get { key: set.key.clone() });
            Shape::ValueFirst { count: 1 + writes }
        }
        (None, SetReply::Flag) | (Some(_), _) => return None,
    };
    commands.push(write);
    commands.extend(expire);
    Some(shape)
}

fn straight_set_many(pairs: &[(Key, Value)], commands: &mut Vec<Command>) -> Shape {
    let put = |(key, value): (&Key, &Value)| Command::Put {
        key: key.clone(),
        value: value.clone(),
        time_to_live: None,
    };
    let before = commands.len();
    if pairs.len() <= Batch::LEN_MAX {
        commands.extend(pairs.iter().map(|(key, value)| put((key, value))));
    } else {
        // Of a key that is there several times the last value counts.
        let last: BTreeMap<&Key, &Value> = pairs.iter().map(|(key, value)| (key, value)).collect();
        commands.extend(last.into_iter().map(put));
    }
    Shape::Written { count: commands.len() - before }
}

fn straight_expire(expire: &Expire, now_ms: i64, commands: &mut Vec<Command>) -> Option<Shape> {
    if expire.condition.is_some() {
        return None;
    }
    let key = expire.key.clone();
    let (left_ms, set) = match expire.expiry {
        NewExpiry::In(ms) => {
            now_ms.checked_add(ms)?;
            (ms, Command::Expire { key: key.clone(), time_to_live: Some(left(ms, 0)) })
        }
        NewExpiry::At(ms) => {
            let expiry = moment(ms);
            (ms.saturating_sub(now_ms), Command::ExpireAt { key: key.clone(), expiry })
        }
        NewExpiry::Persist => return None,
    };
    if left_ms <= 0 {
        commands.push(Command::TimeToLive { key: key.clone() });
        commands.push(Command::Delete { key });
        return Some(Shape::Deleted { keys: 1 });
    }
    commands.push(set);
    Some(Shape::Changed)
}

/// Makes the reply of a shape of the next results; `None` if they do not fit.
pub(crate) fn put_replies(
    shape: Shape,
    results: &mut impl Iterator<Item = CommandResult>,
    protocol: Protocol,
    out: &mut BytesMut,
) -> Option<()> {
    match shape {
        Shape::Value => put_value(&results.next()?, protocol, out)?,
        Shape::ValueFirst { count } => {
            put_value(&results.next()?, protocol, out)?;
            for _ in 1..count {
                results.next()?;
            }
        }
        Shape::Values { count } => {
            put_number(out, b'*', i64::try_from(count).ok()?);
            for _ in 0..count {
                put_value(&results.next()?, protocol, out)?;
            }
        }
        Shape::ValueLength => {
            let CommandResult::Value(found) = results.next()? else {
                return None;
            };
            let len = found.map_or(0, |found| found.value.as_bytes().len());
            put_number(out, b':', i64::try_from(len).ok()?);
        }
        Shape::Written { count } => {
            for _ in 0..count {
                results.next()?;
            }
            out.put_slice(b"+OK\r\n");
        }
        Shape::WrittenOf { reply, count } => {
            for _ in 0..count {
                results.next()?;
            }
            put_number(out, b':', reply);
        }
        Shape::Number => put_number(out, b':', number(&results.next()?)?),
        Shape::Changed => {
            let CommandResult::Changed(changed) = results.next()? else {
                return None;
            };
            put_number(out, b':', i64::from(changed));
        }
        Shape::Deleted { keys } => {
            let mut there = 0;
            for _ in 0..keys {
                there += i64::from(is_there(&results.next()?)?);
                results.next()?;
            }
            put_number(out, b':', there);
        }
        Shape::Existing { keys } => {
            let mut there = 0;
            for _ in 0..keys {
                there += i64::from(is_there(&results.next()?)?);
            }
            put_number(out, b':', there);
        }
        Shape::Lifetime(form) => lifetime(&results.next()?, form)?.encode(protocol, out),
        Shape::Type => type_of(is_there(&results.next()?)?).encode(protocol, out),
    }
    Some(())
}

fn put_value(result: &CommandResult, protocol: Protocol, out: &mut BytesMut) -> Option<()> {
    let CommandResult::Value(found) = result else {
        return None;
    };
    match found {
        Some(found) => put_bulk(out, found.value.as_bytes()),
        None => Reply::Null.encode(protocol, out),
    }
    Some(())
}

fn number(result: &CommandResult) -> Option<i64> {
    match result {
        CommandResult::Number(number) => Some(*number),
        CommandResult::Length(len) => i64::try_from(*len).ok(),
        CommandResult::Value(_)
        | CommandResult::Written
        | CommandResult::Changed(_)
        | CommandResult::TimeToLive(_)
        | CommandResult::Expiry(_) => None,
    }
}

/// Whether a key is there that was read, in either way.
fn is_there(result: &CommandResult) -> Option<bool> {
    match result {
        CommandResult::Value(found) => Some(found.is_some()),
        CommandResult::TimeToLive(left) => Some(*left != TimeToLive::Missing),
        CommandResult::Written
        | CommandResult::Number(_)
        | CommandResult::Length(_)
        | CommandResult::Changed(_)
        | CommandResult::Expiry(_) => None,
    }
}

fn lifetime(result: &CommandResult, form: LifetimeForm) -> Option<Reply> {
    let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    Some(match result {
        CommandResult::TimeToLive(TimeToLive::Missing)
        | CommandResult::Expiry(KeyExpiry::Missing) => Reply::Integer(MISSING),
        CommandResult::TimeToLive(TimeToLive::Endless)
        | CommandResult::Expiry(KeyExpiry::Never) => Reply::Integer(ENDLESS),
        CommandResult::TimeToLive(TimeToLive::Left(left)) => form.reply(millis(*left)),
        CommandResult::Expiry(KeyExpiry::At(at)) => form.reply(ms(at.0)),
        CommandResult::Value(_)
        | CommandResult::Written
        | CommandResult::Number(_)
        | CommandResult::Length(_)
        | CommandResult::Changed(_) => return None,
    })
}
