//! Lines between `begin` and `commit`.

use serde_json::{Value as Json, json};

use crate::fake::program::{Run, run_lines, run_one};
use crate::fake::tmux::Tmux;
use crate::fake::{FakeServer, get, key, put, store, value};
use kv_core::{Batch, Check, Command, Condition, NodeId, Operation, RequestOptions};

const PROMPT: &str = "kv 2 fake W=2 R=2";

fn run(code: i32, stdout: &str, stderr: &str) -> Run {
    Run { code: Some(code), stdout: stdout.to_owned(), stderr: stderr.to_owned() }
}

/// A server that keeps keys, and all that it is asked.
async fn serve() -> ((NodeId, String), store::Log) {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    (at, store::serve(server))
}

/// What was asked since the last look.
fn asked(log: &store::Log) -> Vec<Operation> {
    let asked: Vec<(Operation, RequestOptions)> = std::mem::take(&mut *log.lock().unwrap());
    asked.into_iter().map(|(operation, _)| operation).collect()
}

fn batch(conditions: Vec<Condition>, commands: Vec<Command>) -> Operation {
    Operation::Batch(Batch::new(conditions, commands).unwrap())
}

fn put_step(name: &'static str, new: &'static str) -> Command {
    Command::Put { key: key(name), value: value(new), time_to_live: None }
}

#[tokio::test]
async fn the_lines_of_a_transaction_are_one_request_and_print_a_line_each_at_its_commit() {
    let (at, log) = serve().await;
    let lines = b"put a 1\nbegin\nput b 2 --if-absent\nget a nothing\nincr a\nexists b\n\
                  # no line of it\ncas a 1 5\ncommit\nget a\n";
    let printed = "ok\nok\n1\n(not found)\n2\ntrue\nok\n5\n";
    assert_eq!(run_lines(&at, &[], lines).await, run(0, printed, ""));
    let conditions = vec![
        Condition { key: key("b"), check: Check::Absent },
        Condition { key: key("a"), check: Check::ValueIs(value("1")) },
    ];
    let commands = vec![
        put_step("b", "2"),
        Command::Get { key: key("a") },
        Command::Get { key: key("nothing") },
        Command::Increment { key: key("a"), by: 1 },
        Command::Get { key: key("b") },
        put_step("a", "5"),
    ];
    assert_eq!(asked(&log), [put("a", "1"), batch(conditions, commands), get("a")]);
}

#[tokio::test]
async fn a_line_that_cannot_be_done_is_named_and_none_is_done() {
    let (at, log) = serve().await;
    let lines = b"put x word\nbegin\nput y 1 --if-absent\nget x\ncas x other 2\ncommit\nexists y\n";
    let printed = "ok\n(not done)\n(not done)\n(not done)\nfalse\n";
    let said = "line 5: cas x: not done: the value is \"word\" (version 1)\n\
                line 6: not committed: nothing of the transaction was done\n";
    assert_eq!(run_lines(&at, &[], lines).await, run(1, printed, said));
    let lines = b"begin\nput y 1\nincr x\ncommit\nexists y\n";
    let said = "line 3: incr x: not done: the value is no whole number of 64 bits, or the sum would \
                be none\nline 4: not committed: nothing of the transaction was done\n";
    let printed = "(not done)\n(not done)\nfalse\n";
    assert_eq!(run_lines(&at, &[], lines).await, run(1, printed, said));
    asked(&log);
    let stops = run_lines(&at, &["--stop-on-error"], b"begin\nincr x\ncommit\nput z 1\n").await;
    assert_eq!((stops.code, stops.stdout.as_str()), (Some(1), "(not done)\n"));
    assert_eq!(asked(&log).len(), 1, "no line begins behind the commit that failed");
}

#[tokio::test]
async fn what_is_discarded_or_not_committed_is_not_sent() {
    let (at, log) = serve().await;
    let lines = b"begin\nput x 1\ndiscard\nget x\n";
    assert_eq!(run_lines(&at, &[], lines).await, run(0, "(not found)\n", ""));
    assert_eq!(asked(&log), [get("x")]);
    let said =
        "line 1: the transaction that begins here was not committed: nothing of it was done\n";
    for lines in ["begin\nput x 1\n", "begin\nput x 1\nexit\ncommit\n"] {
        let ran = run_lines(&at, &[], lines.as_bytes()).await;
        assert_eq!(ran, run(1, "(not done)\n", said), "{lines:?}");
    }
    assert_eq!(run_lines(&at, &[], b"begin\ncommit\n").await, run(0, "", ""));
    assert_eq!(asked(&log), []);
}

#[tokio::test]
async fn a_line_that_is_refused_breaks_the_transaction() {
    let (at, log) = serve().await;
    for (line, why) in [
        ("put", "KEY is missing; usage: put KEY VALUE [--w N|majority|all]"),
        ("scan", "a list cannot stand in a transaction: `commit` or `discard` it first"),
        ("delay 1", "delay cannot stand in a transaction: `commit` or `discard` it first"),
        (
            "delete --prefix x",
            "delete --prefix cannot stand in a transaction: `commit` or `discard` it first",
        ),
        (
            "get x --r 1",
            "a line with --r, --w or --level cannot stand in a transaction: `commit` or `discard` it \
             first",
        ),
        (
            "get x --repeat 2",
            "--repeat or --every cannot stand in a transaction: `commit` or `discard` it first",
        ),
        (
            "put x 3 --timeout 1s",
            "--timeout stands behind `commit`, not behind a line of a transaction",
        ),
        ("begin", "a transaction has begun already: `commit` or `discard` it first"),
    ] {
        let lines = format!("begin\nput x 1\n{line}\nput x 2\ncommit\nget x\n");
        let printed = "(not done)\n(wrong usage)\n(not done)\n(not found)\n";
        let said = format!(
            "line 3: {why}\nline 5: not committed: a line of the transaction was refused, so \
             nothing was done\n"
        );
        let ran = run_lines(&at, &[], lines.as_bytes()).await;
        assert_eq!(ran, run(2, printed, &said), "{line}");
        assert_eq!(asked(&log), [get("x")], "{line}");
    }
}

#[tokio::test]
async fn a_transaction_has_as_many_lines_as_a_batch() {
    let (at, log) = serve().await;
    let most = "incr n\n".repeat(Batch::LEN_MAX);
    let lines = format!("begin\n{most}commit\n");
    let ran = run_lines(&at, &[], lines.as_bytes()).await;
    assert_eq!((ran.code, ran.stdout.lines().last()), (Some(0), Some("4096")));
    asked(&log);
    let lines = format!("begin\n{most}incr n\ncommit\n");
    let ran = run_lines(&at, &[], lines.as_bytes()).await;
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(2), Batch::LEN_MAX + 1));
    assert!(ran.stderr.starts_with("line 4098: a batch of 4097 "), "{}", ran.stderr);
    assert_eq!(asked(&log), []);
}

#[tokio::test]
async fn transactions_take_several_lines_and_end_what_has_begun() {
    let (at, _log) = serve().await;
    let said = "begin: a transaction takes several lines; write them at the prompt, or into a pipe \
                or a file\n";
    assert_eq!(run_one(&at, &["begin"]).await, run(2, "", said));
    let said = "no transaction has begun: `begin` begins one\n";
    for word in ["commit", "discard"] {
        assert_eq!(run_one(&at, &[word]).await, run(2, "", said), "{word}");
    }
}

#[tokio::test]
async fn each_line_and_the_commit_are_objects_with_their_line() {
    let (at, _log) = serve().await;
    let lines = b"begin\nput x 1\nget x\ncommit\nbegin\ncas x 2 3\nput y 1\ncommit\n";
    let ran = run_lines(&at, &["--json"], lines).await;
    let objects: Vec<Json> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let heads: Vec<Json> = objects
        .iter()
        .map(|one| json!([one["command"], one["line"], one["outcome"], one["reason"]]))
        .collect();
    assert_eq!(
        heads,
        [
            json!(["begin", 1, "done", null]),
            json!(["put", 2, "done", null]),
            json!(["get", 3, "done", null]),
            json!(["commit", 4, "done", null]),
            json!(["begin", 5, "done", null]),
            json!(["cas", 6, "not_done", "condition_failed"]),
            json!(["put", 7, "not_done", "transaction"]),
            json!(["commit", 8, "not_done", "condition_failed"]),
        ]
    );
    assert_eq!((&objects[2]["value"], &objects[3]["lines"]), (&json!("1"), &json!(2)));
    assert_eq!(ran.code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prompt_counts_the_lines_that_are_kept() {
    if !crate::fake::tmux::is_there() {
        return;
    }
    let (at, log) = serve().await;
    let terminal = Tmux::start([at], "KV_HISTORY=off", "2");
    terminal.expect_last(&format!("{PROMPT}>"));
    terminal.type_line("begin");
    terminal.expect("lines are kept until `commit` or `discard`");
    terminal.expect_last(&format!("{PROMPT} (0 queued)>"));
    terminal.type_line("put x 1");
    terminal.expect_last(&format!("{PROMPT} (1 queued)>"));
    terminal.type_line("get x");
    terminal.expect_last(&format!("{PROMPT} (2 queued)>"));
    assert_eq!(asked(&log), []);
    terminal.type_line("commit");
    terminal.expect("\nok  (version 1, 2 servers, ");
    terminal.expect("\nx = \"1\"  (version 1, 2 servers, ");
    terminal.expect("\n2 lines committed  (version 1, 2 servers, ");
    terminal.expect_last(&format!("{PROMPT}>"));
    assert_eq!(asked(&log).len(), 1);
    terminal.type_line("begin");
    terminal.type_line("frobnicate");
    terminal.expect("a line of the transaction was refused: it can only be discarded");
    terminal.expect_last(&format!("{PROMPT} (refused)>"));
    terminal.type_line("discard");
    terminal.expect("discarded: 0 lines dropped, nothing done");
    terminal.type_line("begin");
    terminal.type_line("put x 2");
    terminal.expect_last(&format!("{PROMPT} (1 queued)>"));
    terminal.press(&["C-d"]);
    terminal.expect("the transaction that begins here was not committed: nothing of it was done");
    terminal.expect_end();
    assert_eq!(asked(&log), []);
}
