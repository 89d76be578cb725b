//! What is typed at a server's own terminal.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use crate::run::{Running, free_servers, kv_server, output};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// The keyboard of a terminal, and the terminal itself.
fn terminal() -> (File, OwnedFd) {
    let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&keys).unwrap();
    unlockpt(&keys).unwrap();
    let name = ptsname(&keys, Vec::new()).unwrap();
    let terminal = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    (File::from(keys), terminal)
}

#[test]
fn status_dump_and_exit_are_obeyed_and_other_words_explained() {
    let (mut keys, terminal) = terminal();
    let mut type_line = |line: &str| keys.write_all(format!("{line}\n").as_bytes()).unwrap();
    let servers = free_servers(1);
    let words = format!("1 linearizability --op-log off --servers {servers}");
    let mut server = Running::start_reading(kv_server(&words), Stdio::from(terminal));
    server.read_until("ready");

    type_line("status");
    let status = server.read_until("connected to");
    assert!(
        status.contains("server 1 (linearizable, sequencer), N=1 W=1 R=1, servers 1\n  ready\n"),
        "{status}"
    );
    type_line("dump");
    server.read_until("(end of dump: nothing)");
    kv_client_put(&servers, "two words", "a\nb");
    type_line("  dump ");
    assert!(server.read_until("(end of dump)").contains("\"two words\" = \"a\\nb\" (version "));
    type_line("get x");
    server.read_until(
        "`get x` is not known here: type `dump`, `status` or `exit`; clients use kv-client",
    );
    type_line("exit");
    server.read_until("stopped");
    assert_eq!(server.wait(), Some(0));
}

/// `exit` typed into a pipe is nobody at a terminal, and no reason to stop.
#[test]
fn what_comes_through_a_pipe_is_not_obeyed() {
    let words = format!("1 --op-log off --servers {}", free_servers(1));
    let mut server = Running::start_reading(kv_server(&words), Stdio::piped());
    server.read_until("ready");
    server.type_line("exit");
    server.end_input();
    assert_eq!(server.interrupt(), Some(0));
    assert_eq!(server.read_until("stopped"), "stopped\n");
}

#[test]
fn a_server_that_cannot_start_reads_nothing() {
    let (_keys, terminal) = terminal();
    let mut command = kv_server("1 --servers 2-3");
    command.stdin(Stdio::from(terminal));
    assert_eq!(output(command).0, Some(2));
}

fn kv_client_put(servers: &str, key: &'static str, value: &'static str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let servers = servers.parse().unwrap();
        let config = kv_client::ClientConfig::new(servers);
        let client = kv_client::Client::connect(config).await.unwrap();
        let (key, value) = (kv_core::Key::new(key).unwrap(), kv_core::Value::new(value).unwrap());
        client.put(key, value).await.unwrap();
    });
}
