//! What a line of a log of operations says.

use std::time::Duration;

use bytes::Bytes;
use kv_core::{Command, Key, Value};

use crate::history::Seen;

/// A line's columns.
pub(super) struct Line<'a> {
    pub(super) client: String,
    pub(super) word: &'a str,
    pub(super) key: Key,
    pub(super) ms: u64,
    pub(super) event: &'a str,
    pub(super) value: Option<Bytes>,
}

/// Reads a line.
pub(super) fn columns(line: &str) -> Result<Line<'_>, &'static str> {
    let fields: Vec<&str> = line.split(',').collect();
    let [server, client, word, key, ms, event, value] = fields.as_slice() else {
        return Err("a line has seven columns");
    };
    let key = Key::new(unescaped(key)?).map_err(|_| "the key is empty or too long")?;
    Ok(Line {
        client: format!("{server},{client}"),
        word,
        key,
        ms: ms.parse().map_err(|_| "the time is no number of milliseconds")?,
        event,
        value: match *value {
            "" => None,
            "\"\"" => Some(Bytes::new()),
            value => Some(unescaped(value)?),
        },
    })
}

/// Reads `\xNN` as bytes.
fn unescaped(text: &str) -> Result<Bytes, &'static str> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).ok_or("an escape has two hexadecimal digits")?;
        let byte = u8::from_str_radix(digits, 16);
        bytes.push(byte.map_err(|_| "an escape has two hexadecimal digits")?);
        bytes.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
    }
    Ok(bytes.into())
}

/// What a call of this word does.
pub(super) fn command(word: &str, key: Key, value: Option<Bytes>) -> Result<Command, &'static str> {
    Ok(match word {
        "get" => Command::Get { key },
        "put" | "delete" | "cas" => written(key, value),
        "append" => Command::Append {
            key,
            suffix: Value::new(value.unwrap_or_default()).unwrap_or_default(),
        },
        "incr" => {
            let by = value.as_deref().and_then(|value| std::str::from_utf8(value).ok());
            let by = by.and_then(|by| by.parse().ok()).ok_or("an increment has a number")?;
            Command::Increment { key, by }
        }
        // For how long does not stand there: the key may be gone at any time after that.
        "put-ttl" => Command::Put {
            key,
            value: Value::new(value.unwrap_or_default()).unwrap_or_default(),
            time_to_live: Some(Duration::ZERO),
        },
        "expire" => Command::Expire { key, time_to_live: Some(Duration::ZERO) },
        "persist" => Command::Expire { key, time_to_live: None },
        "ttl" => Command::TimeToLive { key },
        "rewrite" => Command::Rewrite {
            key,
            value: Value::new(value.unwrap_or_default()).unwrap_or_default(),
        },
        // As for `expire`: the key may be gone at any time after that.
        "expire-at" => Command::Expire { key, time_to_live: Some(Duration::ZERO) },
        "expiry" => Command::Expiry { key },
        _ => return Err("the operation is unknown"),
    })
}

/// What writes this value, or nothing.
pub(super) fn written(key: Key, value: Option<Bytes>) -> Command {
    match value.map(|value| Value::new(value).unwrap_or_default()) {
        Some(value) => Command::Put { key, value, time_to_live: None },
        None => Command::Delete { key },
    }
}

/// What the last line of a call shows.
pub(super) fn seen(command: &Command, value: Option<Bytes>) -> Result<Seen, &'static str> {
    match command {
        Command::Get { .. } => {
            let value = value.map(Value::new).transpose();
            value.map(Seen::Value).map_err(|_| "the value is too long")
        }
        Command::Put { .. } | Command::Rewrite { .. } | Command::Delete { .. } => Ok(Seen::Written),
        Command::Append { .. }
        | Command::Expire { .. }
        | Command::TimeToLive { .. }
        | Command::ExpireAt { .. }
        | Command::Expiry { .. } => Ok(Seen::Unnoted),
        Command::Increment { .. } => {
            let number = value.as_deref().and_then(|value| std::str::from_utf8(value).ok());
            let number = number.and_then(|number| number.parse().ok());
            number.map(Seen::Number).ok_or("an increment ends with a number")
        }
    }
}
