//! Servers that refuse each other say so where a person looks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod program;

use program::{Running, free_servers, kv_server};

#[test]
fn a_refused_server_says_by_whom_and_why_and_what_to_do() {
    let servers = free_servers(2);
    let start = |words: &str| {
        Running::start(kv_server(&format!("{words} --op-log off --servers {servers}")))
    };
    let mut first = start("1 linearizability 2 2");
    first.read_until("waiting for 1 more server");
    let mut second = start("2 linearizability 1 1");
    let refused = second.read_until("refuses this server");
    let expected = "server 1 refuses this server: server 2 was started with N=2 W=1 R=1, servers \
                    1 2; server 1 with N=2 W=2 R=2, servers 1 2";
    let line = refused.lines().last().unwrap();
    assert!(line.starts_with(expected), "{line}");
    assert!(line.contains("restart server 2 with what server 1 has"), "{line}");
    first.read_until("server 2 refuses this server: server 1 was started with");
    // It runs, so nobody is told to start it.
    assert!(second.read_until("waiting for server 1").ends_with("server 1, the sequencer\n"));

    drop(second);
    let mut second = start("2 linearizability 2 2");
    for server in [&mut first, &mut second] {
        server.read_until("ready");
    }
}
