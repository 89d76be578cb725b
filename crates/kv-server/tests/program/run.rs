//! The program itself, started as a person would.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "helpers of the tests and of a benchmark that uses some"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

/// `kv-server` with these words and none of the `KV_*` variables of whoever runs the tests; in
/// memory, so that no test leaves files here.
pub fn kv_server(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv-server"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KV_") {
            command.env_remove(name);
        }
    }
    command.env("KV_MEMORY", "1").args(words.split_whitespace());
    command
}

/// Runs it to its end.
pub fn output(mut command: Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Servers 1 to `count`, as a list, at a loopback address that no other process uses, so that the
/// ports stay free until the servers take them.
pub fn free_servers(count: u16) -> String {
    static CALLS: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, high, low, CALLS.fetch_add(1, Ordering::Relaxed));
    let sockets: Vec<_> = (0..count).map(|_| TcpListener::bind((host, 0)).unwrap()).collect();
    let servers = sockets.iter().zip(1..);
    let servers = servers.map(|(socket, id)| format!("{id}={}", socket.local_addr().unwrap()));
    servers.collect::<Vec<_>>().join(",")
}

/// The program under way; killed when it is dropped.
pub struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    pub fn start(command: Command) -> Self {
        Self::start_reading(command, Stdio::null())
    }

    /// Starts it with this as its standard input.
    pub fn start_reading(mut command: Command, input: Stdio) -> Self {
        command.stdin(input).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// What it prints up to a line with this text.
    pub fn read_until(&mut self, text: &str) -> String {
        let mut read = String::new();
        while self.out.read_line(&mut read).unwrap() > 0 {
            if read.lines().next_back().unwrap().contains(text) {
                return read;
            }
        }
        panic!("`{text}` did not come: {read}");
    }

    /// Writes a line into a standard input that is a pipe.
    pub fn type_line(&mut self, line: &str) {
        let mut input = self.child.stdin.as_ref().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Closes a standard input that is a pipe.
    pub fn end_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for its end; returns its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Interrupts it, as Ctrl-C does, and waits for its end; returns its exit code.
    pub fn interrupt(&mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
