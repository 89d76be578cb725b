//! The journal and the checkpoint of a server, on disk and in memory.
//!
//! Two types to read first: [`Journal`], the records that an engine asked to persist, and
//! [`Disk`], the few file operations that it stands on. On a [`RealDisk`] it is a server's, which
//! runs it on a [`JournalThread`]; on a [`SimDisk`] the same code meets power losses, torn
//! writes, failing syncs, full disks and flipped bits, all decided by a seed. What is written,
//! synced and told when is in [`GroupCommit`], which a thread and a simulator both run.
//! [`CheckpointStore`] keeps the state that lets older records go, [`DataDirectory`] the lock and
//! the description of all that. [`MemoryCheckpoint`] is a twin of the checkpoint without files.
//!
//! ```
//! use kv_core::{NodeId, PersistSeq};
//! use kv_storage::{Journal, JournalConfig, SimDisk, StoreIdentity};
//!
//! let disk = SimDisk::new(7);
//! let identity = StoreIdentity { store: 1, node: NodeId::FIRST, engine: "mine".to_owned() };
//! let config = JournalConfig { segment_bytes: 4096, ..JournalConfig::new(identity) };
//! let covers = PersistSeq(0);
//!
//! let (mut journal, _) = Journal::recover(disk.clone(), config.clone(), covers)?;
//! journal.append(PersistSeq(1), &10u64)?;
//! assert_eq!(journal.sync()?, PersistSeq(1));
//! journal.append(PersistSeq(2), &20u64)?;
//! disk.crash();
//!
//! let (journal, recovery) = Journal::recover(disk, config, covers)?;
//! assert_eq!(recovery.last, PersistSeq(1));
//! let mut replay = journal.replay::<u64>(covers);
//! assert_eq!(replay.by_ref().collect::<Vec<_>>(), [(PersistSeq(1), 10)]);
//! replay.finish()?;
//! # Ok::<(), kv_storage::JournalError>(())
//! ```

mod background;
#[cfg(feature = "checkpoint-store")]
mod checkpoint;
mod data_directory;
mod disk;
mod group_commit;
mod identity;
mod journal;
mod journal_thread;
mod memory;
mod mutation;

pub use background::give_way;
#[cfg(feature = "checkpoint-store")]
pub use checkpoint::{CheckpointError, CheckpointReading, CheckpointStore, CheckpointWritten};
pub use data_directory::{
    CHECKPOINT_DIRECTORY, DataDirectory, DataDirectoryError, DataOwner, LastRun, LockHolder, Meta,
    RestingDirectory, Run, data_directory_name,
};
pub use disk::{
    CrashHabits, Disk, DiskAction, DiskError, DiskFile, PowerLoss, RealDisk, RealFile, RealLock,
    SimDisk, SimFile, SimLock,
};
pub use group_commit::{GroupCommit, SyncPolicy};
pub use identity::StoreIdentity;
pub use journal::{
    Journal, JournalConfig, JournalError, JournalInspection, JournalStatus, LayoutDone, LayoutJob,
    Recovery, Replay, Room, SegmentReport, Shortage, SyncDone, SyncJob, TornTail,
};
pub use journal_thread::{JournalEvent, JournalThread};
pub use memory::MemoryCheckpoint;
pub use mutation::{Broken, Mutation};
