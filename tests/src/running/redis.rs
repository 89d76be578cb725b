//! A redis-server, for benchmarks to compare with.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A redis-server of its own, killed when it is dropped.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    port: u16,
}

impl RedisServer {
    /// Starts Debian's redis-server with these words and waits until it takes connections; `None`
    /// where it is not installed.
    ///
    /// # Panics
    /// If it does not listen.
    #[must_use]
    pub fn start(words: &[&str]) -> Option<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        let child = command.args(words).stdout(Stdio::null()).spawn().ok()?;
        let server = Self { child, port };
        drop(server.connect());
        Some(server)
    }

    /// The process' id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens on the loopback interface.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Sets the keys of these numbers, a thousand in one go.
    ///
    /// # Panics
    /// If it does not take them.
    pub fn fill(&self, numbers: Range<u64>, item: impl Fn(u64) -> (Vec<u8>, Vec<u8>)) {
        let mut stream = self.connect();
        let mut replies = BufReader::new(stream.try_clone().expect("a socket")).lines();
        let mut wire = Vec::new();
        for first in numbers.clone().step_by(1000) {
            let batch = first..numbers.end.min(first + 1000);
            wire.clear();
            for (key, value) in batch.clone().map(&item) {
                put_command(&mut wire, &[b"SET", &key, &value]);
            }
            stream.write_all(&wire).expect("it reads");
            for _ in batch {
                assert_eq!(replies.next().expect("it answers").expect("it answers"), "+OK");
            }
        }
    }

    /// Gives one command; returns the first line of the answer.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn command(&self, words: &[&[u8]]) -> String {
        let mut stream = self.connect();
        let mut wire = Vec::new();
        put_command(&mut wire, words);
        stream.write_all(&wire).expect("it reads");
        let answer = BufReader::new(stream).lines().next();
        answer.expect("it answers").expect("it answers")
    }

    /// Waits until it has read its files and holds this key.
    ///
    /// # Panics
    /// If it has read them and does not hold it.
    pub fn wait_for_key(&self, key: &[u8]) {
        loop {
            let answer = self.command(&[b"GET", key]);
            if !answer.starts_with("-LOADING") {
                return assert!(answer.starts_with('$') && answer != "$-1", "{answer}");
            }
            thread::sleep(PAUSE);
        }
    }

    /// Has it stop, and write out what its configuration asks for.
    ///
    /// # Panics
    /// If it does not stop.
    pub fn stop(mut self) {
        let mut wire = Vec::new();
        put_command(&mut wire, &[b"SHUTDOWN"]);
        self.connect().write_all(&wire).expect("it reads");
        self.child.wait().expect("a child can be waited for");
    }

    fn connect(&self) -> TcpStream {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
                Ok(stream) => return stream,
                Err(error) if Instant::now() > until => panic!("redis-server: {error}"),
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have stopped already, which is all that is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn put_command(wire: &mut Vec<u8>, words: &[&[u8]]) {
    let written = write!(wire, "*{}\r\n", words.len());
    written.expect("memory takes everything");
    for word in words {
        wire.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        wire.extend_from_slice(word);
        wire.extend_from_slice(b"\r\n");
    }
}

/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(5);
