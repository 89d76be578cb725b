//! The journal and the checkpoint of a server, on disk and in memory.

mod disk;
mod memory;

pub use disk::{
    Disk, DiskAction, DiskError, DiskFile, RealDisk, RealFile, RealLock, SimDisk, SimFile, SimLock,
};
pub use memory::{MemoryCheckpoint, MemoryJournal, StorageError};
