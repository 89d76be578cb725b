//! Words made commands on keys and values.

use bytes::Bytes;
use kv_core::{Key, Value, parse_integer};

use crate::data::{
    DataCommand, Expire, ExpireCondition, Lcs, LcsForm, LifetimeForm, NewExpiry, ObjectQuestion,
    Presence, Set, SetExpiry, SetReply, key_of, value_of,
};
use crate::error::ReplyError;
use crate::float::LongDouble;

/// A command by its lower-case name, which the table of commands has with so many words.
/// `None` if it is not one on keys and values.
pub(crate) fn parse(
    name: &'static str,
    words: &[Bytes],
) -> Option<Result<DataCommand, ReplyError>> {
    let arguments = words.get(1..).unwrap_or_default();
    Some(match name {
        "set" => parse_set(arguments),
        "getex" => parse_getex(arguments),
        "expire" | "pexpire" | "expireat" | "pexpireat" => parse_expire(name, arguments),
        "copy" => parse_copy(arguments),
        "lcs" => parse_lcs(arguments),
        "mset" | "msetnx" => parse_mset(name, arguments),
        "mget" | "del" | "unlink" | "exists" | "touch" => parse_many(name, arguments),
        _ => return parse_fixed(name, arguments),
    })
}

/// Commands whose words have fixed places.
fn parse_fixed(name: &'static str, arguments: &[Bytes]) -> Option<Result<DataCommand, ReplyError>> {
    let parsed = match arguments {
        [key] => key_of(key).map(|key| of_key(name, key)),
        [key, argument] => of_key_and_word(name, key, argument),
        [key, one, other] => of_key_and_words(name, key, one, other),
        _ => Ok(None),
    };
    parsed.transpose()
}

fn of_key(name: &'static str, key: Key) -> Option<DataCommand> {
    let lifetime = |in_seconds, is_absolute| LifetimeForm { in_seconds, is_absolute };
    Some(match name {
        "get" => DataCommand::Get { key },
        "getdel" => DataCommand::GetDelete { key },
        "strlen" => DataCommand::Length { key },
        "incr" => DataCommand::Increment { key, by: 1 },
        "decr" => DataCommand::Increment { key, by: -1 },
        "persist" => DataCommand::Persist { key },
        "type" => DataCommand::Type { key },
        "ttl" => DataCommand::Lifetime { key, form: lifetime(true, false) },
        "pttl" => DataCommand::Lifetime { key, form: lifetime(false, false) },
        "expiretime" => DataCommand::Lifetime { key, form: lifetime(true, true) },
        "pexpiretime" => DataCommand::Lifetime { key, form: lifetime(false, true) },
        _ => return None,
    })
}

fn of_key_and_word(
    name: &'static str,
    key: &Bytes,
    word: &Bytes,
) -> Result<Option<DataCommand>, ReplyError> {
    let plain_set = |condition, reply| {
        let (key, value) = (key_of(key)?, value_of(word)?);
        let expiry = SetExpiry::Never;
        Ok::<_, ReplyError>(DataCommand::Set(Set {
            key,
            value,
            expiry,
            condition,
            reply,
            command: name,
        }))
    };
    Ok(Some(match name {
        "setnx" => plain_set(Some(Presence::Absent), SetReply::Flag)?,
        "getset" => plain_set(None, SetReply::Before)?,
        "append" => DataCommand::Append { key: key_of(key)?, suffix: value_of(word)? },
        "getbit" => DataCommand::GetBit { key: key_of(key)?, offset: bit_offset(word)? },
        "incrby" => DataCommand::Increment { by: integer(word)?, key: key_of(key)? },
        "decrby" => {
            let by = integer(word)?.checked_neg().ok_or(ReplyError::DecrementOverflow)?;
            DataCommand::Increment { key: key_of(key)?, by }
        }
        "incrbyfloat" => {
            let by = LongDouble::parse(word).ok_or(ReplyError::NotAFloat)?;
            DataCommand::IncrementFloat { key: key_of(key)?, by }
        }
        "rename" | "renamenx" => DataCommand::Rename {
            from: key_of(key)?,
            to: key_of(word)?,
            only_if_absent: name == "renamenx",
        },
        "object" => return object(key, word).map(Some),
        _ => return Ok(None),
    }))
}

fn of_key_and_words(
    name: &'static str,
    key: &Bytes,
    one: &Bytes,
    other: &Bytes,
) -> Result<Option<DataCommand>, ReplyError> {
    Ok(Some(match name {
        "setex" | "psetex" => {
            let (unit, command) = if name == "setex" { (1000, "setex") } else { (1, "psetex") };
            let expiry = SetExpiry::New(relative(one, unit, command)?);
            let (key, value) = (key_of(key)?, value_of(other)?);
            DataCommand::Set(Set {
                key,
                value,
                expiry,
                condition: None,
                reply: SetReply::Ok,
                command,
            })
        }
        "getrange" | "substr" => {
            let (start, end) = (integer(one)?, integer(other)?);
            DataCommand::GetRange { key: key_of(key)?, start, end }
        }
        "setbit" => {
            let offset = bit_offset(one)?;
            let bit = match parse_integer(other) {
                Some(0) => false,
                Some(1) => true,
                Some(_) | None => {
                    let what = "bit is not an integer or out of range";
                    return Err(ReplyError::Other { what });
                }
            };
            DataCommand::SetBit { key: key_of(key)?, offset, bit }
        }
        "setrange" => {
            let offset = integer(one)?;
            let offset = usize::try_from(offset).map_err(|_| ReplyError::Offset)?;
            DataCommand::SetRange { key: key_of(key)?, offset, value: value_of(other)? }
        }
        _ => return Ok(None),
    }))
}

/// The number of a bit that a value can have.
fn bit_offset(word: &[u8]) -> Result<usize, ReplyError> {
    let offset = parse_integer(word).and_then(|offset| usize::try_from(offset).ok());
    let what = "bit offset is not an integer or out of range";
    offset.filter(|offset| offset / 8 < Value::LEN_MAX).ok_or(ReplyError::Other { what })
}

fn object(subcommand: &Bytes, key: &Bytes) -> Result<DataCommand, ReplyError> {
    let what = match subcommand.to_ascii_lowercase().as_slice() {
        b"encoding" => ObjectQuestion::Encoding,
        b"freq" => ObjectQuestion::Frequency,
        b"idletime" => ObjectQuestion::IdleTime,
        b"refcount" => ObjectQuestion::References,
        _ => return Err(ReplyError::unknown_subcommand("object", subcommand)),
    };
    Ok(DataCommand::Object { key: key_of(key)?, what })
}

fn parse_many(name: &'static str, arguments: &[Bytes]) -> Result<DataCommand, ReplyError> {
    let keys: Vec<Key> = arguments.iter().map(key_of).collect::<Result<_, _>>()?;
    Ok(match name {
        "mget" => DataCommand::GetMany { keys },
        "del" | "unlink" => DataCommand::Delete { keys },
        _ => DataCommand::Exists { keys },
    })
}

fn parse_mset(name: &'static str, arguments: &[Bytes]) -> Result<DataCommand, ReplyError> {
    let pairs = arguments.chunks(2).map(|pair| match pair {
        [key, value] => Ok((key_of(key)?, value_of(value)?)),
        _ => Err(ReplyError::Arity { command: name }),
    });
    let pairs: Vec<(Key, Value)> = pairs.collect::<Result<_, _>>()?;
    Ok(DataCommand::SetMany { pairs, only_if_absent: name == "msetnx" })
}

fn parse_set(arguments: &[Bytes]) -> Result<DataCommand, ReplyError> {
    let [key, value, options @ ..] = arguments else {
        return Err(ReplyError::Arity { command: "set" });
    };
    let (mut condition, mut gets, mut expiry) = (None, false, None);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let option = option.to_ascii_lowercase();
        match option.as_slice() {
            b"nx" if condition != Some(Presence::Present) => condition = Some(Presence::Absent),
            b"xx" if condition != Some(Presence::Absent) => condition = Some(Presence::Present),
            b"get" => gets = true,
            b"keepttl" if matches!(expiry, None | Some(Lasting::Keep)) => {
                expiry = Some(Lasting::Keep);
            }
            unit => set_once(&mut expiry, Lasting::of(unit, options.next())?)?,
        }
    }
    let expiry = match expiry {
        None => SetExpiry::Never,
        Some(Lasting::Keep) => SetExpiry::Keep,
        Some(Lasting::New(unit, text)) => SetExpiry::New(unit.expiry(&text, "set")?),
    };
    let (key, value) = (key_of(key)?, value_of(value)?);
    let reply = if gets { SetReply::Before } else { SetReply::Ok };
    Ok(DataCommand::Set(Set { key, value, expiry, condition, reply, command: "set" }))
}

fn parse_getex(arguments: &[Bytes]) -> Result<DataCommand, ReplyError> {
    let [key, options @ ..] = arguments else {
        return Err(ReplyError::Arity { command: "getex" });
    };
    let (mut persists, mut expiry) = (false, None);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let option = option.to_ascii_lowercase();
        match option.as_slice() {
            b"persist" if expiry.is_none() => persists = true,
            unit if !persists => set_once(&mut expiry, Lasting::of(unit, options.next())?)?,
            _ => return Err(ReplyError::Syntax),
        }
    }
    let expiry = match expiry {
        Some(Lasting::New(unit, text)) => Some(unit.expiry(&text, "getex")),
        Some(Lasting::Keep) | None => persists.then_some(Ok(NewExpiry::Persist)),
    };
    Ok(DataCommand::GetExpire { key: key_of(key)?, expiry })
}

/// An option that says how long a key lasts.
#[derive(Debug, PartialEq)]
enum Lasting {
    Keep,
    New(Unit, Bytes),
}

/// How a time is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unit {
    millis: i64,
    is_absolute: bool,
}

impl Lasting {
    fn of(unit: &[u8], text: Option<&Bytes>) -> Result<Self, ReplyError> {
        let (millis, is_absolute) = match unit {
            b"ex" => (1000, false),
            b"px" => (1, false),
            b"exat" => (1000, true),
            b"pxat" => (1, true),
            _ => return Err(ReplyError::Syntax),
        };
        let text = text.ok_or(ReplyError::Syntax)?.clone();
        Ok(Self::New(Unit { millis, is_absolute }, text))
    }
}

impl Unit {
    /// Reads the time, which is in the future unless it is absolute.
    fn expiry(self, text: &Bytes, command: &'static str) -> Result<NewExpiry, ReplyError> {
        let NewExpiry::In(ms) = relative(text, self.millis, command)? else {
            return Err(ReplyError::Syntax);
        };
        Ok(if self.is_absolute { NewExpiry::At(ms) } else { NewExpiry::In(ms) })
    }
}

/// Redis takes none of these options beside another; the last one counts of several that are the
/// same.
fn set_once(expiry: &mut Option<Lasting>, new: Lasting) -> Result<(), ReplyError> {
    match (&*expiry, &new) {
        (None, _) => {}
        (Some(Lasting::New(before, _)), Lasting::New(after, _)) if before == after => {}
        (Some(_), _) => return Err(ReplyError::Syntax),
    }
    *expiry = Some(new);
    Ok(())
}

/// A time to live, which is more than none.
fn relative(text: &Bytes, unit: i64, command: &'static str) -> Result<NewExpiry, ReplyError> {
    let time = integer(text)?;
    let ms = time.checked_mul(unit).filter(|_| time > 0);
    ms.map(NewExpiry::In).ok_or(ReplyError::ExpireTime { command })
}

fn parse_expire(name: &'static str, arguments: &[Bytes]) -> Result<DataCommand, ReplyError> {
    let [key, time, options @ ..] = arguments else {
        return Err(ReplyError::Arity { command: name });
    };
    let condition = parse_expire_condition(options)?;
    let (unit, is_absolute) = match name {
        "expire" => (1000, false),
        "pexpire" => (1, false),
        "expireat" => (1000, true),
        _ => (1, true),
    };
    let ms = integer(time)?.checked_mul(unit).ok_or(ReplyError::ExpireTime { command: name })?;
    let expiry = if is_absolute { NewExpiry::At(ms) } else { NewExpiry::In(ms) };
    Ok(DataCommand::Expire(Expire { key: key_of(key)?, expiry, condition, command: name }))
}

fn parse_expire_condition(options: &[Bytes]) -> Result<Option<ExpireCondition>, ReplyError> {
    let [mut nx, mut xx, mut gt, mut lt] = [false; 4];
    for option in options {
        match option.to_ascii_lowercase().as_slice() {
            b"nx" => nx = true,
            b"xx" => xx = true,
            b"gt" => gt = true,
            b"lt" => lt = true,
            _ => {
                let option = String::from_utf8_lossy(option).into_owned();
                return Err(ReplyError::ExpireOption { option });
            }
        }
    }
    match (nx, xx, gt, lt) {
        (true, xx, gt, lt) if xx || gt || lt => Err(ReplyError::ExpireNx),
        (_, _, true, true) => Err(ReplyError::ExpireGtLt),
        (true, ..) => Ok(Some(ExpireCondition::HasNone)),
        // A key that lasts for ever outlasts every end.
        (_, _, true, _) => Ok(Some(ExpireCondition::Later)),
        (_, true, _, true) => Ok(Some(ExpireCondition::HasOneAndSooner)),
        (_, _, _, true) => Ok(Some(ExpireCondition::Sooner)),
        (_, true, ..) => Ok(Some(ExpireCondition::HasOne)),
        _ => Ok(None),
    }
}

fn parse_copy(arguments: &[Bytes]) -> Result<DataCommand, ReplyError> {
    let [from, to, options @ ..] = arguments else {
        return Err(ReplyError::Arity { command: "copy" });
    };
    let mut replace = false;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match option.to_ascii_lowercase().as_slice() {
            b"replace" => replace = true,
            b"db" => {
                let database = options.next().ok_or(ReplyError::Syntax)?;
                check_database(database)?;
            }
            _ => return Err(ReplyError::Syntax),
        }
    }
    if from == to {
        return Err(ReplyError::SameObject);
    }
    Ok(DataCommand::Copy { from: key_of(from)?, to: key_of(to)?, replace })
}

fn parse_lcs(arguments: &[Bytes]) -> Result<DataCommand, ReplyError> {
    let [one, other, options @ ..] = arguments else {
        return Err(ReplyError::Arity { command: "lcs" });
    };
    let (mut wants_len, mut wants_matches, mut len_min, mut with_len) = (false, false, 0, false);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match option.to_ascii_lowercase().as_slice() {
            b"len" => wants_len = true,
            b"idx" => wants_matches = true,
            b"withmatchlen" => with_len = true,
            b"minmatchlen" => {
                let len = integer(options.next().ok_or(ReplyError::Syntax)?)?;
                len_min = usize::try_from(len).unwrap_or(0);
            }
            _ => return Err(ReplyError::Syntax),
        }
    }
    let form = match (wants_len, wants_matches) {
        (true, true) => return Err(ReplyError::LcsOptions),
        (true, false) => LcsForm::Length,
        (false, true) => LcsForm::Matches { len_min, with_len },
        (false, false) => LcsForm::Text,
    };
    Ok(DataCommand::Lcs(Lcs { keys: [key_of(one)?, key_of(other)?], form }))
}

/// The only database is 0.
pub(crate) fn check_database(word: &[u8]) -> Result<(), ReplyError> {
    let number = parse_integer(word).ok_or(ReplyError::NotAnInteger)?;
    match i32::try_from(number) {
        Ok(0) => Ok(()),
        Ok(_) => Err(ReplyError::Database),
        Err(_) => Err(ReplyError::NotAShortInteger),
    }
}

fn integer(word: &[u8]) -> Result<i64, ReplyError> {
    parse_integer(word).ok_or(ReplyError::NotAnInteger)
}
