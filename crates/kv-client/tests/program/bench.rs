//! The measurement of a cluster.

use crate::fake::program::{finish, program};
use crate::fake::{DeadServer, FakeServer, store};
use kv_core::{Command, Operation};
use serde_json::Value as Json;

const SHORT: &[&str] =
    &["bench", "--duration", "300ms", "--warm-up", "0s", "--in-flight", "3", "--keys", "20"];

fn words<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<&'a str> {
    [before, SHORT, after].concat()
}

/// The keys that were read and written.
fn keys(log: &store::Log) -> (Vec<String>, Vec<String>) {
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for (op, _) in log.lock().unwrap().iter() {
        let Operation::Batch(batch) = op else {
            panic!("{op:?}");
        };
        let key = |command: &Command| String::from_utf8(command.key().as_bytes().to_vec()).unwrap();
        let command = batch.single().unwrap();
        let is_read = matches!(command, Command::Get { .. });
        if is_read { &mut reads } else { &mut writes }.push(key(command));
    }
    (reads, writes)
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_say_what_was_asked_of_whom() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let at = [one.entry(), two.entry()];
    let logs = [store::serve(one), store::serve(two)];
    let args = words(&[], &["--connections", "5", "--read-percent", "20", "--json"]);
    let run = finish(program(at, &args).spawn().unwrap()).await;
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let figures: Json = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(figures["servers"], serde_json::json!({ "1": 3, "2": 2 }), "they are spread");
    let (mut reads, mut writes) = (0, 0);
    for log in &logs {
        let (read, written) = keys(log);
        assert!(read.iter().chain(&written).all(|key| key.starts_with("bench:00000000")));
        reads += read.len();
        writes += written.len();
    }
    assert_eq!(figures["micros"]["reads"]["count"], reads);
    assert_eq!(figures["micros"]["puts"]["count"], writes);
    assert_eq!(figures["micros"]["all"]["count"], reads + writes);
    assert!(reads > 0 && reads < writes, "{reads} reads, {writes} puts");
    assert!(figures["requests_per_second"].as_f64().unwrap() > 0.0);
    let all = &figures["micros"]["all"];
    let quantile = |name: &str| all[name].as_u64().unwrap();
    let ascending = ["p50", "p90", "p99", "p99.9", "max"].map(quantile);
    assert!(ascending.is_sorted() && ascending[0] > 0, "{ascending:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filled_store_has_every_key_and_a_server_may_be_chosen() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let at = [one.entry(), two.entry()];
    let logs = [store::serve(one), store::serve(two)];
    let args = words(&["2"], &["--connections", "2", "--read-percent", "100", "--fill"]);
    let run = finish(program(at, &args).spawn().unwrap()).await;
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    assert!(run.stdout.contains("2 connections (2 to server 2), 3 in flight each"), "{run:?}");
    assert!(!run.stdout.contains("reads found"), "every read finds a value: {run:?}");
    assert!(keys(&logs[0]).0.is_empty());
    let (reads, mut writes) = keys(&logs[1]);
    assert!(!reads.is_empty());
    writes.sort();
    let expected: Vec<String> = (0..20).map(|number| format!("bench:{number:010}")).collect();
    assert_eq!(writes, expected, "each once, and no others");
}

#[tokio::test]
async fn without_a_server_there_is_nothing_to_measure() {
    let at = DeadServer::new(2).entry();
    let run = finish(program([at], &words(&["--timeout", "200ms"], &[])).spawn().unwrap()).await;
    assert_eq!((run.code, run.stdout.as_str()), (Some(4), ""));
    assert!(run.stderr.starts_with("unavailable: server 2 does not answer"), "{run:?}");
}

#[tokio::test]
async fn mistakes_are_one_line() {
    let at = DeadServer::new(2).entry();
    let run = finish(program([at], &["bench", "--read-percent", "101"]).spawn().unwrap()).await;
    assert_eq!(run.code, Some(2));
    let expected = "invalid value '101' for '--read-percent <PERCENT>': 101 is not in 0..=100 \
                    (see kv-client bench --help)\n";
    assert_eq!(run.stderr, expected);
}
