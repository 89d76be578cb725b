//! Output that cannot be written.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::run::{Running, free_servers, kv_server, output};

const LOST: &str = "kv-server: cannot write the output: No space left on device (os error 28)\n";

/// What `/dev/full` takes is nothing, like a disk without room.
fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// Runs it with an output that takes nothing; `output` would give it one of its own.
fn run(mut command: Command) -> (Option<i32>, String) {
    let child = command.stdout(full()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = child.wait_with_output().unwrap();
    (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
}

/// Each command that prints and ends. What `--help` lists must all be here.
#[test]
fn output_that_is_lost_is_reported_once_and_is_code_1_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let servers = free_servers(1);
    let on_disk = format!("1 linearizability --op-log off --servers {servers} --data-dir {data}");
    let mut command = kv_server(&on_disk);
    let mut server = Running::start({
        command.env_remove("KV_MEMORY");
        command
    });
    server.read_until("ready");
    let file = folder.path().join("backup").display().to_string();
    assert_eq!(run(kv_server(&format!("backup {servers} {file}"))), lost(), "backup, running");
    assert!(Path::new(&file).exists(), "the backup is whole all the same");
    assert_eq!(run(kv_server(&format!("restore {file} {servers}"))), lost(), "restore");
    assert_eq!(server.interrupt(), Some(0));

    let resting = format!("{data}/1-linearizable");
    let lines = [
        "config".to_owned(),
        format!("inspect {resting}"),
        format!("inspect {resting} --json"),
        format!("recover {resting}"),
        format!("backup {resting} {file} --force"),
        "completions bash".to_owned(),
        "man".to_owned(),
        "--help".to_owned(),
        "--version".to_owned(),
        "dev --help".to_owned(),
    ];
    for line in &lines {
        assert_eq!(run(kv_server(line)), lost(), "{line}");
    }
    let help = output(kv_server("--help")).1;
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    for name in commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()) {
        let is_tried = |line: &String| line.starts_with(name);
        assert!(name.is_empty() || name == "restore" || lines.iter().any(is_tried), "{name}");
    }
}

fn lost() -> (Option<i32>, String) {
    (Some(1), LOST.to_owned())
}

/// A server whose screen is on a full disk serves, and has not failed when it is stopped.
#[test]
fn a_server_goes_on_when_its_output_is_lost() {
    let servers = free_servers(1);
    let mut command = kv_server(&format!("1 --op-log off --servers {servers}"));
    let child = command.stdout(full()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id().to_string();
    while !catches_sigterm(&id) {
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), said.as_str()), (Some(0), LOST));
}

/// Whether a process has come so far that it stops in order.
fn catches_sigterm(id: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << 14) != 0
}
