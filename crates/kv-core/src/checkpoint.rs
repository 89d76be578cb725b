//! A state at one moment, on its way out of an engine or into one.

use std::fmt;

use bytes::Bytes;

use crate::id::PersistSeq;
use crate::wire::DecodeError;

/// A key of the state with what the engine keeps for it, both in the engine's own byte form.
pub type CheckpointItem = (Bytes, Bytes);

/// A key of the state with what the engine keeps for it from now on; `None` if that is nothing.
pub type CheckpointChange = (Bytes, Option<Bytes>);

/// An immutable view of an engine's whole state; its items are read at leisure, on another thread
/// if need be.
pub struct Checkpoint {
    /// The state reflects every record up to this one.
    pub covers: PersistSeq,
    /// What is not kept by key (positions, sessions, ...), in the engine's own byte form.
    pub metadata: Bytes,
    /// The items in ascending order of their keys.
    pub items: Box<dyn Iterator<Item = CheckpointItem> + Send>,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("covers", &self.covers)
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

/// What makes the checkpoint on disk a later one: an immutable view of what changed, read at
/// leisure, on another thread if need be.
///
/// It is written whole or not at all: the changes together with `covers` and the metadata, which
/// take the place of those before.
pub struct CheckpointDelta {
    /// The state reflects every record up to this one.
    pub covers: PersistSeq,
    /// All that is not kept by key, in the engine's own byte form.
    pub metadata: Bytes,
    /// The changes in ascending order of their keys. A key that is gone may be one that the disk
    /// never had.
    pub changes: Box<dyn Iterator<Item = CheckpointChange> + Send>,
}

impl fmt::Debug for CheckpointDelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointDelta")
            .field("covers", &self.covers)
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

impl From<Checkpoint> for CheckpointDelta {
    /// What makes an empty disk hold the checkpoint.
    fn from(checkpoint: Checkpoint) -> Self {
        let Checkpoint { covers, metadata, items } = checkpoint;
        let changes = Box::new(items.map(|(key, held)| (key, Some(held))));
        Self { covers, metadata, changes }
    }
}

/// A checkpoint that came from a peer and is complete; the engine switches to it in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedCheckpoint {
    /// The sender's [`Checkpoint::metadata`].
    pub metadata: Bytes,
    /// The sender's [`Checkpoint::items`].
    pub items: Vec<CheckpointItem>,
}

impl From<Checkpoint> for StagedCheckpoint {
    fn from(checkpoint: Checkpoint) -> Self {
        Self { metadata: checkpoint.metadata, items: checkpoint.items.collect() }
    }
}

/// Why an engine cannot go on from what a disk held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// The checkpoint is not this engine's.
    #[error("the checkpoint is not readable: {0}")]
    Checkpoint(DecodeError),
    /// The checkpoint was written by a release that wrote it otherwise.
    #[error(
        "the data is in form {found} and this release reads form {known}: start the release that \
         wrote it, or take its keys along with that release's `kv-server backup` and this one's \
         `kv-server restore`"
    )]
    OtherForm {
        /// The number of its form; 0 before forms had numbers.
        found: u16,
        /// The form that is read.
        known: u16,
    },
    /// A record does not follow from those before it.
    #[error("record {seq} does not follow from the records before it")]
    Record {
        /// Which one.
        seq: PersistSeq,
    },
    /// The data was written under another configuration of the cluster.
    #[error("the data was written under another cluster configuration: restart with the old one")]
    OtherConfiguration,
}
