//! A directory of the operating system's file system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::error::{DiskAction, DiskError};
use crate::disk::{Disk, DiskFile};

/// A directory on a real disk.
///
/// A sync is `fdatasync`, of the directory `fsync`.
#[derive(Clone, Debug)]
pub struct RealDisk {
    directory: Arc<PathBuf>,
    /// Kept open, so that the directory can be synced when the process may open no more files.
    handle: Arc<File>,
    may_write: bool,
}

impl RealDisk {
    /// Takes a directory, which is made with its parents if need be.
    ///
    /// # Errors
    /// [`DiskError`] if it cannot be made.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, DiskError> {
        Self::open_syncing(directory.into(), sync_directory)
    }

    fn open_syncing(
        directory: PathBuf,
        mut sync: impl FnMut(&Path) -> io::Result<()>,
    ) -> Result<Self, DiskError> {
        let made: Vec<&Path> = directory.ancestors().take_while(|path| is_missing(path)).collect();
        fs::create_dir_all(&directory).map_err(|e| {
            // The system says no more than that the link exists.
            let is_dangling = |path: &&Path| fs::read_link(path).is_ok() && !path.exists();
            match directory.ancestors().find(is_dangling) {
                Some(link) => {
                    DiskError::new(DiskAction::Follow, link, &io::ErrorKind::NotFound.into())
                }
                None => DiskError::new(DiskAction::Create, &directory, &e),
            }
        })?;
        // A directory's own name must outlive a power loss as well. Who made it may have been
        // killed before it was synced, so that is done again.
        for path in directory.ancestors().filter(|path| !path.as_os_str().is_empty()) {
            let Some(parent) = path.parent() else {
                break;
            };
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            match sync(parent) {
                Err(error) if made.contains(&path) || !may_be_anothers(&error) => {
                    return Err(DiskError::new(DiskAction::Sync, parent, &error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Self::with_handle(directory, true)
    }

    fn with_handle(directory: PathBuf, may_write: bool) -> Result<Self, DiskError> {
        let handle = File::open(&directory);
        let handle = handle.map_err(|e| DiskError::new(DiskAction::Open, &directory, &e))?;
        Ok(Self { directory: Arc::new(directory), handle: Arc::new(handle), may_write })
    }

    /// Takes a directory that is there, whose files are opened for reading only.
    ///
    /// # Errors
    /// [`DiskError`] if it is not there, or no directory.
    pub fn open_to_read(directory: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let directory = directory.into();
        fs::read_dir(&directory).map_err(|e| DiskError::new(DiskAction::Read, &directory, &e))?;
        Self::with_handle(directory, false)
    }

    /// Keeps all other processes from locking a file, which is left as it is; `None` if one of
    /// them holds it. There is nothing to keep where there is no such file.
    ///
    /// # Errors
    /// [`DiskError`] if it cannot be opened or locked.
    pub fn hold(&self, name: &str) -> Result<Option<RealLock>, DiskError> {
        let path = self.path(name);
        let failed = |e: io::Error| DiskError::new(DiskAction::Lock, path.as_path(), &e);
        let Some(directory) = self.lock_directory()? else {
            return Ok(None);
        };
        let file = match File::open(&path) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some(RealLock { file: None, directory }));
            }
            Err(error) => return Err(failed(error)),
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(RealLock { file: Some(file), directory })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Locks the directory itself, so that a lock's file can be removed without giving it free.
    /// `None` if another process holds it; nothing is held where the file system locks only files.
    fn lock_directory(&self) -> Result<Option<Option<Arc<File>>>, DiskError> {
        let opened = File::open(self.directory());
        let directory =
            opened.map_err(|e| DiskError::new(DiskAction::Lock, self.directory(), &e))?;
        match directory.try_lock() {
            Ok(()) => Ok(Some(Some(Arc::new(directory)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(_)) => Ok(Some(None)),
        }
    }

    fn handle(&self, name: &str, action: DiskAction, how: &OpenOptions) -> Opened {
        let path = self.path(name);
        let file = how.open(&path).map_err(|e| DiskError::new(action, &path, &e))?;
        Ok(RealFile { file: Arc::new(file), path: Arc::new(path) })
    }
}

type Opened = Result<RealFile, DiskError>;

impl RealDisk {
    /// The size of the file system, whatever is free of it.
    ///
    /// # Errors
    /// [`DiskError`] if the system does not tell.
    pub fn total_bytes(&self) -> Result<u64, DiskError> {
        let figures = rustix::fs::statvfs(self.directory()).map_err(|e| {
            DiskError::new(DiskAction::MeasureFree, self.directory(), &io::Error::from(e))
        })?;
        Ok(figures.f_blocks.saturating_mul(figures.f_frsize))
    }
}

impl Disk for RealDisk {
    type File = RealFile;
    type Lock = RealLock;

    fn create(&self, name: &str) -> Opened {
        let mut how = OpenOptions::new();
        self.handle(name, DiskAction::Create, how.read(true).write(true).create_new(true))
    }

    fn open(&self, name: &str) -> Opened {
        self.handle(name, DiskAction::Open, OpenOptions::new().read(true).write(self.may_write))
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        let failed = |e: io::Error| DiskError::new(DiskAction::Read, self.directory(), &e);
        let mut names = Vec::new();
        for entry in fs::read_dir(self.directory()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let is_file = entry.file_type().map_err(failed)?.is_file();
            // A name that is no text is not ours.
            if let (true, Ok(name)) = (is_file, entry.file_name().into_string()) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        let path = self.path(name);
        fs::remove_file(&path).map_err(|e| DiskError::new(DiskAction::Remove, path, &e))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let path = self.path(from);
        fs::rename(&path, self.path(to)).map_err(|e| DiskError::new(DiskAction::Rename, path, &e))
    }

    fn sync_directory(&self) -> Result<(), DiskError> {
        let synced = self.handle.sync_all();
        synced.map_err(|e| DiskError::new(DiskAction::Sync, self.directory(), &e))
    }

    fn free_bytes(&self) -> Result<u64, DiskError> {
        let figures = rustix::fs::statvfs(self.directory()).map_err(|e| {
            DiskError::new(DiskAction::MeasureFree, self.directory(), &io::Error::from(e))
        })?;
        Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
    }

    fn path(&self, name: &str) -> PathBuf {
        // An empty name means the directory, which is shown without a slash at its end.
        if name.is_empty() { self.directory.to_path_buf() } else { self.directory.join(name) }
    }

    fn try_lock(&self, name: &str, content: &[u8]) -> Result<Option<RealLock>, DiskError> {
        let Some(directory) = self.lock_directory()? else {
            return Ok(None);
        };
        let mut how = OpenOptions::new();
        how.read(true).write(true).create(true).truncate(false);
        let RealFile { file, path } = self.handle(name, DiskAction::Lock, &how)?;
        let failed = |e: io::Error| DiskError::new(DiskAction::Lock, path.as_path(), &e);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        file.set_len(0).map_err(failed)?;
        (&*file).write_all(content).map_err(failed)?;
        Ok(Some(RealLock { file: Some(file), directory }))
    }
}

/// An open file on a real disk.
#[derive(Clone, Debug)]
pub struct RealFile {
    file: Arc<File>,
    path: Arc<PathBuf>,
}

impl RealFile {
    fn error(&self, action: DiskAction, error: &io::Error) -> DiskError {
        DiskError::new(action, self.path.as_path(), error)
    }
}

impl DiskFile for RealFile {
    fn size_bytes(&self) -> Result<u64, DiskError> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(|e| self.error(DiskAction::Read, &e))?.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let read = self.file.read_exact_at(into, offset);
        read.map_err(|e| self.error(DiskAction::Read, &e).at(offset))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let written = self.file.write_all_at(bytes, offset);
        written.map_err(|e| self.error(DiskAction::Write, &e).at(offset))
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|e| self.error(DiskAction::Sync, &e))
    }

    fn renamed(self, path: PathBuf) -> Self {
        Self { path: Arc::new(path), ..self }
    }
}

/// A lock on a file, until it is dropped.
#[derive(Debug)]
pub struct RealLock {
    file: Option<Arc<File>>,
    directory: Option<Arc<File>>,
}

/// A child that this process is about to start has these files open as well until it runs its program.
/// To close them here would leave them locked that long.
impl Drop for RealLock {
    fn drop(&mut self) {
        for file in [&self.file, &self.directory].into_iter().flatten() {
            if let Err(error) = file.unlock() {
                tracing::warn!(%error, "a data directory stays locked until its files are closed");
            }
        }
    }
}

fn is_missing(path: &Path) -> bool {
    !path.as_os_str().is_empty() && !path.exists()
}

/// Makes the names in a directory outlive a loss of power.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Whether a directory cannot be synced since it is not this user's, who then did not make what is
/// in it either.
fn may_be_anothers(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_made_read_renamed_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(directory.path().join("a/b")).unwrap();
        let file = disk.create("one").unwrap();
        file.write_at(3, b"xyz").unwrap();
        file.sync().unwrap();
        assert_eq!(disk.read("one").unwrap(), b"\0\0\0xyz");
        disk.rename("one", "two").unwrap();
        disk.sync_directory().unwrap();
        assert_eq!(disk.list().unwrap(), ["two"]);
        assert!(disk.open("one").unwrap_err().is_not_found());
        let twice = disk.create("two").unwrap_err();
        assert_eq!((twice.action, twice.kind), (DiskAction::Create, io::ErrorKind::AlreadyExists));
        let beyond = disk.open("two").unwrap().read_at(4, &mut [0; 3]).unwrap_err();
        assert_eq!((beyond.offset, beyond.kind), (Some(4), io::ErrorKind::UnexpectedEof));
        disk.remove("two").unwrap();
        assert!(disk.list().unwrap().is_empty());
        assert!(disk.free_bytes().unwrap() > 0);
    }

    /// It may have been made by a process that was killed before it could sync its name.
    #[test]
    fn the_name_of_a_directory_is_synced_whoever_made_it() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("a/b");
        let parents = [root.path().join("a"), root.path().to_owned()];
        for found in ["nothing", "a directory"] {
            let mut synced = Vec::new();
            let note = |path: &Path| {
                synced.push(path.to_owned());
                Ok(())
            };
            RealDisk::open_syncing(directory.clone(), note).unwrap();
            assert_eq!(synced[..2], parents, "found {found}");
        }
        let fails = |kind: io::ErrorKind| {
            RealDisk::open_syncing(directory.clone(), |_| Err(kind.into())).is_err()
        };
        assert!(fails(io::ErrorKind::Other));
        assert!(!fails(io::ErrorKind::PermissionDenied), "others made it");
        let refused = |_: &Path| Err(io::ErrorKind::PermissionDenied.into());
        assert!(RealDisk::open_syncing(root.path().join("c"), refused).is_err());
    }

    /// What cannot be synced tells whether it was tried.
    #[test]
    fn a_sync_asks_the_system() {
        let directory = tempfile::tempdir().unwrap();
        sync_directory(directory.path()).unwrap();
        assert!(sync_directory(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn a_locked_file_tells_who_holds_it() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(directory.path()).unwrap();
        let lock = disk.try_lock("lock", b"me, for long").unwrap().unwrap();
        assert!(disk.try_lock("lock", b"you").unwrap().is_none());
        assert_eq!(disk.read("lock").unwrap(), b"me, for long");
        disk.remove("lock").unwrap();
        assert!(disk.try_lock("lock", b"you").unwrap().is_none(), "the file was not the lock");
        assert!(disk.hold("lock").unwrap().is_none());
        assert!(disk.open("lock").unwrap_err().is_not_found());
        drop(lock);
        let again = disk.try_lock("lock", b"you").unwrap();
        assert!(again.is_some());
        assert_eq!(disk.read("lock").unwrap(), b"you");
    }

    #[test]
    fn a_lock_ends_although_a_child_has_its_files_open() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(directory.path()).unwrap();
        let lock = disk.try_lock("lock", b"me").unwrap().unwrap();
        // As a fork has them.
        let files = [&lock.file, &lock.directory].map(|file| file.as_ref().unwrap().try_clone());
        drop(lock);
        assert!(disk.try_lock("lock", b"me again").unwrap().is_some());
        drop(files.map(Result::unwrap));
    }

    #[test]
    fn a_link_that_leads_nowhere_is_named_as_such() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/nowhere/at/all", &link).unwrap();
        let error = RealDisk::open(&link).unwrap_err().to_string();
        assert!(error.starts_with("cannot follow the link "), "{error}");
        assert!(error.ends_with("make what it leads to, or remove it"), "{error}");
        let within = RealDisk::open(link.join("1-eventual")).unwrap_err();
        assert_eq!((within.action, within.path), (DiskAction::Follow, link));
        let file = directory.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = RealDisk::open(&file).unwrap_err();
        assert_eq!(error.action, DiskAction::Create);
    }
}
