//! Mistakes in what is typed: each is answered by one line that says what to do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;

use kv_tests::{Process, Program, RawConnection, Site, Stream, wait_until};

const USAGE: Option<i32> = Some(2);

/// The one line that a program prints on standard error before it ends, and with which code.
fn complaint(mut process: Process) -> (String, Option<i32>) {
    process.end_input();
    let code = process.exit_code();
    let [complaint] = &process.lines(Stream::Err)[..] else {
        panic!("not one line: {}", process.report());
    };
    assert!(process.lines(Stream::Out).is_empty(), "{}", process.report());
    (complaint.clone(), code)
}

fn server_complaint(site: &Site, words: &str) -> (String, Option<i32>) {
    complaint(site.server(words))
}

#[test]
fn a_server_with_impossible_words_does_not_start() {
    let site = Site::of(3);
    for (words, expected) in [
        ("0", "ids start at 1"),
        ("11", "ids go from 1 to 10"),
        ("one", "a whole number from 1 to"),
        ("4", "server 4 is not in the list of servers: add it, on every server (--servers)"),
        ("1 strong", "`eventual` or `linearizability`"),
        ("1 eventual 0", "use 1 or more"),
        ("1 eventual 4", "W: a quorum of 4 servers cannot be had: the cluster has 3"),
        ("1 eventual 1 0", "use 1 or more"),
        ("1 linearizability 1 4", "R: a quorum of 4 servers cannot be had: the cluster has 3"),
        ("1 eventual -1", "--help"),
        ("1 eventual 1 1 1", "--help"),
        ("--frobnicate", "--help"),
    ] {
        let (line, code) = server_complaint(&site, words);
        assert!(line.contains(expected), "kv-server {words}: {line}");
        assert_eq!(code, USAGE, "kv-server {words}: {line}");
    }
}

#[test]
fn a_port_in_use_is_named_and_whoever_has_it_goes_on() {
    let site = Site::of(2);
    let _server = site.ready_server("1 eventual 1 1");
    let (line, code) = server_complaint(&site, "1 eventual 1 1");
    let expected = format!("{} is in use: is this server running already?", site.address(1));
    assert!(line.contains(&expected), "{line}");
    assert_eq!(code, Some(1));
    assert_eq!(site.run("1 put x 1"), "ok");

    let _other = TcpListener::bind(site.address(2)).unwrap();
    let (line, _) = server_complaint(&site, "2 eventual 1 1");
    assert!(line.contains("is in use"), "{line}");
}

#[test]
fn an_unwritable_folder_of_the_log_is_named() {
    let site = Site::of(1);
    let (line, code) = server_complaint(&site, "--op-log /nowhere/at/all");
    assert!(line.contains("/nowhere/at/all/output_log1.txt"), "{line}");
    assert!(line.contains("--op-log off"), "{line}");
    assert_eq!(code, Some(1));
}

#[test]
fn a_client_with_impossible_words_says_so_before_it_connects() {
    let site = Site::of(3);
    for (words, expected) in [
        ("0", "ids start at 1"),
        ("11", "ids go from 1 to 10"),
        ("4", "server 4 is not among --servers 1-3"),
        ("2 gte x", "did you mean `get`?"),
        ("2 get", "usage: get"),
        ("2 delete x y", "usage: delete"),
        ("2 put x", "usage: put"),
        ("2 put x two words", "quotes"),
        ("2 get x --r 0", "use 1 or more"),
        ("2 get x --r some", "a whole number, `majority` or `all`"),
        ("2 get x --w 1", "unknown option --w"),
        ("2 incr n many", "no whole number"),
        ("2 delay soon", "write for example 5s or 500ms"),
    ] {
        let (line, code) = complaint(site.client(words));
        assert!(line.contains(expected), "kv-client {words}: {line}");
        assert_eq!(code, USAGE, "kv-client {words}: {line}");
    }
}

#[test]
fn a_mistake_in_a_session_costs_one_line_and_the_session_goes_on() {
    let site = Site::of(1);
    let _server = site.ready_server("1");
    let mut client = site.client("1");
    for (line, expected) in [
        ("frobnicate", "line 1: unknown command frobnicate"),
        (r#"put "x"#, "line 2: the quote \" at column 5 is not closed"),
        ("get x --r 2", "line 3: a quorum of 2 servers cannot be had: the cluster has 1"),
        ("incr n", "line 4: not supported: increment; use a cluster with the linearizable engine"),
        ("cas x 1 2", "line 5: not supported: conditional writes"),
    ] {
        client.type_line(line);
        client.wait_for_error(expected);
    }
    client.type_line("put x 1");
    client.wait_for("ok");
    client.end_input();
    assert_eq!(client.exit_code(), USAGE, "the first failure counts: {}", client.report());
    assert_eq!(client.lines(Stream::Err).len(), 5, "{}", client.report());
}

#[test]
fn too_large_keys_and_values_are_not_sent_and_the_largest_are_kept() {
    let site = Site::of(2);
    // Without a log of operations, in which an unoptimised server writes such values slowly.
    let words = ["--op-log off 1 eventual 2 2", "--op-log off 2 eventual 2 2"];
    let _servers = site.ready_servers(words);
    let mut client = site.client("--timeout 20s 1");
    for (key, value, expected) in [
        ((64 << 10) + 1, 1, "line 1: key of 65537 bytes is too large: at most 65536 are allowed"),
        (1, (16 << 20) + 1, "line 2: value of 16777217 bytes is too large: at most 16777216"),
    ] {
        client.type_line(&format!("put {} {}", "k".repeat(key), "v".repeat(value)));
        let line = client.wait_for_error("too large");
        assert!(line.starts_with(expected) && line.len() < 200, "{line}");
    }
    client.type_line(r#"put "" 1"#);
    client.wait_for_error("line 3: a key has at least 1 byte");

    let (key, value) = ("k".repeat(64 << 10), "v".repeat(16 << 20));
    client.type_line(&format!("put {key} {value}"));
    client.wait_for("ok");
    let found = site.run(&format!("--timeout 20s 2 get {key} --r 1"));
    assert!(found == value, "server 2 holds another value of {} bytes", found.len());
}

#[test]
fn servers_of_two_models_or_lists_refuse_each_other_by_name() {
    for (other, expected) in [
        ("2 eventual 2 2", "server 2 runs the eventual engine, server 1 the linearizable engine"),
        ("2 linearizability 1 2", "server 2 was started with N=3 W=1 R=2, servers 1 2 3"),
        ("2 linearizability 2 3", "server 2 was started with N=3 W=2 R=3, servers 1 2 3"),
    ] {
        let site = Site::of(3);
        let [mut first, _third] =
            site.ready_servers(["1 linearizability 2 2", "3 linearizability 2 2"]);
        let mut second = site.server(other);
        // Both refuse, and each says on its screen what the other one has against it.
        let refusing = first.wait_for("server 2 refuses this server");
        let refused = second.wait_for("server 1 refuses this server");
        assert!(refused.contains(expected), "{refused}");
        for line in [refusing, refused] {
            assert!(line.contains("restart"), "it does not say what to do: {line}");
            assert!(!line.contains('\u{1b}'), "colours are for terminals: {line}");
        }
        assert_eq!(site.run("1 put x 1"), "ok");
        assert_eq!(site.run("3 get x"), "1");
        assert_eq!(site.client("2 get x --timeout 200ms").exit_code(), Some(4));
        drop(second);
        // With the right words it is let in at once.
        let _second = site.ready_server("2 linearizability 2 2");
        assert_eq!(site.run("2 get x"), "1");
    }
}

#[test]
fn a_server_with_another_list_is_refused_in_both_models() {
    for model in ["eventual", "linearizability"] {
        let site = Site::of(3);
        let mut first = site.ready_server(&format!("1 {model} 1 1"));
        let list = format!("1={},2={}", site.address(1), site.address(2));
        let words = ["--servers", &list, "2", model, "1", "1"];
        let command = site.command_elsewhere(Program::Server, words.into_iter());
        let mut second = Process::start(words.join(" "), command, std::process::Stdio::null());
        for server in [&mut first, &mut second] {
            let line = server.wait_for("--servers must be the same on all servers");
            let lists = line.contains("N=3 W=1 R=1, servers 1 2 3") && line.contains("N=2 W=1 R=1");
            assert!(lists && line.contains("with what server 1 has"), "{line}");
        }
        assert_eq!(site.run("1 put x 1"), "ok");
    }
}

#[test]
fn another_cluster_is_refused_by_name() {
    let site = Site::of(1);
    let _server = site.ready_server("--cluster blue 1");
    let mut client = site.client("1 get x");
    client.wait_for_error("server 1 belongs to cluster `blue`, not `kv`");
    assert_eq!(client.exit_code(), Some(4), "{}", client.report());
    assert_eq!(site.run("--cluster blue 1 put x 1"), "ok");
}

#[test]
fn what_an_engine_does_not_do_is_refused_by_name() {
    for (model, command, expected) in [
        ("eventual", "incr n", "increment; use a cluster with the linearizable engine"),
        ("eventual", "cas x 1 2", "conditional writes; use a cluster with the linearizable"),
        ("linearizability", "get x --r 1", "they are the cluster's"),
        ("linearizability", "put x 1 --w 1", "they are the cluster's"),
    ] {
        let site = Site::of(1);
        let _server = site.ready_server(&format!("1 {model} 1 1"));
        let (line, code) = complaint(site.client(&format!("1 {command}")));
        assert!(line.starts_with("not supported: ") && line.contains(expected), "{line}");
        assert_eq!(code, Some(1), "{line}");
    }
}

#[test]
fn a_client_too_many_is_told_so_and_goes_on_to_another_server() {
    let site = Site::of(2);
    let words = ["--clients-max 2 1 eventual 1 1", "2 eventual 1 1"];
    let _servers = site.ready_servers(words);
    let held = [(); 2].map(|()| RawConnection::client(site.address(1)));
    let mut client = site.client("1 put x 1");
    client.wait_for_error(
        "as many clients as it may: connect to another one, or raise --clients-max",
    );
    client.wait_for("ok");
    drop(held);
    wait_until("server 1 has room again", || {
        let mut client = site.client("1 status");
        client.exit_code() == Some(0) && client.lines(Stream::Out).concat().starts_with("server 1")
    });
}
