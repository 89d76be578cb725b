//! More disks are lost than W and R allow: `kv-server recover` goes on with what is left.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::Stdio;

use kv_tests::{Process, Program, Site, Stream};

/// Runs `kv-server recover`; returns its exit code and all that it says.
fn recover(site: &Site, words: &[&str]) -> (Option<i32>, String) {
    let words: Vec<&str> = ["recover"].iter().chain(words).copied().collect();
    let command = site.command_elsewhere(Program::Server, words.iter().copied());
    let mut process = Process::start(words.join(" "), command, Stdio::null());
    let code = process.exit_code();
    let lines = [Stream::Out, Stream::Err].map(|stream| process.lines(stream).join("\n"));
    (code, lines.join("\n"))
}

const WORDS: [&str; 3] =
    ["1 linearizability 2 2", "2 linearizability 2 2", "3 linearizability 2 2"];

#[test]
fn a_cluster_serves_again_on_the_one_disk_that_is_left() {
    let site = Site::of(3);
    let [first, second, mut third] = site.ready_servers(WORDS);
    let put = |range: std::ops::Range<u32>| {
        let lines: String = range.map(|number| format!("put k{number} v\n")).collect();
        assert_eq!(site.client_reading("1", lines.as_bytes()).exit_code(), Some(0));
    };
    put(0..30);
    assert_eq!(site.run("1 incr n"), "1");
    third.kill();
    put(30..40);
    let (two, three) = ("kv-data/2-linearizable", "kv-data/3-linearizable");
    let (code, said) = recover(&site, &[two, "--accept-data-loss"]);
    assert!(code == Some(1) && said.contains("nothing was changed"), "it runs: {said}");
    drop((first, second));
    fs::remove_dir_all(site.folder().join("kv-data/1-linearizable")).unwrap();
    let (code, said) = recover(&site, &[three, two]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("server 2 is ahead") && said.contains("nothing was changed"), "{said}");
    assert!(
        said.contains(&format!("To do it: kv-server recover {two} --accept-data-loss")),
        "{said}"
    );
    let (code, said) = recover(&site, &[two, "--accept-data-loss"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, again) = recover(&site, &[two, "--accept-data-loss"]);
    assert!(code == Some(1) && again.contains("was recovered already"), "{again}");

    // A server with data of the former cluster is refused, and named.
    let mut second = site.server(WORDS[1]);
    let third = site.server(WORDS[2]);
    second.wait_for("but server 3 is of cluster");
    drop(third);
    fs::remove_dir_all(site.folder().join(three)).unwrap();
    let mut first = site.server(WORDS[0]);
    let mut third = site.server(WORDS[2]);
    for server in [&mut first, &mut second, &mut third] {
        server.wait_for("ready");
    }
    assert_eq!(site.run("3 get k39"), "v");
    assert_eq!(site.run("1 incr n"), "2");

    // It is a cluster like any other: its servers restart, and one may be lost again.
    second.kill();
    assert_eq!(site.run("3 incr n"), "3");
    let _second = site.ready_server(WORDS[1]);
    first.kill();
    assert_eq!(site.run("2 get n"), "3");
    assert_eq!(site.run("3 get k0"), "v");
}
