//! Calls in short, and long histories in which every answer is right.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::panic,
    reason = "no file uses all of it, and a test's helpers may panic"
)]

use std::collections::BTreeMap;

use kv_check::{Event, History, Process, Seen};
use kv_core::{Batch, Check, Command, Condition, Key, SeedStream, Value};

pub(crate) fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

pub(crate) fn value(text: &str) -> Value {
    Value::new(text.to_owned()).unwrap()
}

pub(crate) fn one(command: Command) -> Batch {
    Batch::new(vec![], vec![command]).unwrap()
}

pub(crate) fn get(name: &str) -> Batch {
    one(Command::Get { key: key(name) })
}

pub(crate) fn put(name: &str, text: &str) -> Batch {
    one(put_command(name, text))
}

pub(crate) fn put_command(name: &str, text: &str) -> Command {
    Command::Put { key: key(name), value: value(text), time_to_live: None }
}

pub(crate) fn delete(name: &str) -> Batch {
    one(Command::Delete { key: key(name) })
}

pub(crate) fn increment(name: &str, by: i64) -> Batch {
    let key = key(name);
    one(Command::Increment { key, by })
}

pub(crate) fn append(name: &str, suffix: &str) -> Batch {
    let (key, suffix) = (key(name), value(suffix));
    one(Command::Append { key, suffix })
}

pub(crate) fn if_then(name: &str, check: Check, command: Command) -> Batch {
    let key = key(name);
    Batch::new(vec![Condition { key, check }], vec![command]).unwrap()
}

pub(crate) fn written() -> Event {
    Event::Ok(vec![Seen::Written])
}

pub(crate) fn found(text: &str) -> Event {
    Event::Ok(vec![Seen::Value(Some(value(text)))])
}

pub(crate) fn nothing() -> Event {
    Event::Ok(vec![Seen::Value(None)])
}

/// A history of events, each of a process.
pub(crate) fn history(events: Vec<(u64, Event)>) -> History {
    let events = events.into_iter();
    History { events: events.map(|(process, event)| (Process(process), event)).collect() }
}

/// Every answer is right: each call takes effect at one moment between begin and end.
pub(crate) fn concurrent(seed: u64, clients: u64, operations: u64) -> History {
    on_keys(seed, clients, operations, 1)
}

pub(crate) fn on_keys(seed: u64, clients: u64, operations: u64, keys: u64) -> History {
    let mut stream = SeedStream::new(seed);
    let mut state: BTreeMap<String, String> = BTreeMap::new();
    // For each client: its call, and its end once it took effect.
    let mut open: BTreeMap<u64, (Batch, Option<Event>)> = BTreeMap::new();
    let mut events = Vec::new();
    let mut begun = 0;
    while begun < operations || !open.is_empty() {
        let client = stream.below(clients);
        match open.get_mut(&client) {
            None if begun < operations => {
                begun += 1;
                let name = format!("k{}", stream.below(keys));
                let call =
                    if stream.chance(500) { put(&name, &begun.to_string()) } else { get(&name) };
                events.push((client, Event::Invoke(call.clone())));
                open.insert(client, (call, None));
            }
            None => {}
            Some((call, end @ None)) => {
                *end = Some(match call.single().unwrap() {
                    Command::Put { key, value, .. } => {
                        state.insert(format!("{key:?}"), text(value));
                        written()
                    }
                    Command::Get { key } => match state.get(&format!("{key:?}")) {
                        Some(held) => found(held),
                        None => nothing(),
                    },
                    other => panic!("not generated: {other:?}"),
                });
            }
            Some((_, Some(end))) => {
                events.push((client, end.clone()));
                open.remove(&client);
            }
        }
    }
    history(events)
}

pub(crate) fn text(value: &Value) -> String {
    String::from_utf8(value.as_bytes().to_vec()).unwrap()
}
