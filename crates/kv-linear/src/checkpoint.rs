//! A server's state at one moment, for its own disk and for a follower far behind.

use bytes::{Bytes, BytesMut};
use kv_core::{
    Checkpoint, CheckpointItem, ClusterId, DecodeError, Incarnation, Key, MemoryStore, NodeId,
    Operation, Store, Versioned, Wire, wire_struct,
};

use crate::core::Core;
use crate::dedup::{Dedup, DedupLine};
use crate::entry::Entry;
use crate::epoch::Epoch;
use crate::log::Position;
use crate::mutation::Mutation;
use crate::replica::Replica;
use crate::state_machine::StateMachine;

/// What a checkpoint holds beside its items; `None` in place of it for a server that is empty.
///
/// The items are the keys with what they hold at `applied`, and the entries of the log after that
/// which were on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) cluster: ClusterId,
    /// [`kv_core::ClusterConfig::hash`]
    pub(crate) configuration: u64,
    pub(crate) epoch: Epoch,
    pub(crate) incarnation: Incarnation,
    /// The sequencer's life as the server knows it.
    pub(crate) sequencer: Incarnation,
    /// The peers' lives as the server's disk has them.
    pub(crate) lives: Vec<(NodeId, Incarnation)>,
    pub(crate) applied: Position,
    pub(crate) dedup: Vec<DedupLine>,
}

wire_struct!(Metadata {
    cluster,
    configuration,
    epoch,
    incarnation,
    sequencer,
    lives,
    applied,
    dedup
});

/// Takes a view of what is on disk. `lives` are the peers' lives.
///
/// It may hold more than the records that it covers say; these change nothing when they are
/// replayed on it.
pub(crate) fn view(core: &Core, lives: Vec<(NodeId, Incarnation)>) -> Checkpoint {
    let identity = core.identity_on_disk;
    let replica = &core.replica;
    let forgets = core.broken.is(Mutation::CheckpointWithoutDedup);
    let dedup = if forgets { Vec::new() } else { replica.dedup().into() };
    let metadata = identity.map(|identity| Metadata {
        cluster: identity.cluster,
        configuration: core.configuration_hash,
        epoch: identity.epoch,
        incarnation: identity.incarnation,
        sequencer: identity.sequencer,
        lives,
        applied: replica.applied(),
        dedup,
    });
    let tail = replica.log().from(replica.applied().index.next());
    let tail = tail.take_while(|entry| entry.index() <= replica.durable());
    let mut items: Vec<CheckpointItem> = tail.map(entry_item).collect();
    // The copy shares the bytes of keys and values; they are encoded as they are read.
    let state: Vec<(Key, Versioned)> = replica
        .machine()
        .store()
        .after(None)
        .map(|(key, held)| (key.clone(), held.clone()))
        .collect();
    if identity.is_none() {
        items.clear();
    }
    let state = state.into_iter().map(|(key, held)| (state_key(&key), held.to_bytes()));
    let persisted = core.journal.persisted();
    Checkpoint {
        covers: core.staged_after.map_or(persisted, |staged| staged.min(persisted)),
        metadata: metadata.to_bytes(),
        items: Box::new(items.into_iter().chain(state)),
    }
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
    let mut store = MemoryStore::new();
    let mut tail = Vec::new();
    for (key, held) in items {
        match read_item(key, held)? {
            Item::Entry(entry, operation) => tail.push((entry, operation)),
            Item::State(key, held) => store.insert(key, held),
        }
    }
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
    match read_item(key, held)? {
        Item::Entry(..) => Ok(None),
        Item::State(key, held) => Ok(Some((key, held))),
    }
}

enum Item {
    Entry(Entry, Operation),
    State(Key, Versioned),
}

fn entry_item(entry: &Entry) -> CheckpointItem {
    let mut key = BytesMut::with_capacity(9);
    ENTRY_TAG.encode(&mut key);
    // Big endian, so that the items ascend with the places.
    key.extend_from_slice(&entry.index().0.to_be_bytes());
    (key.freeze(), entry.to_bytes())
}

fn state_key(key: &Key) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + key.as_bytes().len());
    STATE_TAG.encode(&mut bytes);
    bytes.extend_from_slice(key.as_bytes());
    bytes.freeze()
}

fn read_item(mut key: Bytes, held: Bytes) -> Result<Item, DecodeError> {
    match u8::decode(&mut key)? {
        ENTRY_TAG => {
            let entry = Entry::from_bytes(held)?;
            let operation = Operation::from_bytes(entry.operation().clone())?;
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
