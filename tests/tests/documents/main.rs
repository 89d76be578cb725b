//! The programs in the documents, each compiled as a crate of its own outside this workspace, with
//! the dependencies that its document names and no others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod outside;

use outside::{Outside, example, programs_of};

#[test]
fn the_programs_of_the_third_engine_compile() {
    let document = "docs/third-engine.md";
    let mut outside = Outside::new();
    let [declaration] = &programs_of(document, "What an engine says of itself")[..] else {
        panic!("one program")
    };
    outside.add("declaration", declaration, &["kv-check", "kv-sim"]);
    let [run] = &programs_of(document, "In the order that pays")[..] else { panic!("one program") };
    outside.add("own-run", run, &["kv-abd", "kv-check", "kv-core", "kv-sim"]);
    outside.check();
}

#[test]
fn the_programs_of_embedding_need_the_crate_that_is_named_and_none_of_ours_beside() {
    let document = "docs/embedding.md";
    let mut outside = Outside::new();
    let [server] = &programs_of(document, "A whole server")[..] else { panic!("one program") };
    outside.add("whole-server", server, &["kv-server", "tokio"]);
    let [turn] = &programs_of(document, "An engine over your own sockets and disk")[..] else {
        panic!("one program")
    };
    outside.add("own-driver", turn, &["kv-core"]);
    let [client] = &programs_of(document, "A client")[..] else { panic!("one program") };
    outside.add("client", client, &["kv-client", "tokio"]);
    let examples = [
        ("in-process", "crates/kv-server/examples/in_process.rs", &["kv-server", "tokio"]),
        ("own-transport", "crates/kv-linear/examples/own_transport.rs", &["kv-core", "kv-linear"]),
        ("retries", "crates/kv-client/examples/retries.rs", &["kv-client", "tokio"]),
    ];
    for (name, path, needs) in examples {
        outside.add(name, &example(path), needs);
    }
    outside.check();
}
