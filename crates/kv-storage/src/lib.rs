//! The journal and the checkpoint: the in-memory twin of what a server keeps on disk.
//!
//! Two types to read first: [`MemoryJournal`], the records that an engine asked to persist, of
//! which a crash loses what was not synced; and [`MemoryCheckpoint`], the state that lets older
//! records go. Both hold bytes, so that a recovery reads what a disk would have held.
//!
//! ```
//! use kv_core::PersistSeq;
//! use kv_storage::MemoryJournal;
//!
//! let mut journal = MemoryJournal::new();
//! journal.append(PersistSeq(1), &7u64)?;
//! journal.sync();
//! journal.append(PersistSeq(2), &8u64)?;
//! journal.crash();
//! let left: Vec<(PersistSeq, u64)> = journal.records().collect::<Result<_, _>>()?;
//! assert_eq!(left, [(PersistSeq(1), 7)]);
//! # Ok::<(), kv_storage::StorageError>(())
//! ```

mod checkpoint;
mod error;
mod frame;
mod journal;

pub use checkpoint::MemoryCheckpoint;
pub use error::StorageError;
pub use journal::MemoryJournal;
