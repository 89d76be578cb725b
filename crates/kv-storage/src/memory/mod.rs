//! The twins of journal and checkpoint in memory: records and items without files.

mod checkpoint;
mod error;
mod frame;
mod journal;

pub use checkpoint::MemoryCheckpoint;
pub use error::StorageError;
pub use journal::MemoryJournal;
