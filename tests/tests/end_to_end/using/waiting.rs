//! Servers that wait for others say for whom.

use kv_tests::{Process, Site};

#[test]
fn an_eventual_server_names_how_many_servers_are_missing() {
    let site = Site::of(10);
    let mut first = site.server("1 eventual 3 2");
    first.wait_for("waiting for 2 more servers");
    let mut second = site.server("2 eventual 3 2");
    second.wait_for("waiting for 1 more server");
    first.wait_for("waiting for 1 more server");
    let mut third = site.server("3 eventual 3 2");
    for server in [&mut first, &mut second, &mut third] {
        server.wait_for("ready");
    }
    third.kill();
    for server in [&mut first, &mut second] {
        server.wait_for("waiting for 1 more server");
    }
}

#[test]
fn a_linearizable_server_waits_for_the_sequencer_and_the_sequencer_for_others() {
    let site = Site::of(10);
    let mut second = site.server("2 linearizability 3 3");
    second.wait_for("waiting for server 1");
    let mut first = site.server("1 linearizability 3 3");
    first.wait_for("waiting for 1 more server");
    let mut third = site.server("3 linearizability 3 3");
    for server in [&mut first, &mut second, &mut third] {
        server.wait_for("ready");
    }
    third.kill();
    first.wait_for("waiting for 1 more server");
    first.kill();
    // Eight of ten could choose another sequencer.
    let line = second.wait_for("waiting for 7 more servers (not connected: 1,3-10)");
    assert!(line.contains("or for server 1, the sequencer, on its data; start it with"), "{line}");
}

#[test]
fn a_request_waits_for_the_servers_that_it_needs_and_the_client_says_so() {
    for (model, reason) in [
        ("eventual", "unavailable: 1 of 2 servers reachable; start or reconnect 1 more"),
        ("linearizability", "unavailable: waiting for server 1"),
    ] {
        let site = Site::of(3);
        let mut second = site.server(&format!("2 {model} 2 2"));
        second.wait_for("waiting for");
        // A timeout beyond the test's patience: what is said must not wait for it.
        let commands = ["get x", "put y 1"];
        let mut clients = commands.map(|line| site.client(&format!("2 {line} --timeout 10m")));
        for client in &mut clients {
            client.wait_for_error(&format!("server 2 does not serve ({reason}"));
        }
        let _first = site.server(&format!("1 {model} 2 2"));
        let codes = clients.each_mut().map(Process::exit_code);
        assert_eq!(codes, [Some(3), Some(0)], "{}", clients[0].report());
    }
}

#[test]
fn a_request_made_right_after_the_start_of_the_servers_is_served() {
    for model in ["eventual", "linearizability"] {
        let site = Site::of(3);
        let _servers = [1, 2, 3].map(|id| site.server(&format!("{id} {model} 2 2")));
        let clients = [1, 2, 3].map(|id| site.client(&format!("{id} put k{id} v")));
        for mut client in clients {
            assert_eq!(client.exit_code(), Some(0), "{}", client.report());
        }
    }
}

#[test]
fn without_servers_enough_a_request_ends_with_the_reason_once_its_time_is_up() {
    let site = Site::of(3);
    let mut server = site.server("2 eventual 2 2");
    server.wait_for("waiting for");
    let mut client = site.client("2 put x 1 --timeout 700ms");
    client.wait_for_error("unavailable: 1 of 2 servers reachable; start or reconnect 1 more");
    assert_eq!(client.exit_code(), Some(4), "{}", client.report());
}
