//! A server's state at one moment, for its own disk and for a follower far behind.

use bytes::{BufMut, Bytes, BytesMut};
use kv_core::{
    CheckpointItem, ClusterId, DecodeError, Incarnation, Key, NodeId, Versioned, Wire, wire_struct,
};

use crate::log::Position;
use crate::log::entry::Entry;
use crate::log::epoch::Epoch;
use crate::replica::Replica;
use crate::state_machine::StateMachine;
use crate::state_machine::dedup::{Dedup, DedupLine};
use crate::state_machine::expiry::Held;
use crate::state_machine::sessions::SessionLine;

/// What a checkpoint holds beside its items; `None` in place of it for a server that is empty.
///
/// The items are the entries of the log after `applied` which were on disk, the sessions, and the
/// keys with what they hold there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) cluster: ClusterId,
    /// [`kv_core::ClusterConfig::hash`]
    pub(crate) configuration: u64,
    pub(crate) incarnation: Incarnation,
    pub(crate) recovering: bool,
    pub(crate) promised: Epoch,
    pub(crate) refuted: Option<NodeId>,
    /// The peers' incarnations as the server's disk has them.
    pub(crate) known: Vec<(NodeId, Incarnation)>,
    pub(crate) applied: Position,
    pub(crate) dedup: Vec<DedupLine>,
}

wire_struct!(Metadata {
    cluster,
    configuration,
    incarnation,
    recovering,
    promised,
    refuted,
    known,
    applied,
    dedup
});

/// Reads a checkpoint's metadata; `None` is that of an empty server.
pub(crate) fn metadata(bytes: &Bytes) -> Result<Option<Metadata>, DecodeError> {
    Option::from_bytes(bytes.clone())
}

/// Makes the log and the state of a checkpoint, the tail included.
pub(crate) fn replica(
    metadata: Metadata,
    items: impl IntoIterator<Item = CheckpointItem>,
) -> Result<Replica, DecodeError> {
    let mut draft = ReplicaDraft::default();
    items.into_iter().try_for_each(|item| draft.add(item))?;
    draft.finish(metadata)
}

/// A log and a state as far as the items of their checkpoint have come.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplicaDraft {
    machine: StateMachine,
    tail: Vec<Entry>,
}

impl ReplicaDraft {
    pub(crate) fn add(&mut self, (key, held): CheckpointItem) -> Result<(), DecodeError> {
        match read_item(&key, held)? {
            Item::Entry(_) if key != entry_key(self.tail.len()) => {
                return Err(DecodeError::Invalid { what: "place of an entry in a checkpoint" });
            }
            Item::Entry(entry) => self.tail.push(entry),
            Item::Session(session) => self.machine.sessions_mut().restore(session),
            Item::State(key, held) => self.machine.restore(key, held),
        }
        Ok(())
    }

    pub(crate) fn finish(self, metadata: Metadata) -> Result<Replica, DecodeError> {
        let dedup = Dedup::from(metadata.dedup);
        let mut replica = Replica::at(metadata.applied, self.machine, dedup);
        for entry in self.tail {
            if !replica.log().is_next(&entry) {
                return Err(DecodeError::Invalid { what: "log in a checkpoint" });
            }
            replica.append(entry);
        }
        Ok(replica)
    }
}

/// A key in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The key.
    pub key: Key,
    /// What it holds.
    pub versioned: Versioned,
    /// When it expires, in milliseconds of log time (which is about the time since the Unix epoch);
    /// `None` for a key that lasts for ever.
    pub expires_ms: Option<u64>,
}

/// What an item says of a key; `None` for one that is of the log or a session.
pub(crate) fn read_key((key, held): CheckpointItem) -> Result<Option<StoredKey>, DecodeError> {
    match read_item(&key, held)? {
        Item::Entry(_) | Item::Session(_) => Ok(None),
        Item::State(key, Held { versioned, expiry }) => {
            Ok(Some(StoredKey { key, versioned, expires_ms: expiry.deadline_ms() }))
        }
    }
}

enum Item {
    Entry(Entry),
    Session(SessionLine),
    State(Key, Held),
}

/// The key of an entry: its place among those of the checkpoint, so that all that a checkpoint on
/// disk may hold are known by their number.
pub(crate) fn entry_key(slot: usize) -> Bytes {
    slot_key(ENTRY_TAG, slot)
}

/// The key of a session, which is its place for the same reason.
pub(crate) fn session_key(slot: usize) -> Bytes {
    slot_key(SESSION_TAG, slot)
}

fn slot_key(tag: u8, slot: usize) -> Bytes {
    let mut key = BytesMut::with_capacity(9);
    tag.encode(&mut key);
    // Big endian, so that the items ascend with the positions.
    key.put_u64(u64::try_from(slot).unwrap_or(u64::MAX));
    key.freeze()
}

pub(crate) fn state_key(key: &Key) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + key.as_bytes().len());
    STATE_TAG.encode(&mut bytes);
    bytes.extend_from_slice(key.as_bytes());
    bytes.freeze()
}

fn read_item(key: &Bytes, held: Bytes) -> Result<Item, DecodeError> {
    let mut key = key.clone();
    match u8::decode(&mut key)? {
        ENTRY_TAG => Ok(Item::Entry(Entry::from_bytes(held)?)),
        SESSION_TAG => Ok(Item::Session(SessionLine::from_bytes(held)?)),
        STATE_TAG => {
            let Held { versioned, expiry } = Held::from_bytes(held)?;
            let value = versioned.value.detached();
            let held = Held { versioned: Versioned { value, ..versioned }, expiry };
            Ok(Item::State(Key::new(key)?.detached(), held))
        }
        tag => Err(DecodeError::UnknownTag { what: "checkpoint item", tag }),
    }
}

const ENTRY_TAG: u8 = 0;
const SESSION_TAG: u8 = 1;
const STATE_TAG: u8 = 2;
