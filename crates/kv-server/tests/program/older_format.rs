//! A data directory of an earlier release.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::run::{Running, free_servers, kv_server, output};

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

#[test]
fn it_is_refused_with_what_to_do_and_left_as_it_is() {
    for (model, name) in [("linearizability", "1-linearizable"), ("eventual", "1-eventual")] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().display();
        let servers = free_servers(1);
        let command = || {
            let words = format!("1 {model} 1 1 --servers {servers} --op-log off --data-dir {data}");
            let mut command = kv_server(&words);
            command.env_remove("KV_MEMORY");
            command
        };
        let mut server = Running::start(command());
        server.read_until("ready");
        assert_eq!(server.interrupt(), Some(0));

        set_format(folder.path(), 2);
        let before = files(folder.path());
        let (code, _, error) = output(command());
        let expected = format!(
            "kv-server: {data}/{name}/journal-000000000001.segment has format 2 and this release \
             reads 4 and later; nothing was changed. Start the older release again, back its data \
             up (`kv-server backup`), and restore the backup into a new cluster of this release\n"
        );
        assert_eq!((code, error), (Some(1), expected));
        assert!(files(folder.path()) == before, "it was not left as it was");
    }
}
