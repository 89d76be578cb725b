//! A sequencer whose data directory was set back to an older copy, as by a snapshot of its disk.
//!
//! With R=1 no other server can take its place; with W and R of 2 one does, and the others give it
//! what it lost.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use kv_tests::{Process, Site};

fn words(quorums: &str) -> [String; 3] {
    [1, 2, 3].map(|id| format!("{id} linearizability {quorums} --data-dir {id}"))
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(copied.success());
}

/// A cluster of which server 1 runs no more and was set back to a copy that was made while it ran,
/// so many starts before its last one. What it had last is in the folder `newest`.
fn set_back(site: &Site, quorums: &str, starts: u32) -> [Process; 2] {
    let words = words(quorums);
    let words = words.each_ref().map(String::as_str);
    let [mut sequencer, second, third] = site.ready_servers(words);
    assert_eq!(site.run("2 put x old"), "ok");
    let (data, older) = (site.folder().join("1"), site.folder().join("older"));
    // As a snapshot of a disk does, so that no file is renamed while it is copied.
    sequencer.freeze();
    copy(&data, &older);
    sequencer.thaw();
    for _ in 0..starts {
        sequencer.kill();
        sequencer = site.ready_server(words[0]);
    }
    assert_eq!(site.run("2 put x new"), "ok");
    sequencer.kill();
    std::fs::rename(&data, site.folder().join("newest")).unwrap();
    copy(&older, &data);
    [second, third]
}

/// Without a successor it stops.
fn it_stops(starts: u32) {
    let site = Site::of(3);
    let _others = set_back(&site, "2 1", starts);
    let words = words("2 1");
    let start = || site.server(&words[0]);
    // Trying again changes nothing.
    for _ in 0..3 {
        let mut sequencer = start();
        sequencer.wait_for_error("stopped: this server's data is older than what server");
        assert_eq!(sequencer.exit_code(), Some(3), "{}", sequencer.report());
    }
    // The newest one resumes, as it says.
    let data = site.folder().join("1");
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(site.folder().join("newest"), &data).unwrap();
    let mut sequencer = start();
    sequencer.wait_for("ready");
    assert_eq!(site.run("1 get x"), "new");
}

/// With a successor it is given what it lost, and the others may be lost afterwards.
fn it_catches_up(starts: u32) {
    let site = Site::of(3);
    let [mut second, _third] = set_back(&site, "2 2", starts);
    let _first = site.ready_server(&words("2 2")[0]);
    assert_eq!(site.run("1 get x"), "new");
    second.kill();
    assert_eq!(site.run("1 put x newer"), "ok");
    assert_eq!(site.run("3 get x"), "newer");
}

#[test]
fn it_stops_and_says_so_where_its_next_epoch_is_new_to_all() {
    it_stops(0);
}

#[test]
fn it_stops_and_says_so_where_its_next_epoch_was_used_already() {
    it_stops(1);
}

#[test]
fn it_stops_and_says_so_where_others_know_of_later_epochs() {
    it_stops(3);
}

#[test]
fn where_another_took_its_place_it_catches_up() {
    for starts in [0, 1, 3] {
        it_catches_up(starts);
    }
}
