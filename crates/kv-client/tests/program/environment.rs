//! Variables of the environment.

use crate::fake::program::{finish, program};
use crate::fake::{DeadServer, FakeServer, get, store};

#[tokio::test]
async fn an_empty_variable_counts_as_not_set() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    let log = store::serve(server);
    let mut command = program([at], &["2", "get", "x"]);
    for name in ["KV_SERVERS", "KV_TIMEOUT", "KV_JSON", "KV_RAW", "KV_PAGER", "KV_HISTORY"] {
        command.env(name, "");
    }
    let run = finish(command.spawn().unwrap()).await;
    assert_eq!((run.code, run.stderr.as_str()), (Some(3), "(not found)\n"));
    assert_eq!(log.lock().unwrap().pop().unwrap().0, get("x"));
    let mut command = program([DeadServer::new(2).entry()], &["bench", "--help"]);
    let run = finish(command.env("KV_BENCH_KEYS", "").spawn().unwrap()).await;
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[tokio::test]
async fn an_unknown_variable_is_named_with_the_nearest_one() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    let text = "KV_SERVER is set but is no known setting, and is ignored; did you mean KV_SERVERS?";
    let mut command = program([at.clone()], &["2", "put", "x", "1"]);
    command.env("KV_SERVER", "1-3").env("KV_SERVICE_HOST", "10.0.0.1").env("KV_FSYNC", "never");
    let run = finish(command.spawn().unwrap()).await;
    assert_eq!((run.stdout.as_str(), run.stderr), ("ok\n", format!("{text}\n")));
    let mut command = program([at], &["2", "put", "x", "1", "--json"]);
    let run = finish(command.env("KV_SERVER", "1-3").spawn().unwrap()).await;
    let event: serde_json::Value =
        serde_json::from_str(run.stderr.lines().next().unwrap()).unwrap();
    assert_eq!((&event["event"], &event["message"]), (&"warning".into(), &text.into()));
}

#[tokio::test]
async fn a_value_that_makes_no_sense_is_reported_with_its_variable() {
    let run = async |words: &[&str], (name, value): (&str, &str)| {
        let mut command = program([DeadServer::new(2).entry()], words);
        finish(command.env(name, value).spawn().unwrap()).await
    };
    for (name, value, expected) in [
        ("KV_PIPELINE", "0", "KV_PIPELINE=`0` in the environment: 0 is not in 1..=1024"),
        ("KV_TIMEOUT", "x", "KV_TIMEOUT=`x` in the environment: "),
    ] {
        let run = run(&["get", "x"], (name, value)).await;
        assert_eq!((run.code, run.stderr.lines().count()), (Some(2), 1), "{run:?}");
        assert!(run.stderr.starts_with(expected), "{run:?}");
    }
    let bench = run(&["bench"], ("KV_BENCH_KEYS", "x")).await;
    assert!(bench.stderr.starts_with("KV_BENCH_KEYS=`x` in the environment: "), "{bench:?}");
    let typed = run(&["--pipeline", "0", "get", "x"], ("KV_PIPELINE", "7")).await;
    assert!(typed.stderr.contains("'--pipeline <N>'"), "{typed:?}");
    let nameless = run(&["--cluster", "", "get", "x"], ("KV_JSON", "")).await;
    assert_eq!(nameless.code, Some(2));
    assert!(nameless.stderr.contains("a cluster's name cannot be empty"), "{nameless:?}");
}
