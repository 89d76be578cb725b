//! Runs the program itself.

use std::process::{Output, Stdio};

use kv_core::NodeId;
use kv_proto::ServerList;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::SOON;

/// What a run of the program brought.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The program with these servers, and nothing from the environment.
pub fn program(servers: impl IntoIterator<Item = (NodeId, String)>, args: &[&str]) -> Command {
    let servers = ServerList::new(servers).unwrap().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv-client"));
    command.env_clear().args(["--servers", &servers]).args(args);
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    command
}

/// Runs one command.
pub async fn run_one(server: &(NodeId, String), args: &[&str]) -> Run {
    let id = server.0.to_string();
    let mut all = vec![id.as_str()];
    all.extend(args);
    finish(program([server.clone()], &all).spawn().unwrap()).await
}

/// Runs lines from a pipe.
pub async fn run_lines(server: &(NodeId, String), args: &[&str], lines: &[u8]) -> Run {
    let id = server.0.to_string();
    let mut all = args.to_vec();
    all.push(&id);
    let mut command = program([server.clone()], &all);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines = lines.to_vec();
    let writer = tokio::spawn(async move { stdin.write_all(&lines).await });
    let run = finish(child).await;
    // After `exit` nobody reads the rest.
    let _ = writer.await.unwrap();
    run
}

pub async fn finish(child: Child) -> Run {
    let output = tokio::time::timeout(SOON, child.wait_with_output()).await;
    let Output { status, stdout, stderr } = output.expect("the program hangs").unwrap();
    Run {
        code: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}
