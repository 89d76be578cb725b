//! `kv-server backup` and `kv-server restore`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kv_core::{Key, Value};
use kv_tests::{Process, Program, Site, Stream, wait_until};
use tokio::runtime::Runtime;

/// Runs a command of `kv-server`; returns its exit code, what it prints and complains about.
fn run(site: &Site, words: &[&str]) -> (Option<i32>, String, String) {
    let command = site.command_elsewhere(Program::Server, words.iter().copied());
    let mut process = Process::start(words.join(" "), command, Stdio::null());
    let code = process.exit_code();
    (code, process.lines(Stream::Out).join("\n"), process.lines(Stream::Err).join("\n"))
}

fn succeed(site: &Site, words: &[&str]) -> String {
    let (code, out, error) = run(site, words);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{out}");
    out
}

fn list(site: &Site, ids: &[u16]) -> String {
    let server = |id: &u16| format!("{id}={}", site.address(*id));
    ids.iter().map(server).collect::<Vec<_>>().join(",")
}

/// A client that writes `w0`, `w1` and so on, each with its own name as its value, and counts those
/// that were acknowledged.
struct Writer {
    runtime: Runtime,
    acknowledged: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
}

impl Writer {
    fn begin(site: &Site, server: u16) -> Self {
        let runtime = Runtime::new().unwrap();
        let (acknowledged, stopped) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let client = runtime.block_on(site.connect(server));
        let (count, stop) = (Arc::clone(&acknowledged), Arc::clone(&stopped));
        runtime.spawn(async move {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let name = format!("w{number}");
                let put = client.put(Key::new(name.clone()).unwrap(), Value::new(name).unwrap());
                put.await.unwrap();
                count.store(number + 1, Ordering::SeqCst);
            }
        });
        Self { runtime, acknowledged, stopped }
    }

    fn wait_for(&self, count: u64) -> u64 {
        wait_until("keys are written", || self.acknowledged.load(Ordering::SeqCst) >= count);
        self.acknowledged.load(Ordering::SeqCst)
    }

    fn end(self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    }
}

fn assert_holds(site: &Site, server: u16, acknowledged: u64) {
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(site.connect(server));
    for number in 0..acknowledged {
        let name = format!("w{number}");
        let found = runtime.block_on(client.get(Key::new(name.clone()).unwrap())).unwrap().found;
        assert_eq!(found.map(|found| found.value), Some(Value::new(name).unwrap()), "{number}");
    }
}

#[test]
fn a_cluster_under_writes_is_restored_into_another_one_of_the_other_model() {
    for (model, other) in [("eventual", "linearizability"), ("linearizability", "eventual")] {
        let old = Site::of(3);
        let words = [1, 2, 3].map(|id| format!("{id} {model} 2 2"));
        let mut servers = old.ready_servers(words.each_ref().map(String::as_str));
        let writer = Writer::begin(&old, 2);
        writer.wait_for(30);
        // One server misses what is written from here on, and comes back: what it does not hold is
        // in the backup all the same.
        let [_, _, third] = &mut servers;
        third.kill();
        writer.wait_for(60);
        *third = old.ready_server(&words[2]);
        let acknowledged = writer.wait_for(90);
        // A follower first: it may be behind the others.
        let ids: &[u16] = if model == "eventual" { &[1, 2, 3] } else { &[3, 1] };
        let from = ids.iter().map(|id| list(&old, &[*id])).collect::<Vec<_>>();
        let mut backup = vec!["backup"];
        backup.extend(from.iter().map(String::as_str));
        backup.push("kv.backup");
        let said = succeed(&old, &backup);
        assert!(said.contains("wrote kv.backup: ") && said.ends_with("; verified"), "{said}");
        writer.end();
        assert!(fs::read_dir(old.folder()).unwrap().all(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name == "kv.backup" || !name.starts_with("kv.backup")
        }));

        let new = Site::of(2);
        let words = [1, 2].map(|id| format!("{id} {other} 2 1"));
        let _servers = new.ready_servers(words.each_ref().map(String::as_str));
        let file = old.folder().join("kv.backup");
        let file = file.to_str().unwrap();
        let to = list(&new, &[1, 2]);
        let said = succeed(&new, &["restore", file, &to]);
        assert!(said.ends_with(" keys; each was read back and is equal"), "{said}");
        for server in [1, 2] {
            assert_holds(&new, server, acknowledged);
        }
        // It is not empty any more.
        let (code, _, error) = run(&new, &["restore", file, &to]);
        assert_eq!(code, Some(1));
        assert!(error.contains("holds keys already, and nothing was restored"), "{error}");
    }
}

#[test]
fn what_was_deleted_stays_deleted_and_large_values_come_back() {
    for model in ["eventual", "linearizability"] {
        let old = Site::of(1);
        let server = old.ready_server(&format!("1 {model} 1 1"));
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(old.connect(1));
        let large = Value::new(vec![b'l'; 3 << 20]).unwrap();
        runtime.block_on(async {
            client.put(Key::new("gone").unwrap(), Value::new("1").unwrap()).await.unwrap();
            client.delete(Key::new("gone").unwrap()).await.unwrap();
            for number in 0..5 {
                client.put(Key::new(format!("l{number}")).unwrap(), large.clone()).await.unwrap();
            }
            client.put(Key::new(vec![0, 255]).unwrap(), Value::new("").unwrap()).await.unwrap();
        });
        let said = succeed(&old, &["backup", &old.address(1).to_string(), "running"]);
        assert!(said.contains("wrote running: 6 keys"), "{said}");
        drop(client);
        drop(server);
        // The same of its data directory, once it does not run.
        let name = if model == "eventual" { "eventual" } else { "linearizable" };
        let said = succeed(&old, &["backup", &format!("kv-data/1-{name}"), "stopped"]);
        assert!(said.contains("wrote stopped: 6 keys"), "{said}");
        for file in ["running", "stopped"] {
            let new = Site::of(1);
            let _server = new.ready_server(&format!("1 {model} 1 1 --memory"));
            let path = old.folder().join(file);
            let to = list(&new, &[1]);
            succeed(&new, &["restore", path.to_str().unwrap(), &to]);
            assert_eq!(new.client("1 get gone").exit_code(), Some(3));
            let client = runtime.block_on(new.connect(1));
            let found = runtime.block_on(client.get(Key::new("l4").unwrap())).unwrap().found;
            assert_eq!(found.unwrap().value, large);
            let found = runtime.block_on(client.get(Key::new(vec![0, 255]).unwrap())).unwrap();
            assert_eq!(found.found.unwrap().value.as_bytes().len(), 0);
        }
    }
}

/// A sequencer's disk is lost while one follower lacks what was acknowledged last.
#[test]
fn of_the_directories_that_are_left_the_one_that_is_ahead_is_backed_up() {
    let site = Site::of(3);
    let words = [1, 2, 3].map(|id| format!("{id} linearizability 2 2"));
    let [first, second, mut third] = site.ready_servers(words.each_ref().map(String::as_str));
    let put = |range: std::ops::Range<u32>| {
        let lines: String = range.map(|number| format!("put k{number} v\n")).collect();
        assert_eq!(site.client_reading("1", lines.as_bytes()).exit_code(), Some(0));
    };
    put(0..30);
    third.kill();
    put(30..40);
    drop([first, second]);
    fs::remove_dir_all(site.folder().join("kv-data/1-linearizable")).unwrap();
    let (two, three) = ("kv-data/2-linearizable", "kv-data/3-linearizable");
    for (place, directories) in [[three, two], [two, three]].into_iter().enumerate() {
        let file = format!("backup{place}");
        let said = succeed(&site, &["backup", directories[0], directories[1], &file]);
        assert!(said.contains("server 2 is ahead, so its log is the backup"), "{said}");
        assert!(said.contains(&format!("wrote {file}: 40 keys")), "{said}");
    }
    // Of one that may be behind it is said that it may.
    let said = succeed(&site, &["backup", three, "behind"]);
    assert!(said.contains("name the data directories of all servers that are left"), "{said}");

    // Together they have what was acknowledged, and fill the one that lost its data.
    let _servers = site.ready_servers(words.each_ref().map(String::as_str));
    assert_eq!(site.run("1 get k39"), "v");
}

/// With R=1 nobody can take the sequencer's place.
#[test]
fn a_sequencer_that_is_started_without_its_data_says_where_it_looked_and_advises_to_look() {
    let site = Site::of(3);
    let words = [1, 2, 3].map(|id| format!("{id} linearizability 2 1"));
    let servers = site.ready_servers(words.each_ref().map(String::as_str));
    assert_eq!(site.run("1 put x 1"), "ok");
    drop(servers);
    let own = site.folder().join("kv-data/1-linearizable");
    fs::rename(&own, site.folder().join("kept")).unwrap();
    let mut first = site.server(&words[0]);
    let _others = [site.server(&words[1]), site.server(&words[2])];
    let line = first.wait_for("server 1, the sequencer, has no data and others have its log");
    let folder = site.folder().join("kv-data");
    let looked = format!("this server looked for it in {}, which --data-dir", folder.display());
    assert!(line.contains("is it started on the right data directory? Look there first"), "{line}");
    assert!(line.contains(&looked), "{line}");

    // Started on the right directory, it resumes.
    drop(first);
    fs::remove_dir_all(&own).unwrap();
    fs::rename(site.folder().join("kept"), &own).unwrap();
    let _first = site.ready_server(&words[0]);
    assert_eq!(site.run("1 get x"), "1");
}

#[test]
fn a_bad_file_is_refused_before_anything_is_written_and_a_good_one_is_not_replaced() {
    let site = Site::of(1);
    let _server = site.ready_server("1 --memory");
    assert_eq!(site.run("1 put x 1"), "ok");
    let from = site.address(1).to_string();
    succeed(&site, &["backup", &from, "b"]);
    let (code, _, error) = run(&site, &["backup", &from, "b"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("b exists already") && error.contains("--force"), "{error}");
    succeed(&site, &["backup", &from, "b", "--force"]);

    let new = Site::of(1);
    let _new = new.ready_server("1 --memory");
    let (good, to) = (fs::read(site.folder().join("b")).unwrap(), new.address(1).to_string());
    let mut newer = b"KVBACKUP\x03\0\0\0".to_vec();
    newer.extend(crc32c::crc32c(&newer).to_le_bytes());
    let mut flipped = good.clone();
    *flipped.get_mut(good.len() / 2).unwrap() ^= 1;
    let truncated = good.get(..good.len() - 1).unwrap().to_vec();
    for (bytes, expected) in [
        (newer, "has format 3 and this release reads up to 2: use the newer release"),
        (flipped, "is damaged after 0 entries: use another copy of it"),
        (truncated, "ends after 1 entry, before its end: use another copy of it"),
        (b"no backup at all".to_vec(), "is no backup"),
    ] {
        fs::write(new.folder().join("bad"), bytes).unwrap();
        let (code, _, error) = run(&new, &["restore", "bad", &to]);
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains("nothing was restored") && error.contains(expected), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert_eq!(new.client("1 get x").exit_code(), Some(3), "something was written");
    }
    let (code, _, error) = run(&site, &["backup", "kv-data/none", "c"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("is no data directory and names no servers"), "{error}");
}

#[test]
fn a_backup_goes_to_the_standard_output_whole() {
    let old = Site::of(1);
    let _server = old.ready_server("1 eventual 1 1");
    assert_eq!(old.run("put x 1"), "ok");
    let words = ["backup", &list(&old, &[1]), "-"];
    let command = |words: &[&str]| {
        let mut command = old.command_elsewhere(Program::Server, words.iter().copied());
        command.stdin(Stdio::null());
        command
    };
    let output = command(&words).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("wrote 1 key, ") && said.contains("; verified"), "{said}");
    assert!(!old.folder().join("-").exists());
    let file = old.folder().join("from-stdout");
    fs::write(&file, output.stdout).unwrap();
    let new = Site::of(1);
    let _server = new.ready_server("1 linearizability 1 1");
    succeed(&new, &["restore", file.to_str().unwrap(), &list(&new, &[1])]);
    assert_eq!(new.run("get x"), "1");

    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(&words).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let complaint = "kv-server: cannot write the output: No space left on device (os error 28)\n";
    assert!(said.ends_with(complaint), "{said}");
    assert_eq!(said.matches("No space left").count(), 1, "{said}");
}

/// Deadlines go on while the data lies in a file.
#[test]
fn keys_that_expire_are_restored_with_the_time_that_they_have_left() {
    let old = Site::of(1);
    let server = old.ready_server("1 linearizability 1 1");
    for command in ["1 put hour v --ttl 1h", "1 put short v --ttl 1ms", "1 put endless v"] {
        assert_eq!(old.run(command), "ok");
    }
    succeed(&old, &["backup", &list(&old, &[1]), "kv.backup"]);
    let file = old.folder().join("kv.backup");
    let restored = |model: &str| {
        let new = Site::of(1);
        let server = new.ready_server(&format!("1 {model} 1 1"));
        let said = succeed(&new, &["restore", file.to_str().unwrap(), &list(&new, &[1])]);
        (new, server, said)
    };
    let (new, _server, said) = restored("linearizability");
    assert!(said.ends_with("restored 2 keys; each was read back and is equal"), "{said}");
    assert_eq!(new.run("1 get hour"), "v");
    let left = new.run("1 ttl hour");
    let left: u64 = left.strip_suffix("ms").unwrap().parse().unwrap();
    assert!((3_000_000..3_600_000).contains(&left), "{left}");
    assert_eq!(new.run("1 ttl endless"), old.run("1 ttl endless"));
    let (new, _server, said) = restored("eventual");
    assert!(
        said.contains("1 key would have expired and last for ever now: the eventual"),
        "{said}"
    );
    assert_eq!(new.run("1 get hour"), "v");
    drop(server);
}
