//! Whose a log of operations is, so that servers that are started in one folder do not mix theirs.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Whose operations a log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogOwner {
    /// [`kv_core::ConsistencyEngine::NAME`].
    pub(crate) engine: String,
    /// The random number that names the data directory; `None` in memory.
    pub(crate) store: Option<u64>,
}

impl LogOwner {
    /// The line that says so.
    pub(crate) fn line(&self) -> String {
        format!("{DATA}{self}\n")
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?.strip_prefix(DATA)?.strip_suffix('\n')?;
        let (engine, store) = text.split_once(", ")?;
        let store = match store.strip_prefix(STORE) {
            Some(digits) => Some(u64::from_str_radix(digits, 16).ok()?),
            None => (store == MEMORY).then_some(None)?,
        };
        Some(Self { engine: engine.to_owned(), store })
    }

    /// Where this owner's log is kept while another server's has the usual name `path`.
    fn beside(&self, path: &Path) -> PathBuf {
        let store = self.store.map_or_else(|| "memory".to_owned(), |store| format!("{store:016x}"));
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        path.with_file_name(format!("{stem}-{}-{store}.txt", self.engine))
    }
}

/// `linearizable, store 00000000000000ff`
impl fmt::Display for LogOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.store {
            Some(store) => write!(f, "{}, {STORE}{store:016x}", self.engine),
            None => write!(f, "{}, {MEMORY}", self.engine),
        }
    }
}

/// Finds the owner's log, which is `path` unless a server that runs writes that; what another owner
/// left there is set aside first. Returns the log's path and what keeps other servers from it as long
/// as it is open.
///
/// # Errors
/// What the system says, or [`ErrorKind::ResourceBusy`] if servers that run write all files that it
/// could be.
pub(crate) fn claim(path: &Path, owner: &LogOwner) -> io::Result<(PathBuf, File)> {
    let own = owner.beside(path);
    let Some(file) = open_alone(path)? else {
        let file = open_alone(&own)?.ok_or(ErrorKind::ResourceBusy)?;
        tracing::warn!(
            "{} is another server's; operations go to {}",
            path.display(),
            own.display()
        );
        return Ok((own, file));
    };
    let Some(other) = last_owner(&file)?.filter(|found| found != owner) else {
        return Ok((path.to_owned(), file));
    };
    let aside = free_name(other.beside(path));
    move_with_older(path, &aside)?;
    tracing::warn!(
        "the operations in {} were those of other data ({other}); they are in {} now",
        path.display(),
        aside.display()
    );
    if own.exists() {
        move_with_older(&own, path)?;
    }
    let file = open_alone(path)?.ok_or(ErrorKind::ResourceBusy)?;
    Ok((path.to_owned(), file))
}

/// The file, made if there is none; `None` if another server writes it.
pub(crate) fn open_alone(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(None),
        // Not every file system has locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Some(file)),
    }
}

/// What the file that was rotated away is called.
pub(crate) fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

fn move_with_older(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(older(from), older(to)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::rename(from, to)
}

/// The path itself, or with a number if there is such a file: no log is overwritten.
fn free_name(path: PathBuf) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut free = path.clone();
    let mut number = 2;
    while free.exists() || older(&free).exists() {
        free = path.with_file_name(format!("{stem}-{number}.txt"));
        number += 1;
    }
    free
}

/// Whose the last lines of a file are; `None` if it does not say.
fn last_owner(file: &File) -> io::Result<Option<LogOwner>> {
    let mut lines = BufReader::with_capacity(READ_BYTES, file);
    let (mut last, mut line) = (None, Vec::new());
    loop {
        line.clear();
        // No such line is as long as that, and a value may be large.
        if lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(last);
        }
        if line.last() != Some(&b'\n') {
            lines.skip_until(b'\n')?;
        }
        last = LogOwner::parse(&line).or(last);
    }
}

const DATA: &str = "# data: ";
const STORE: &str = "store ";
const MEMORY: &str = "in memory";

const LINE_BYTES_MAX: u64 = 256;
const READ_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn owner(engine: &str, store: Option<u64>) -> LogOwner {
        LogOwner { engine: engine.to_owned(), store }
    }

    /// Claims the log, writes the owner's line and one more, and keeps it open.
    fn run(path: &Path, owner: &LogOwner, text: &str) -> (PathBuf, File) {
        let (path, mut file) = claim(path, owner).unwrap();
        file.write_all(format!("{}{text}\n", owner.line()).as_bytes()).unwrap();
        (path, file)
    }

    #[test]
    fn a_line_says_whose_the_log_is() {
        for (owner, line) in [
            (owner("eventual", Some(255)), "# data: eventual, store 00000000000000ff\n"),
            (owner("linearizable", None), "# data: linearizable, in memory\n"),
        ] {
            assert_eq!(owner.line(), line);
            assert_eq!(LogOwner::parse(line.as_bytes()), Some(owner));
        }
        for other in
            ["# data: x\n", "# data: x, store z\n", "# data: x, in mem\n", "# data: x, store 1"]
        {
            assert_eq!(LogOwner::parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn each_store_goes_on_with_its_own_log_and_none_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output_log1.txt");
        let [a, b, memory] = [
            owner("eventual", Some(0xa)),
            owner("linearizable", Some(0xb)),
            owner("eventual", None),
        ];
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let (of_a, of_b) = (a.line(), b.line());
        drop(run(&path, &a, "first"));
        fs::write(older(&path), "old of a").unwrap();
        drop(run(&path, &a, "second"));
        assert_eq!(read("output_log1.txt"), format!("{of_a}first\n{of_a}second\n"));
        drop(run(&path, &b, "third"));
        assert_eq!(read("output_log1.txt"), format!("{of_b}third\n"));
        let aside = "output_log1-eventual-000000000000000a.txt";
        assert_eq!(read(aside), format!("{of_a}first\n{of_a}second\n"));
        assert_eq!(read(&format!("{aside}.1")), "old of a");
        drop(run(&path, &a, "fourth"));
        assert_eq!(read("output_log1.txt"), format!("{of_a}first\n{of_a}second\n{of_a}fourth\n"));
        assert_eq!(read("output_log1.txt.1"), "old of a");
        assert_eq!(read("output_log1-linearizable-000000000000000b.txt"), format!("{of_b}third\n"));
        // A name that is taken already.
        fs::write(folder.path().join(aside), "somebody's").unwrap();
        drop(run(&path, &memory, "fifth"));
        assert_eq!(read(aside), "somebody's");
        assert!(read("output_log1-eventual-000000000000000a-2.txt").ends_with("fourth\n"));
    }

    #[test]
    fn servers_that_run_at_once_write_files_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output_log1.txt");
        let [a, b] = [owner("eventual", Some(0xa)), owner("eventual", Some(0xb))];
        let first = run(&path, &a, "a");
        let second = run(&path, &b, "b");
        assert_eq!(first.0, path);
        assert_eq!(second.0, folder.path().join("output_log1-eventual-000000000000000b.txt"));
        let busy = claim(&path, &b).unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::ResourceBusy);
        drop((first, second));
        let (at, _file) = claim(&path, &b).unwrap();
        assert_eq!(at, path);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}b\n", b.line()));
    }

    #[test]
    fn a_log_that_does_not_say_whose_it_is_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output_log1.txt");
        fs::write(&path, "1,0,put,x,1,req,a\n").unwrap();
        let (at, _file) = claim(&path, &owner("eventual", None)).unwrap();
        assert_eq!(at, path);
        assert!(!fs::read_to_string(&path).unwrap().is_empty());
    }
}
