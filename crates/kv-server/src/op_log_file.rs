//! The file of the log of operations: appended, bounded, and no reason to stop.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use crate::op_log_text::{OpLogText, escape};

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
    pub(crate) fn append(&mut self, lines: &OpLogText) {
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

    fn try_append(&mut self, lines: &OpLogText) -> io::Result<()> {
        let mut escaped = Vec::new();
        for cut in lines.cut() {
            self.rotate_if_full()?;
            self.write(&cut.text)?;
            for piece in cut.value.chunks(PIECE_BYTES) {
                escaped.clear();
                escape(piece, &mut escaped);
                self.write(&escaped)?;
            }
            self.write(b"\n")?;
        }
        self.rotate_if_full()?;
        self.write(lines.rest())
    }

    fn rotate_if_full(&mut self) -> io::Result<()> {
        if self.size >= self.rotate_bytes {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&self.path, old)?;
            (self.file, self.size) = open_at_line_start(&self.path)?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.size += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
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

/// How much of a large value is escaped in one go.
const PIECE_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use kv_core::Value;

    use super::*;

    fn text(lines: &str) -> OpLogText {
        let mut text = OpLogText::default();
        text.put(lines.as_bytes());
        text
    }

    #[test]
    fn a_large_value_is_written_whole_and_ends_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.txt");
        let mut lines = text("before\nvalue,");
        lines.end_line_with(&Value::new(vec![b','; 2 * PIECE_BYTES + 1]).unwrap());
        lines.put(b"after\n");
        OpLogFile::open(path.clone(), 1 << 30).unwrap().append(&lines);
        let escaped = "\\x2c".repeat(2 * PIECE_BYTES + 1);
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            format!("before\nvalue,{escaped}\nafter\n")
        );
    }

    #[test]
    fn it_appends_after_a_half_line_and_begins_anew_when_it_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.txt");
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        std::fs::write(&path, "whole\nha").unwrap();

        let mut file = OpLogFile::open(path.clone(), 16).unwrap();
        file.append(&text("one\n"));
        assert_eq!(read("log.txt"), "whole\nha\none\n");
        file.append(&text("two\n"));
        file.append(&text("three\n"));
        assert_eq!(read("log.txt.1"), "whole\nha\none\ntwo\n");
        assert_eq!(read("log.txt"), "three\n");

        drop(file);
        OpLogFile::open(path, 16).unwrap().append(&text("four\n"));
        assert_eq!(read("log.txt"), "three\nfour\n");
    }
}
