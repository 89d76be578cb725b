//! Lines of a client that take effect together.

use kv_tests::{Site, Stream};

#[test]
fn the_linearizable_engine_does_all_lines_or_none() {
    let site = Site::of(2);
    let [_first, _second] = site.ready_servers(["1 linearizability 2 2", "2 linearizability 2 2"]);
    let lines = b"begin\nincr alice -5\nincr bob 5\nput paid yes --if-absent\ncommit\n\
                  begin\nincr alice -5\nincr bob 5\nput paid yes --if-absent\ncommit\n\
                  get alice bob paid\n";
    let mut client = site.client_reading("2", lines);
    assert_eq!(client.exit_code(), Some(1), "{}", client.report());
    let expected = ["-5", "5", "ok", "(not done)", "(not done)", "(not done)", "-5", "5", "yes"];
    assert_eq!(client.lines(Stream::Out), expected, "{}", client.report());
}

#[test]
fn the_eventual_engine_refuses_a_transaction_and_does_nothing() {
    let site = Site::of(1);
    let _server = site.ready_server("1 eventual 1 1");
    let mut client = site.client_reading("1", b"begin\nput x 1\nput y 2\ncommit\nget x y\n");
    assert_eq!(client.exit_code(), Some(1), "{}", client.report());
    let expected = ["(not done)", "(not done)", "(not found)", "(not found)"];
    assert_eq!(client.lines(Stream::Out), expected, "{}", client.report());
    client.wait_for_error("line 4: not supported: several commands in one request");
}
