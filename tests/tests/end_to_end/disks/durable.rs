//! Servers that keep their data on disk, killed as `kill -9` does and started again.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it could not test"
)]

use std::fs;
use std::path::PathBuf;

use futures_util::future::join_all;
use kv_core::{Key, Value};
use kv_tests::{Process, Site, Stream, wait_until};
use tokio::runtime::Runtime;

use crate::writers::Load;

const MODELS: [&str; 2] = ["eventual", "linearizability"];

/// Lets the load run until so many more keys are there.
fn wait_for_writes(site: &Site, server: u16, count: u64) {
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(site.connect(server));
    let persisted = || {
        let status = runtime.block_on(client.status()).unwrap();
        status.positions.journal_persisted.unwrap()
    };
    let before: u64 = persisted();
    wait_until("records are persisted", || persisted() >= before + count);
}

/// Every one of these keys is there, for a client of this server.
fn assert_held(site: &Site, server: u16, keys: &[String]) {
    assert!(keys.len() >= 20, "only {} writes were acknowledged", keys.len());
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(site.connect(server));
    for keys in keys.chunks(500) {
        let reads = keys.iter().map(|key| client.get(Key::new(key.clone()).unwrap()));
        let reads = runtime.block_on(join_all(reads));
        for (key, read) in keys.iter().zip(reads) {
            let found = read.unwrap().found.map(|found| found.value);
            assert_eq!(found, Some(Value::new(key.clone()).unwrap()), "{key} was acknowledged");
        }
    }
}

/// The one line with which a server refuses to start, and its exit code.
pub(crate) fn complaint(mut server: Process) -> (String, Option<i32>) {
    let code = server.exit_code();
    let [line] = &server.lines(Stream::Err)[..] else {
        panic!("not one line: {}", server.report());
    };
    (line.clone(), code)
}

pub(crate) fn stop(mut server: Process) {
    server.terminate();
    assert_eq!(server.exit_code(), Some(0), "{}", server.report());
}

fn segment(site: &Site, directory: &str, number: u32) -> PathBuf {
    site.folder().join("data").join(directory).join(format!("journal-{number:012}.segment"))
}

#[test]
fn a_server_alone_has_all_that_it_acknowledged_after_it_was_killed() {
    for model in MODELS {
        let site = Site::of(1);
        let words = format!("1 {model} 1 1 --data-dir data");
        let mut acknowledged = Vec::new();
        for round in 0..3 {
            let mut server = site.ready_server(&words);
            assert_held_if_any(&site, &acknowledged);
            let load = Load::begin(&site, &format!("{round}"), &[1], 4);
            wait_for_writes(&site, 1, 100);
            server.kill();
            acknowledged.extend(load.end());
        }
        let _server = site.ready_server(&words);
        assert_held(&site, 1, &acknowledged);
    }
}

fn assert_held_if_any(site: &Site, keys: &[String]) {
    if !keys.is_empty() {
        assert_held(site, 1, keys);
    }
}

#[test]
fn three_servers_killed_at_once_under_load_lose_nothing() {
    for model in MODELS {
        let site = Site::of(3);
        let words = [1, 2, 3].map(|id| format!("{id} {model} 2 2 --data-dir data"));
        let words = words.each_ref().map(String::as_str);
        let mut acknowledged = Vec::new();
        for round in 0..2 {
            let mut servers = site.ready_servers(words);
            let load = Load::begin(&site, &format!("{round}"), &[1, 2, 3], 2);
            wait_for_writes(&site, 1, 100);
            for server in &mut servers {
                server.kill();
            }
            acknowledged.extend(load.end());
        }
        let _servers = site.ready_servers(words);
        for server in [1, 2, 3] {
            assert_held(&site, server, &acknowledged);
        }
    }
}

#[test]
fn two_of_ten_servers_killed_in_turn_under_writes_lose_nothing() {
    for model in MODELS {
        let site = Site::of(10);
        let words = [1, 2].map(|id| format!("{id} {model} 2 2 --data-dir data"));
        let mut servers = site.ready_servers(words.each_ref().map(String::as_str));
        let load = Load::begin(&site, "turns", &[1, 2], 2);
        for turn in 0..4 {
            let (server, words) = servers.iter_mut().zip(&words).nth(turn % 2).unwrap();
            wait_for_writes(&site, 1, 20);
            server.kill();
            *server = site.ready_server(words);
        }
        wait_for_writes(&site, 1, 20);
        let acknowledged = load.end();
        for server in [1, 2] {
            assert_held(&site, server, &acknowledged);
        }
    }
}

#[test]
fn a_checkpoint_lets_the_journal_go_and_is_started_from() {
    for (model, directory) in MODELS.into_iter().zip(["1-eventual", "1-linearizable"]) {
        let site = Site::of(1);
        let words = format!("1 {model} 1 1 --data-dir data --checkpoint-mib 1");
        let mut server = site.ready_server(&words);
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(site.connect(1));
        let mut number = 0;
        // The first segment is 4 MiB and the journal goes on in it until then.
        wait_until("the first segment is gone", || {
            number += 1;
            let value = Value::new(vec![b'v'; 200_000]).unwrap();
            runtime.block_on(client.put(Key::new(format!("k{number}")).unwrap(), value)).unwrap();
            let value = Value::new(format!("{number}")).unwrap();
            runtime.block_on(client.put(Key::new("last").unwrap(), value)).unwrap();
            if number % 3 == 0 {
                let former = Key::new(format!("k{}", number / 3)).unwrap();
                runtime.block_on(client.delete(former)).unwrap();
            }
            !segment(&site, directory, 1).exists()
        });
        server.kill();
        let _server = site.ready_server(&words);
        let client = runtime.block_on(site.connect(1));
        let (written, deleted) = (number, number / 3);
        for number in 1..=written {
            let read = runtime.block_on(client.get(Key::new(format!("k{number}")).unwrap()));
            let len = read.unwrap().found.map(|found| found.value.as_bytes().len());
            assert_eq!(len, (number > deleted).then_some(200_000), "{model} k{number}");
        }
        let last = runtime.block_on(client.get(Key::new("last").unwrap())).unwrap();
        assert_eq!(last.found.unwrap().value, Value::new(format!("{written}")).unwrap());
    }
}

#[test]
fn what_may_be_lost_with_the_power_outlives_a_kill_and_a_stop() {
    let site = Site::of(1);
    for (turn, when) in ["interval=60000", "never", "always"].into_iter().enumerate() {
        let words = format!("1 linearizability 1 1 --data-dir data --fsync {when}");
        let mut server = site.ready_server(&words);
        assert_eq!(site.run(&format!("1 put killed {turn}")), "ok");
        server.kill();
        let server = site.ready_server(&words);
        assert_eq!(site.run("1 get killed"), turn.to_string());
        assert_eq!(site.run(&format!("1 put stopped {turn}")), "ok");
        stop(server);
        let mut server = site.ready_server(&words);
        assert_eq!(site.run("1 get stopped"), turn.to_string());
        server.kill();
    }
}

#[test]
fn a_directory_in_use_is_refused_in_one_line_and_its_holder_goes_on() {
    let (site, other) = (Site::of(1), Site::of(1));
    let mut server = site.server("1 eventual 1 1 --data-dir data");
    server.wait_for("data/1-eventual");
    server.wait_for("always: what was acknowledged outlives a loss of power");
    server.wait_for("ready");
    let data = site.folder().join("data");
    let words = format!("1 eventual 1 1 --data-dir {}", data.display());
    let (line, code) = complaint(other.server(&words));
    assert!(line.contains("1-eventual is in use by process "), "{line}");
    assert!(line.ends_with("stop that server, or use another directory (--data-dir)"), "{line}");
    assert_eq!(code, Some(1));
    assert_eq!(site.run("1 put x 1"), "ok");
}

#[test]
fn a_directory_of_another_server_engine_or_quorum_is_refused_in_one_line() {
    let site = Site::of(3);
    stop(site.ready_server("1 eventual 1 1 --data-dir data"));
    stop(site.ready_server("1 linearizability 1 1 --data-dir data"));
    let data = site.folder().join("data");
    let refused = |words: &str, expected: &str| {
        let (line, code) = complaint(site.server(&format!("{words} --data-dir data")));
        assert!(line.contains(expected), "{words}: {line}");
        assert_eq!(code, Some(1), "{words}: {line}");
    };
    refused("1 linearizability 2 2", "was written with N=3 W=1 R=1");
    fs::rename(data.join("1-linearizable"), data.join("kept")).unwrap();
    fs::rename(data.join("1-eventual"), data.join("2-eventual")).unwrap();
    refused("2 eventual 1 1", "is server 1's and this is server 2");
    fs::rename(data.join("2-eventual"), data.join("1-linearizable")).unwrap();
    refused("1 linearizability 1 1", "is of the eventual engine and this is the linearizable one");
    // W and R of the eventual engine are each request's own.
    fs::rename(data.join("1-linearizable"), data.join("1-eventual")).unwrap();
    let mut server = site.server("1 eventual 1 2 --data-dir data");
    server.wait_for("waiting for 1 more server");
    stop(server);
}

#[test]
fn a_flipped_byte_stops_the_start_and_is_named() {
    for (model, directory) in MODELS.into_iter().zip(["1-eventual", "1-linearizable"]) {
        let site = Site::of(1);
        let words = format!("1 {model} 1 1 --data-dir data");
        let server = site.ready_server(&words);
        for value in ["before", "to-be-flipped", "after"] {
            assert_eq!(site.run(&format!("1 put x {value}")), "ok");
        }
        stop(server);
        let file = segment(&site, directory, 1);
        let mut bytes = fs::read(&file).unwrap();
        let wanted: &[u8] = b"to-be-flipped";
        let place = bytes.windows(wanted.len()).position(|window| window == wanted).unwrap();
        *bytes.get_mut(place).unwrap() ^= 1;
        fs::write(&file, &bytes).unwrap();

        let (line, code) = complaint(site.server(&words));
        let (name, offset) = line.split_once(" is damaged at byte ").unwrap();
        assert!(name.ends_with(&format!("{directory}/journal-000000000001.segment")), "{line}");
        let offset: usize = offset.split_once(':').unwrap().0.parse().unwrap();
        assert!((place - 200..place).contains(&offset), "{place}: {line}");
        assert_eq!(code, Some(1));
        assert_eq!(fs::read(&file).unwrap(), bytes, "it was left as it was");
    }
}

#[test]
fn a_journal_that_is_gone_stops_the_start_and_is_named() {
    for (model, directory) in MODELS.into_iter().zip(["1-eventual", "1-linearizable"]) {
        let site = Site::of(1);
        let words = format!("1 {model} 1 1 --data-dir data");
        let mut server = site.ready_server(&words);
        assert_eq!(site.run("1 put x 1"), "ok");
        wait_until("the next segment is laid out", || segment(&site, directory, 2).exists());
        server.kill();
        // The empty segment behind it is no journal, and neither is nothing.
        for number in [1, 2] {
            fs::remove_file(segment(&site, directory, number)).unwrap();
            let (line, code) = complaint(site.server(&words));
            assert!(line.contains("journal-000000000001.segment is missing"), "{line}");
            assert_eq!(code, Some(1));
        }
    }
}

pub(crate) const ELSEWHERE: &str =
    "keep the data elsewhere, or in memory only (--data-dir, --memory)";

#[test]
fn a_folder_that_cannot_be_made_is_named_in_one_line_that_says_what_to_do() {
    let site = Site::of(1);
    fs::write(site.folder().join("kv-data"), "a file").unwrap();
    let (line, code) = complaint(site.server("1"));
    let folder = site.folder().join("kv-data/1-eventual");
    assert!(line.starts_with(&format!("kv-server: cannot make {}: ", folder.display())), "{line}");
    assert!(line.ends_with(ELSEWHERE), "{line}");
    assert_eq!(code, Some(1));
    let mut server = site.server("1 --memory");
    server.wait_for("in memory: data is lost when the server stops");
    server.wait_for("ready");
}

#[test]
fn data_is_kept_with_no_options_at_all_and_the_screen_says_what_was_found() {
    let site = Site::of(1);
    let folder = site.folder().join("kv-data").display().to_string();
    let mut server = site.server("");
    server.wait_for(&format!("data         {folder}/1-eventual (new)"));
    server.wait_for("ready");
    assert_eq!(site.run("put x 1"), "ok");
    assert_eq!(site.run("put y 2"), "ok");
    server.kill();
    let mut server = site.server("");
    let line = server.wait_for(&format!("data         {folder}/1-eventual: found 2 keys; "));
    assert!(line.contains(" records since the last checkpoint; read in "), "{line}");
    server.wait_for("ready");
    assert_eq!(site.run("get x"), "1");
    server.kill();
    // In memory nothing is read, and nothing stays.
    for _ in 0..2 {
        let mut server = site.ready_server("--memory");
        assert_eq!(site.client("get x").exit_code(), Some(3));
        assert_eq!(site.run("put x 3"), "ok");
        server.kill();
    }
}

#[test]
fn memory_and_a_folder_for_data_contradict_each_other() {
    let site = Site::of(1);
    let (line, code) = complaint(site.server("--memory --data-dir data"));
    let expected = "kv-server: --memory keeps nothing on disk and --data-dir says where to keep \
                    data: leave out one of them";
    assert_eq!((line.as_str(), code), (expected, Some(2)));
    assert!(!site.folder().join("data").exists());
}

#[test]
fn a_cluster_of_dev_goes_on_with_its_data_and_says_how_to_begin_anew() {
    let site = Site::of(3);
    let folder = site.folder().join("kv-data").display().to_string();
    let mut dev = site.dev("");
    dev.wait_for(&format!(
        "data         {folder}/dev (new); started again, the servers go on with it"
    ));
    dev.wait_for(&format!("to begin anew: rm -r {folder}/dev/*-linearizable"));
    dev.wait_for("ready in");
    assert_eq!(site.run("2 put x 1"), "ok");
    dev.kill();
    let mut dev = site.dev("");
    dev.wait_for(&format!("data         {folder}/dev: found "));
    dev.wait_for("ready in");
    assert_eq!(site.run("3 get x"), "1");
    dev.kill();
    // Another cluster needs another folder.
    let (line, code) = complaint(site.dev("--w 3"));
    assert!(line.contains("was written with N=3 W=2 R=2"), "{line}");
    assert!(
        line.ends_with(&format!("; to begin anew: rm -r {folder}/dev/*-linearizable")),
        "{line}"
    );
    assert_eq!(code, Some(1));
    let mut dev = site.dev("--memory --w 3");
    dev.wait_for("data         in memory");
    dev.wait_for("ready in");
    assert_eq!(site.client("3 get x").exit_code(), Some(3));
}

#[test]
fn what_is_stored_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    fn assert_private(path: &std::path::Path) -> usize {
        let metadata = fs::metadata(path).unwrap();
        let mode = metadata.permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
        if !metadata.is_dir() {
            return 1;
        }
        let entries = fs::read_dir(path).unwrap();
        entries.map(|entry| assert_private(&entry.unwrap().path())).sum()
    }

    for model in MODELS {
        let site = Site::of(1);
        let server = site.ready_server(&format!("1 {model} 1 1 --data-dir data --op-log ."));
        assert_eq!(site.run("1 put x 1"), "ok");
        stop(server);
        let files = assert_private(&site.folder().join("data"));
        assert!(files >= 4, "only {files} files");
        assert_private(&site.folder().join("output_log1.txt"));
    }
}
