//! Disks that are full, or cannot be written at all.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it could not test"
)]

use kv_tests::{Process, Site, SmallDisk, wait_until};

use crate::disks::durable::{ELSEWHERE, complaint, stop};
use crate::writers::Load;

const MODELS: [&str; 2] = ["eventual", "linearizability"];

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_resumes_when_there_is_room() {
    for model in MODELS {
        let site = Site::of(1);
        // An eighth of it is left free, and the rest is used.
        let Some(disk) = SmallDisk::mount(site.folder().join("data"), 160) else {
            println!("NOT TESTED: this user may not mount a tmpfs, so no disk was full");
            return;
        };
        let words = format!("1 {model} 1 1 --data-dir data");
        let mut server = site.ready_server(&words);
        assert_eq!(site.run("1 put x 1"), "ok");
        let load = Load::begin_with(&site, "full", &[1], 2, 50_000);
        server.wait_for("the disk of server 1 is full and it takes no writes");
        let acknowledged = load.end();
        let mut refused = site.client("1 put x 2");
        refused
            .wait_for_error("the disk of server 1 is full and it takes no writes, except deletes");
        assert_eq!(refused.exit_code(), Some(4), "{}", refused.report());
        assert_eq!(site.run("1 get x"), "1");

        disk.remount("size=400m");
        server.wait_for("ready");
        assert_eq!(site.run("1 put x 3"), "ok");
        server.kill();
        let server = site.ready_server(&words);
        assert_eq!(site.run("1 get x"), "3");
        assert!(acknowledged.len() >= 1_000, "only {} writes were done", acknowledged.len());
        stop(server);
    }
}

/// Whoever has only this disk gets room by deleting what is not needed.
#[test]
fn deletes_on_a_full_disk_make_room_for_writes() {
    for model in MODELS {
        let site = Site::of(1);
        let Some(_disk) = SmallDisk::mount(site.folder().join("data"), 160) else {
            println!("NOT TESTED: this user may not mount a tmpfs, so no disk was full");
            return;
        };
        let words = format!("1 {model} 1 1 --data-dir data");
        let mut server = site.ready_server(&words);
        let load = Load::begin_with(&site, "full", &[1], 2, 50_000);
        server.wait_for("the disk of server 1 is full and it takes no writes");
        wait_until("nothing is taken", || site.client("1 put x 2").exit_code() == Some(4));
        let mut acknowledged = load.end();
        let kept = acknowledged.split_off(acknowledged.len() / 10 * 9);
        let deletes: String = acknowledged.iter().map(|key| format!("delete {key}\n")).collect();
        let mut client = site.client_reading("1 --raw", deletes.as_bytes());
        assert_eq!(client.exit_code(), Some(0), "{}", client.report());
        server.wait_for("ready");
        assert_eq!(site.run("1 put x 3"), "ok");
        server.kill();
        let server = site.ready_server(&words);
        let held = site.run("1 dump --keys-only");
        assert_eq!(held.lines().count(), kept.len() + 1, "of {}", acknowledged.len());
        stop(server);
    }
}

#[test]
fn a_disk_that_cannot_be_written_is_named_in_one_line_that_says_what_to_do() {
    let site = Site::of(1);
    let Some(disk) = SmallDisk::mount(site.folder().join("read-only"), 1) else {
        println!("NOT TESTED: this user may not mount a tmpfs, so no disk was read-only");
        return;
    };
    disk.remount("ro");
    let mut command = site.command(kv_tests::Program::Server, ["1"].into_iter());
    command.current_dir(disk.folder());
    let server = Process::start("kv-server 1".to_owned(), command, std::process::Stdio::null());
    let (line, code) = complaint(server);
    let folder = disk.folder().join("kv-data/1-eventual");
    let expected = format!("kv-server: cannot make {}: Read-only", folder.display());
    assert!(line.starts_with(&expected), "{line}");
    assert!(line.ends_with(ELSEWHERE), "{line}");
    assert_eq!(code, Some(1));
}

/// Reads go on at every server, and the lead goes to one that has room.
#[test]
fn a_sequencer_whose_disk_is_full_hands_over_and_nothing_is_lost() {
    let site = Site::of(3);
    let Some(_disk) = SmallDisk::mount(site.folder().join("small"), 160) else {
        println!("NOT TESTED: this user may not mount a tmpfs, so no disk was full");
        return;
    };
    let words = [
        "1 linearizability 2 2 --data-dir small",
        "2 linearizability 2 2 --data-dir data",
        "3 linearizability 2 2 --data-dir data",
    ];
    let [mut first, second, third] = site.ready_servers(words);
    assert_eq!(site.run("1 put x 1"), "ok");
    assert!(site.run("1 status").contains("sequencer"));
    let load = Load::begin_with(&site, "full", &[1, 2, 3], 2, 50_000);
    first.wait_for("the disk of server 1 is full and it takes no writes");
    let leads = |id: u16| site.run(&format!("{id} status")).contains("sequencer");
    wait_until("another server is the sequencer", || leads(2) || leads(3));
    for id in [1, 2, 3] {
        assert_eq!(site.run(&format!("{id} get x")), "1");
    }
    // The others take writes, and what they wrote is read at the one that cannot keep it.
    for (id, value) in [(2, "2"), (3, "3")] {
        assert_eq!(site.run(&format!("{id} put x {value}")), "ok");
        assert_eq!(site.run("1 get x"), value);
    }
    let acknowledged = load.end();
    assert!(acknowledged.len() >= 100, "only {} writes were done", acknowledged.len());

    // So it is after more than may be in flight to a server that acknowledges nothing.
    let large = "v".repeat(100_000);
    for number in 0..400 {
        assert_eq!(site.run(&format!("2 put large{number} {large}")), "ok");
    }
    assert_eq!(site.run("1 get large399"), large);

    // With the full disk gone for good, its data is lost with it.
    first.kill();
    assert_eq!(site.run("2 put x 4"), "ok");
    assert_eq!(site.run("3 get x"), "4");
    let held = site.run("2 scan full --keys-only");
    let held: std::collections::BTreeSet<&str> = held.lines().collect();
    let missing = acknowledged.iter().filter(|key| !held.contains(key.as_str()));
    assert_eq!(missing.count(), 0, "of {}", acknowledged.len());
    drop((second, third));
}
