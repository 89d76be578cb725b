//! A redis-server with the same keys.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{KEYS, Sizes, item, resident_bytes};

/// Its resident set without and with the keys; `None` where it is not installed.
pub(crate) fn measure() -> Option<Sizes> {
    let port = free_port();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--appendonly", "no"]).stdout(Stdio::null());
    let server = Running(command.spawn().ok()?);
    let mut stream = connect(port);
    let empty = resident_bytes(server.0.id());
    let mut replies = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut batch = Vec::new();
    for first in (0..KEYS).step_by(BATCH_LEN) {
        let numbers = first..KEYS.min(first + BATCH_LEN as u64);
        batch.clear();
        for (key, value) in numbers.clone().map(item) {
            batch.extend_from_slice(b"*3\r\n$3\r\nSET\r\n");
            for word in [key, value] {
                write!(batch, "${}\r\n", word.len()).unwrap();
                batch.extend_from_slice(&word);
                batch.extend_from_slice(b"\r\n");
            }
        }
        stream.write_all(&batch).unwrap();
        for _ in numbers {
            assert_eq!(replies.next().unwrap().unwrap(), "+OK");
        }
    }
    Some(Sizes { empty, loaded: resident_bytes(server.0.id()) })
}

/// Killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn connect(port: u16) -> TcpStream {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => return stream,
            Err(error) if Instant::now() > until => panic!("redis-server: {error}"),
            Err(_) => std::thread::yield_now(),
        }
    }
}

const BATCH_LEN: usize = 1000;
