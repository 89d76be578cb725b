//! The program at a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::fake::program::program;
use crate::fake::{DeadServer, FakeServer, SOON, get, put, store};
use kv_core::NodeId;
use kv_proto::RequestBody;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::process::Child;

/// The program with a terminal for its three streams.
struct Terminal {
    child: Child,
    keys: File,
    shown: Receiver<Vec<u8>>,
    unread: String,
}

impl Terminal {
    fn start(servers: impl IntoIterator<Item = (NodeId, String)>, args: &[&str]) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let terminal = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let mut command = program(servers, args);
        command.stdin(Stdio::from(terminal.try_clone().unwrap()));
        command.stdout(Stdio::from(terminal.try_clone().unwrap()));
        command.stderr(Stdio::from(terminal));
        let child = command.spawn().unwrap();
        // The command holds the terminal open, which would hide its end.
        drop(command);
        let keys = File::from(controller);
        let mut screen = keys.try_clone().unwrap();
        let (sender, shown) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = screen.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keys, shown, unread: String::new() }
    }

    /// Waits until this is shown; returns what was shown before it.
    fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some((before, after)) = self.unread.split_once(text) {
                let (before, after) = (before.to_owned(), after.to_owned());
                self.unread = after;
                return before;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(bytes) => self.unread.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{text:?} is not shown, but {:?}", self.unread),
            }
        }
    }

    fn type_line(&mut self, line: &str) {
        self.keys.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn interrupt(&self) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::INT).unwrap();
    }

    async fn code(mut self) -> Option<i32> {
        let ended = tokio::time::timeout(SOON, self.child.wait()).await;
        ended.expect("the program does not end").unwrap().code()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prompt_names_the_server_and_values_come_with_what_is_known() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    let mut terminal = Terminal::start([at], &["2"]);
    terminal.expect("connected to server 2 (fake, servers 1-3, W=2 R=2)");
    terminal.expect("kv 2> ");
    terminal.type_line(r#"put x "a\nb""#);
    terminal.expect("ok  (version 1, 2 servers, ");
    terminal.expect("kv 2> ");
    terminal.type_line("get x");
    terminal.expect(r#""a\nb"  (version 1, 2 servers, "#);
    terminal.expect("kv 2> ");
    terminal.type_line("get y");
    terminal.expect("(not found)  (2 servers, ");
    terminal.expect("kv 2> ");
    terminal.type_line("foo");
    terminal.expect("unknown command foo; `help` lists all");
    terminal.expect("kv 2> ");
    terminal.type_line("exit");
    assert_eq!(terminal.code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_typed_during_a_delay_are_counted_and_shown_again_when_they_run() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    store::serve(server);
    let mut terminal = Terminal::start([at], &["2"]);
    terminal.expect("kv 2> ");
    terminal.type_line("delay 1000");
    terminal.expect("pausing for 1s");
    terminal.type_line("incr n");
    terminal.expect("1 line waits");
    terminal.type_line("incr n 5");
    terminal.expect("2 lines wait");
    terminal.expect("kv 2> incr n\r\n1  (");
    terminal.expect("kv 2> incr n 5\r\n6  (");
    terminal.expect("kv 2> ");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_pause_and_what_waits_for_it() {
    let server = FakeServer::start(2).await;
    let at = server.entry();
    let log = store::serve(server);
    let mut terminal = Terminal::start([at], &["2"]);
    terminal.expect("kv 2> ");
    terminal.type_line("delay 1h");
    terminal.expect("pausing");
    terminal.type_line("incr n");
    terminal.expect("1 line waits");
    terminal.interrupt();
    terminal.expect("interrupted; 1 waiting line dropped\r\n");
    terminal.expect("kv 2> ");
    terminal.type_line("get n");
    terminal.expect("(not found)");
    assert_eq!(log.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_cancels_a_request_and_leaves_at_the_prompt() {
    let server = FakeServer::start(2).await;
    let mut terminal = Terminal::start([server.entry()], &["2"]);
    let mut connection = server.accept().await;
    terminal.expect("kv 2> ");
    terminal.type_line("get x");
    let id = connection.expect(&get("x")).await;
    terminal.interrupt();
    let cancel = connection.request().await;
    assert_eq!((cancel.id, cancel.body), (id, RequestBody::Cancel));
    terminal.expect("interrupted\r\nkv 2> ");
    terminal.interrupt();
    assert_eq!(terminal.code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_says_that_a_write_may_still_take_effect() {
    let server = FakeServer::start(2).await;
    let mut terminal = Terminal::start([server.entry()], &["2"]);
    let mut connection = server.accept().await;
    terminal.expect("kv 2> ");
    for (line, expected) in [
        ("put x 1", "interrupted; it may still take effect\r\nkv 2> "),
        ("put x 1 --json", r#""effect":"possible","elapsed_us":"#),
    ] {
        terminal.type_line(line);
        connection.expect(&put("x", "1")).await;
        terminal.interrupt();
        assert_eq!(connection.request().await.body, RequestBody::Cancel);
        terminal.expect(expected);
    }
    terminal.expect(r#""outcome":"interrupted""#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_is_told_at_the_prompt_which_then_names_the_next_server() {
    let (two, three) = (FakeServer::start(2).await, FakeServer::start(3).await);
    let dead = DeadServer::new(1);
    let mut terminal = Terminal::start([dead.entry(), two.entry(), three.entry()], &["3"]);
    let connection = three.accept().await;
    terminal.expect("kv 3> ");
    drop(connection);
    let _connection = two.accept().await;
    terminal.expect("server 3 is lost (connection closed); server 1 does not answer (");
    terminal.expect("connected to server 2");
    terminal.expect("kv 2> ");
    // The end of the input.
    terminal.keys.write_all(b"\x04").unwrap();
    assert_eq!(terminal.code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_there_is_a_prompt_all_the_same() {
    let dead = DeadServer::new(2);
    let mut terminal = Terminal::start([dead.entry()], &["2"]);
    terminal.expect("server 2 does not answer (server 2: connection refused); still trying");
    terminal.expect("kv> ");
    terminal.type_line("get x --timeout 50ms");
    terminal.expect("unavailable: server 2 does not answer");
    terminal.expect("kv> ");
    let begin = Instant::now();
    terminal.type_line("exit");
    assert_eq!(terminal.code().await, Some(0));
    assert!(begin.elapsed() < Duration::from_secs(10));
}
