//! A server stands still: its connections stand, but it answers nothing.

use kv_tests::{Process, Site};

fn three(site: &Site, model: &str) -> [Process; 3] {
    let words = [1, 2, 3].map(|id| format!("{id} {model} 2 2"));
    site.ready_servers(words.each_ref().map(String::as_str))
}

#[test]
fn a_server_that_stands_still_costs_a_request_its_time_and_no_more() {
    let site = Site::of(3);
    let servers = three(&site, "eventual");
    let mut client = site.client("--timeout 500ms 2");
    client.type_line("put x 1 --timeout 20s");
    client.wait_for("ok");
    let [first, second, third] = &servers;

    for other in [first, third] {
        other.freeze();
    }
    client.type_line("get x");
    client.wait_for_error("timed out: 1 of 2 servers answered");
    client.type_line("put x 2");
    client.wait_for_error("unknown: 1 of 2 servers acknowledged");

    // Another key: what the frozen server is still to do may win over what is written meanwhile.
    let [mut writer, mut reader] = ["put y 3", "get x"].map(|line| {
        let mut client = site.client("--timeout 500ms 2");
        client.type_line("dump");
        client.wait_for("x = ");
        (client, line)
    });
    second.freeze();
    for (client, line) in [&mut writer, &mut reader] {
        client.type_line(line);
    }
    writer.0.wait_for_error("unknown: server 2 did not answer in 1.5s");
    reader.0.wait_for_error("timed out: server 2 did not answer in 1.5s");
    // Whether it is in time or has noticed by then that server 2 is silent, the next command finds none.
    client.type_line("get x");
    client.wait_for_error("line 4: ");
    client.type_line("put x 3");
    client.wait_for_error("unavailable: none of the servers 1-3 answers");

    for server in &servers {
        server.thaw();
    }
    client.type_line("put x 4 --timeout 20s");
    client.wait_for("ok");
    client.type_line("get x --timeout 20s");
    client.wait_for("4");
}

#[test]
fn a_linearizable_cluster_does_not_wait_for_a_frozen_follower() {
    let site = Site::of(3);
    let [_first, _second, third] = three(&site, "linearizability");
    third.freeze();
    assert_eq!(site.run("2 put x 1"), "ok");
    assert_eq!(site.run("1 get x"), "1");
    third.thaw();
    assert_eq!(site.run("3 get x"), "1");
}

#[test]
fn a_frozen_sequencer_is_replaced_and_what_it_was_asked_takes_effect_once() {
    let site = Site::of(3);
    let [first, _second, _third] = three(&site, "linearizability");
    let mut clients = [("2", "1"), ("3", "2")].map(|(id, count)| {
        let mut client = site.client(&format!("--timeout 20s {id}"));
        client.type_line("incr n");
        client.wait_for(count);
        client
    });
    first.freeze();
    for client in &mut clients {
        client.type_line("incr n");
    }
    let mut counts = clients.each_mut().map(|client| client.wait_for(""));
    counts.sort();
    assert_eq!(counts, ["3", "4"]);
    first.thaw();
    for id in [1, 2, 3] {
        assert_eq!(site.run(&format!("{id} get n --timeout 20s")), "4");
    }
}

/// With W=1 and R=1 nobody can take the sequencer's place.
#[test]
fn what_a_frozen_sequencer_is_asked_again_and_again_takes_effect_once() {
    let site = Site::of(3);
    let words = [1, 2, 3].map(|id| format!("{id} linearizability 1 1"));
    let [first, _second, _third] = site.ready_servers(words.each_ref().map(String::as_str));
    let mut clients = [("2", "1"), ("3", "2")].map(|(id, count)| {
        let mut client = site.client(&format!("--timeout 20s {id}"));
        client.type_line("incr n");
        client.wait_for(count);
        client
    });
    first.freeze();
    for client in &mut clients {
        client.type_line("incr n");
    }
    // Servers 2 and 3 send on what they were asked for several times in a second.
    // A new client is not served, whether it waits or goes from server to server; and a write is not sent
    // before its session is open.
    for command in ["2 get n --timeout 1s", "3 put x 1 --timeout 1s"] {
        let mut client = site.client(command);
        assert_eq!(client.exit_code(), Some(4), "{}", client.report());
    }
    first.thaw();
    let mut counts = clients.each_mut().map(|client| client.wait_for(""));
    counts.sort();
    assert_eq!(counts, ["3", "4"]);
    for id in [1, 2, 3] {
        assert_eq!(site.run(&format!("{id} get n")), "4");
    }
}
