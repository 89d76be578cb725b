//! Histories read back from the lines of JSON that they were written as.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kv_core::{Batch, Check, Command, Condition, ExpiryMs, Key, KeyExpiry, Value};
use serde_json::Value as Json;

use crate::history::{Event, History, Process, Refusal, Seen};

impl History {
    /// Reads what [`History::write_json_lines`] writes. `index` is not looked at, and the end of a
    /// call needs no more than its `process`, its `type` and what it brought.
    ///
    /// # Errors
    /// [`HistoryFileError`] for the first line that is no event.
    pub fn read_json_lines(text: &str) -> Result<Self, HistoryFileError> {
        let mut reader = Reader::default();
        let events = text.lines().enumerate().map(|(index, line)| {
            reader.event(line).map_err(|flaw| HistoryFileError { line: index + 1, flaw })
        });
        Ok(Self { events: events.collect::<Result<_, _>>()? })
    }
}

/// A line of a file is no event of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {flaw}")]
pub struct HistoryFileError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub flaw: HistoryFlaw,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryFlaw {
    /// It is no JSON.
    #[error("no JSON from column {column} on")]
    Syntax {
        /// Where it stops to be JSON, from 1.
        column: usize,
    },
    /// A field is missing or of another form.
    #[error("`{name}` must be {wanted}")]
    Field {
        /// The field.
        name: &'static str,
        /// What must stand there.
        wanted: &'static str,
    },
    /// A call begins beside another of the same process, or after one whose end is unknown.
    #[error("process {} begins a call here, but has one open, or one with an unknown end", process.0)]
    Begun {
        /// Whose.
        process: Process,
    },
    /// A call ends that has not begun.
    #[error("process {} ends a call here, but has begun none", process.0)]
    NotBegun {
        /// Whose.
        process: Process,
    },
    /// The commands and conditions are none of one call.
    #[error(
        "a call has 1 to {} commands and conditions, of at most {} bytes",
        Batch::LEN_MAX,
        Batch::BYTES_MAX
    )]
    Batch,
}

/// Who has a call open.
#[derive(Default)]
struct Reader {
    open: BTreeMap<Process, Batch>,
    retired: BTreeSet<Process>,
}

impl Reader {
    fn event(&mut self, line: &str) -> Result<(Process, Event), HistoryFlaw> {
        let json: Json = serde_json::from_str(line)
            .map_err(|error| HistoryFlaw::Syntax { column: error.column() })?;
        let process = json.get("process").and_then(Json::as_u64);
        let process = Process(process.ok_or(field("process", "a number"))?);
        let kind = json.get("type").and_then(Json::as_str);
        if kind == Some("invoke") {
            let batch = read_batch(&json)?;
            let before = self.open.insert(process, batch.clone());
            if before.is_some() || self.retired.contains(&process) {
                return Err(HistoryFlaw::Begun { process });
            }
            return Ok((process, Event::Invoke(batch)));
        }
        let batch = self.open.remove(&process);
        let batch = batch.ok_or(HistoryFlaw::NotBegun { process });
        let event = match kind {
            Some("ok") => Event::Ok(read_results(&json, &batch?)?),
            Some("fail") => batch.and_then(|_| read_refusal(&json)).map(Event::Fail)?,
            Some("info") => batch.map(|_| Event::Info)?,
            _ => return Err(field("type", "invoke, ok, fail or info")),
        };
        if event == Event::Info {
            self.retired.insert(process);
        }
        Ok((process, event))
    }
}

fn read_batch(json: &Json) -> Result<Batch, HistoryFlaw> {
    let (conditions, commands) = if json.get("f").and_then(Json::as_str) == Some("txn") {
        let list = |name| json.get(name).and_then(Json::as_array);
        let conditions = list("conditions").ok_or(field("conditions", "a list"))?;
        let commands = list("commands").ok_or(field("commands", "a list"))?;
        let conditions: Result<Vec<_>, _> = conditions.iter().map(read_condition).collect();
        let commands: Result<Vec<_>, _> = commands.iter().map(read_command).collect();
        (conditions?, commands?)
    } else {
        (Vec::new(), vec![read_command(json)?])
    };
    Batch::new(conditions, commands).map_err(|_| HistoryFlaw::Batch)
}

fn read_condition(json: &Json) -> Result<Condition, HistoryFlaw> {
    let check = match json.get("check").and_then(Json::as_str) {
        Some("absent") => Check::Absent,
        Some("present") => Check::Present,
        Some("value-is") => Check::ValueIs(read_value(json)?),
        Some("expiry-is") => Check::ExpiryIs(read_moment(json)),
        Some("version-is") => {
            return Err(field("check", "no condition on a version: a history holds none"));
        }
        _ => return Err(field("check", "absent, present, value-is or expiry-is")),
    };
    Ok(Condition { key: read_key(json)?, check })
}

fn read_command(json: &Json) -> Result<Command, HistoryFlaw> {
    let key = read_key(json)?;
    Ok(match json.get("f").and_then(Json::as_str) {
        Some("get") => Command::Get { key },
        Some("delete") => Command::Delete { key },
        Some("append") => Command::Append { key, suffix: read_value(json)? },
        Some("put") => {
            Command::Put { key, value: read_value(json)?, time_to_live: read_time_to_live(json) }
        }
        Some("expire" | "persist") => {
            Command::Expire { key, time_to_live: read_time_to_live(json) }
        }
        Some("ttl") => Command::TimeToLive { key },
        Some("rewrite") => Command::Rewrite { key, value: read_value(json)? },
        Some("expire-at") => {
            let expiry = read_moment(json).ok_or(field("expiry-ms", "a number"))?;
            Command::ExpireAt { key, expiry }
        }
        Some("expiry") => Command::Expiry { key },
        Some("incr") => {
            let by = json.get("value").and_then(Json::as_i64);
            Command::Increment { key, by: by.ok_or(field("value", "a number"))? }
        }
        _ => {
            let known = "get, put, delete, incr, append, expire, persist, ttl, rewrite, expire-at, \
                         expiry or txn";
            return Err(field("f", known));
        }
    })
}

fn read_moment(json: &Json) -> Option<ExpiryMs> {
    json.get("expiry-ms").and_then(Json::as_u64).map(ExpiryMs)
}

/// When a key expires: a moment, `null` for never, or `missing` for a key that is missing.
fn read_expiry(json: &Json) -> Result<KeyExpiry, HistoryFlaw> {
    match json.get("expiry-ms") {
        Some(at) if at.is_null() => Ok(KeyExpiry::Never),
        Some(at) if at.as_str() == Some("missing") => Ok(KeyExpiry::Missing),
        _ => {
            let at = read_moment(json).map(KeyExpiry::At);
            at.ok_or(field("expiry-ms", "a number, null or missing"))
        }
    }
}

fn read_time_to_live(json: &Json) -> Option<Duration> {
    json.get("time-to-live-ms").and_then(Json::as_u64).map(Duration::from_millis)
}

fn read_results(json: &Json, batch: &Batch) -> Result<Vec<Seen>, HistoryFlaw> {
    if let Some(results) = json.get("results") {
        let results = results.as_array().ok_or(field("results", "a list"))?;
        return results.iter().map(read_result).collect();
    }
    if batch.single().is_some() {
        return batch.commands().iter().map(|command| read_seen(json, command)).collect();
    }
    let commands = json.get("commands").and_then(Json::as_array);
    let commands = commands.filter(|commands| commands.len() == batch.commands().len());
    let commands = commands.ok_or(field("commands", "as many as the call has"))?;
    commands.iter().zip(batch.commands()).map(|(json, command)| read_seen(json, command)).collect()
}

/// What a command brought.
fn read_seen(json: &Json, command: &Command) -> Result<Seen, HistoryFlaw> {
    Ok(match command {
        Command::Get { .. } => Seen::Value(read_held(json, "value")?),
        Command::Put { .. } | Command::Rewrite { .. } | Command::Delete { .. } => Seen::Written,
        Command::Expire { .. } | Command::ExpireAt { .. } | Command::TimeToLive { .. } => {
            Seen::Unnoted
        }
        Command::Expiry { .. } => Seen::Expiry(read_expiry(json)?),
        Command::Increment { .. } => {
            let number = json.get("value").and_then(Json::as_i64);
            Seen::Number(number.ok_or(field("value", "a number"))?)
        }
        // Whoever writes histories by hand need not count.
        Command::Append { .. } => {
            json.get("length").and_then(Json::as_u64).map_or(Seen::Unnoted, Seen::Length)
        }
    })
}

/// A result that says itself what it is.
fn read_result(json: &Json) -> Result<Seen, HistoryFlaw> {
    let number = json.get("number").and_then(Json::as_i64);
    let length = json.get("length").and_then(Json::as_u64);
    if let Some(seen) = number.map(Seen::Number).or(length.map(Seen::Length)) {
        return Ok(seen);
    }
    if json.get("written").is_some() {
        return Ok(Seen::Written);
    }
    if json.get("expiry-ms").is_some() {
        return read_expiry(json).map(Seen::Expiry);
    }
    if json.get("unnoted").is_some() {
        return Ok(Seen::Unnoted);
    }
    read_held(json, "value").map(Seen::Value)
}

fn read_refusal(json: &Json) -> Result<Refusal, HistoryFlaw> {
    let index = || {
        let index = json.get("error-index").and_then(Json::as_u64);
        let index = index.and_then(|index| usize::try_from(index).ok());
        index.ok_or(field("error-index", "a number"))
    };
    Ok(match json.get("error").and_then(Json::as_str) {
        Some("never-tried") => Refusal::NeverTried,
        Some("command") => Refusal::Command { index: index()? },
        Some("condition") => {
            let found = json.get("found").map(|_| read_held(json, "found")).transpose()?;
            Refusal::Condition { index: index()?, found }
        }
        _ => return Err(field("error", "never-tried, condition or command")),
    })
}

fn read_key(json: &Json) -> Result<Key, HistoryFlaw> {
    let text = json.get("key").and_then(Json::as_str);
    let key = text.and_then(unescaped).and_then(|bytes| Key::new(bytes).ok());
    key.ok_or(field("key", "a key of at least one byte, with bytes as \\xNN"))
}

fn read_value(json: &Json) -> Result<Value, HistoryFlaw> {
    read_held(json, "value")?.ok_or(field("value", "a text"))
}

/// What a key held: `null` if it was missing.
fn read_held(json: &Json, name: &'static str) -> Result<Option<Value>, HistoryFlaw> {
    let held = json.get(name).ok_or(field(name, "a text, or null"))?;
    if held.is_null() {
        return Ok(None);
    }
    let value = held.as_str().and_then(unescaped).and_then(|bytes| Value::new(bytes).ok());
    value.map(Some).ok_or(field(name, "a text, with bytes as \\xNN, or null"))
}

/// Reads `\xNN` as bytes.
fn unescaped(text: &str) -> Option<Bytes> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(part.get(2..)?.as_bytes());
    }
    Some(bytes.into())
}

const fn field(name: &'static str, wanted: &'static str) -> HistoryFlaw {
    HistoryFlaw::Field { name, wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaw(text: &str) -> String {
        History::read_json_lines(text).unwrap_err().to_string()
    }

    #[test]
    fn a_bad_line_is_named_with_what_is_wrong() {
        let begin = r#"{"process": 1, "type": "invoke", "f": "get", "key": "k"}"#;
        let second = |line: &str| flaw(&format!("{begin}\n{line}"));
        assert_eq!(flaw("{\"process\": 1,,"), "line 1: no JSON from column 15 on");
        assert_eq!(second("{}"), "line 2: `process` must be a number");
        let other = r#"{"process": 2, "type": "info"}"#;
        assert_eq!(second(other), "line 2: process 2 ends a call here, but has begun none");
        let no_value = r#"{"process": 1, "type": "ok"}"#;
        assert_eq!(second(no_value), "line 2: `value` must be a text, or null");
        let no_word = r#"{"process": 2, "type": "invoke", "f": "frob", "key": "k"}"#;
        assert_eq!(
            second(no_word),
            "line 2: `f` must be get, put, delete, incr, append, expire, persist, ttl, rewrite, \
             expire-at, expiry or txn"
        );
        let number = r#"{"process": 2, "type": "invoke", "f": "put", "key": "k", "value": 3}"#;
        assert!(second(number).starts_with("line 2: `value` must be a text"));
    }
}
