//! The program with commands from a pipe.

use std::process::Stdio;
use std::time::Duration;

use crate::fake::program::{Run, finish, program, run_lines};
use crate::fake::{FakeConnection, FakeServer, SOON, found, get, put, store, written};
use futures_util::StreamExt;
use kv_core::{NotDone, Operation, Outcome};
use kv_proto::RequestBody;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

fn run(code: i32, stdout: &str, stderr: &str) -> Run {
    Run { code: Some(code), stdout: stdout.to_owned(), stderr: stderr.to_owned() }
}

fn asked(log: &store::Log) -> Vec<Operation> {
    log.lock().unwrap().iter().map(|(op, _)| op.clone()).collect()
}

#[tokio::test]
async fn commands_run_in_order_and_print_a_line_each() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    let log = store::serve(server);
    let lines = b"put x 1\nget x\n\n  put y \"a b\"\nget y\nincr x\nget x";
    assert_eq!(run_lines(&at, &[], lines).await, run(0, "ok\n1\nok\na b\n2\n2\n", ""));
    assert_eq!(asked(&log)[..3], [put("x", "1"), get("x"), put("y", "a b")]);
}

#[tokio::test]
async fn comments_are_skipped_and_counted_as_lines() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    let log = store::serve(server);
    let lines = b"# it's a comment\nput x '#1'\n  #get x\nfoo\nget x # y\n";
    let expected = "line 4: unknown command foo; `help` lists all\n\
                    line 5: a comment stands on a line of its own; write \"#\" in quotes for the \
                    key\n";
    let printed = "ok\n(wrong usage)\n(wrong usage)\n";
    assert_eq!(run_lines(&at, &[], lines).await, run(2, printed, expected));
    assert_eq!(asked(&log), [put("x", "#1")]);
}

#[tokio::test]
async fn a_mistake_does_not_end_it_and_the_first_failure_is_the_code() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    let lines = b"get nothing\nput x 1\nfoo\ncas x 5 6\nget x\n";
    let printed = "(not found)\nok\n(wrong usage)\n(not done)\n1\n";
    let expected = "line 3: unknown command foo; `help` lists all\n\
                    line 4: not done: the value is \"1\" (version 1)\n";
    assert_eq!(run_lines(&at, &[], lines).await, run(2, printed, expected));
    let lines = b"put x 1\ncas x 5 6\nfoo\n";
    assert_eq!(run_lines(&at, &[], lines).await.code, Some(1));
    let lines = b"get nothing\n";
    assert_eq!(run_lines(&at, &[], lines).await.code, Some(0));
}

#[tokio::test]
async fn each_command_prints_one_line_that_cannot_be_mistaken() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    let lines = b"get a\nput b \"(not found)\"\nget b\nget a b\nexists a b\nincr b\nget a\n";
    let printed = "(not found)\nok\n\"(not found)\"\n(not found)\n\"(not found)\"\nfalse\ntrue\n\
                   (not done)\n(not found)\n";
    let ran = run_lines(&at, &[], lines).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), printed));
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    let raw = run_lines(&at, &["--raw"], b"get a\nget b\n").await;
    assert_eq!(raw, run(0, "(not found)\n(not found)\n", ""));
}

/// Whether anything comes from the client in a time in which it would.
async fn is_quiet(connection: &mut FakeConnection) -> bool {
    let next = connection.framed.next();
    tokio::time::timeout(Duration::from_millis(100), next).await.is_err()
}

#[tokio::test]
async fn lines_on_different_keys_run_at_the_same_time_and_print_in_order() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    let lines = b"put a 1\nget b\ncas c 1 2\nput d 4\nfoo\nget d\n";
    let ran = tokio::spawn(async move { run_lines(&at, &[], lines).await });
    let mut connection = server.accept().await;
    let a = connection.expect(&put("a", "1")).await;
    let b = connection.expect(&get("b")).await;
    let c = connection.request().await.id;
    let d = connection.expect(&put("d", "4")).await;
    connection.answer(d, written()).await;
    let refusal = NotDone::ConditionFailed { index: 0, found: None };
    connection.answer(c, Outcome::NotDone(refusal)).await;
    assert!(is_quiet(&mut connection).await, "a mistake waits for the lines before it");
    connection.answer(b, found("2")).await;
    connection.answer(a, written()).await;
    let last = connection.expect(&get("d")).await;
    connection.answer(last, found("4")).await;
    let printed = "ok\n2\n(not done)\nok\n(wrong usage)\n4\n";
    let messages = "line 3: not done: the key is missing\n\
                    line 5: unknown command foo; `help` lists all\n";
    assert_eq!(ran.await.unwrap(), run(1, printed, messages));
}

#[tokio::test]
async fn a_line_waits_for_an_earlier_one_on_its_key() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    let ran = tokio::spawn(async move { run_lines(&at, &[], b"put a 1\nget b\nget a\n").await });
    let mut connection = server.accept().await;
    let a = connection.expect(&put("a", "1")).await;
    let b = connection.expect(&get("b")).await;
    connection.answer(b, found("2")).await;
    assert!(is_quiet(&mut connection).await, "two requests on one key are in flight");
    connection.answer(a, written()).await;
    let a = connection.expect(&get("a")).await;
    connection.answer(a, found("1")).await;
    assert_eq!(ran.await.unwrap(), run(0, "ok\n2\n1\n", ""));
}

#[tokio::test]
async fn what_is_about_more_than_a_key_waits_for_all_lines_before_it() {
    for (line, at_once) in [
        ("scan", false),
        ("dump", false),
        ("get b c", false),
        ("get b --level sequential", false),
        ("get b --repeat 2", false),
        ("get b", true),
    ] {
        let server = FakeServer::start(2).await;
        let at = server.entry();
        let lines = format!("put a 1\n{line}\n");
        let ran = tokio::spawn(async move { run_lines(&at, &[], lines.as_bytes()).await });
        let mut connection = server.accept().await;
        connection.expect(&put("a", "1")).await;
        assert_ne!(is_quiet(&mut connection).await, at_once, "{line}");
        ran.abort();
    }
}

#[tokio::test]
async fn a_result_is_printed_although_no_further_line_comes() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    let mut command = program([at], &["2"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for (line, expected) in [("put x 1\n", "ok"), ("get x\n", "1")] {
        stdin.write_all(line.as_bytes()).await.unwrap();
        let printed = tokio::time::timeout(SOON, lines.next_line()).await;
        assert_eq!(printed.expect("nothing is printed").unwrap().unwrap(), expected);
    }
}

#[tokio::test]
async fn as_many_lines_run_as_it_is_told() {
    for (lines_max, in_flight) in [("1", 1), ("3", 3)] {
        let server = FakeServer::start(2).await;
        let at = server.entry();
        let lines = b"put a 1\nput b 1\nput c 1\nput d 1\n";
        let args = ["--pipeline", lines_max];
        let ran = tokio::spawn(async move { run_lines(&at, &args, lines).await });
        let mut connection = server.accept().await;
        let mut ids = Vec::new();
        for _ in 0..in_flight {
            ids.push(connection.request().await.id);
        }
        assert!(is_quiet(&mut connection).await, "more than {lines_max} are in flight");
        for id in ids {
            connection.answer(id, written()).await;
        }
        for _ in in_flight..4 {
            let id = connection.request().await.id;
            connection.answer(id, written()).await;
        }
        assert_eq!(ran.await.unwrap(), run(0, "ok\nok\nok\nok\n", ""));
    }
}

#[tokio::test]
async fn no_line_begins_behind_a_failure_where_that_is_asked_for() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    let log = store::serve(server);
    let args = ["--pipeline", "1", "--stop-on-error"];
    let lines = b"get nothing\nput x 1\ncas x 5 6\nput y 1\nget y\n";
    let said = "line 3: not done: the value is \"1\" (version 1)\n";
    let ran = run_lines(&at, &args, lines).await;
    assert_eq!(ran, run(1, "(not found)\nok\n(not done)\n", said), "a missing key is no failure");
    assert_eq!(asked(&log).len(), 3);
    let lines = b"put x 1\nfoo\nput y 1\n";
    let said = "line 2: unknown command foo; `help` lists all\n";
    assert_eq!(run_lines(&at, &args, lines).await, run(2, "ok\n(wrong usage)\n", said));
    assert_eq!(asked(&log).len(), 4);
}

#[tokio::test]
async fn lines_that_run_beside_a_failure_end_and_are_printed() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    let args = ["--pipeline", "2", "--stop-on-error"];
    let lines = b"cas a 1 2\nput b 1\nput c 1\n";
    let ran = tokio::spawn(async move { run_lines(&at, &args, lines).await });
    let mut connection = server.accept().await;
    let (first, second) = (connection.request().await.id, connection.request().await.id);
    let failed = NotDone::ConditionFailed { index: 0, found: None };
    connection.answer(first, Outcome::NotDone(failed)).await;
    assert!(is_quiet(&mut connection).await, "a line has begun behind the one that failed");
    connection.answer(second, written()).await;
    let said = "line 1: not done: the key is missing\n";
    assert_eq!(ran.await.unwrap(), run(1, "(not done)\nok\n", said));
}

#[tokio::test]
async fn each_line_that_a_lost_server_had_is_unknown_and_the_next_ones_run() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    let lines = b"put a 1\nput b 1\nget c\nput a 2\n";
    let ran = tokio::spawn(async move { run_lines(&at, &[], lines).await });
    let mut connection = server.accept().await;
    connection.expect(&put("a", "1")).await;
    connection.expect(&put("b", "1")).await;
    connection.expect(&get("c")).await;
    drop(connection);
    let mut connection = server.accept().await;
    for _ in 0..2 {
        let request = connection.request().await;
        connection.answer(request.id, written_or_found(&request.body)).await;
    }
    let ran = ran.await.unwrap();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(4), "(unknown)\n(unknown)\n3\nok\n"));
    assert!(ran.stderr.contains("line 1: ") && ran.stderr.contains("line 2: "), "{ran:?}");
}

fn written_or_found(body: &RequestBody) -> Outcome {
    let is_read = matches!(body, RequestBody::Execute { op, .. } if op.is_read_only());
    if is_read { found("3") } else { written() }
}

#[tokio::test]
async fn exit_ends_it_and_the_rest_is_not_run() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    let log = store::serve(server);
    assert_eq!(run_lines(&at, &[], b"put x 1\nexit\nput x 2\n").await, run(0, "ok\n", ""));
    assert_eq!(asked(&log), [put("x", "1")]);
}

#[tokio::test]
async fn values_stay_on_their_line() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    let lines = b"put x \"a\\nb\\xff\"\nget x\nput x \"\"\nget x\nput x \"\\\"q\\\"\"\nget x\n";
    let expected = "ok\n\"a\\nb\\xff\"\nok\n\nok\n\"\\\"q\\\"\"\n";
    assert_eq!(run_lines(&at, &[], lines).await, run(0, expected, ""));
}

#[tokio::test]
async fn lines_that_come_during_a_delay_run_after_it_in_order() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    let log = store::serve(server);
    let mut command = program([at], &["2"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let begin = std::time::Instant::now();
    stdin.write_all(b"put x 0\ndelay 600\nget x\nput x 1\ndelay 1\nget x\n").await.unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "ok");
    // These come while the pause runs, and the input ends while it runs.
    stdin.write_all(b"put x 2\nget x\n").await.unwrap();
    drop(stdin);
    if begin.elapsed().as_millis() < 500 {
        assert_eq!(asked(&log), [put("x", "0")], "nothing runs during the pause");
    }
    let mut rest = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        rest.push(line);
    }
    assert_eq!(rest, ["0", "ok", "1", "ok", "2"]);
    assert!(begin.elapsed().as_millis() >= 600, "it did not pause");
    let expected = [put("x", "0"), get("x"), put("x", "1"), get("x"), put("x", "2"), get("x")];
    assert_eq!(asked(&log), expected);
    assert_eq!(finish(child).await.code, Some(0));
}

#[tokio::test]
async fn more_lines_than_may_wait_lose_nothing() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    let mut lines = String::from("delay 50\n");
    for _ in 0..3000 {
        lines.push_str("incr n\n");
    }
    let counted = run_lines(&at, &[], lines.as_bytes()).await;
    let expected: String = (1..=3000).map(|n| format!("{n}\n")).collect();
    assert_eq!(counted, run(0, &expected, ""));
}

#[tokio::test]
async fn json_is_one_object_for_each_command() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    let lines = b"put x \"a\\nb\"\nfoo\ndelay 1\nget x\nget nothing\n";
    let printed = run_lines(&at, &["--json"], lines).await;
    assert_eq!((printed.code, printed.stderr.lines().count()), (Some(2), 1), "{printed:?}");
    let objects = printed.stdout.lines().map(serde_json::from_str::<serde_json::Value>);
    let objects: Vec<_> = objects.map(Result::unwrap).collect();
    let outcomes: Vec<_> =
        objects.iter().map(|object| object["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["done", "usage", "done", "done", "done"]);
    assert_eq!(objects[3]["value"], "a\nb");
    assert_eq!(objects[3]["line"], 4);
    assert_eq!(objects[4]["found"], false);
}

#[tokio::test]
async fn an_output_that_nobody_reads_ends_it_quietly() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    let mut command = program([at], &["2"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"put x 1\nget x\n").await.unwrap();
    // The input stays open: the program ends by itself.
    let ended = finish_with_open_input(child, stdin).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

async fn finish_with_open_input(
    child: tokio::process::Child,
    stdin: tokio::process::ChildStdin,
) -> Run {
    let ended = finish(child).await;
    drop(stdin);
    ended
}
