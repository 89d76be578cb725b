//! A state at one moment, read from an engine or given to one.

use std::fmt;

use bytes::Bytes;

use crate::cluster::id::PersistSeq;
use crate::engine::ConsistencyEngine;
use crate::store::ViewId;
use crate::wire::DecodeError;
use crate::wire_struct;

/// A key of the state with what the engine keeps for it, both in the engine's own byte form.
pub type CheckpointItem = (Bytes, Bytes);

/// A key of the state with what the engine keeps for it from now on; `None` if that is nothing.
pub type CheckpointChange = (Bytes, Option<Bytes>);

/// An engine's whole state at one moment, for [`ConsistencyEngine::recover`].
///
/// [`ConsistencyEngine::recover`]: crate::ConsistencyEngine::recover
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

/// What makes the checkpoint on disk a later one.
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

impl CheckpointDelta {
    /// The whole state, if these are the changes of a view of everything.
    #[must_use]
    pub fn into_checkpoint(self) -> Checkpoint {
        let items = Box::new(self.changes.filter_map(|(key, held)| Some((key, held?))));
        Checkpoint { covers: self.covers, metadata: self.metadata, items }
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

/// How much of a state a view shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewScope {
    /// What differs from the checkpoint on disk.
    Changes,
    /// All of it.
    Whole,
}

/// A view that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenView {
    /// Names it.
    pub id: ViewId,
    /// The state reflects every record up to this one.
    pub covers: PersistSeq,
    /// What is not kept by key, in the engine's own byte form.
    pub metadata: Bytes,
    /// About how many items it has.
    pub items: usize,
}

/// Some items of a view, ascending by key, and after those that were read before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewChunk {
    /// The items; those of a view of everything all hold something.
    pub changes: Vec<CheckpointChange>,
    /// Whether these are the last ones.
    pub is_last: bool,
}

/// A part of a snapshot that goes from one server to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPart {
    /// Tells the parts of one snapshot from those of another of the same sender.
    pub snapshot: u64,
    /// Which part, from 0.
    pub number: u32,
    /// The snapshot's [`OpenView::metadata`], in part 0; empty in the others.
    pub metadata: Bytes,
    /// Some items, ascending by key.
    pub items: Vec<CheckpointItem>,
    /// Whether this is the last part.
    pub is_last: bool,
}

wire_struct!(SnapshotPart { snapshot, number, metadata, items, is_last });

/// Reads a view of an engine from its beginning to its end, and closes it; `None` if it cannot be
/// had. It takes as long as the state is large: for tests and tools.
pub fn read_whole_view<E: ConsistencyEngine>(
    engine: &mut E,
    scope: ViewScope,
) -> Option<CheckpointDelta> {
    let OpenView { id, covers, metadata, .. } = engine.open_view(scope)?;
    let mut changes = Vec::new();
    let is_whole = loop {
        let Some(chunk) = engine.read_view(id, READ_AT_ONCE_BYTES) else {
            break false;
        };
        changes.extend(chunk.changes);
        if chunk.is_last {
            break true;
        }
    };
    engine.close_view(id);
    let changes = Box::new(changes.into_iter());
    is_whole.then_some(CheckpointDelta { covers, metadata, changes })
}

const READ_AT_ONCE_BYTES: usize = 1 << 20;

/// Why an engine cannot go on from what a disk held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// The checkpoint is not this engine's.
    #[error("the checkpoint is not readable: {0}")]
    Checkpoint(DecodeError),
    /// The checkpoint was written by a release that wrote it otherwise.
    #[error(
        "the data is in form {found} and this release reads form {known}: start the release that \
         wrote it, or take its keys along by a backup of that release and a restore with this one"
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
