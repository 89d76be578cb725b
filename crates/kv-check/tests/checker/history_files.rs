//! A history that is written and read back is the same.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use kv_check::{Event, History, Process, Refusal, Seen};
use kv_core::{Batch, Check, Command, Condition, Key, Value};

fn read_back(history: &History) -> History {
    let mut out = Vec::new();
    history.write_json_lines(&mut out).unwrap();
    History::read_json_lines(&String::from_utf8(out).unwrap()).unwrap()
}

#[test]
fn every_event_comes_back_as_it_was() {
    let key = |text: &'static str| Key::new(text).unwrap();
    let value = |text: &'static str| Value::new(text).unwrap();
    let odd = Key::new(vec![0, b'"', b'\\', b'x', 0xff]).unwrap();
    let put = Command::Put { key: odd, value: value("\\x0"), time_to_live: None };
    let append = Command::Append { key: key("a"), suffix: value("s") };
    let increment = Command::Increment { key: key("n"), by: -4 };
    let get = Command::Get { key: key("a") };
    let delete = Command::Delete { key: key("a") };
    let condition = |check| Condition { key: key("c"), check };
    let conditions =
        [Check::Absent, Check::Present, Check::ValueIs(value(""))].map(condition).to_vec();
    let one = |command: &Command| Batch::new(vec![], vec![command.clone()]).unwrap();
    let all = vec![put.clone(), append.clone(), increment.clone(), get.clone(), delete.clone()];
    let results = vec![
        Seen::Written,
        Seen::Length(1),
        Seen::Number(-4),
        Seen::Value(Some(value(""))),
        Seen::Written,
    ];
    let transaction = Batch::new(conditions, all).unwrap();
    let refused = |found| Event::Fail(Refusal::Condition { index: 1, found });
    let calls = [
        (one(&put), Event::Ok(vec![Seen::Written])),
        (one(&append), Event::Ok(vec![Seen::Length(7)])),
        (one(&append), Event::Ok(vec![Seen::Unnoted])),
        (one(&increment), Event::Ok(vec![Seen::Number(i64::MIN)])),
        (one(&increment), Event::Ok(vec![Seen::Unnoted])),
        (one(&get), Event::Ok(vec![Seen::Value(None)])),
        (one(&get), Event::Ok(vec![Seen::Unnoted])),
        (one(&get), Event::Ok(vec![Seen::Written])),
        (one(&get), Event::Ok(vec![])),
        (one(&delete), Event::Fail(Refusal::NeverTried)),
        (one(&increment), Event::Fail(Refusal::Command { index: 0 })),
        (transaction.clone(), Event::Ok(results)),
        (transaction.clone(), Event::Ok(vec![Seen::Unnoted])),
        (transaction.clone(), refused(None)),
        (transaction.clone(), refused(Some(None))),
        (transaction.clone(), refused(Some(Some(value("f"))))),
        (transaction, Event::Info),
    ];
    let events = calls.into_iter().flat_map(|(call, end)| [Event::Invoke(call), end]);
    let events: Vec<_> = events.map(|event| (Process(3), event)).collect();
    let history = History { events };
    assert_eq!(read_back(&history), history);
}
