//! The file of the log of operations: appended, bounded, and no reason to stop.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::op_log::cluster::ClusterLine;
use crate::op_log::owner::{LogOwner, claim, older, open_alone};
use crate::op_log::text::{OpLogText, escape};

/// A file that is appended to and begun anew when it is full.
#[derive(Debug)]
pub(crate) struct OpLogFile {
    path: PathBuf,
    owner: LogOwner,
    cluster: ClusterLine,
    rotate_bytes: u64,
    file: BufWriter<File>,
    size: u64,
    failed: bool,
    next_client: u64,
}

impl OpLogFile {
    /// Opens the owner's file, usually `path`, and says in it where an earlier process ended.
    pub(crate) fn open(
        path: &Path,
        owner: LogOwner,
        cluster: ClusterLine,
        rotate_bytes: u64,
    ) -> io::Result<Self> {
        let (path, file) = claim(path, &owner)?;
        let (file, size) = at_line_start(file)?;
        let has_lines = size > 0;
        let next_client = match has_lines {
            true => highest_client(&File::open(&path)?)?.map_or(0, |n| n.saturating_add(1)),
            false => 0,
        };
        let file = BufWriter::with_capacity(PART_BYTES, file);
        let mut log =
            Self { path, owner, cluster, rotate_bytes, file, size, failed: false, next_client };
        if has_lines {
            log.write(STARTED)?;
        }
        log.write_head()?;
        log.file.flush()?;
        Ok(log)
    }

    /// Says whose the lines are that follow.
    fn write_head(&mut self) -> io::Result<()> {
        self.write(self.owner.line().as_bytes())?;
        match self.cluster.line() {
            Some(line) => self.write(&line),
            None => Ok(()),
        }
    }

    /// The first number that no client in the file has.
    pub(crate) const fn next_client(&self) -> u64 {
        self.next_client
    }

    /// Appends whole lines. A disk that fails is reported once, and the server goes on without
    /// the log: it is there for people to read, not for the data.
    pub(crate) fn append(&mut self, texts: &[OpLogText]) {
        if self.failed {
            return;
        }
        let appended = texts.iter().try_for_each(|lines| self.try_append(lines));
        if let Err(error) = appended.and_then(|()| self.file.flush()) {
            self.failed = true;
            tracing::error!(
                "{} cannot be written: {error}; operations are not logged from here on",
                self.path.display()
            );
        }
    }

    fn try_append(&mut self, lines: &OpLogText) -> io::Result<()> {
        let mut escaped = Vec::new();
        for (text, large) in lines.pieces() {
            self.rotate_if_full()?;
            self.write(text)?;
            if let Some(value) = large {
                for part in value.as_bytes().chunks(PART_BYTES) {
                    escaped.clear();
                    escape(part, &mut escaped);
                    self.write(&escaped)?;
                }
                self.write(b"\n")?;
            }
        }
        Ok(())
    }

    fn rotate_if_full(&mut self) -> io::Result<()> {
        if self.size >= self.rotate_bytes {
            self.file.flush()?;
            std::fs::rename(&self.path, older(&self.path))?;
            let file = open_alone(&self.path)?.ok_or(ErrorKind::ResourceBusy)?;
            let (file, size) = at_line_start(file)?;
            (self.file, self.size) = (BufWriter::with_capacity(PART_BYTES, file), size);
            self.write_head()?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.size += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

/// A file to append lines, and its size. A process that was killed may have left half a line: that
/// is ended first.
fn at_line_start(mut file: File) -> io::Result<(File, u64)> {
    let mut size = file.seek(SeekFrom::End(0))?;
    if size > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(CUT)?;
            size += u64::try_from(CUT.len()).unwrap_or(u64::MAX);
        }
    }
    Ok((file, size))
}

/// The highest number of a client in the file's lines.
fn highest_client(file: &File) -> io::Result<Option<u64>> {
    let mut lines = BufReader::with_capacity(PART_BYTES, file);
    let mut highest = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        // A value may be large, and what names the client stands before it.
        if lines.by_ref().take(LINE_START_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(highest);
        }
        if line.last() != Some(&b'\n') {
            lines.skip_until(b'\n')?;
        }
        let client = line.split(|byte| *byte == b',').nth(1);
        let client = client.and_then(|digits| std::str::from_utf8(digits).ok());
        highest = highest.max(client.and_then(|digits| digits.parse().ok()));
    }
}

/// Ends a line of which only a part was written.
const CUT: &[u8] = b"\n# cut: the line above is not whole, since the server was killed\n";

/// The first line of a process that goes on in the log of another one.
const STARTED: &[u8] =
    b"# started: if the server was killed before, its last lines may be missing above\n";

/// So many bytes of a line hold the client's number.
const LINE_START_BYTES: u64 = 64;

/// How much is written, and how much of a large value is escaped, in one go.
const PART_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use kv_core::Value;

    use super::*;

    const MARK: &str =
        "# started: if the server was killed before, its last lines may be missing above\n";
    const HEAD: &str = "# data: eventual, in memory\n";
    const CUT_MARK: &str = "# cut: the line above is not whole, since the server was killed\n";

    fn open(path: &Path, rotate_bytes: u64) -> OpLogFile {
        let owner = LogOwner { engine: "eventual".to_owned(), store: None };
        OpLogFile::open(path, owner, ClusterLine::default(), rotate_bytes).unwrap()
    }

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
        lines.end_line_with(&Value::new(vec![b','; 2 * PART_BYTES + 1]).unwrap());
        lines.put(b"after\n");
        open(&path, 1 << 30).append(&[lines]);
        let escaped = "\\x2c".repeat(2 * PART_BYTES + 1);
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            format!("{HEAD}before\nvalue,{escaped}\nafter\n")
        );
    }

    #[test]
    fn it_appends_after_a_half_line_and_begins_anew_when_it_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.txt");
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        std::fs::write(&path, "whole\nha").unwrap();

        let full = "whole\nha\none\n".len() + CUT_MARK.len() + MARK.len() + HEAD.len();
        let mut file = open(&path, u64::try_from(full + 1).unwrap());
        file.append(&[text("one\n")]);
        assert_eq!(read("log.txt"), format!("whole\nha\n{CUT_MARK}{MARK}{HEAD}one\n"));
        file.append(&[text("two\n")]);
        file.append(&[text("three\n")]);
        assert_eq!(read("log.txt.1"), format!("whole\nha\n{CUT_MARK}{MARK}{HEAD}one\ntwo\n"));
        assert_eq!(read("log.txt"), format!("{HEAD}three\n"));

        drop(file);
        open(&path, 1 << 30).append(&[text("four\n")]);
        assert_eq!(read("log.txt"), format!("{HEAD}three\n{MARK}{HEAD}four\n"));
    }

    #[test]
    fn the_numbers_of_clients_go_on_after_the_highest_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.txt");
        let next = || open(&path, 1 << 30).next_client();
        assert_eq!(next(), 0, "a new file");
        let value = "9,".repeat(1000);
        std::fs::write(&path, format!("1,3,put,x,1,req,{value}\n1,12,get,x,1,req,\n1,4,ge"))
            .unwrap();
        assert_eq!(next(), 13);
        assert_eq!(next(), 13, "the marks of starts count for nothing");
    }
}
