//! How fast histories are judged: `cargo bench -p kv-check --bench checker`.
//!
//! Times depend on the machine; the last lines set them against stateright's checker, in the same
//! run, on histories that it can do.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "this measures, and says what it measured"
)]

#[path = "../tests/calls/mod.rs"]
mod calls;

use std::hint::black_box;
use std::time::{Duration, Instant};

use kv_check::{Budget, Event, History, Process, Seen, Verdict, linearizability};
use kv_core::{Command, Value};
use stateright::semantics::register::{Register, RegisterOp, RegisterRet};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};

fn main() {
    for (what, history) in [
        ("8 clients, 40,000 calls, one key", calls::concurrent(1, 8, 40_000)),
        ("8 clients, 100,000 calls, 1,000 keys", calls::on_keys(2, 8, 100_000, 1_000)),
        ("64 clients, 40,000 calls, one key", calls::concurrent(3, 64, 40_000)),
    ] {
        let times: Vec<Duration> = (0..5).map(|_| time(|| judge(&history))).collect();
        let least = times.iter().min().copied().unwrap_or_default();
        let most = times.iter().max().copied().unwrap_or_default();
        println!("{what:<38} {least:>10.1?} to {most:.1?}, 5 runs");
    }
    for calls in [10, 20, 40] {
        let histories: Vec<History> =
            (0..200).map(|seed| calls::concurrent(seed, 4, calls)).collect();
        let ours = time(|| histories.iter().for_each(judge));
        let theirs = time(|| histories.iter().for_each(judge_by_stateright));
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        println!(
            "200 histories: 4 clients, {calls} calls     {ours:>10.1?}, stateright {theirs:.1?}: \
             {ratio:.1} times"
        );
    }
}

fn judge(history: &History) {
    let verdict = linearizability(black_box(history), Budget::default()).unwrap();
    assert_eq!(verdict, Verdict::Linearizable);
}

fn judge_by_stateright(history: &History) {
    let mut tester = LinearizabilityTester::new(Register(None::<Value>));
    for (Process(process), event) in &history.events {
        match event {
            Event::Invoke(batch) => {
                let op = match batch.single() {
                    Some(Command::Put { value, .. }) => RegisterOp::Write(Some(value.clone())),
                    _ => RegisterOp::Read,
                };
                tester.on_invoke(*process, op).unwrap();
            }
            Event::Ok(seen) => {
                let ret = match seen.as_slice() {
                    [Seen::Value(found)] => RegisterRet::ReadOk(found.clone()),
                    _ => RegisterRet::WriteOk,
                };
                tester.on_return(*process, ret).unwrap();
            }
            Event::Fail(_) | Event::Info => panic!("every call is answered"),
        }
    }
    assert!(black_box(&tester).is_consistent());
}

fn time(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}
