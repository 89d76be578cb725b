//! The engine on sockets and disks: the example, and where it keeps its data.

use kv_abd::AbdEngine;
use kv_server::{Consistency, DataConfig, NodeId, Quorum, ServerConfig};

#[allow(dead_code, reason = "its main runs it as a program")]
#[path = "../../examples/three_servers.rs"]
mod three_servers;

#[tokio::test]
async fn what_real_servers_acknowledged_outlives_them() {
    let folder = tempfile::tempdir().unwrap();
    let read = three_servers::run(folder.path()).await.unwrap();
    assert!(read.starts_with("b\"green\" of version 1@"), "{read}");
    let majority = Quorum::Majority;
    let mut config =
        ServerConfig::new(NodeId::FIRST, Consistency::Linearizable, majority, majority);
    config.data = Some(DataConfig::new(folder.path()));
    let directory = config.data_directory_of::<AbdEngine>().unwrap();
    assert!(directory.is_dir(), "{}", directory.display());
    assert!(!config.data_directory().unwrap().exists());
}
