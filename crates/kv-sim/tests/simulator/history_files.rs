//! A history that is written and read back is the same, and is judged the same.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

use kv_core::{Batch, Check, Command, Condition, Key, Value};
use kv_eventual::EventualEngine;
use kv_linear::LinearEngine;
use kv_sim::{
    Budget, Event, History, Process, Refusal, Seen, Simulation, SimulationFailure, Verdict,
    linearizability,
};

use super::engines;
use super::one_copy::{self, Mutation, OneCopy, broken_by};

fn read_back(history: &History) -> History {
    let mut out = Vec::new();
    history.write_json_lines(&mut out).unwrap();
    History::read_json_lines(&String::from_utf8(out).unwrap()).unwrap()
}

fn judge(history: &History) -> Verdict {
    linearizability(history, Budget::default()).unwrap()
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

#[test]
fn the_history_of_a_run_that_passes_is_judged_yes_from_its_file() {
    for seed in 1..4 {
        let mut run = Simulation::<LinearEngine>::new(seed, &engines::linearizable()).unwrap();
        run.run().unwrap();
        let history = run.history();
        let back = read_back(&history);
        assert_eq!(back, history);
        assert_eq!(judge(&back), Verdict::Linearizable);
    }
    let mut run = Simulation::<EventualEngine>::new(1, &engines::eventual()).unwrap();
    run.run().unwrap();
    assert_eq!(read_back(&run.history()), run.history());
}

/// The calls of the message are in the file, with the same names.
#[test]
fn the_history_of_a_run_that_fails_shows_its_violation_from_its_file() {
    let shown = |seed| {
        let mut run = Simulation::<OneCopy>::new(seed, &one_copy::declaration()).unwrap();
        match run.run() {
            Err(SimulationFailure::NotLinearizable(told)) => Some((run.history(), told)),
            _ => None,
        }
    };
    let shown = broken_by(Mutation::ExecutesADuplicateAgain, || (1..100).find_map(shown));
    let Some((history, told)) = shown else {
        panic!("no seed shows it");
    };
    let Verdict::NotLinearizable(found) = judge(&read_back(&history)) else {
        panic!("the file does not show the violation");
    };
    assert_eq!(found, told);
    for call in &told.calls {
        let begin = (call.process, Event::Invoke(call.batch.clone()));
        assert!(history.events.contains(&begin), "{call}");
    }
}
