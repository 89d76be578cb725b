//! The small part of a file system that storage stands on.

mod error;
mod real;
mod sim;
mod sim_state;

use std::fmt;
use std::path::PathBuf;

pub(crate) use error::RESTORE_OR_JOIN;
pub use error::{DiskAction, DiskError};
#[cfg(feature = "checkpoint-store")]
pub(crate) use error::{MAKE_ROOM, RAISE_LIMIT, is_want_of_descriptors};
#[cfg(feature = "checkpoint-store")]
pub(crate) use real::sync_directory;
pub use real::{RealDisk, RealFile, RealLock};
pub use sim::{SimDisk, SimFile, SimLock};
pub use sim_state::{CrashHabits, PowerLoss};

/// One directory of files, without directories in it.
///
/// A name is a file's name in that directory. What was written is certain to outlive a power loss
/// only after [`DiskFile::sync`]; a file that was created, renamed or removed, only after
/// [`Disk::sync_directory`].
pub trait Disk: Clone + Send + fmt::Debug + 'static {
    /// An open file.
    type File: DiskFile;
    /// Keeps a lock until it is dropped.
    type Lock: Send + fmt::Debug + 'static;

    /// Makes an empty file.
    ///
    /// # Errors
    /// [`DiskError`]; it is an error if there is one of that name.
    fn create(&self, name: &str) -> Result<Self::File, DiskError>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// [`DiskError`]; its kind is `NotFound` if there is none.
    fn open(&self, name: &str) -> Result<Self::File, DiskError>;

    /// The names of all files, ascending.
    ///
    /// # Errors
    /// [`DiskError`] if the directory cannot be read.
    fn list(&self) -> Result<Vec<String>, DiskError>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`DiskError`] if it stays.
    fn remove(&self, name: &str) -> Result<(), DiskError>;

    /// Gives a file another name in one step; a file that had that name is gone.
    ///
    /// # Errors
    /// [`DiskError`] if nothing was changed.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Makes the names of the directory outlive a power loss.
    ///
    /// # Errors
    /// [`DiskError`] if that is not certain; trying again does not make it so.
    fn sync_directory(&self) -> Result<(), DiskError>;

    /// How many bytes more files may take here.
    ///
    /// # Errors
    /// [`DiskError`] if that cannot be found out.
    fn free_bytes(&self) -> Result<u64, DiskError>;

    /// Locks a file, which is made if need be, against all other processes, and leaves `content`
    /// in it for them to read; `None` if another one holds it. The end of a process releases its
    /// locks.
    ///
    /// # Errors
    /// [`DiskError`] if the file cannot be made or written.
    fn try_lock(&self, name: &str, content: &[u8]) -> Result<Option<Self::Lock>, DiskError>;

    /// What errors call a file.
    fn path(&self, name: &str) -> PathBuf;

    /// A whole file.
    ///
    /// # Errors
    /// [`DiskError`] as for [`Disk::open`] and [`DiskFile::read_at`].
    fn read(&self, name: &str) -> Result<Vec<u8>, DiskError> {
        let file = self.open(name)?;
        let len = usize::try_from(file.size_bytes()?).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        file.read_at(0, &mut bytes)?;
        Ok(bytes)
    }
}

/// An open file. Clones are handles to the same file.
pub trait DiskFile: Clone + Send + fmt::Debug + 'static {
    /// The file's length in bytes.
    ///
    /// # Errors
    /// [`DiskError`] if it cannot be found out.
    fn size_bytes(&self) -> Result<u64, DiskError>;

    /// Fills `into` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`DiskError`]; it is an error if the file ends before.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), DiskError>;

    /// Writes all of `bytes` from `offset` on; the file grows if need be.
    ///
    /// # Errors
    /// [`DiskError`]; any part may then have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Makes everything that was written outlive a power loss.
    ///
    /// # Errors
    /// [`DiskError`]; what was written before may be lost then, and syncing again, though it may
    /// succeed, does not bring it back.
    fn sync(&self) -> Result<(), DiskError>;

    /// The same open file, which errors call by this path from here on.
    #[must_use]
    fn renamed(self, path: PathBuf) -> Self;
}
