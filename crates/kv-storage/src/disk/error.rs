//! What can go wrong between storage and the file system.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

/// A file operation that failed: what, on which file, where in it, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError {
    /// What was to be done.
    pub action: DiskAction,
    /// With which file or directory.
    pub path: PathBuf,
    /// From which byte of it on, where that applies.
    pub offset: Option<u64>,
    /// The kind of failure.
    pub kind: io::ErrorKind,
    /// The operating system's number for it, if it came from there.
    pub os_code: Option<i32>,
}

/// What can be done with a file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskAction {
    /// Make it.
    Create,
    /// Open it.
    Open,
    /// Read it.
    Read,
    /// Write it.
    Write,
    /// Sync it.
    Sync,
    /// Remove it.
    Remove,
    /// Rename it.
    Rename,
    /// Lock it.
    Lock,
    /// Go where a link leads.
    Follow,
    /// Ask how much room there is beside it.
    MeasureFree,
}

impl DiskError {
    /// Describes an error of the operating system.
    pub(crate) fn new(action: DiskAction, path: impl Into<PathBuf>, error: &io::Error) -> Self {
        let (kind, os_code) = (error.kind(), error.raw_os_error());
        Self { action, path: path.into(), offset: None, kind, os_code }
    }

    /// Names the place in the file.
    pub(crate) fn at(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }

    /// Whether there is no room: nothing is broken, and it works again once there is some.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether the process or the system has too many open files: nothing is broken, and it works
    /// again once some are closed.
    #[must_use]
    pub fn lacks_descriptors(&self) -> bool {
        self.os_code.is_some_and(is_want_of_descriptors)
    }

    /// Whether the file does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == io::ErrorKind::NotFound
    }

    fn advice(&self) -> &'static str {
        if self.is_full() {
            MAKE_ROOM
        } else if self.lacks_descriptors() {
            RAISE_LIMIT
        } else if self.kind == io::ErrorKind::PermissionDenied {
            "let this user read and write there"
        } else if self.kind == io::ErrorKind::ReadOnlyFilesystem {
            "mount the file system so that it can be written, or use another directory"
        } else if self.action == DiskAction::Follow {
            "make what it leads to, or remove it"
        } else if self.kind == io::ErrorKind::NotADirectory {
            "a part of this path is a file where a directory is needed: name another path, or move the file away"
        } else if self.is_not_found() {
            "check the path"
        } else {
            "check the disk"
        }
    }
}

/// `cannot write ./kv-data/1-eventual/x at byte 512: No space left on device (os error 28); make
/// room on this disk`
impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}", self.action, self.path.display())?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        match self.os_code {
            Some(code) => write!(f, ": {}", io::Error::from_raw_os_error(code))?,
            None => write!(f, ": {}", self.kind)?,
        }
        write!(f, "; {}", self.advice())
    }
}

impl std::error::Error for DiskError {}

/// Whether this is the operating system's number for too many open files.
pub(crate) fn is_want_of_descriptors(os_code: i32) -> bool {
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| errno.raw_os_error() == os_code)
}

/// What to do about a full disk.
pub(crate) const MAKE_ROOM: &str = "make room on this disk";

/// What to do about damage. A sequencer that no other server can replace cannot join without its
/// data: then the other servers' data is all there is.
pub(crate) const RESTORE_OR_JOIN: &str = "restore a backup, or move the data directory away and \
    let the server join again (not server 1 of a linearizable cluster with W=1 or R=1: save what \
    the others hold with `kv-server backup DATA_DIRECTORY... FILE`, naming those of all of them)";

/// What to do about too many open files.
pub(crate) const RAISE_LIMIT: &str = "raise the limit of open files (`ulimit -n`)";

impl fmt::Display for DiskAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "make",
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Remove => "remove",
            Self::Rename => "rename",
            Self::Lock => "lock",
            Self::Follow => "follow the link",
            Self::MeasureFree => "find out the free space at",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_where_why_and_what_to_do() {
        let error = io::Error::from_raw_os_error(28);
        let error = DiskError::new(DiskAction::Write, "data/x", &error).at(512);
        assert!(error.is_full());
        assert_eq!(
            error.to_string(),
            "cannot write data/x at byte 512: No space left on device (os error 28); make room on \
             this disk"
        );
        let error = io::Error::from_raw_os_error(24);
        let error = DiskError::new(DiskAction::Create, "data/x", &error);
        assert!(error.lacks_descriptors() && !error.is_full());
        assert_eq!(
            error.to_string(),
            "cannot make data/x: Too many open files (os error 24); raise the limit of open files \
             (`ulimit -n`)"
        );
    }
}
