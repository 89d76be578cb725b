//! The forms in which the program is called.

use crate::fake::program::{finish, program};
use crate::fake::{FakeServer, store};

/// Each form with the exit code and what is printed first; a missing key shows that a server
/// answered.
#[tokio::test]
async fn every_form_is_understood() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let at = [one.entry(), two.entry()];
    let logs = [store::serve(one), store::serve(two)];
    let general = "Talks to a cluster of kv-server";
    let bench = "Measures how fast a cluster answers";
    let short = "bench --connections 2 --duration 20ms --warm-up 0s --keys 5";
    let after_id = short.replace("bench", "2 bench");
    let measured = "2 connections (1 to server 1, 1 to server 2)";
    let get = "get KEY... [--r N|majority|all]: read a key, or several";
    for (args, code, expected) in [
        ("", 0, ""),
        ("2", 0, ""),
        ("2 get x", 3, "(not found)"),
        ("get x", 3, "(not found)"),
        ("get x --r 1", 3, "(not found)"),
        ("get --r 1 x", 3, "(not found)"),
        ("get x --cluster kv", 3, "(not found)"),
        ("2 get --timeout 9s x --cluster=kv", 3, "(not found)"),
        ("2 --timeout 9s get x", 3, "(not found)"),
        ("-- 2 get x", 3, "(not found)"),
        ("get --help", 0, get),
        ("2 get -h", 0, get),
        ("--help", 0, general),
        ("2 --help", 0, general),
        ("--help bench", 0, general),
        ("bench --help", 0, bench),
        ("2 bench --help", 0, bench),
        ("bench -h", 0, bench),
        ("--timeout 9s bench --help", 0, bench),
        ("completions --help", 0, "Prints what a shell needs"),
        ("man --help", 0, "Prints the page of the manual"),
        (short, 0, measured),
        (&format!("--timeout 9s {short}"), 0, measured),
        (&format!("{short} --timeout 9s --cluster kv"), 0, measured),
        (&after_id, 0, "2 connections (2 to server 2)"),
        ("bench --frobnicate", 2, "unexpected argument '--frobnicate' found (see kv-client bench"),
        ("2 --frobnicate", 2, "unexpected argument '--frobnicate' found (see kv-client --help"),
        ("2 get --frobnicate", 2, "unknown option --frobnicate; usage: get KEY..."),
    ] {
        let words: Vec<&str> = args.split_whitespace().collect();
        let run = finish(program(at.clone(), &words).spawn().unwrap()).await;
        let printed = if code == 0 { &run.stdout } else { &run.stderr };
        assert_eq!(run.code, Some(code), "{args}: {run:?}");
        assert!(printed.contains(expected), "{args}: {run:?}");
        assert!(!expected.is_empty() || printed.is_empty(), "{args}: {run:?}");
    }
    assert!(logs.iter().all(|log| !log.lock().unwrap().is_empty()), "both were asked");
}
