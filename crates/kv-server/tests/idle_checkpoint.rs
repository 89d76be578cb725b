//! A checkpoint that is due is written by a server that nobody asks for anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod in_process;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use in_process::{WAIT_MAX, config, execute, ready, sockets};
use kv_core::{Key, Operation, Outcome, Value};
use kv_server::{Consistency, DataConfig, Server};

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.insert(path);
    }
    found
}

async fn put(server: &Server, value: &str) {
    let put = Operation::put(Key::new("x").unwrap(), Value::new(value.to_owned()).unwrap());
    assert!(matches!(execute(server, put).await, Outcome::Done(_)));
}

#[tokio::test]
async fn it_does_not_wait_for_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let (mut listening, list) = sockets(1).await;
    let mut config = config(1, Consistency::Linearizable, 1, &list);
    config.data = Some(DataConfig { checkpoint_bytes: 1, ..DataConfig::new(folder.path()) });
    let checkpoint = config.data_directory().unwrap().join("checkpoint");
    let server = Server::start_on(listening.pop().unwrap(), config).await.unwrap();
    ready(&server).await;
    put(&server, "1").await;
    let all_covered = async {
        loop {
            let status = server.client().status().await.unwrap();
            let counter = |wanted: &str| {
                status.counters.iter().find(|(name, _)| name == wanted).map(|(_, count)| *count)
            };
            if counter("checkpoint_covers") == counter("journal_persisted") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WAIT_MAX, all_covered).await.expect("all is covered");
    let before = files(&checkpoint);
    // The next one is due at once, and held back so soon after the last.
    put(&server, "2").await;
    let written = async {
        while files(&checkpoint) == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WAIT_MAX, written).await.expect("it is written");
    server.stop().await.unwrap();
}
