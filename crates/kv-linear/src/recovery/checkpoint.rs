//! A server's state at one moment, for its own disk and for a follower far behind.

use bytes::{BufMut, Bytes, BytesMut};
use kv_core::{
    Checkpoint, CheckpointDelta, CheckpointItem, ClusterId, DecodeError, Incarnation, Key,
    MemoryStore, NodeId, Operation, PersistSeq, Versioned, Wire, wire_struct,
};

use crate::core::Core;
use crate::durable::tail::TailOnDisk;
use crate::log::Position;
use crate::log::entry::Entry;
use crate::log::epoch::Epoch;
use crate::mutation::Mutation;
use crate::replica::Replica;
use crate::state_machine::StateMachine;
use crate::state_machine::dedup::{Dedup, DedupLine};

/// What a checkpoint holds beside its items; `None` in place of it for a server that is empty.
///
/// The items are the entries of the log after `applied` which were on disk, and the keys with what
/// they hold there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) cluster: ClusterId,
    /// [`kv_core::ClusterConfig::hash`]
    pub(crate) configuration: u64,
    pub(crate) epoch: Epoch,
    pub(crate) incarnation: Incarnation,
    /// The sequencer's incarnation as the server knows it.
    pub(crate) sequencer: Incarnation,
    /// The peers' incarnations as the server's disk has them.
    pub(crate) incarnations: Vec<(NodeId, Incarnation)>,
    pub(crate) applied: Position,
    pub(crate) dedup: Vec<DedupLine>,
}

wire_struct!(Metadata {
    cluster,
    configuration,
    epoch,
    incarnation,
    sequencer,
    incarnations,
    applied,
    dedup
});

/// Takes what has changed since the checkpoint on disk. `incarnations` are the peers' incarnations.
///
/// It may hold more than the records that it covers say; these change nothing when they are
/// replayed on it.
pub(crate) fn take(core: &mut Core, incarnations: Vec<(NodeId, Incarnation)>) -> CheckpointDelta {
    let (covers, metadata) = (covers(core), metadata_of(core, incarnations).to_bytes());
    let tail = tail(core);
    let slots = core.tail_on_disk.take(covers, tail.len());
    let keeps = core.broken.is(Mutation::CheckpointKeepsTheFormerTail);
    let gone = if keeps { 0..0 } else { tail.len()..slots };
    let tail = entry_items(tail).map(|(key, entry)| (key, Some(entry)));
    let tail = tail.chain(gone.map(|slot| (entry_key(slot), None)));
    let left_out = usize::from(core.broken.is(Mutation::CheckpointForgetsAChange));
    let state = core.replica.machine_mut().take_changes(covers).into_iter().skip(left_out);
    let state = state.map(|(key, held)| (state_key(&key), held.map(|held| held.to_bytes())));
    CheckpointDelta { covers, metadata, changes: Box::new(tail.chain(state)) }
}

/// Takes a view of all of it, for a peer.
pub(crate) fn view(core: &Core, incarnations: Vec<(NodeId, Incarnation)>) -> Checkpoint {
    // The copy shares the bytes of keys and values; they are encoded as they are read.
    let state = core.replica.machine().store().clone().into_iter();
    let state = state.map(|(key, held)| (state_key(&key), held.to_bytes()));
    Checkpoint {
        covers: covers(core),
        metadata: metadata_of(core, incarnations).to_bytes(),
        items: Box::new(entry_items(tail(core)).chain(state)),
    }
}

/// Notes that a checkpoint that was taken is on disk.
pub(crate) fn note_written(core: &mut Core, covers: PersistSeq) {
    core.tail_on_disk.note_written(covers);
    core.replica.machine_mut().note_checkpoint_written(covers);
}

/// Notes that the checkpoint on disk holds the log and the state as they are.
pub(crate) fn note_recovered(core: &mut Core) {
    core.tail_on_disk = TailOnDisk::of(core.replica.log().len());
    core.replica.machine_mut().note_recovered();
}

fn covers(core: &Core) -> PersistSeq {
    let persisted = core.journal.persisted();
    core.staged_after.map_or(persisted, |staged| staged.min(persisted))
}

fn metadata_of(core: &Core, incarnations: Vec<(NodeId, Incarnation)>) -> Option<Metadata> {
    let identity = core.identity_on_disk?;
    let forgets = core.broken.is(Mutation::CheckpointWithoutDedup);
    Some(Metadata {
        cluster: identity.cluster,
        configuration: core.configuration_hash,
        epoch: identity.epoch,
        incarnation: identity.incarnation,
        sequencer: identity.sequencer,
        incarnations,
        applied: core.replica.applied(),
        dedup: if forgets { Vec::new() } else { core.replica.dedup().into() },
    })
}

/// The entries after what is applied that are on disk.
fn tail(core: &Core) -> Vec<Entry> {
    if core.identity_on_disk.is_none() {
        return Vec::new();
    }
    let replica = &core.replica;
    let tail = replica.log().from(replica.applied().index.next());
    tail.take_while(|entry| entry.index() <= replica.durable()).cloned().collect()
}

/// Reads a checkpoint's metadata; `None` is that of an empty server.
pub(crate) fn metadata(bytes: &Bytes) -> Result<Option<Metadata>, DecodeError> {
    Option::from_bytes(bytes.clone())
}

/// Makes the log and the state of a checkpoint, the tail included.
pub(crate) fn replica(
    metadata: Metadata,
    items: impl IntoIterator<Item = CheckpointItem>,
) -> Result<Replica, DecodeError> {
    let mut store = Vec::new();
    let mut tail = Vec::new();
    for (key, held) in items {
        match read_item(&key, held)? {
            Item::Entry(..) if key != entry_key(tail.len()) => {
                return Err(DecodeError::Invalid { what: "place of an entry in a checkpoint" });
            }
            Item::Entry(entry, operation) => tail.push((entry, operation)),
            Item::State(key, held) => store.push((key, held)),
        }
    }
    let store: MemoryStore<_> = store.into_iter().collect();
    let dedup = Dedup::from(metadata.dedup);
    let mut replica = Replica::at(metadata.applied, StateMachine::new(store), dedup);
    for (entry, operation) in tail {
        let last = replica.log().last();
        let header = entry.header();
        let follows = header.index == last.index.next()
            && header.previous_hash == last.hash
            && header.log_time_ms >= last.log_time_ms;
        if !follows {
            return Err(DecodeError::Invalid { what: "log in a checkpoint" });
        }
        replica.append(entry, operation);
    }
    Ok(replica)
}

/// What an item says of a key; `None` for one that is of the log.
pub(crate) fn read_key(
    (key, held): CheckpointItem,
) -> Result<Option<(Key, Versioned)>, DecodeError> {
    match read_item(&key, held)? {
        Item::Entry(..) => Ok(None),
        Item::State(key, held) => Ok(Some((key, held))),
    }
}

enum Item {
    Entry(Entry, Operation),
    State(Key, Versioned),
}

fn entry_items(tail: Vec<Entry>) -> impl Iterator<Item = CheckpointItem> + Send {
    let slots = tail.into_iter().enumerate();
    slots.map(|(slot, entry)| (entry_key(slot), entry.to_bytes()))
}

/// The key of an entry: its position among those of the checkpoint, so that all that a checkpoint
/// on disk may hold are known by their number.
fn entry_key(slot: usize) -> Bytes {
    let mut key = BytesMut::with_capacity(9);
    ENTRY_TAG.encode(&mut key);
    // Big endian, so that the items ascend with the positions.
    key.put_u64(u64::try_from(slot).unwrap_or(u64::MAX));
    key.freeze()
}

fn state_key(key: &Key) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + key.as_bytes().len());
    STATE_TAG.encode(&mut bytes);
    bytes.extend_from_slice(key.as_bytes());
    bytes.freeze()
}

fn read_item(key: &Bytes, held: Bytes) -> Result<Item, DecodeError> {
    let mut key = key.clone();
    match u8::decode(&mut key)? {
        ENTRY_TAG => {
            let entry = Entry::from_bytes(held)?;
            let operation = Operation::from_bytes(entry.operation())?;
            Ok(Item::Entry(entry, operation))
        }
        STATE_TAG => {
            let held = Versioned::from_bytes(held)?;
            let held = Versioned { value: held.value.detached(), version: held.version };
            Ok(Item::State(Key::new(key)?.detached(), held))
        }
        tag => Err(DecodeError::UnknownTag { what: "checkpoint item", tag }),
    }
}

const ENTRY_TAG: u8 = 0;
const STATE_TAG: u8 = 1;
