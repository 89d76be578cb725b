//! Histories as text that other tools read: JSON lines, and the EDN of Jepsen and its checkers.

use std::fmt::Write as _;
use std::io::{self, Write};

use kv_core::{Batch, Check, Command, KeyExpiry, Value};

use crate::history::{Event, History, Refusal, Seen};

impl History {
    /// Writes one JSON object for each event: `index`, `process`, `type` (`invoke`, `ok`, `fail`,
    /// `info`), and for a call of one command `f`, `key` and `value`; for any other call `f` is
    /// `txn`, with its `conditions` and `commands`. The `value` of an `ok` is what was read or
    /// counted; an append brings its `length`, and what fits no command stands as `results`. A
    /// `fail` has its `error`, and `found` where a condition's key was told. Bytes that are no
    /// printable ASCII, quotes and backslashes stand as `\xNN`.
    /// [`History::read_json_lines`] reads it back.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_json_lines(&self, out: &mut impl Write) -> io::Result<()> {
        self.lines(&JSON).into_iter().try_for_each(|line| writeln!(out, "{line}"))
    }

    /// The same as maps in Jepsen's EDN, with keywords for the names, the types and `f`.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_edn(&self, out: &mut impl Write) -> io::Result<()> {
        self.lines(&EDN).into_iter().try_for_each(|line| writeln!(out, "{line}"))
    }

    fn lines(&self, syntax: &Syntax) -> Vec<String> {
        let mut open = std::collections::BTreeMap::new();
        let mut lines = Vec::new();
        for (index, (process, event)) in self.events.iter().enumerate() {
            if let Event::Invoke(batch) = event {
                open.insert(*process, batch);
            }
            let mut map = syntax.map();
            map.field("index", &index.to_string());
            map.field("process", &process.0.to_string());
            map.field("type", &syntax.word(type_of(event)));
            if let Some(batch) = open.get(process) {
                put_call(&mut map, batch, event);
            }
            lines.push(map.end());
        }
        lines
    }
}

/// What the two forms write differently.
struct Syntax {
    /// Before a name.
    name_before: &'static str,
    /// Between a name and its value.
    name_after: &'static str,
    comma: &'static str,
    null: &'static str,
    word_before: &'static str,
    word_after: &'static str,
}

const JSON: Syntax = Syntax {
    name_before: "\"",
    name_after: "\": ",
    comma: ", ",
    null: "null",
    word_before: "\"",
    word_after: "\"",
};

const EDN: Syntax = Syntax {
    name_before: ":",
    name_after: " ",
    comma: ", ",
    null: "nil",
    word_before: ":",
    word_after: "",
};

/// A map under way.
struct Map<'a> {
    syntax: &'a Syntax,
    text: String,
}

impl Syntax {
    const fn map(&self) -> Map<'_> {
        Map { syntax: self, text: String::new() }
    }

    fn word(&self, word: &str) -> String {
        format!("{}{word}{}", self.word_before, self.word_after)
    }

    fn list(&self, items: impl Iterator<Item = String>) -> String {
        let items: Vec<String> = items.collect();
        format!("[{}]", items.join(self.comma))
    }

    fn bytes(&self, bytes: Option<&[u8]>) -> String {
        let Some(bytes) = bytes else {
            return self.null.to_owned();
        };
        let mut text = String::from("\"");
        for &byte in bytes {
            if matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\' {
                text.push(char::from(byte));
            } else {
                // Two backslashes are one in a string of either form.
                let _ = write!(text, "\\\\x{byte:02x}");
            }
        }
        text.push('"');
        text
    }
}

impl Map<'_> {
    fn field(&mut self, name: &str, value: &str) {
        let Syntax { name_before, name_after, comma, .. } = self.syntax;
        let comma = if self.text.is_empty() { "" } else { comma };
        let _ = write!(self.text, "{comma}{name_before}{name}{name_after}{value}");
    }

    fn end(self) -> String {
        format!("{{{}}}", self.text)
    }
}

const fn type_of(event: &Event) -> &'static str {
    match event {
        Event::Invoke(_) => "invoke",
        Event::Ok(_) => "ok",
        Event::Fail(_) => "fail",
        Event::Info => "info",
    }
}

fn put_call(map: &mut Map<'_>, batch: &Batch, event: &Event) {
    let syntax = map.syntax;
    let results = match event {
        Event::Ok(seen) => Some(seen.as_slice()),
        Event::Invoke(_) | Event::Fail(_) | Event::Info => None,
    };
    let plain = results.filter(|seen| are_plain(batch.commands(), seen));
    let seen = |index| plain.and_then(|seen| seen.get(index));
    if let Some(command) = batch.single() {
        put_command(map, command, seen(0));
    } else {
        map.field("f", &syntax.word("txn"));
        let conditions = batch.conditions().iter().map(|condition| {
            let mut map = syntax.map();
            map.field("key", &syntax.bytes(Some(condition.key.as_bytes())));
            put_check(&mut map, &condition.check);
            map.end()
        });
        map.field("conditions", &syntax.list(conditions));
        let commands = batch.commands().iter().enumerate().map(|(index, command)| {
            let mut map = syntax.map();
            put_command(&mut map, command, seen(index));
            map.end()
        });
        map.field("commands", &syntax.list(commands));
    }
    if let Some(results) = results.filter(|_| plain.is_none()) {
        map.field("results", &syntax.list(results.iter().map(|seen| result(syntax, seen))));
    }
    if let Event::Fail(refusal) = event {
        let (reason, index) = match refusal {
            Refusal::NeverTried => ("never-tried", None),
            Refusal::Condition { index, .. } => ("condition", Some(index)),
            Refusal::Command { index } => ("command", Some(index)),
        };
        map.field("error", &syntax.word(reason));
        if let Some(index) = index {
            map.field("error-index", &index.to_string());
        }
        if let Refusal::Condition { found: Some(found), .. } = refusal {
            map.field("found", &syntax.bytes(bytes_of(found)));
        }
    }
}

/// Whether each command brought what such a command brings.
fn are_plain(commands: &[Command], results: &[Seen]) -> bool {
    commands.len() == results.len()
        && commands.iter().zip(results).all(|(command, seen)| match command {
            Command::Get { .. } => matches!(seen, Seen::Value(_)),
            Command::Put { .. } | Command::Rewrite { .. } | Command::Delete { .. } => {
                *seen == Seen::Written
            }
            Command::Increment { .. } => matches!(seen, Seen::Number(_)),
            Command::Append { .. } => matches!(seen, Seen::Length(_)),
            Command::Expire { .. } | Command::ExpireAt { .. } | Command::TimeToLive { .. } => {
                *seen == Seen::Unnoted
            }
            Command::Expiry { .. } => matches!(seen, Seen::Expiry(_)),
        })
}

/// A result that does not show what kind it is by its command.
fn result(syntax: &Syntax, seen: &Seen) -> String {
    let mut map = syntax.map();
    match seen {
        Seen::Value(value) => map.field("value", &syntax.bytes(bytes_of(value))),
        Seen::Written => map.field("written", "true"),
        Seen::Number(number) => map.field("number", &number.to_string()),
        Seen::Length(length) => map.field("length", &length.to_string()),
        Seen::Expiry(expiry) => map.field("expiry-ms", &moment(syntax, *expiry)),
        Seen::Unnoted => map.field("unnoted", "true"),
    }
    map.end()
}

fn bytes_of(value: &Option<Value>) -> Option<&[u8]> {
    value.as_ref().map(|value| value.as_bytes())
}

/// When a key expires.
fn moment(syntax: &Syntax, expiry: KeyExpiry) -> String {
    match expiry {
        KeyExpiry::Missing => syntax.bytes(Some(b"missing")),
        KeyExpiry::Never => syntax.null.to_owned(),
        KeyExpiry::At(at) => at.0.to_string(),
    }
}

fn put_check(map: &mut Map<'_>, check: &Check) {
    let syntax = map.syntax;
    let (word, value) = match check {
        Check::Absent => ("absent", None),
        Check::Present => ("present", None),
        Check::ValueIs(value) => ("value-is", Some(syntax.bytes(Some(value.as_bytes())))),
        Check::VersionIs(version) => ("version-is", Some(format!("\"{version}\""))),
        Check::ExpiryIs(_) => ("expiry-is", None),
    };
    map.field("check", &syntax.word(word));
    if let Check::ExpiryIs(at) = check {
        map.field("expiry-ms", &moment(syntax, at.map_or(KeyExpiry::Never, KeyExpiry::At)));
    }
    if let Some(value) = value {
        map.field("value", &value);
    }
}

fn put_command(map: &mut Map<'_>, command: &Command, seen: Option<&Seen>) {
    let syntax = map.syntax;
    map.field("f", &syntax.word(command.name()));
    map.field("key", &syntax.bytes(Some(command.key().as_bytes())));
    let asked = match command {
        Command::Get { .. }
        | Command::Delete { .. }
        | Command::Expire { .. }
        | Command::TimeToLive { .. }
        | Command::ExpireAt { .. }
        | Command::Expiry { .. } => syntax.null.to_owned(),
        Command::Put { value, .. }
        | Command::Rewrite { value, .. }
        | Command::Append { suffix: value, .. } => syntax.bytes(Some(value.as_bytes())),
        Command::Increment { by, .. } => by.to_string(),
    };
    let value = match seen {
        Some(Seen::Value(value)) => syntax.bytes(bytes_of(value)),
        Some(Seen::Number(number)) => number.to_string(),
        Some(Seen::Written | Seen::Length(_) | Seen::Expiry(_) | Seen::Unnoted) | None => asked,
    };
    map.field("value", &value);
    if let Some(Seen::Length(length)) = seen {
        map.field("length", &length.to_string());
    }
    match (command, seen) {
        (Command::ExpireAt { expiry, .. }, _) => {
            map.field("expiry-ms", &expiry.0.to_string());
        }
        (_, Some(Seen::Expiry(expiry))) => map.field("expiry-ms", &moment(syntax, *expiry)),
        _ => {}
    }
    if let Command::Put { time_to_live: Some(time), .. }
    | Command::Expire { time_to_live: Some(time), .. } = command
    {
        map.field("time-to-live-ms", &time.as_millis().to_string());
    }
}

#[cfg(test)]
mod tests {
    use kv_core::{Condition, Key};

    use super::*;
    use crate::history::Process;

    fn key(text: &'static str) -> Key {
        Key::new(text).unwrap()
    }

    fn value(text: &'static str) -> Value {
        Value::new(text).unwrap()
    }

    fn history() -> History {
        let put = Command::Put { key: key("k"), value: value("a\n\""), time_to_live: None };
        let condition = Condition { key: key("c"), check: Check::ValueIs(value("1")) };
        let get = Command::Get { key: key("k") };
        let calls = [
            Batch::new(vec![], vec![put.clone()]).unwrap(),
            Batch::new(vec![condition], vec![get, put]).unwrap(),
        ];
        let [first, second] = calls.map(Event::Invoke);
        let ok = Event::Ok(vec![Seen::Value(None), Seen::Written]);
        let events = [(1, first), (2, second), (1, Event::Info), (2, ok)];
        History { events: events.into_iter().map(|(p, event)| (Process(p), event)).collect() }
    }

    #[test]
    fn events_are_lines_of_json() {
        let mut out = Vec::new();
        history().write_json_lines(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            r#"{"index": 0, "process": 1, "type": "invoke", "f": "put", "key": "k", "value": "a\\x0a\\x22"}"#
        );
        assert_eq!(
            lines[3],
            r#"{"index": 3, "process": 2, "type": "ok", "f": "txn", "conditions": [{"key": "c", "check": "value-is", "value": "1"}], "commands": [{"f": "get", "key": "k", "value": null}, {"f": "put", "key": "k", "value": "a\\x0a\\x22"}]}"#
        );
    }

    #[test]
    fn events_are_maps_of_edn() {
        let mut out = Vec::new();
        history().write_edn(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text.lines().nth(2),
            Some(r#"{:index 2, :process 1, :type :info, :f :put, :key "k", :value "a\\x0a\\x22"}"#)
        );
    }
}
