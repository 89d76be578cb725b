//! What a client of the eventual engine has seen, at the next server.

use kv_tests::Site;

/// The only server that has a write is lost, and the client goes on to one that never had it.
#[test]
fn a_client_waits_for_its_own_write_at_the_next_server() {
    let site = Site::of(2);
    let mut first = site.ready_server("1 eventual 1 1");
    let mut client = site.client("1");
    let mut forgetful = site.client("1 --no-session-guarantees");
    client.type_line("put x mine");
    client.wait_for("ok");
    forgetful.type_line("put y mine");
    forgetful.wait_for("ok");
    first.kill();
    let _second = site.ready_server("2 eventual 1 1");

    forgetful.type_line("get y");
    forgetful.wait_for("(not found)");
    client.type_line("get x --timeout 400ms");
    client.wait_for_error("not caught up");
    client.type_line("get other");
    client.wait_for("(not found)");
    client.type_line("get x --timeout 30s");
    let _first = site.ready_server("1 eventual 1 1");
    client.wait_for("mine");
}
