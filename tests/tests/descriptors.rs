//! A server whose limit of open files is low, as a shell gives it, under many connections.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::TcpStream;
use std::process::{Command, Stdio};

use kv_tests::{Process, Program, Site};

/// As many as a server takes of clients that have not said hello.
const CONNECTIONS: usize = 200;

#[test]
fn connections_leave_the_disk_the_files_that_it_needs() {
    let site = Site::of(1);
    let server = site.command(Program::Server, "1 linearizability 1 1".split(' '));
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -S -n 100; exec \"$@\"", "sh"]).arg(server.get_program());
    shell.args(server.get_args()).current_dir(site.folder());
    shell.envs(server.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    let mut server = Process::start("kv-server".to_owned(), shell, Stdio::null());
    server.wait_for("ready");
    let address = site.address(1);
    let connections: Vec<TcpStream> =
        (0..CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
    // More than the journal's first segments take, so that it makes others meanwhile.
    let value = "v".repeat(1_000_000);
    let lines: String = (0..30).map(|number| format!("put k{number} {value}\n")).collect();
    let mut client = site.client_reading("1", lines.as_bytes());
    assert_eq!(client.exit_code(), Some(0), "{}", client.report());
    assert_eq!(site.run("1 put x 1"), "ok");
    drop(connections);
}
