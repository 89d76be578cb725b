//! The data directory of a server that does not run.

use std::path::PathBuf;
use std::time::Duration;

use crate::data_directory::error::DataDirectoryError;
use crate::data_directory::lock::{LOCK_NAME, LockHolder};
use crate::data_directory::meta::Meta;
use crate::disk::{Disk, RealDisk, RealLock};

/// A data directory that no server uses, and that none can use until this is dropped. Nothing in
/// it is changed.
#[derive(Debug)]
pub struct RestingDirectory {
    disk: RealDisk,
    meta: Meta,
    _lock: RealLock,
}

impl RestingDirectory {
    /// Takes a directory; `now` is the time since the Unix epoch, for the error of one in use.
    ///
    /// # Errors
    /// [`DataDirectoryError`] if it is not there, in use, not described or its description is
    /// damaged.
    pub fn open(directory: impl Into<PathBuf>, now: Duration) -> Result<Self, DataDirectoryError> {
        let disk = RealDisk::open_to_read(directory)?;
        let Some(lock) = disk.hold(LOCK_NAME)? else {
            let holder = LockHolder::parse(&disk.read(LOCK_NAME).unwrap_or_default());
            return Err(DataDirectoryError::InUse { directory: disk.path(""), holder, now });
        };
        match Meta::load(&disk)? {
            Some(meta) => Ok(Self { disk, meta, _lock: lock }),
            None => Err(DataDirectoryError::NotDescribed { directory: disk.path("") }),
        }
    }

    /// The disk, for reading.
    #[must_use]
    pub const fn disk(&self) -> &RealDisk {
        &self.disk
    }

    /// What the directory says of itself.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }
}
