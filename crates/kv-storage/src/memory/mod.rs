//! The twin of the checkpoint in memory.

mod checkpoint;

pub use checkpoint::MemoryCheckpoint;
