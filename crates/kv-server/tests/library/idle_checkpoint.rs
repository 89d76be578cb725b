//! A checkpoint that is due is written by a server that nobody asks for anything.

use std::time::Duration;

use crate::in_process::{WAIT_MAX, config, execute, ready, sockets};
use kv_core::{Key, Operation, Outcome, Value};
use kv_server::{Consistency, DataConfig, Server};

/// The last record that the checkpoint on disk covers.
async fn covers(server: &Server) -> u64 {
    server.client().status().await.unwrap().positions.checkpoint_covers.unwrap()
}

async fn wait_for_checkpoint(server: &Server, after: u64) {
    let written = async {
        while covers(server).await <= after {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WAIT_MAX, written).await.expect("a checkpoint is written");
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
    config.data = Some(DataConfig::new(folder.path()).with_checkpoint_bytes(1));
    let server = Server::start_on(listening.pop().unwrap(), config).await.unwrap();
    ready(&server).await;
    put(&server, "1").await;
    wait_for_checkpoint(&server, 0).await;
    let before = covers(&server).await;
    // The next one is due at once, and held back so soon after the last.
    put(&server, "2").await;
    wait_for_checkpoint(&server, before).await;
    server.stop().await.unwrap();
}
