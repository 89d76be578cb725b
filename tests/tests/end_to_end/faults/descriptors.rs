//! A server whose limit of open files is low, as a shell gives it, under many connections.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::TcpStream;
use std::process::{Command, Stdio};

use kv_client::ClientError;
use kv_core::{Key, NodeId, NotDone, Value, Waiting};
use kv_proto::HelloReply;
use kv_tests::{Process, Program, RawConnection, Site, Stream};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// As many as a server takes of clients that have not said hello.
const CONNECTIONS: usize = 200;

/// A server that is started by a shell with `ulimit` and these words.
fn server_with_limit(site: &Site, limit: &str) -> Process {
    let server = site.command(Program::Server, "1 linearizability 1 1".split(' '));
    let mut shell = Command::new("sh");
    let script = format!("ulimit {limit} && exec \"$@\"");
    shell.args(["-c", &script, "sh"]).arg(server.get_program());
    shell.args(server.get_args()).current_dir(site.folder());
    shell.envs(server.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    let mut server = Process::start("kv-server".to_owned(), shell, Stdio::null());
    server.wait_for("ready");
    server
}

/// Lets a process have so many open files, all that it has included; or as many as its hard limit
/// allows.
fn limit_open_files(process: &Process, count: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(process.id()).unwrap());
    let hard = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: count.or(hard), maximum: hard };
    prlimit(pid, Resource::Nofile, limit).unwrap();
}

/// More than the journal's first segments take, so that it makes others meanwhile.
fn many_puts() -> String {
    let value = "v".repeat(1_000_000);
    (0..30).map(|number| format!("put k{number} {value}\n")).collect()
}

#[test]
fn connections_leave_the_disk_the_files_that_it_needs() {
    let site = Site::of(1);
    let _server = server_with_limit(&site, "-S -n 100");
    let address = site.address(1);
    let connections: Vec<TcpStream> =
        (0..CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut client = site.client_reading("1", many_puts().as_bytes());
    assert_eq!(client.exit_code(), Some(0), "{}", client.report());
    assert_eq!(site.run("1 put x 1"), "ok");
    drop(connections);
}

#[test]
fn a_server_short_of_files_says_so_serves_reads_and_resumes() {
    let site = Site::of(1);
    let mut server = site.ready_server("1 eventual 1 1");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(site.connect(1));
    // Small enough for the server to learn what it lacks long before its journal is full.
    let (key, value) = (Key::new("k").unwrap(), Value::new(vec![b'v'; 64_000]).unwrap());
    let put = || runtime.block_on(client.put(key.clone(), value.clone()));
    put().unwrap();
    limit_open_files(&server, Some(8));
    let refusal = (0..1_000).find_map(|_| put().err()).unwrap();
    assert_eq!(
        refusal,
        ClientError::NotDone(NotDone::Waiting(Waiting::TooManyOpenFiles { node: NodeId::FIRST }))
    );
    server.wait_for("server 1 can open no more files and takes no writes; raise its limit");
    let read = runtime.block_on(client.get(key.clone())).unwrap();
    assert!(read.found.is_some());
    limit_open_files(&server, None);
    server.wait_for("ready");
    put().unwrap();
}

#[test]
fn under_a_hard_limit_fewer_connections_are_taken() {
    let site = Site::of(1);
    let mut server = server_with_limit(&site, "-n 100");
    let address = site.address(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(site.connect(1));
    let mut others = Vec::new();
    let refusal = loop {
        match RawConnection::knock(address) {
            (other, HelloReply::Welcome(_)) => others.push(other),
            (_, HelloReply::Refusal(refusal)) => break refusal,
        }
        assert!(others.len() < 100, "all are taken");
    };
    assert!(refusal.to_string().contains("raise `ulimit -n` there"), "{refusal}");
    assert!(others.len() >= 20, "{}", others.len());
    // Those who say nothing wait behind each other, in the system's queue.
    let silent: Vec<TcpStream> =
        (0..CONNECTIONS / 4).map(|_| TcpStream::connect(address).unwrap()).collect();
    let value = Value::new(vec![b'v'; 1_000_000]).unwrap();
    for number in 0..30 {
        let key = Key::new(format!("k{number}")).unwrap();
        runtime.block_on(client.put(key, value.clone())).unwrap();
    }
    assert!(server.runs(), "{}", server.report());
    let log = server.lines(Stream::Err).join("\n");
    assert!(log.contains("limit of 100 open files") && !log.contains("cannot accept"), "{log}");
    drop((silent, others));
}
