//! Whether servers serve: `status` and `health`, for people and for scripts.

use crate::fake::program::{Run, finish, program, run_lines, run_one};
use crate::fake::store::status;
use crate::fake::{DeadServer, FakeServer, node};
use kv_core::{NodeId, Status, Waiting};

fn run(code: i32, stdout: &str, stderr: &str) -> Run {
    Run { code: Some(code), stdout: stdout.to_owned(), stderr: stderr.to_owned() }
}

fn waiting(what: Waiting) -> Status {
    Status { waiting: Some(what), connected: vec![node(1), node(3)], ..status() }
}

fn full_disk() -> Status {
    waiting(Waiting::DiskFull { node: node(2) })
}

fn joining() -> Status {
    waiting(Waiting::Joining)
}

async fn server(id: u16, statuses: Vec<Status>) -> (NodeId, String) {
    let server = FakeServer::start(id).await;
    let entry = server.entry();
    server.serve_statuses(statuses);
    entry
}

#[tokio::test]
async fn the_exit_code_of_status_says_what_the_server_serves() {
    let full = server(2, vec![full_disk()]).await;
    let shown = run_one(&full, &["status"]).await;
    assert_eq!(shown.code, Some(1), "{shown:?}");
    let verdict = "server 2 serves reads and takes no writes: the disk of server 2 is full";
    assert!(shown.stdout.starts_with(verdict), "{shown:?}");
    let joining = server(2, vec![joining()]).await;
    let shown = run_one(&joining, &["status"]).await;
    assert_eq!(shown.code, Some(4), "{shown:?}");
    assert!(shown.stdout.starts_with("server 2 does not serve: joining the cluster"), "{shown:?}");
    let json = run_one(&joining, &["status", "--json"]).await;
    assert_eq!(json.code, Some(4), "{json:?}");
    assert!(json.stdout.contains("\"serves_reads\":false,\"serves_writes\":false"), "{json:?}");
    let piped = run_lines(&joining, &[], b"status\n").await;
    assert_eq!(piped.code, Some(4), "{piped:?}");
}

#[tokio::test]
async fn status_waits_until_the_server_serves_or_the_time_is_up() {
    let soon = server(2, vec![joining(), full_disk(), status()]).await;
    let shown = run_one(&soon, &["status", "--wait"]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.stdout.starts_with("server 2 serves reads and writes"), "{shown:?}");
    let never = server(2, vec![joining()]).await;
    let shown = run_one(&never, &["status", "--wait", "--timeout", "300ms"]).await;
    assert_eq!(shown.code, Some(4), "{shown:?}");
}

#[tokio::test]
async fn health_asks_every_server_and_counts_those_that_serve() {
    let dead = DeadServer::new(3);
    let at = [server(1, vec![status()]).await, server(2, vec![full_disk()]).await, dead.entry()];
    let [one, two, three] = at.each_ref().map(|(_, address)| address.clone());
    let why = full_disk().waiting.unwrap().to_string();
    let width = [&one, &two, &three].map(|address| address.len()).into_iter().max().unwrap();
    let row = |id, address: &str, serves, remark: &str| {
        format!("  {id:<6}  {address:<width$}  {serves:<16}  {remark}").trim_end().to_owned() + "\n"
    };
    let table = row("server", "address", "serves", "")
        + &row("1", &one, "reads and writes", "sequencer")
        + &row("2", &two, "reads", &why)
        + &row("3", &three, "nothing", "connection refused");
    let health = async |words: &[&str]| finish(program(at.clone(), words).spawn().unwrap()).await;
    let some = health(&["health"]).await;
    assert_eq!(some, run(1, &format!("1 of 3 servers serve reads and writes\n{table}"), ""));
    let reads = health(&["health", "--reads"]).await;
    assert_eq!(reads, run(1, &format!("2 of 3 servers serve reads\n{table}"), ""));
    for (words, code, verdict) in [
        (&["1", "health"][..], 0, "server 1 serves reads and writes"),
        (&["2", "health"], 4, "server 2 does not serve reads and writes"),
        (&["2", "health", "--reads"], 0, "server 2 serves reads"),
        (&["3", "health"], 4, "server 3 does not serve reads and writes"),
    ] {
        let ran = health(words).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(code), ""), "{words:?}");
        assert_eq!(ran.stdout.lines().next(), Some(verdict), "{words:?}");
    }
    let json = health(&["health", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["serving"], &json["outcome"]), (&1.into(), &"done".into()));
    assert_eq!(json["servers"][1]["serves_reads"], true);
    assert_eq!(json["servers"][2]["message"], "connection refused");
    drop(dead);
}

#[tokio::test]
async fn a_server_of_the_list_that_is_not_of_the_cluster_does_not_count() {
    let dead = DeadServer::new(4);
    let at = [server(1, vec![status()]).await, server(2, vec![status()]).await, dead.entry()];
    let ran = finish(program(at.clone(), &["health"]).spawn().unwrap()).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.starts_with("2 of 2 servers serve reads and writes\n"), "{ran:?}");
    let named = finish(program(at, &["4", "health"]).spawn().unwrap()).await;
    assert_eq!(named.code, Some(4), "{named:?}");
    drop(dead);
}

#[tokio::test]
async fn health_waits_until_all_serve() {
    let at = [server(1, vec![status()]).await, server(2, vec![joining(), status()]).await];
    let ran = finish(program(at, &["health", "--wait"]).spawn().unwrap()).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.starts_with("2 of 2 servers serve reads and writes\n"), "{ran:?}");
}
