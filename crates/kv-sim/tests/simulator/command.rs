//! The command as a person calls it: exit codes, messages, and what is the same from call to call.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says what went wrong by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kv_check::{Event, History, Process, Seen};
use kv_core::{Batch, Key, Value};
fn kv_sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kv-sim")).args(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A file for one test, by its name.
fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path
}

fn judge(files: &[&PathBuf], more: &[&str]) -> Output {
    let mut arguments = vec!["--history"];
    arguments.extend(files.iter().map(|path| path.to_str().unwrap()));
    arguments.extend(more);
    kv_sim(&arguments)
}

fn json(name: &str, history: &History) -> PathBuf {
    let mut text = Vec::new();
    history.write_json_lines(&mut text).unwrap();
    file(name, &String::from_utf8(text).unwrap())
}

fn key() -> Key {
    Key::new("k").unwrap()
}

fn value(text: &str) -> Value {
    Value::new(text.to_owned()).unwrap()
}

fn call(command: kv_core::Command) -> Event {
    Event::Invoke(Batch::new(vec![], vec![command]).unwrap())
}

fn get() -> Event {
    call(kv_core::Command::Get { key: key() })
}

fn found(text: &str) -> Event {
    Event::Ok(vec![Seen::Value(Some(value(text)))])
}

fn nothing() -> Event {
    Event::Ok(vec![Seen::Value(None)])
}

fn history(events: impl IntoIterator<Item = (u64, Event)>) -> History {
    let events = events.into_iter();
    History { events: events.map(|(process, event)| (Process(process), event)).collect() }
}

fn put_then_get(end: Event) -> History {
    let put = kv_core::Command::Put { key: key(), value: value("1"), time_to_live: None };
    let put = [call(put), Event::Ok(vec![Seen::Written])];
    history(put.into_iter().chain([get(), end]).map(|event| (1, event)))
}

#[test]
fn files_are_judged_by_exit_code_and_word() {
    let yes = json("yes.jsonl", &put_then_get(found("1")));
    let no = json("no.jsonl", &put_then_get(nothing()));
    let append = |client: u64| {
        call(kv_core::Command::Append { key: key(), suffix: value(&client.to_string()) })
    };
    let appends = (0..24).map(|client| (client, append(client)));
    let ends = (0..24).map(|client| (client, Event::Ok(vec![Seen::Unnoted])));
    let read = [(99, get()), (99, found("x"))];
    let hard = json("hard.jsonl", &history(appends.chain(ends).chain(read)));

    let judged = judge(&[&yes], &[]);
    assert_eq!(code(&judged), 0);
    assert_eq!(out(&judged), format!("{}: linearizable\n", yes.display()));
    let judged = judge(&[&yes, &no], &[]);
    assert_eq!(code(&judged), 1);
    assert!(out(&judged).contains("not linearizable"), "{judged:?}");
    assert!(out(&judged).contains("client   1: get b\"k\" -> nothing"), "{judged:?}");
    let judged = judge(&[&hard], &["--time-limit", "0"]);
    assert_eq!(code(&judged), 3);
    assert!(out(&judged).contains("undecided") && out(&judged).contains("time"), "{judged:?}");
    assert_eq!(code(&judge(&[&hard, &no], &["--time-limit", "0"])), 1);
}

#[test]
fn logs_of_servers_are_judged_together() {
    let first = file("output_log1.txt", "1,0,put,x,1,req,a\n1,0,put,x,2,resp,a\n");
    let second = file("output_log2.txt", "2,0,get,x,5,req,\n2,0,get,x,6,resp,\n");
    assert_eq!(code(&judge(&[&first, &second], &[])), 1);
    assert_eq!(code(&judge(&[&first, &second], &["--widen-ms", "5"])), 0);
    let of = |name, cluster| {
        file(name, &format!("# data: linearizable, store 01\n# cluster: {cluster}\n"))
    };
    let (first, second) = (of("of_one.txt", "0a"), of("of_another.txt", "0b"));
    let judged = judge(&[&first, &second], &[]);
    assert_eq!(code(&judged), 2);
    let expected = format!("{}: line 2: what follows is of another cluster", second.display());
    assert!(err(&judged).starts_with(&expected), "{judged:?}");
}

#[test]
fn what_a_killed_server_may_have_counted_is_undecided() {
    let begin = "1,0,incr,n,1,req,1\n1,0,incr,n,2,resp,1\n";
    let end = "1,1,get,n,5,req,\n1,1,get,n,6,resp,3\n";
    let log = |name, mark| file(name, &format!("{begin}{mark}{end}"));
    assert_eq!(code(&judge(&[&log("counted.txt", "")], &[])), 1);
    let killed =
        log("killed.txt", "# started: if the server was killed before, lines are missing\n");
    let judged = judge(&[&killed], &[]);
    assert_eq!(code(&judged), 3);
    assert!(out(&judged).contains("undecided") && out(&judged).contains("the first is n"));
    assert!(!out(&judged).contains("linearizable"), "{judged:?}");
}

#[test]
fn a_value_that_a_lost_call_may_have_put_again_is_undecided_unless_values_are_unique() {
    let puts = "1,0,put,x,1,req,a\n1,0,put,x,2,resp,a\n1,0,put,x,3,req,b\n1,0,put,x,4,resp,b\n";
    let read = |ms| format!("1,1,get,x,{ms},req,\n1,1,get,x,{},resp,a\n", ms + 1);
    let mark = "# started: if the server was killed before, lines are missing\n";
    let again = file("again.txt", &format!("{puts}{mark}{}", read(8)));
    let judged = judge(&[&again], &[]);
    assert_eq!(code(&judged), 3, "{judged:?}");
    assert!(out(&judged).contains("--unique-values"), "{judged:?}");
    assert_eq!(code(&judge(&[&again], &["--unique-values"])), 1);
    let ran_on = file("ran_on.txt", &format!("{puts}{}", read(8)));
    assert_eq!(code(&judge(&[&ran_on], &[])), 1);
    let rest = "1,2,get,x,12,req,\n1,2,get,x,13,resp,a\n";
    let before = file("before.txt", &format!("{puts}{}{rest}{mark}", read(6)));
    assert_eq!(code(&judge(&[&before], &[])), 1);
}

#[test]
fn a_file_that_is_no_history_is_named_with_its_line() {
    let begin = r#"{"process": 1, "type": "invoke", "f": "get", "key": "k"}"#;
    let bad = file("bad.jsonl", &format!("{begin}\n{{\"process\": 1, \"type\": \"done\"}}\n"));
    let judged = judge(&[&bad], &[]);
    assert_eq!(code(&judged), 2);
    let expected = format!("{}: line 2: `type` must be invoke, ok, fail or info\n", bad.display());
    assert_eq!(err(&judged), expected);
    let log = file("bad_log.txt", "1,0,put,x,1,req,a\n1,0,put\n");
    let judged = judge(&[&log], &[]);
    assert_eq!(code(&judged), 2);
    assert!(err(&judged).starts_with(&format!("{}: line 2: ", log.display())), "{judged:?}");
    let missing = PathBuf::from("no-such-file");
    assert!(err(&judge(&[&missing], &[])).starts_with("no-such-file: "));
}

#[test]
fn the_trace_of_a_seed_is_the_same_each_time() {
    let trace = || out(&kv_sim(&["--engine", "linearizable", "--seed", "3", "--trace"]));
    let first = trace();
    assert!(first == trace());
    assert!(first.contains("* all faults have ended"));
    assert!(first.lines().any(|line| line.contains("<- request") && line.contains("[client ")));
}

#[test]
fn a_scenario_is_run_from_its_file() {
    let declaration = super::engines::linearizable();
    let trial = kv_sim::scenario::Trial::<kv_linear::LinearEngine>::new(&declaration);
    let (scenario, _) = kv_sim::scenario::Scenario::of_seed(2, &trial).unwrap();
    let text = scenario.to_text();
    let path = file("scenario.txt", &text);
    let path = path.to_str().unwrap();
    let run = kv_sim(&["--engine", "linearizable", "--scenario", path, "--trace"]);
    assert_eq!(code(&run), 0, "{run:?}");
    assert!(out(&run).starts_with("the linearizable engine in N="), "{}", out(&run));
    assert!(out(&run).contains("* all faults have ended"));
    assert!(out(&run).ends_with("passed\n"));

    let cut = file("cut_scenario.txt", &text[..text.len() - 20]);
    let run = kv_sim(&["--engine", "linearizable", "--scenario", cut.to_str().unwrap()]);
    assert_eq!(code(&run), 2);
    assert!(err(&run).contains("the file was changed or cut off"), "{run:?}");
}

#[test]
fn what_cannot_be_written_is_said_before_the_first_seed() {
    let run = kv_sim(&["--engine", "eventual", "--seed", "1", "--out", "/no/such/folder"]);
    assert_eq!(code(&run), 2);
    assert!(err(&run).contains("/no/such/folder"), "{run:?}");
    assert_eq!(out(&run), "");
    let no_engine = kv_sim(&["--seed", "1"]);
    assert_eq!(code(&no_engine), 2);
    let negative = kv_sim(&["--engine", "eventual", "--seed", "-1"]);
    assert!(err(&negative).contains("invalid value '-1'"), "{negative:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_is_cut_off_is_no_success() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv-sim"));
    command.args(["--engine", "eventual", "--seed", "1"]).stdout(full).stderr(Stdio::piped());
    let run = command.output().unwrap();
    assert_eq!(code(&run), 1);
    assert!(err(&run).contains("cannot write to the standard output"), "{run:?}");
}
