//! The program with a command among its arguments.

use std::process::Stdio;

use crate::fake::program::{Run, finish, program, run_one};
use crate::fake::{self, DeadServer, FakeServer, get, key, put, store, written};
use kv_core::{NotDone, Operation, Outcome, Quorum, Unknown, Value, Waiting};
use kv_proto::{Refusal, RefusalCode, Welcome};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

fn run(code: i32, stdout: &str, stderr: &str) -> Run {
    Run { code: Some(code), stdout: stdout.to_owned(), stderr: stderr.to_owned() }
}

#[tokio::test]
async fn values_come_alone_and_a_missing_key_has_its_own_code() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    let log = store::serve(server);
    assert_eq!(run_one(&at, &["put", "x", "two words"]).await, run(0, "ok\n", ""));
    assert_eq!(run_one(&at, &["get", "x"]).await, run(0, "two words\n", ""));
    assert_eq!(run_one(&at, &["get", "y"]).await, run(3, "", "(not found)\n"));
    assert_eq!(run_one(&at, &["delete", "x"]).await, run(0, "ok\n", ""));
    assert_eq!(run_one(&at, &["get", "x"]).await.code, Some(3));
    assert_eq!(run_one(&at, &["incr", "n", "5"]).await, run(0, "5\n", ""));
    assert_eq!(run_one(&at, &["incr", "n", "-7"]).await, run(0, "-2\n", ""));
    assert_eq!(run_one(&at, &["get", "x", "--r", "all", "--timeout", "7s"]).await.code, Some(3));
    let (_, last) = log.lock().unwrap().last().cloned().unwrap();
    assert_eq!(last.read_quorum, Some(Quorum::All));
    assert!(last.timeout.as_secs_f64() > 6.0, "{:?}", last.timeout);
}

#[tokio::test]
async fn a_command_that_goes_to_the_sequencer_does_not_tell_so() {
    let (one, two) = (FakeServer::start(1).await, FakeServer::start(2).await);
    let child = program([one.entry(), two.entry()], &["put", "x", "1"]).spawn().unwrap();
    let sequencer = Some(two.node);
    let (mut first, _) = one.accept_hello().await;
    first.send(Welcome { sequencer, ..one.welcome() }).await;
    let (mut second, _) = two.accept_hello().await;
    second.send(Welcome { sequencer, ..two.welcome() }).await;
    let id = first.expect(&put("x", "1")).await;
    let waiting = Waiting::Sequencer { node: two.node };
    first.answer(id, Outcome::NotDone(NotDone::Waiting(waiting))).await;
    let id = second.expect(&put("x", "1")).await;
    second.answer(id, written()).await;
    assert_eq!(finish(child).await, run(0, "ok\n", ""));
}

#[tokio::test]
async fn words_of_the_shell_are_taken_as_they_are() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    let log = store::serve(server);
    run_one(&at, &["put", "x", r#"a\n"b"#]).await;
    assert_eq!(run_one(&at, &["get", "x"]).await.stdout, "a\\n\"b\n");
    run_one(&at, &["put", "x", "a\nb"]).await;
    assert_eq!(run_one(&at, &["get", "x"]).await.stdout, "a\nb\n");
    run_one(&at, &["put", "x", "--", "--w"]).await;
    assert_eq!(run_one(&at, &["get", "x"]).await.stdout, "--w\n");
    let all = program([at], &["2", "put", "x"]);
    let mut all = all;
    use std::os::unix::ffi::OsStrExt;
    all.arg(std::ffi::OsStr::from_bytes(b"\xff"));
    assert_eq!(finish(all.spawn().unwrap()).await.code, Some(0));
    let (last, _) = log.lock().unwrap().last().cloned().unwrap();
    assert_eq!(last, Operation::put(key("x"), Value::new(&b"\xff"[..]).unwrap()));
}

#[tokio::test]
async fn what_was_definitely_not_done_is_code_1() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    run_one(&at, &["put", "x", "1"]).await;
    assert_eq!(run_one(&at, &["cas", "x", "1", "2"]).await, run(0, "ok\n", ""));
    assert_eq!(
        run_one(&at, &["cas", "x", "1", "3"]).await,
        run(1, "", "not done: the value is \"2\" (version 2)\n")
    );
    assert_eq!(
        run_one(&at, &["cas", "y", "1", "3"]).await,
        run(1, "", "not done: the key is missing\n")
    );
    run_one(&at, &["put", "x", "word"]).await;
    assert_eq!(
        run_one(&at, &["incr", "x"]).await,
        run(1, "", "not done: the value is no whole number of 64 bits, or the sum would be none\n")
    );
}

#[tokio::test]
async fn wrong_usage_is_code_2_and_needs_no_server() {
    let at = DeadServer::new(2).entry();
    let usage = "usage: put KEY VALUE [--w N|majority|all]";
    for (args, expected) in [
        (&["gte", "x"][..], "unknown command gte: did you mean `get`?; `help` lists all\n"),
        (
            &["put", "x", "two", "words"],
            &format!("words is too much; put what holds spaces in quotes; {usage}\n"),
        ),
        (&["get", ""], "a key has at least 1 byte\n"),
        (
            &["get", "x", "--r", "0"],
            "--r: a quorum of 0 servers promises nothing: use 1 or more, `majority` or `all`\n",
        ),
    ] {
        assert_eq!(run_one(&at, args).await, run(2, "", expected), "{args:?}");
    }
    for id in ["0", "11", "3"] {
        let refused = finish(program([at.clone()], &[id]).spawn().unwrap()).await;
        assert_eq!((refused.code, refused.stderr.lines().count()), (Some(2), 1), "{refused:?}");
    }
    let option = finish(program([at.clone()], &["--nonsense"]).spawn().unwrap()).await;
    assert_eq!(option.code, Some(2));
}

#[tokio::test]
async fn a_value_too_large_is_named_and_nothing_is_sent() {
    let at = DeadServer::new(2).entry();
    // Larger than one argument may be in one piece, so it comes through a pipe.
    let line = format!("put k {}\nget {}\nexit\n", "v".repeat((16 << 20) + 1), "k".repeat(65537));
    let refused = fake::program::run_lines(&at, &[], line.as_bytes()).await;
    assert_eq!(
        refused,
        run(
            2,
            "(wrong usage)\n(wrong usage)\n",
            "line 1: value of 16777217 bytes is too large: at most 16777216 are allowed\n\
             line 2: key of 65537 bytes is too large: at most 65536 are allowed\n"
        )
    );
}

#[tokio::test]
async fn unavailable_and_unknown_are_code_4() {
    let dead = DeadServer::new(2);
    let nobody = run_one(&dead.entry(), &["get", "x", "--timeout", "100ms"]).await;
    assert_eq!(nobody.code, Some(4));
    assert_eq!(
        nobody.stderr.lines().last(),
        Some(
            "unavailable: server 2 does not answer (server 2: connection refused); nothing was \
             done, so try again"
        )
    );
    let server = FakeServer::start(2).await;
    let at = server.entry();
    let script = async {
        let mut connection = server.accept().await;
        // It is sent again within its time.
        while let Some(request) = connection.next_request().await {
            let reason = NotDone::Unavailable { reachable: 1, needed: 2 };
            connection.answer(request.id, Outcome::NotDone(reason)).await;
        }
        let mut connection = server.accept().await;
        let id = connection.expect(&put("x", "1")).await;
        let unknown = Unknown { version: None, acks: 1, needed: 2 };
        connection.answer(id, Outcome::Unknown(unknown)).await;
        let mut connection = server.accept().await;
        connection.expect(&put("x", "2")).await;
    };
    let runs = async {
        assert_eq!(
            run_one(&at, &["get", "x", "--timeout", "300ms"]).await,
            run(4, "", "unavailable: 1 of 2 servers reachable; start or reconnect 1 more\n")
        );
        let unknown = run_one(&at, &["put", "x", "1"]).await;
        assert_eq!(unknown.code, Some(4));
        assert!(unknown.stderr.starts_with("unknown: 1 of 2"), "{unknown:?}");
        let lost = run_one(&at, &["put", "x", "2"]).await;
        assert_eq!(
            lost,
            run(
                4,
                "",
                "server 2 is lost (connection closed)\nunknown: server 2 was lost (connection \
                 closed); the write may have taken effect or may still, so read before you \
                 repeat it\n"
            )
        );
    };
    tokio::join!(script, runs);
}

#[tokio::test]
async fn a_name_that_cannot_be_found_is_named() {
    let at = (fake::node(2), "no-such-host.invalid:4962".to_owned());
    let nobody = run_one(&at, &["get", "x", "--timeout", "300ms"]).await;
    assert_eq!(nobody.code, Some(4));
    let why = "server 2: the name of no-such-host.invalid:4962 cannot be found: ";
    assert!(nobody.stderr.contains(why), "{nobody:?}");
    assert!(!nobody.stderr.contains("uncategorized"), "{nobody:?}");
    let health = run_one(&at, &["health"]).await;
    assert!(health.stdout.contains("the name of no-such-host.invalid:4962 cannot"), "{health:?}");
}

#[tokio::test]
async fn a_refusal_is_shown() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    let refusal = Refusal::new(RefusalCode::Version, "upgrade that program");
    let args = ["get", "x"];
    let (refused, ()) = tokio::join!(run_one(&at, &args), server.refuse(refusal));
    assert_eq!(refused.code, Some(4));
    let shown = "server 2 refuses this client: upgrade that program";
    assert!(refused.stderr.lines().any(|line| line == shown), "{refused:?}");
}

#[tokio::test]
async fn the_next_server_is_tried_and_named() {
    let (dead, server) = (DeadServer::new(2), FakeServer::start(3).await);
    let servers = [dead.entry(), server.entry()];
    store::serve(server);
    let child = program(servers, &["2", "put", "x", "1"]).spawn().unwrap();
    assert_eq!(
        finish(child).await,
        run(0, "ok\n", "server 2 does not answer (connection refused); connected to server 3\n")
    );
}

#[tokio::test]
async fn a_loss_and_the_next_server_are_one_line() {
    let (two, three) = (FakeServer::start(2).await, FakeServer::start(3).await);
    let child = program([two.entry(), three.entry()], &["2", "get", "x"]).spawn().unwrap();
    let script = async {
        let mut connection = two.accept().await;
        connection.expect(&get("x")).await;
        drop(connection);
        let mut connection = three.accept().await;
        let id = connection.expect(&get("x")).await;
        connection.answer(id, fake::found("1")).await;
        connection
    };
    let (got, _connection) = tokio::join!(finish(child), script);
    let news = "server 2 is lost (connection closed); connected to server 3\n";
    assert_eq!(got, run(0, "1\n", news));
}

#[tokio::test]
async fn the_environment_gives_defaults() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    let mut command = program([at.clone()], &[]);
    command.env_clear();
    // An option on the command line goes first, so these stand alone.
    let mut command = tokio::process::Command::new(command.as_std().get_program());
    command.env_clear().env("KV_SERVERS", format!("2={}", at.1)).env("KV_CLUSTER", "blue");
    command.args(["2", "get", "x"]).stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let script = async {
        let (mut connection, hello) = server.accept_hello().await;
        assert_eq!(hello.cluster, "blue");
        connection.send(server.welcome()).await;
        let id = connection.expect(&get("x")).await;
        connection.answer(id, fake::found("1")).await;
        connection
    };
    let (got, _connection) = tokio::join!(finish(child), script);
    assert_eq!(got, run(0, "1\n", ""));
}

#[tokio::test]
async fn dump_and_status_are_readable() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    for (name, text) in [("b", "1"), ("a key", "two words"), ("c", "\u{1b}[31m")] {
        run_one(&at, &["put", name, text]).await;
    }
    let dump = run_one(&at, &["dump"]).await;
    let expected = "\"a key\" = \"two words\" (version 2)\nb = 1 (version 1)\n\
                    c = \"\\x1b[31m\" (version 3)\n";
    assert_eq!(dump, run(0, expected, ""));
    let status = run_one(&at, &["status"]).await;
    let expected = "server 2 serves reads and writes; server 3 is not connected to it\n  \
                    fake engine, W=2 R=2, configuration 1, cluster 00000000000000c1\n  3 keys\n  \
                    server  state\n  1       connected, 1 log entry behind\n  \
                    2       this server: sequencer, incarnation 1-000000ab\n  \
                    3       not connected\n";
    let hint = "`status --all` shows the counters\n";
    assert_eq!(status, run(0, &format!("{expected}{hint}"), ""));
    let all = run_one(&at, &["status", "--all"]).await;
    assert_eq!(all, run(0, &format!("{expected}keys: 3\nresends: 4\n"), ""));
}

#[tokio::test]
async fn json_holds_results_and_errors() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    let parse = |run: &Run| -> serde_json::Value {
        assert_eq!(run.stdout.lines().count(), 1, "{run:?}");
        serde_json::from_str(&run.stdout).unwrap()
    };
    run_one(&at, &["put", "x", "1"]).await;
    let got = parse(&run_one(&at, &["--json", "get", "x"]).await);
    assert_eq!(got["value"], "1");
    assert_eq!((&got["outcome"], &got["server"]), (&"done".into(), &2.into()));
    let missing = run_one(&at, &["get", "y", "--json"]).await;
    assert_eq!(missing.code, Some(3));
    assert_eq!(parse(&missing)["found"], false);
    let refused = run_one(&at, &["--json", "cas", "x", "5", "6"]).await;
    assert_eq!(refused.code, Some(1));
    let refused = parse(&refused);
    assert_eq!(refused["outcome"], "not_done");
    assert_eq!(refused["reason"], "condition_failed");
    assert_eq!(refused["value"], "1");
    let dump = parse(&run_one(&at, &["--json", "dump"]).await);
    assert_eq!(dump["entries"][0]["key"], "x");
    let status = parse(&run_one(&at, &["--json", "status"]).await);
    let counters = serde_json::json!({ "keys": 3, "resends": 4 });
    assert_eq!(status["status"]["counters"], counters);
    assert_eq!(status["status"]["role"], "sequencer");
    assert_eq!(status["status"]["cluster_id"], "00000000000000c1");
    assert_eq!(status["status"]["lags"], serde_json::json!([{ "server": 1, "entries": 1 }]));
    let usage = run_one(&at, &["--json", "gte"]).await;
    assert_eq!(usage.code, Some(2));
    assert_eq!(parse(&usage)["outcome"], "usage");
    for args in [&["bench", "--bogus", "--json"][..], &["--json", "bench", "--keys", "none"]] {
        let usage = run_one(&at, args).await;
        assert_eq!((usage.code, usage.stderr.as_str()), (Some(2), ""), "{args:?}");
        assert_eq!(parse(&usage)["outcome"], "usage", "{args:?}");
    }
    let usage = finish(program([at.clone()], &["--bogus", "--json"]).spawn().unwrap()).await;
    assert!(parse(&usage)["message"].as_str().unwrap().contains("'--bogus'"), "{usage:?}");
}

#[tokio::test]
async fn news_and_help_are_json_wherever_the_option_stands() {
    let at = DeadServer::new(2).entry();
    for args in [
        &["--json", "--timeout", "100ms", "get", "x"][..],
        &["get", "x", "--json", "--timeout", "100ms"],
    ] {
        let run = run_one(&at, args).await;
        assert_eq!(run.code, Some(4), "{run:?}");
        let event: serde_json::Value = serde_json::from_str(run.stderr.trim_end()).unwrap();
        assert_eq!(event["event"], "none_answers", "{run:?}");
    }
    for args in [&["help", "put", "--json"][..], &["put", "--help", "--json"]] {
        let help = run_one(&at, args).await;
        let help: serde_json::Value = serde_json::from_str(&help.stdout).unwrap();
        assert_eq!((&help["command"], &help["outcome"]), (&"help".into(), &"done".into()));
        let put = serde_json::json!(["put KEY VALUE [--w N|majority|all]"]);
        let usages = help["commands"].as_array().unwrap().iter().map(|help| &help["usage"]);
        assert_eq!(usages.cloned().collect::<serde_json::Value>(), put, "{args:?}");
    }
    let all = run_one(&at, &["--json", "help"]).await;
    let all: serde_json::Value = serde_json::from_str(&all.stdout).unwrap();
    assert!(all["commands"].as_array().unwrap().len() > 8, "{all}");
}

#[tokio::test]
async fn a_value_may_come_from_the_standard_input_and_go_out_as_it_came() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    let bytes = b"\x00\xff\n two\n lines \x1b[2J";
    let mut put = program([at.clone()], &["2", "put", "x", "--stdin"]);
    let mut put = put.stdin(Stdio::piped()).spawn().unwrap();
    put.stdin.take().unwrap().write_all(bytes).await.unwrap();
    assert_eq!(finish(put).await, run(0, "ok\n", ""));
    let got = program([at.clone()], &["2", "get", "x", "--raw"]).output().await.unwrap();
    assert_eq!((got.status.code(), got.stdout.as_slice()), (Some(0), &bytes[..]));
    let got = run_one(&at, &["get", "x", "--json"]).await;
    assert!(got.stdout.contains(r#""value_base64":"AP8KIHR3bwogbGluZXMgG1sySg==""#), "{got:?}");
    assert_eq!(run_one(&at, &["put", "x", "-"]).await, run(0, "ok\n", ""));
    assert_eq!(run_one(&at, &["get", "x", "--raw"]).await, run(0, "-", ""));
}

#[tokio::test]
async fn a_write_may_have_a_condition() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    let done = run(0, "ok\n", "");
    assert_eq!(run_one(&at, &["put", "x", "1", "--if-absent"]).await, done);
    let held = "not done: the value is \"1\" (version 1)\n";
    assert_eq!(run_one(&at, &["put", "x", "2", "--if-absent"]).await, run(1, "", held));
    assert_eq!(run_one(&at, &["put", "x", "2", "--if-version", "9"]).await, run(1, "", held));
    assert_eq!(run_one(&at, &["put", "x", "2", "--if-version", "1"]).await, done);
    assert_eq!(run_one(&at, &["put", "x", "3", "--if-value", "2"]).await, done);
    let missing = run(1, "", "not done: the key is missing\n");
    assert_eq!(run_one(&at, &["put", "y", "1", "--if-present"]).await, missing);
    assert_eq!(run_one(&at, &["delete", "y", "--if-present"]).await, missing);
    assert_eq!(run_one(&at, &["delete", "x", "--if-value", "3"]).await, done);
    assert_eq!(run_one(&at, &["get", "x"]).await.code, Some(3));
}

#[tokio::test]
async fn several_keys_are_read_at_once_and_the_first_failure_is_the_code() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    run_one(&at, &["put", "x", "1"]).await;
    run_one(&at, &["put", "y", "a\tb"]).await;
    assert_eq!(run_one(&at, &["get", "x", "y"]).await, run(0, "1\na\tb\n", ""));
    let one_missing = run_one(&at, &["get", "y", "z", "x"]).await;
    assert_eq!(one_missing, run(3, "a\tb\n1\n", "(not found)\n"));
    let json = run_one(&at, &["get", "x", "z", "--json"]).await.stdout;
    let keys =
        json.lines().map(|line| -> serde_json::Value { serde_json::from_str(line).unwrap() });
    let keys: Vec<_> =
        keys.map(|object| (object["key"].clone(), object["found"].clone())).collect();
    assert_eq!(keys, [("x".into(), true.into()), ("z".into(), false.into())]);
    assert_eq!(run_one(&at, &["exists", "x"]).await, run(0, "true\n", ""));
    assert_eq!(run_one(&at, &["exists", "z"]).await, run(3, "false\n", ""));
    let json = run_one(&at, &["exists", "x", "--json"]).await.stdout;
    assert!(json.contains("\"found\":true") && !json.contains("value"), "{json}");
    assert_eq!(run_one(&at, &["append", "x", "23"]).await, run(0, "3\n", ""));
    assert_eq!(run_one(&at, &["get", "x"]).await.stdout, "123\n");
}

#[tokio::test]
async fn all_keys_that_begin_so_are_deleted() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    for key in ["a", "b1", "b2", "c"] {
        run_one(&at, &["put", key, "v"]).await;
    }
    assert_eq!(run_one(&at, &["delete", "--prefix", "b"]).await, run(0, "2\n", ""));
    assert_eq!(run_one(&at, &["delete", "--prefix", "b"]).await, run(0, "0\n", ""));
    assert_eq!(run_one(&at, &["scan", "--keys-only"]).await.stdout, "a\nc\n");
    let empty = run_one(&at, &["delete", "--prefix", ""]).await;
    assert_eq!(empty.code, Some(2), "{empty:?}");
    assert_eq!(run_one(&at, &["scan", "--count"]).await.stdout, "2\n");
}

#[tokio::test]
async fn a_command_is_repeated() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    let begin = std::time::Instant::now();
    let ran = run_one(&at, &["incr", "n", "--repeat", "3", "--every", "20ms"]).await;
    assert_eq!(ran, run(0, "1\n2\n3\n", ""));
    assert!(begin.elapsed().as_millis() >= 40, "it did not wait");
    assert_eq!(run_one(&at, &["get", "z", "--repeat", "2"]).await.code, Some(3));
    let short = program([at.clone()], &["-r", "2", "-i", "1ms", "2", "incr", "short"]).spawn();
    assert_eq!(finish(short.unwrap()).await, run(0, "1\n2\n", ""));
    let mut endless = program([at], &["2", "incr", "n", "--every", "1ms"]).spawn().unwrap();
    let mut lines = BufReader::new(endless.stdout.take().unwrap()).lines();
    for number in 4..9 {
        assert_eq!(lines.next_line().await.unwrap().unwrap(), number.to_string());
    }
}

#[tokio::test]
async fn lists_have_forms_for_programs() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    for (key, value) in [("p 1", "a\nb"), ("p2", ""), ("q", "\tz")] {
        run_one(&at, &["put", "--", key, value]).await;
    }
    for (args, expected) in [
        (&["scan", "p", "--raw"][..], "p 1\ta\nb\np2\t\n"),
        (&["dump", "--raw"], "p 1\ta\nb\np2\t\nq\t\tz\n"),
        (&["scan", "p", "--null"], "p 1\0a\nb\0p2\0\0"),
        (&["scan", "p", "--keys-only"], "\"p 1\"\np2\n"),
        (&["scan", "p", "--keys-only", "--raw"], "p 1\np2\n"),
        (&["dump", "--keys-only", "--null"], "p 1\0p2\0q\0"),
        (&["scan", "p", "--values-only"], "\"a\\nb\"\n\n"),
        (&["scan", "p", "--values-only", "--raw"], "a\nb\n\n"),
        (&["dump", "--values-only", "--null"], "a\nb\0\0\tz\0"),
        (&["scan", "--count"], "3\n"),
        (&["scan", "--count", "--limit", "2"], "2\n"),
        (&["dump", "--limit", "1", "--keys-only", "--raw"], "p 1\n"),
        (&["dump", "--limit", "0"], ""),
    ] {
        assert_eq!(run_one(&at, args).await, run(0, expected, ""), "{args:?}");
    }
    let json = run_one(&at, &["scan", "p", "--json", "--keys-only"]).await.stdout;
    assert!(json.starts_with(r#"{"entries":[{"key":"p 1"},{"key":"p2"}],"#), "{json}");
    let json = run_one(&at, &["dump", "--json", "--count"]).await.stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["count"], &json["command"]), (&3.into(), &"dump".into()));
}

#[tokio::test]
async fn a_scan_shows_the_keys_that_begin_so() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    for key in ["a", "b1", "b2", "c"] {
        run_one(&at, &["put", key, "v"]).await;
    }
    let expected = "b1 = v (version 2)\nb2 = v (version 3)\n";
    assert_eq!(run_one(&at, &["scan", "b"]).await, run(0, expected, ""));
    assert_eq!(run_one(&at, &["scan"]).await.stdout.lines().count(), 4);
}

#[tokio::test]
async fn a_command_and_a_wrong_option_explain_themselves() {
    let at = DeadServer::new(2).entry();
    let help = run_one(&at, &["put", "--help"]).await;
    assert!(
        help.stdout.starts_with("put KEY VALUE [--w N|majority|all]: write a key\n"),
        "{help:?}"
    );
    let wrong = finish(program([at], &["--frobnicate"]).spawn().unwrap()).await;
    let expected = "unexpected argument '--frobnicate' found (see kv-client --help)\n";
    assert_eq!(wrong, run(2, "", expected));
}
