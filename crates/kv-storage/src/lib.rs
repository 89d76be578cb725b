//! The journal and the checkpoint of a server, on disk and in memory.

mod checkpoint;
mod disk;
mod identity;
mod journal;
mod memory;

pub use checkpoint::{CheckpointError, CheckpointReading, CheckpointStore, CheckpointWritten};
pub use disk::{
    Disk, DiskAction, DiskError, DiskFile, RealDisk, RealFile, RealLock, SimDisk, SimFile, SimLock,
};
pub use identity::StoreIdentity;
pub use journal::{
    Journal, JournalConfig, JournalError, JournalStatus, LayoutDone, LayoutJob, Recovery, Replay,
    Room, SyncDone, SyncJob, TornTail,
};
pub use memory::{MemoryCheckpoint, MemoryJournal, StorageError};
