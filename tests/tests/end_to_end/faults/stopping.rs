//! A server that is told to stop does so in order.

use std::process::Stdio;
use std::time::{Duration, Instant};

use kv_tests::{Process, Program, Site};

fn pair(site: &Site, model: &str) -> [Process; 2] {
    let words = [1, 2].map(|id| format!("{id} {model} 1 1"));
    site.ready_servers(words.each_ref().map(String::as_str))
}

#[test]
fn sigterm_and_sigint_stop_it_with_exit_code_0() {
    for model in ["eventual", "linearizability"] {
        let site = Site::of(2);
        let [mut first, mut second] = pair(&site, model);
        let mut client = site.client("2");
        client.type_line("put x 1");
        client.wait_for("ok");

        second.terminate();
        second.wait_for("stopped");
        assert_eq!(second.exit_code(), Some(0), "{}", second.report());
        client.type_line("put y 2");
        client.wait_for_error("connected to server 1");
        client.wait_for("ok");

        first.interrupt();
        first.wait_for("stopped");
        assert_eq!(first.exit_code(), Some(0), "{}", first.report());
    }
}

#[test]
fn requests_in_hand_are_answered_before_it_ends() {
    let site = Site::of(2);
    let [mut first, second] = site.ready_servers(["1 eventual 2 2", "2 eventual 2 2"]);
    second.freeze();
    // Its time ends within the second that a stopping server gives to what it has in hand.
    let mut client = site.client("1 put x 1 --timeout 500ms");
    kv_tests::wait_until("server 1 has the request in hand", || !site.op_log(1).is_empty());
    first.terminate();
    client.wait_for_error("unknown: 1 of 2 servers acknowledged");
    assert_eq!(client.exit_code(), Some(4), "{}", client.report());
    assert_eq!(first.exit_code(), Some(0), "{}", first.report());
}

#[test]
fn it_runs_on_with_its_input_closed() {
    let site = Site::of(1);
    let mut server = site.ready_server("1");
    assert_eq!(site.run("put x 1"), "ok");
    assert!(server.runs());
}

#[test]
fn a_hangup_does_not_stop_it() {
    let site = Site::of(1);
    let mut server = site.ready_server("1");
    assert_eq!(site.run("put x 1"), "ok");
    server.hang_up();
    // Signals arrive in no order with connections, so that one alone says nothing.
    for turn in 0..20 {
        assert_eq!(site.run(&format!("put x {turn}")), "ok");
        assert!(server.runs(), "{}", server.report());
    }
    server.terminate();
    server.wait_for("stopped");
}

/// A terminal that is stopped by Ctrl-S, or a program behind a pipe that hangs.
#[test]
fn output_that_nobody_reads_holds_up_neither_clients_nor_the_stop() {
    let site = Site::of(1);
    let mut command = site.command(Program::Server, ["1"].into_iter());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let value = "v".repeat(100_000);
    assert_eq!(site.run(&format!("put x {value} --timeout 20s")), "ok");
    // Far more than a pipe and what waits for it take.
    for _ in 0..50 {
        assert!(site.run("dump").contains(&value));
    }
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let told = Instant::now();
    let status = loop {
        match server.try_wait().unwrap() {
            Some(status) => break status,
            None if told.elapsed() > Duration::from_secs(20) => {
                server.kill().unwrap();
                panic!("it does not stop");
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    assert_eq!(status.code(), Some(0));
}
