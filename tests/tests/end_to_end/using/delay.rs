//! `delay`: what is typed or piped meanwhile runs afterwards, in order.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kv_tests::{OpLogEvent, Process, Site, Stream};

const DELAY: Duration = Duration::from_secs(2);

fn wall_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}

/// When each operation on `x` reached server 1, with its gist, in order.
fn begun(site: &Site) -> Vec<(u128, String)> {
    let lines = site.op_log(1).into_iter();
    let lines = lines.filter(|line| line.event == OpLogEvent::Req && line.key == "x");
    lines.map(|line| (line.wall_ms.into(), line.gist())).collect()
}

fn ended(client: &mut Process) -> Vec<String> {
    client.end_input();
    assert_eq!(client.exit_code(), Some(0), "{}", client.report());
    client.lines(Stream::Out)
}

#[test]
fn lines_typed_during_the_delay_run_after_it_in_order() {
    let site = Site::of(1);
    let mut server = site.ready_server("1");
    let mut client = site.client("1");
    client.type_line("put y 0");
    client.wait_for("ok");

    let (since, earliest) = (Instant::now(), wall_ms() + DELAY.as_millis());
    client.type_line(&format!("delay {}", DELAY.as_millis()));
    for line in ["get x", "put x 1", "get x"] {
        client.type_line(line);
    }
    assert!(since.elapsed() < DELAY, "this machine was too slow to type during the delay");
    client.wait_for("(not found)");
    client.wait_for("ok");
    client.wait_for("1");
    assert_eq!(ended(&mut client), ["ok", "(not found)", "ok", "1"]);

    server.terminate();
    assert_eq!(server.exit_code(), Some(0));
    let begun = begun(&site);
    let gists: Vec<&str> = begun.iter().map(|(_, gist)| gist.as_str()).collect();
    assert_eq!(gists, ["0,get,x,req,", "0,put,x,req,1", "0,get,x,req,"]);
    assert!(begun.iter().all(|(when, _)| *when >= earliest), "{begun:?} before {earliest}");
}

#[test]
fn a_delay_in_a_file_runs_what_follows_it_after_it() {
    let site = Site::of(1);
    let _server = site.ready_server("1");
    let commands = b"put x 0\ndelay 500\nget x\nput x 1\nget x\ndelay 0\nput x 2\nget x";
    let since = Instant::now();
    let mut client = site.client_reading("1", commands);
    assert_eq!(ended(&mut client), ["ok", "0", "ok", "1", "ok", "2"]);
    assert!(since.elapsed() >= Duration::from_millis(500));
}

#[test]
fn a_server_lost_during_the_delay_does_not_stop_what_waits() {
    let site = Site::of(2);
    let _first = site.ready_server("1 eventual 1 1");
    let mut second = site.ready_server("2 eventual 1 1");
    let mut client = site.client("2");
    client.type_line("put y 0");
    client.wait_for("ok");
    client.type_line("delay 500");
    client.type_line("put x 1");
    client.type_line("get x");
    second.kill();
    client.wait_for_error("server 2 is lost");
    client.wait_for("ok");
    client.wait_for("1");
    assert_eq!(ended(&mut client), ["ok", "ok", "1"]);
}
