//! A sequencer whose data directory was set back to an older copy, as by a snapshot of its disk.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use kv_tests::{Process, Site};

const WORDS: [&str; 3] = [
    "1 linearizability 2 2 --data-dir 1",
    "2 linearizability 2 2 --data-dir 2",
    "3 linearizability 2 2 --data-dir 3",
];

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(copied.success());
}

fn kill_and_start(site: &Site, server: &mut Process) {
    server.kill();
    *server = site.ready_server(WORDS[0]);
}

/// Sets server 1 back to a copy that was made while it ran, so many starts before its last one.
fn set_back(starts: u32) {
    let site = Site::of(3);
    let [mut sequencer, _second, _third] = site.ready_servers(WORDS);
    assert_eq!(site.run("2 put x old"), "ok");
    let (data, older) = (site.folder().join("1"), site.folder().join("older"));
    // As a snapshot of a disk does, so that no file is renamed while it is copied.
    sequencer.freeze();
    copy(&data, &older);
    sequencer.thaw();
    for _ in 0..starts {
        kill_and_start(&site, &mut sequencer);
    }
    assert_eq!(site.run("2 put x new"), "ok");
    sequencer.kill();
    std::fs::rename(&data, site.folder().join("newest")).unwrap();
    copy(&older, &data);

    // Trying again wears nothing out.
    for _ in 0..3 {
        sequencer = site.server(WORDS[0]);
        sequencer.wait_for_error("stopped: this server's data is older than what server");
        assert_eq!(sequencer.exit_code(), Some(1), "{}", sequencer.report());
    }
    // The newest one does as it says, perhaps behind the epochs in which the older one spoke.
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(site.folder().join("newest"), &data).unwrap();
    sequencer = site.server(WORDS[0]);
    if starts < 2 {
        sequencer.wait_for_error("has met another copy of this server's data directory");
        assert_eq!(sequencer.exit_code(), Some(1), "{}", sequencer.report());
        sequencer = site.server(WORDS[0]);
    }
    sequencer.wait_for("ready");
    assert_eq!(site.run("1 get x"), "new");
}

#[test]
fn it_stops_and_says_so_where_its_next_epoch_is_new_to_all() {
    set_back(0);
}

#[test]
fn it_stops_and_says_so_where_its_next_epoch_was_used_already() {
    set_back(1);
}

#[test]
fn it_stops_and_says_so_where_others_know_of_later_epochs() {
    set_back(3);
}
