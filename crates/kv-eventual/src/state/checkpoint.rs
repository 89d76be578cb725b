//! The state as a checkpoint, and an engine's way back from one.

use bytes::{Bytes, BytesMut};
use kv_core::{
    ChangedKeys, Checkpoint, CheckpointDelta, CheckpointItem, ClusterConfig, DecodeError,
    EngineConfig, HybridTime, Incarnation, Key, NodeId, PersistSeq, RecoverError, StagedCheckpoint,
    Wire, wire_struct,
};

use crate::mutation::{Broken, Mutation};
use crate::state::State;
use crate::state::record::{Record, Write};
use crate::state::stamp::Entry;

/// What a checkpoint keeps beside the records of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) node: NodeId,
    pub(crate) cluster: ClusterConfig,
    pub(crate) incarnation: Incarnation,
    pub(crate) clock_bound: HybridTime,
    pub(crate) incarnations: Vec<(NodeId, Incarnation)>,
}

wire_struct!(Metadata { node, cluster, incarnation, clock_bound, incarnations });

/// Takes what has changed since the checkpoint on disk; the state reflects the records up to
/// `covers`.
pub(crate) fn take(
    state: &mut State,
    cluster: &ClusterConfig,
    covers: PersistSeq,
) -> CheckpointDelta {
    let metadata = metadata(state, cluster);
    let changes = state.changed.take(covers, &state.store).into_iter();
    if state.broken.is(Mutation::CheckpointTakenForWritten) {
        state.changed.note_written(covers);
    }
    let left_out = usize::from(state.broken.is(Mutation::CheckpointForgetsAChange));
    let change =
        |(key, entry): (Key, Option<Entry>)| (key.to_shared(), entry.map(|entry| entry.to_bytes()));
    CheckpointDelta { covers, metadata, changes: Box::new(changes.skip(left_out).map(change)) }
}

/// Takes a view of the whole state, which reflects the records up to `covers`.
pub(crate) fn view(state: &State, cluster: &ClusterConfig, covers: PersistSeq) -> Checkpoint {
    let items = state.store.clone().into_iter();
    Checkpoint {
        covers,
        metadata: metadata(state, cluster),
        items: Box::new(items.map(|(key, entry)| (key.to_shared(), entry.to_bytes()))),
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

/// Reads a peer's checkpoint.
pub(crate) fn read(staged: StagedCheckpoint) -> Result<(Metadata, Vec<Write>), RecoverError> {
    let metadata = read_metadata(staged.metadata)?;
    let writes = staged.items.into_iter().map(read_item);
    let writes = writes.collect::<Result<_, _>>().map_err(RecoverError::Checkpoint)?;
    Ok((metadata, writes))
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
        state.note_origin(&entry);
        state.tombstones += u64::from(entry.value.is_none());
        held.push((key, entry));
    }
    state.store = held.into_iter().collect();
    state.changed = ChangedKeys::recovered();
    state.incarnation = metadata.incarnation;
    state.clock_bound = metadata.clock_bound;
    for (node, incarnation) in metadata.incarnations {
        state.meet(node, incarnation);
    }
    Ok(())
}

pub(crate) fn read_item((key, entry): CheckpointItem) -> Result<Write, DecodeError> {
    Ok(Write { key: Key::new(key)?, entry: Entry::from_bytes(entry)? })
}

/// What the metadata begin with since their form has a number, which comes next; before, that was
/// the number of a server, which is never 0.
const FORM_FOLLOWS: u16 = 0;

/// The number of the form in which metadata are written; another one whenever that changes.
const FORM: u16 = 1;

#[cfg(test)]
mod tests {
    use kv_core::Quorum;

    use super::*;

    fn recovered(metadata: Bytes) -> Option<RecoverError> {
        let cluster = ClusterConfig::new([NodeId::FIRST], Quorum::All, Quorum::All).unwrap();
        let config = EngineConfig::new(NodeId::FIRST, cluster, 7);
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
