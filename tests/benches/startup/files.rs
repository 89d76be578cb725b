//! The files of a data directory, read without a meaning.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

/// Takes all files of a folder out of the system's cache, as far as it lets go of them.
pub(crate) fn forget(folder: &Path) {
    for path in all(folder) {
        let file = File::open(path).unwrap();
        // What is not on disk stays in the cache.
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    }
}

/// Reads all files of a folder; returns how many bytes they have, and how long it took.
pub(crate) fn read(folder: &Path) -> (u64, Duration) {
    let began = Instant::now();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    for path in all(folder) {
        let mut file = File::open(path).unwrap();
        loop {
            match file.read(&mut buffer).unwrap() {
                0 => break,
                len => bytes += len as u64,
            }
        }
    }
    (bytes, began.elapsed())
}

fn all(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(all(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}
