//! Servers that wait for others say for whom.

use kv_tests::Site;

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
    second.wait_for("waiting for server 1");
}

#[test]
fn a_client_is_told_at_once_what_its_server_waits_for() {
    for (model, reason) in [
        ("eventual", "unavailable: 1 of 2 servers reachable; start or reconnect 1 more"),
        ("linearizability", "unavailable: waiting for server 1"),
    ] {
        let site = Site::of(3);
        let mut server = site.server(&format!("2 {model} 2 2"));
        server.wait_for("waiting for");
        // A timeout beyond the test's patience: the answer must not wait for it.
        for command in ["get x", "put x 1"] {
            let mut client = site.client(&format!("2 {command} --timeout 10m"));
            client.wait_for_error(reason);
            assert_eq!(client.exit_code(), Some(4), "{}", client.report());
        }
    }
}
