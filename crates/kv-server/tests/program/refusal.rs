//! Servers that refuse or lose each other say so where a person looks.

use std::time::{Duration, Instant};

use crate::run::{Running, free_servers, kv_server};

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

#[test]
fn a_refused_server_does_not_advise_to_start_others_as_it_was_started() {
    let servers = free_servers(3);
    let start = |words: &str| {
        Running::start(kv_server(&format!("{words} --op-log off --servers {servers}")))
    };
    let mut second = start("2 linearizability 2 2");
    let program = env!("CARGO_BIN_EXE_kv-server");
    second.read_until(&format!("start it with: {program} 1 linearizability 2 2"));
    let mut third = start("3 linearizability 1 2");
    third.read_until("server 2 refuses this server");
    assert!(third.read_until("waiting for server 1").ends_with("server 1, the sequencer\n"));
}

#[test]
fn what_is_on_the_screen_is_not_logged_as_well() {
    let servers = free_servers(2);
    let logs = tempfile::tempdir().unwrap();
    let start = |name: &str, words: &str| {
        let mut command = kv_server(&format!("{words} --op-log off --servers {servers}"));
        command.stderr(std::fs::File::create(logs.path().join(name)).unwrap());
        Running::start(command)
    };
    let mut first = start("first", "1 linearizability 2 2 --log info");
    let mut second = start("second", "2 linearizability 1 2 --log info");
    for (name, server) in [("first", &mut first), ("second", &mut second)] {
        server.read_until("refuses this server");
        let refused = || {
            let log = std::fs::read_to_string(logs.path().join(name)).unwrap();
            log.lines().find(|line| line.contains("refused a connection")).map(ToOwned::to_owned)
        };
        let patience = Instant::now() + Duration::from_secs(20);
        let line = loop {
            if let Some(line) = refused() {
                break line;
            }
            assert!(Instant::now() < patience, "{name} logged no refusal");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(line.contains("INFO"), "{line}");
    }
}

#[test]
fn a_sequencer_without_a_successor_that_lost_its_memory_is_not_to_be_started_alone() {
    let servers = free_servers(2);
    let start = |words: &str| {
        Running::start(kv_server(&format!("{words} --op-log off --servers {servers}")))
    };
    let first = start("1 linearizability 2 1");
    let mut second = start("2 linearizability 2 1");
    second.read_until("ready");
    drop(first);
    let line = second.read_until("waiting for server 1, the sequencer");
    let expected = "server 1, if it was stopped, has lost its memory: stop all servers and start \
                    them again";
    assert!(line.contains(expected), "{line}");
    assert!(!line.contains("start it with"), "{line}");
}

#[test]
fn a_sequencer_that_lost_its_memory_is_filled_where_another_takes_its_place() {
    let servers = free_servers(2);
    let start = |words: &str| {
        Running::start(kv_server(&format!("{words} --op-log off --servers {servers}")))
    };
    let first = start("1 linearizability 2 2");
    let mut second = start("2 linearizability 2 2");
    second.read_until("ready");
    drop(first);
    let line = second.read_until("waiting for 1 more server");
    let program = env!("CARGO_BIN_EXE_kv-server");
    let command = format!("start for example: {program} 1 linearizability 2 2");
    assert!(line.contains(&command), "{line}");
    let mut first = start("1 linearizability 2 2");
    first.read_until("ready");
    second.read_until("ready");
}

#[test]
fn a_name_that_cannot_be_found_is_said_on_the_screen() {
    let own = free_servers(1);
    let words = format!("1 eventual 2 2 --op-log off --servers {own},2=no-such-host.invalid:4962");
    let mut server = Running::start(kv_server(&words));
    let line = server.read_until("no-such-host.invalid of server 2 cannot be found");
    assert!(line.trim_end().ends_with("correct it in --servers, or in the name service"), "{line}");
}
