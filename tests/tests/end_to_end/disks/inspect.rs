//! `kv-server inspect`: it says what a data directory holds, verifies it and changes nothing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use kv_tests::{Process, Program, Site, Stream, wait_until};

const MODELS: [(&str, &str); 2] =
    [("eventual", "1-eventual"), ("linearizability", "1-linearizable")];

/// All files below a folder, with what is in them.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Runs `kv-server inspect`; returns its exit code, what it prints and what it complains about.
fn inspect(site: &Site, words: &str) -> (Option<i32>, String, String) {
    let words: Vec<&str> = ["inspect"].into_iter().chain(words.split_whitespace()).collect();
    let command = site.command_elsewhere(Program::Server, words.into_iter());
    let mut process = Process::start("kv-server inspect".to_owned(), command, Stdio::null());
    let code = process.exit_code();
    (code, process.lines(Stream::Out).join("\n"), process.lines(Stream::Err).join("\n"))
}

/// A server that has written a checkpoint and, after it, records.
fn server_with_data(site: &Site, model: &str, directory: &str) -> Process {
    let mut server = site.ready_server(&format!("1 {model} 1 1 --checkpoint-mib 1"));
    let value = "v".repeat(60_000);
    let lines: String = (0..30).map(|number| format!("put k{number} {value}\n")).collect();
    let mut client = site.client_reading("1", lines.as_bytes());
    assert_eq!(client.exit_code(), Some(0), "{}", client.report());
    let covers = || {
        let status = site.run("1 status --all");
        let line = status.lines().find(|line| line.contains("checkpoint_covers")).unwrap();
        !line.ends_with(" 0")
    };
    wait_until("a checkpoint is written", covers);
    assert_eq!(site.run("1 put last 1"), "ok");
    server.kill();
    assert!(site.folder().join("kv-data").join(directory).join("checkpoint").is_dir());
    server
}

#[test]
fn it_tells_what_is_there_and_changes_nothing() {
    for (model, directory) in MODELS {
        let site = Site::of(1);
        drop(server_with_data(&site, model, directory));
        let folder = site.folder().join("kv-data");
        let before = files(&folder);
        let (code, text, errors) = inspect(&site, &format!("kv-data/{directory}"));
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{text}");
        for line in [
            "server: 1",
            "configuration: N=1 W=1 R=1, servers 1",
            "last_run: its end is not noted; with --fsync always nothing is lost by any",
            "  sum: verified",
            "  torn_tail: none",
            "  keys: ",
            "sound: yes",
            "damage: none",
        ] {
            assert!(text.contains(line), "{line} is missing: {text}");
        }
        let is_named = !text.contains("cluster: none");
        assert_eq!(is_named, model == "linearizability", "{text}");
        let (code, json, _) = inspect(&site, &format!("kv-data/{directory} --json"));
        assert_eq!(code, Some(0));
        assert!(
            json.contains(r#""sound":true,"damage":[]"#) && json.lines().count() == 1,
            "{json}"
        );
        assert_eq!(files(&folder), before, "it changed something");
        // The server goes on afterwards.
        let _server = site.ready_server(&format!("1 {model} 1 1"));
        assert_eq!(site.run("1 get last"), "1");
    }
}

#[test]
fn a_server_that_runs_is_not_looked_at() {
    let site = Site::of(1);
    let _server = site.ready_server("");
    let (code, text, error) = inspect(&site, "kv-data/1-eventual");
    assert_eq!((code, text.as_str()), (Some(4), ""));
    assert!(error.contains("is in use by process ") && error.contains("status"), "{error}");
    assert_eq!(site.run("1 put x 1"), "ok");
    let (code, _, error) = inspect(&site, "kv-data/none");
    assert_eq!(code, Some(4), "{error}");
    assert!(!site.folder().join("kv-data/none").exists());
    let (code, _, error) = inspect(&site, "kv-data");
    assert_eq!(code, Some(4), "{error}");
    assert!(error.contains("such as kv-data/1-eventual"), "{error}");
}

#[test]
fn a_journal_that_is_gone_is_damage() {
    let site = Site::of(1);
    let mut server = site.ready_server("");
    assert_eq!(site.run("1 put x 1"), "ok");
    server.kill();
    for (path, _) in files(&site.folder().join("kv-data/1-eventual")) {
        if path.extension().is_some_and(|extension| extension == "segment") {
            fs::remove_file(path).unwrap();
        }
    }
    let (code, text, error) = inspect(&site, "kv-data/1-eventual");
    assert_eq!(code, Some(1), "{text}{error}");
    assert!(error.contains("journal-000000000001.segment is missing"), "{error}");
}

#[test]
fn what_cannot_be_read_is_not_called_damaged() {
    let (model, directory) = MODELS[0];
    let site = Site::of(1);
    drop(server_with_data(&site, model, directory));
    let folder = site.folder().join("kv-data").join(directory);
    let not_told = |words: &[(&str, &str)], expected: &str| {
        let mut command = site.command_elsewhere(Program::Server, ["inspect"].into_iter());
        command.arg(&folder).envs(words.iter().copied());
        let mut process = Process::start("kv-server inspect".to_owned(), command, Stdio::null());
        assert_eq!(process.exit_code(), Some(4), "{}", process.report());
        let error = process.lines(Stream::Err).join("\n");
        assert!(error.contains(expected) && !error.contains("damaged"), "{error}");
        let out = process.lines(Stream::Out);
        assert!(out.contains(&"sound: no".to_owned()), "{out:?}");
        assert!(out.contains(&"damage: none".to_owned()), "{out:?}");
    };
    not_told(&[("TMPDIR", "/dev/null/none")], "TMPDIR names another place");
    // The format's version stands after eight bytes that name the kind of file.
    let segments = files(&folder).into_iter();
    let (segment, bytes) = segments
        .rev()
        .find(|(path, _)| path.extension().is_some_and(|end| end == "segment"))
        .unwrap();
    let mut newer = bytes.clone();
    newer[8] += 1;
    let checksum = crc32c::crc32c(&newer[..12]);
    newer[12..16].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&segment, &newer).unwrap();
    not_told(&[], "start the newer release again");
    fs::write(&segment, &bytes).unwrap();
    let (checkpoint, away) = (folder.join("checkpoint"), folder.join("away"));
    fs::rename(&checkpoint, &away).unwrap();
    fs::write(&checkpoint, b"").unwrap();
    not_told(&[], "cannot copy");
    fs::remove_file(&checkpoint).unwrap();
    fs::rename(&away, &checkpoint).unwrap();
    assert_eq!(inspect(&site, &format!("kv-data/{directory}")).0, Some(0));
}

#[test]
fn damage_is_found_wherever_it_is() {
    let (model, directory) = MODELS[0];
    let site = Site::of(1);
    drop(server_with_data(&site, model, directory));
    let folder = site.folder().join("kv-data").join(directory);
    let mut damaged = 0;
    for (path, bytes) in files(&folder) {
        // A byte amid what was written last: a journal is zeros behind it, and whatever the store
        // of the checkpoint leaves unused is not read by it.
        let Some(place) = bytes.windows(6).rposition(|window| window == b"vvvvvv") else {
            continue;
        };
        let mut flipped = bytes.clone();
        *flipped.get_mut(place).unwrap() ^= 1;
        fs::write(&path, &flipped).unwrap();
        let (code, text, error) = inspect(&site, &format!("kv-data/{directory}"));
        assert_eq!(code, Some(1), "{}: {text}{error}", path.display());
        assert!(text.contains("sound: no") && error.contains("is damaged"), "{text}{error}");
        fs::write(&path, &bytes).unwrap();
        damaged += 1;
    }
    assert!(damaged >= 1, "nothing was damaged");
    let meta = folder.join("meta");
    let bytes = fs::read(&meta).unwrap();
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&meta, &flipped).unwrap();
    let (code, _, error) = inspect(&site, &format!("kv-data/{directory}"));
    assert_eq!(code, Some(1), "{error}");
    fs::write(&meta, &bytes).unwrap();
    assert_eq!(inspect(&site, &format!("kv-data/{directory}")).0, Some(0));
}
