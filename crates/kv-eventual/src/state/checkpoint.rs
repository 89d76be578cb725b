//! The state as a checkpoint, and an engine's way back from one.

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kv_core::{
    Checkpoint, CheckpointItem, ClusterConfig, DecodeError, EngineConfig, HybridTime, Incarnation,
    Key, NodeId, OpenView, PersistSeq, RecoverError, ViewChunk, ViewId, ViewRead, ViewScope, Wire,
    wire_struct,
};

use crate::mutation::{Broken, Mutation};
use crate::state::State;
use crate::state::record::{Record, Write};
use crate::state::stamp::Entry;
use crate::vector::Vector;

/// What a checkpoint keeps beside the records of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) node: NodeId,
    pub(crate) cluster: ClusterConfig,
    pub(crate) incarnation: Incarnation,
    pub(crate) clock_bound: HybridTime,
    pub(crate) incarnations: Vec<(NodeId, Incarnation)>,
    pub(crate) vector: Vector,
    pub(crate) peer_vectors: Vec<(NodeId, Vector)>,
    pub(crate) counts: bool,
    pub(crate) floor: HybridTime,
}

wire_struct!(Metadata {
    node,
    cluster,
    incarnation,
    clock_bound,
    incarnations,
    vector,
    peer_vectors,
    counts,
    floor,
});

/// Opens a view of the state, which reflects the records up to `covers`.
pub(crate) fn open(
    state: &mut State,
    cluster: &ClusterConfig,
    covers: PersistSeq,
    scope: ViewScope,
) -> Option<OpenView> {
    let metadata = metadata(state, cluster);
    if scope == ViewScope::Changes && state.broken.is(Mutation::CheckpointTakenForWritten) {
        // Whichever was taken last.
        (0..=covers.0).for_each(|former| state.store.note_written(PersistSeq(former)));
    }
    let (id, items) = match scope {
        ViewScope::Changes => state.store.open_changes(covers)?,
        ViewScope::Whole => (state.store.open_whole(), state.store.len()),
    };
    if scope == ViewScope::Changes && state.broken.is(Mutation::CheckpointForgetsAChange) {
        // What is read here nobody gets.
        state.store.read_view(id, |_, _| ControlFlow::Break(()));
    }
    Some(OpenView { id, covers, metadata, items })
}

/// Reads on in a view.
pub(crate) fn read(state: &mut State, view: ViewId, bytes_max: usize) -> Option<ViewChunk> {
    let (mut changes, mut bytes) = (Vec::new(), 0);
    let read = state.store.read_view(view, |key, entry| {
        let entry = entry.map(Wire::to_bytes);
        bytes += key.as_bytes().len() + entry.as_ref().map_or(0, Bytes::len) + ITEM_BYTES;
        changes.push((key.to_shared(), entry));
        if bytes < bytes_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Some(ViewChunk { changes, is_last: read == ViewRead::End })
}

/// Ends a view.
pub(crate) fn close(state: &mut State, view: ViewId) {
    state.store.close_view(view);
    tidy_soon(state);
}

/// Notes that a checkpoint that was taken is on disk.
pub(crate) fn note_written(state: &mut State, covers: PersistSeq) {
    state.store.note_written(covers);
    tidy_soon(state);
}

/// Lets go of a part of what the store does not need any more.
pub(crate) fn tidy(state: &mut State, now: Duration) {
    if state.tidy_at.is_some_and(|at| at <= now) {
        let has_more = state.store.tidy(TIDIED_AT_ONCE);
        state.tidy_at = has_more.then(|| now.saturating_add(TIDY_PAUSE));
    }
}

fn tidy_soon(state: &mut State) {
    if state.tidy_at.is_none() && state.store.is_untidy() {
        state.tidy_at = Some(Duration::ZERO);
    }
}

fn metadata(state: &State, cluster: &ClusterConfig) -> Bytes {
    let metadata = Metadata {
        node: state.node,
        cluster: cluster.clone(),
        incarnation: state.incarnation,
        clock_bound: state.clock_bound,
        incarnations: state
            .incarnations
            .iter()
            .map(|(node, incarnation)| (*node, *incarnation))
            .collect(),
        vector: state.vector.clone(),
        peer_vectors: state.peer_vectors.iter().map(|(node, v)| (*node, v.clone())).collect(),
        counts: state.counts,
        floor: state.floor,
    };
    let mut bytes = BytesMut::new();
    (FORM_FOLLOWS, FORM).encode(&mut bytes);
    metadata.encode(&mut bytes);
    bytes.freeze()
}

fn read_metadata(mut bytes: Bytes) -> Result<Metadata, RecoverError> {
    let begin = u16::decode(&mut bytes).map_err(RecoverError::Checkpoint)?;
    let found = match begin {
        FORM_FOLLOWS => u16::decode(&mut bytes).map_err(RecoverError::Checkpoint)?,
        _ => 0,
    };
    if found != FORM {
        return Err(RecoverError::OtherForm { found, known: FORM });
    }
    Metadata::from_bytes(bytes).map_err(RecoverError::Checkpoint)
}

/// Makes the state of a checkpoint and the records after it; returns the last record's position.
pub(crate) fn recover(
    config: &EngineConfig,
    checkpoint: Option<Checkpoint>,
    records: impl IntoIterator<Item = (PersistSeq, Record)>,
    broken: Broken,
) -> Result<(State, PersistSeq), RecoverError> {
    let mut state = State { broken, ..State::empty(config.node) };
    let mut last = PersistSeq(0);
    if let Some(checkpoint) = checkpoint {
        last = checkpoint.covers;
        restore(&mut state, config, checkpoint)?;
    }
    for (seq, record) in records {
        if seq != last.next() {
            return Err(RecoverError::Record { seq });
        }
        state.check(&record, &config.cluster)?;
        state.apply(record);
        last = seq;
    }
    Ok((state, last))
}

fn restore(
    state: &mut State,
    config: &EngineConfig,
    checkpoint: Checkpoint,
) -> Result<(), RecoverError> {
    let metadata = read_metadata(checkpoint.metadata)?;
    if metadata.node != config.node || metadata.cluster.voters() != config.cluster.voters() {
        return Err(RecoverError::OtherConfiguration);
    }
    let mut held = Vec::new();
    for item in checkpoint.items {
        let Write { key, entry } = read_item(item).map_err(RecoverError::Checkpoint)?;
        state.note_stamp(&entry);
        if entry.value.is_none() {
            state.buried.insert((entry.stamp.time, key.clone()));
        }
        held.push((key, entry));
    }
    state.index = held.iter().map(|(key, entry)| (entry.id(), key.clone())).collect();
    state.store = held.into_iter().collect();
    state.store.note_recovered();
    state.incarnation = metadata.incarnation;
    state.clock_bound = metadata.clock_bound;
    for (node, incarnation) in metadata.incarnations {
        state.meet(node, incarnation);
    }
    // The entries that fence incarnations are part of it.
    state.vector = metadata.vector;
    state.peer_vectors = metadata.peer_vectors.into_iter().collect();
    state.counts = metadata.counts;
    state.floor = metadata.floor;
    Ok(())
}

pub(crate) fn read_item((key, entry): CheckpointItem) -> Result<Write, DecodeError> {
    Ok(Write { key: Key::new(key)?, entry: Entry::from_bytes(entry)? })
}

/// What an item takes beside its bytes.
const ITEM_BYTES: usize = 16;

/// How many keys are let go of in one step.
const TIDIED_AT_ONCE: usize = 1_000;

/// The time between two such steps.
const TIDY_PAUSE: Duration = Duration::from_millis(1);

/// What the metadata begin with since their form has a number, which comes next; before, that was
/// the number of a server, which is never 0.
const FORM_FOLLOWS: u16 = 0;

/// The number of the form in which metadata are written; another one whenever that changes.
const FORM: u16 = 2;

#[cfg(test)]
mod tests {
    use kv_core::Quorum;

    use super::*;

    fn recovered(metadata: Bytes) -> Option<RecoverError> {
        let cluster = ClusterConfig::new([NodeId::FIRST], Quorum::All, Quorum::All).unwrap();
        let config = EngineConfig::seeded(NodeId::FIRST, cluster, 7);
        let checkpoint =
            Checkpoint { covers: PersistSeq(3), metadata, items: Box::new(std::iter::empty()) };
        recover(&config, Some(checkpoint), [], Broken::default()).err()
    }

    #[test]
    fn a_checkpoint_in_another_form_is_refused_by_what_to_do() {
        let cluster = ClusterConfig::new([NodeId::FIRST], Quorum::All, Quorum::All).unwrap();
        let mut state = State::empty(NodeId::FIRST);
        state.incarnation = Incarnation::following(Incarnation::UNKNOWN, 5);
        let bytes = metadata(&state, &cluster);
        assert_eq!(recovered(bytes.clone()), None);
        let refused = |found| Some(RecoverError::OtherForm { found, known: FORM });
        let mut newer = bytes.to_vec();
        newer[2] += 1;
        assert_eq!(recovered(newer.into()), refused(FORM + 1));
        // The same without a number, and the form before that: with the last number of a write.
        assert_eq!(recovered(bytes.slice(4..)), refused(0));
        for bound in [HybridTime::ZERO, HybridTime::from_millis(1_460_490_249_593)] {
            let mut older = BytesMut::new();
            (NodeId::FIRST, cluster.clone(), state.incarnation).encode(&mut older);
            let incarnations: Vec<(NodeId, Incarnation)> = Vec::new();
            (9_u64, bound, incarnations).encode(&mut older);
            assert_eq!(recovered(older.freeze()), refused(0));
        }
        assert!(matches!(recovered(Bytes::new()), Some(RecoverError::Checkpoint(_))));
    }
}
