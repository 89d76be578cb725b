//! Output that cannot be written.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::process::Stdio;

use crate::fake::program::{Run, finish, program};
use crate::fake::{FakeServer, store};
use tokio::io::AsyncWriteExt;

/// What `/dev/full` takes is nothing, like a disk without room.
fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

fn lost() -> Run {
    Run {
        code: Some(1),
        stdout: String::new(),
        stderr: "kv-client: cannot write the output: No space left on device (os error 28)\n"
            .to_owned(),
    }
}

/// Each command that prints, once in each form. What `--help` and `help` list must all be here.
#[tokio::test]
async fn output_that_is_lost_is_reported_once_and_is_code_1_for_every_command() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    run(&at, &["2", "put", "x", "1"], Stdio::null()).await;
    let bench = "bench --connections 1 --duration 20ms --warm-up 0s --keys 5";
    let lines = [
        "exists x",
        "get x y",
        "append a b",
        "delete --prefix q",
        "scan --count",
        "scan --keys-only --null",
        "get x",
        "get x --raw",
        "put x 1",
        "cas x 1 1",
        "incr n",
        "expire x 10s",
        "ttl x",
        "persist x",
        "lead 2",
        "scan",
        "scan --raw",
        "dump",
        "dump --raw",
        "status",
        "status --all",
        "health",
        "help",
        "help get",
        "get --help",
        "delete y",
        "delay 1 --json",
        "begin --help",
        "commit --help",
        "discard --help",
    ];
    let others = [bench, "--help", "--version", "bench --help", "completions bash", "man"];
    let json = lines.map(|line| format!("{line} --json"));
    let json = json.iter().map(String::as_str).chain(["gte --json", "bench --bogus --json"]);
    let mut met = BTreeSet::new();
    for line in lines.into_iter().chain(others).chain(json) {
        let words: Vec<&str> = ["2"].into_iter().chain(line.split_whitespace()).collect();
        assert_eq!(run(&at, &words, full()).await, lost(), "{line}");
        met.insert(words[1]);
    }
    let help = run(&at, &["help", "--json"], Stdio::piped()).await.stdout;
    let help: serde_json::Value = serde_json::from_str(&help).unwrap();
    for command in help["commands"].as_array().unwrap() {
        let name = command["name"].as_str().unwrap();
        assert!(name == "exit" || met.contains(name), "{name} is not tried");
    }
}

#[tokio::test]
async fn lines_from_a_pipe_end_where_the_output_is_lost() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    let log = store::serve(server);
    for options in [&["2"][..], &["2", "--json"], &["2", "--raw"]] {
        let mut command = program([at.clone()], options);
        let mut child = command.stdin(Stdio::piped()).stdout(full()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"put x 1\nput x 2\nput x 3\n").await.unwrap();
        drop(stdin);
        assert_eq!(without_events(finish(child).await), lost(), "{options:?}");
        assert_eq!(std::mem::take(&mut *log.lock().unwrap()).len(), 1, "{options:?}");
    }
}

#[tokio::test]
async fn a_transaction_whose_results_are_lost_is_reported() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    for lines in ["begin\nput x 1\ncommit\n", "begin\nput x 1\nget\n", "begin\nput x 1\n"] {
        for options in [&["2"][..], &["2", "--json"]] {
            let mut command = program([at.clone()], options);
            let mut child = command.stdin(Stdio::piped()).stdout(full()).spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(lines.as_bytes()).await.unwrap();
            drop(stdin);
            let ran = without_events(finish(child).await);
            // A line that is refused is named before the output fails.
            let stderr = ran.stderr.lines().filter(|line| !line.starts_with("line "));
            assert_eq!(stderr.collect::<Vec<_>>(), [lost().stderr.trim_end()], "{lines:?}");
            assert_eq!(ran.code, Some(1), "{lines:?} {options:?}");
        }
    }
}

async fn run(at: &(kv_core::NodeId, String), words: &[&str], out: Stdio) -> Run {
    without_events(finish(program([at.clone()], words).stdout(out).spawn().unwrap()).await)
}

/// With `--json` the standard error has the events of the connection as well.
fn without_events(run: Run) -> Run {
    let lines = run.stderr.lines().filter(|line| !line.starts_with('{'));
    let stderr = lines.map(|line| format!("{line}\n")).collect();
    Run { stderr, ..run }
}
