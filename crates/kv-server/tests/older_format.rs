//! A data directory of an earlier release.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kv_core::{Key, NodeId, Operation, Quorum, RequestOptions, Value};
use kv_server::{Consistency, DataConfig, Server, ServerConfig};
use program::{kv_server, output};
use tokio::net::TcpListener;

/// All files below a folder with what is in them, but for the lock, which names the last process.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.file_name().unwrap() != "lock" {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Gives the segments of a directory another version of their format: it stands after the eight
/// bytes that name the kind of file, before a checksum of both.
fn set_format(directory: &Path, version: u8) {
    let segments = files(directory).into_iter();
    let segments =
        segments.filter(|(path, _)| path.extension().is_some_and(|end| end == "segment"));
    for (path, mut bytes) in segments {
        bytes[8] = version;
        let checksum = crc32c::crc32c(&bytes[..12]);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        fs::write(path, bytes).unwrap();
    }
}

#[tokio::test]
async fn it_is_refused_with_what_to_do_and_left_as_it_is() {
    for (consistency, name) in
        [(Consistency::Linearizable, "1-linearizable"), (Consistency::Eventual, "1-eventual")]
    {
        let folder = tempfile::tempdir().unwrap();
        let one = Quorum::Count(1);
        let mut config = ServerConfig::new(NodeId::FIRST, consistency, one, one);
        config.servers = "1".parse().unwrap();
        config.data = Some(DataConfig::new(folder.path()));
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::start_on(socket, config).await.unwrap();
        server.ready().await;
        let put = Operation::put(Key::new("k").unwrap(), Value::new("v").unwrap());
        server.client().execute(put, RequestOptions::default()).await.unwrap();
        server.stop().await.unwrap();

        set_format(folder.path(), 2);
        let before = files(folder.path());
        let data = folder.path().display();
        let model =
            if consistency == Consistency::Eventual { "eventual" } else { "linearizability" };
        let words = format!("1 {model} 1 1 --servers 1=127.0.0.1:1 --op-log off --data-dir {data}");
        let mut command = kv_server(&format!("{words} --listen 127.0.0.1:0"));
        command.env_remove("KV_MEMORY");
        let (code, _, error) = output(command);
        let expected = format!(
            "{data}/{name}/journal-000000000001.segment has format 2 and this release reads 3 and \
             later; nothing was changed. Start the older release again, back its data up \
             (`kv-server backup`), and restore the backup into a new cluster of this release\n"
        );
        assert_eq!((code, error), (Some(1), format!("kv-server: {expected}")));
        assert_eq!(files(folder.path()), before, "it was left as it was");
    }
}
