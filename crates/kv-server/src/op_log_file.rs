//! The file of the log of operations: appended, bounded, and no reason to stop.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

/// A file that is appended to and begun anew when it is full.
#[derive(Debug)]
pub(crate) struct OpLogFile {
    path: PathBuf,
    rotate_bytes: u64,
    file: File,
    size: u64,
    failed: bool,
}

impl OpLogFile {
    pub(crate) fn open(path: PathBuf, rotate_bytes: u64) -> io::Result<Self> {
        let (file, size) = open_at_line_start(&path)?;
        Ok(Self { path, rotate_bytes, file, size, failed: false })
    }

    /// Appends whole lines. A disk that fails is reported once, and the server goes on without
    /// the log: it is there for people to read, not for the data.
    pub(crate) fn append(&mut self, lines: &[u8]) {
        if self.failed {
            return;
        }
        if let Err(error) = self.try_append(lines) {
            self.failed = true;
            tracing::error!(
                "{} cannot be written: {error}; operations are not logged from here on",
                self.path.display()
            );
        }
    }

    fn try_append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.size >= self.rotate_bytes {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&self.path, old)?;
            (self.file, self.size) = open_at_line_start(&self.path)?;
        }
        self.file.write_all(lines)?;
        self.size += u64::try_from(lines.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

/// Opens a file to append lines. A process that was killed may have left half a line: that is
/// ended first.
fn open_at_line_start(path: &PathBuf) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut size = file.seek(SeekFrom::End(0))?;
    if size > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            size += 1;
        }
    }
    Ok((file, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_appends_after_a_half_line_and_begins_anew_when_it_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.txt");
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        std::fs::write(&path, "whole\nha").unwrap();

        let mut file = OpLogFile::open(path.clone(), 16).unwrap();
        file.append(b"one\n");
        assert_eq!(read("log.txt"), "whole\nha\none\n");
        file.append(b"two\n");
        file.append(b"three\n");
        assert_eq!(read("log.txt.1"), "whole\nha\none\ntwo\n");
        assert_eq!(read("log.txt"), "three\n");

        drop(file);
        OpLogFile::open(path, 16).unwrap().append(b"four\n");
        assert_eq!(read("log.txt"), "three\nfour\n");
    }
}
