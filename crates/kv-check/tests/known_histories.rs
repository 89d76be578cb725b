//! Histories recorded elsewhere, with known verdicts. They are no part of this repository, and are
//! looked for in `KV_HISTORIES`, or else in `shared/histories` beside the repository's folder:
//! where they are not there, nothing is tested, and that is said.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test's helpers may panic"
)]

use std::fs;
use std::path::PathBuf;

use kv_check::{Budget, Event, History, Process, Refusal, Seen, Verdict, linearizability};
use kv_core::{Batch, Check, Command, Condition, Key, Value};

fn folder() -> PathBuf {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/histories");
    std::env::var_os("KV_HISTORIES").map_or_else(beside, PathBuf::from)
}

fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

fn value(text: &str) -> Value {
    Value::new(text.to_owned()).unwrap()
}

fn put(key: Key, value: Value) -> Command {
    Command::Put { key, value, time_to_live: None }
}

fn batch(conditions: Vec<Condition>, command: Command) -> Batch {
    Batch::new(conditions, vec![command]).unwrap()
}

/// `INFO  jepsen.util - 2 :invoke :cas [3 0]`, with tabs between the fields.
fn register_event(line: &str) -> Option<(Process, Event)> {
    let fields: Vec<&str> = line.split_once(" - ")?.1.split('\t').map(str::trim).collect();
    let [process, kind, name, argument] = fields.as_slice() else {
        panic!("no event: {line}");
    };
    let process = Process(process.parse().ok()?);
    let register = key("r");
    let event = match (*kind, *name) {
        (":invoke", ":read") => Event::Invoke(batch(vec![], Command::Get { key: register })),
        (":invoke", ":write") => Event::Invoke(batch(vec![], put(register, value(argument)))),
        (":invoke", ":cas") => {
            let pair = argument.trim_matches(['[', ']']);
            let (old, new) = pair.split_once(' ').unwrap();
            let condition = Condition { key: register.clone(), check: Check::ValueIs(value(old)) };
            Event::Invoke(batch(vec![condition], put(register, value(new))))
        }
        (":ok", ":read") => {
            let found = (*argument != "nil").then(|| value(argument));
            Event::Ok(vec![Seen::Value(found)])
        }
        (":ok", _) => Event::Ok(vec![Seen::Written]),
        (":fail", _) => Event::Fail(Refusal::NeverTried),
        (":info", _) => Event::Info,
        other => panic!("no event: {other:?}"),
    };
    Some((process, event))
}

/// `{:process 0, :type :invoke, :f :append, :key "0", :value "x 0 0 y"}`
fn store_event(line: &str) -> Option<(Process, Event)> {
    let field = |name: &str| {
        let rest = line.split_once(name)?.1.trim_start();
        match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next(),
            None => rest.split([',', '}']).next(),
        }
    };
    let process = Process(field(":process")?.parse().unwrap());
    let key = key(field(":key").unwrap());
    let argument = field(":value").unwrap();
    let event = match (field(":type").unwrap(), field(":f").unwrap()) {
        (":invoke", ":get") => Event::Invoke(batch(vec![], Command::Get { key })),
        (":invoke", ":put") => Event::Invoke(batch(vec![], put(key, value(argument)))),
        (":invoke", ":append") => {
            let suffix = value(argument);
            Event::Invoke(batch(vec![], Command::Append { key, suffix }))
        }
        (":ok", ":get") => {
            let found = (!argument.is_empty()).then(|| value(argument));
            Event::Ok(vec![Seen::Value(found)])
        }
        (":ok", ":put") => Event::Ok(vec![Seen::Written]),
        (":ok", ":append") => Event::Ok(vec![Seen::Unnoted]),
        other => panic!("no event: {other:?}"),
    };
    Some((process, event))
}

fn read(name: &str) -> History {
    let text = fs::read_to_string(folder().join(name)).unwrap();
    let event = if name.ends_with(".log") { register_event } else { store_event };
    History { events: text.lines().filter_map(event).collect() }
}

#[test]
fn every_known_verdict_is_reached() {
    let Ok(verdicts) = fs::read_to_string(folder().join("verdicts.tsv")) else {
        println!("no recorded histories in {}: nothing was tested", folder().display());
        return;
    };
    let (mut wrong, mut right) = (Vec::new(), 0);
    for line in verdicts.lines().skip(1) {
        let (name, expected) = line.split_once('\t').unwrap();
        let verdict = linearizability(&read(name), Budget::default()).unwrap();
        let found = match &verdict {
            Verdict::Linearizable => "yes",
            Verdict::NotLinearizable(_) => "no",
            Verdict::Undecided { .. } => "undecided",
        };
        if found != expected {
            wrong.push(format!("{name}: {found}, not {expected}"));
        } else {
            right += 1;
        }
    }
    println!("{right} recorded histories have the verdicts that they must have");
    assert!(right + wrong.len() > 0, "{} lists no history", folder().display());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
