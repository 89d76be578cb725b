//! What the records on disk have made: all that a restart brings back.

pub(crate) mod checkpoint;
mod dump;
pub(crate) mod index;
pub(crate) mod journal;
pub(crate) mod range;
pub(crate) mod record;
pub(crate) mod stamp;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kv_core::{
    ClusterConfig, HybridTime, Incarnation, Key, NodeId, RecoverError, Store, Wire, digest,
};

use crate::ids::WriteId;
use crate::mutation::{Broken, Mutation};
use crate::state::index::Index;
use crate::state::record::{Record, Write};
use crate::state::stamp::Entry;
use crate::vector::Vector;

/// The state that the persisted records have made, and nothing else: a record is applied when it
/// is on disk, never before. So what a read shows cannot be forgotten, a checkpoint is exactly
/// what it covers, and recovery is the same function as running.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) node: NodeId,
    pub(crate) store: Store<Entry>,
    /// The keys that hold a tombstone, by its time.
    pub(crate) buried: BTreeSet<(HybridTime, Key)>,
    /// No key holds a later stamp.
    pub(crate) latest: HybridTime,
    /// This server's incarnation; [`Incarnation::UNKNOWN`] before its first one.
    pub(crate) incarnation: Incarnation,
    pub(crate) clock_bound: HybridTime,
    /// The highest incarnation that each other server was met in, or has a write from: all servers
    /// ever seen.
    pub(crate) incarnations: BTreeMap<NodeId, Incarnation>,
    /// The writes that it reflects.
    pub(crate) vector: Vector,
    pub(crate) index: Index,
    /// What each peer has said that its disk reflects.
    pub(crate) peer_vectors: BTreeMap<NodeId, Vector>,
    /// Whether what it holds counts towards the answers that a read needs.
    pub(crate) counts: bool,
    /// No delete that it has forgotten is later.
    pub(crate) floor: HybridTime,
    /// The records that were replaced or removed since this was last emptied, while somebody wants
    /// to know.
    pub(crate) replaced: Option<Vec<(WriteId, Key)>>,
    /// When the next part of what the store does not need any more is let go of.
    pub(crate) tidy_at: Option<Duration>,
    /// For tests of the checkers.
    pub(crate) broken: Broken,
}

impl State {
    pub(crate) fn empty(node: NodeId) -> Self {
        Self {
            node,
            store: Store::new(),
            buried: BTreeSet::new(),
            latest: HybridTime::ZERO,
            incarnation: Incarnation::UNKNOWN,
            clock_bound: HybridTime::ZERO,
            incarnations: BTreeMap::new(),
            vector: Vector::default(),
            index: Index::default(),
            peer_vectors: BTreeMap::new(),
            counts: false,
            floor: HybridTime::ZERO,
            replaced: None,
            tidy_at: None,
            broken: Broken::default(),
        }
    }

    /// Whether a disk that holds this record is one of this server, in this cluster. Quorums may
    /// differ: they are the coordinator's own.
    pub(crate) fn check(
        &self,
        record: &Record,
        cluster: &ClusterConfig,
    ) -> Result<(), RecoverError> {
        match record {
            Record::Incarnation { node, cluster: old, .. }
                if *node != self.node || old.voters() != cluster.voters() =>
            {
                Err(RecoverError::OtherConfiguration)
            }
            Record::Incarnation { .. }
            | Record::PeerIncarnation { .. }
            | Record::ClockBound { .. }
            | Record::Write(_)
            | Record::Superseded(_)
            | Record::Join(_)
            | Record::Standing { .. }
            | Record::PeerVector { .. }
            | Record::Retired { .. }
            | Record::Removed { .. } => Ok(()),
        }
    }

    /// Takes a record that is on disk into effect.
    pub(crate) fn apply(&mut self, record: Record) {
        match record {
            Record::Incarnation { incarnation, .. } => {
                self.incarnation = incarnation;
                self.vector.begin(self.node, incarnation);
            }
            Record::PeerIncarnation { peer, incarnation } => self.meet(peer, incarnation),
            Record::ClockBound { below } => self.clock_bound = self.clock_bound.max(below),
            Record::Write(write) => {
                self.vector.insert(write.entry.id());
                self.merge(write);
            }
            Record::Superseded(id) => {
                self.vector.insert(id);
                if id.origin != self.node {
                    self.meet(id.origin, id.incarnation);
                }
            }
            Record::Join(vector) => self.join(&vector),
            Record::Standing { counts } => self.counts = counts,
            Record::PeerVector { peer, vector } => drop(self.peer_vectors.insert(peer, vector)),
            Record::Retired { node, incarnations } => {
                incarnations.into_iter().for_each(|former| self.vector.retire(node, former));
            }
            Record::Removed { floor, records } => {
                self.floor = self.floor.max(floor);
                records.iter().for_each(|(key, id)| self.remove(key, *id));
            }
        }
    }

    fn join(&mut self, vector: &Vector) {
        self.vector.join(vector);
        for (node, incarnation) in vector.origins().collect::<Vec<_>>() {
            if node != self.node {
                self.meet(node, incarnation);
            }
        }
    }

    /// Removes a key's record if it is still the one of this write.
    fn remove(&mut self, key: &Key, id: WriteId) {
        let Some(held) = self.store.get(key).filter(|held| held.id() == id) else {
            return;
        };
        self.buried.remove(&(held.stamp.time, key.clone()));
        self.store.remove(key);
        self.index.remove(id, key);
        self.note_replaced(id, key);
    }

    fn note_replaced(&mut self, id: WriteId, key: &Key) {
        if let Some(replaced) = &mut self.replaced {
            replaced.push((id, key.clone()));
        }
    }

    /// Keeps a write if it is the newest of its key. The order in which writes are merged, and
    /// how often, makes no difference.
    pub(crate) fn merge(&mut self, write: Write) {
        self.note_stamp(&write.entry);
        let Write { key, entry } = write;
        let (broken, is_tombstone) = (self.broken, entry.value.is_none());
        if is_tombstone && broken.is(Mutation::DeletesLeaveNothing) {
            return self.remove_for_good(&key, &entry);
        }
        let mut replaced = None;
        let (id, time, name) = (entry.id(), entry.stamp.time, key.clone());
        let is_kept = self.store.insert_if(key, entry, |entry, held| {
            replaced =
                held.map(|held| (held.id(), held.value.is_none().then_some(held.stamp.time)));
            entry.wins_over(held, broken)
        });
        if is_kept {
            if let Some((replaced, buried)) = replaced {
                self.index.remove(replaced, &name);
                self.note_replaced(replaced, &name);
                buried.map(|time| self.buried.remove(&(time, name.clone())));
            }
            if is_tombstone {
                self.buried.insert((time, name.clone()));
            }
            self.index.insert(id, name);
        }
    }

    /// Removes a key without a tombstone; only where a test has it so.
    fn remove_for_good(&mut self, key: &Key, entry: &Entry) {
        let held = self.store.get(key);
        if entry.wins_over(held, self.broken) {
            if let Some(id) = held.map(Entry::id) {
                self.index.remove(id, key);
            }
            self.store.remove(key);
        }
    }

    /// Learns from an entry how late stamps are, and in which incarnation its origin was.
    pub(crate) fn note_stamp(&mut self, entry: &Entry) {
        let stamp = entry.stamp;
        self.latest = self.latest.max(stamp.time);
        if stamp.origin != self.node {
            self.meet(stamp.origin, stamp.incarnation);
        }
    }

    pub(crate) fn meet(&mut self, peer: NodeId, incarnation: Incarnation) {
        let highest = self.incarnations.entry(peer).or_insert(Incarnation::UNKNOWN);
        if incarnation.counter() > highest.counter() {
            *highest = incarnation;
            self.vector.begin(peer, incarnation);
        }
    }

    /// The servers ever seen, this one included. It only grows.
    pub(crate) fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        let others = self.incarnations.keys().copied().filter(|node| *node != self.node);
        others.chain([self.node])
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Entry> {
        self.store.get(key)
    }

    /// What a key holds, unless a write of that time is later. It nearly always is later than all that
    /// is held, which spares the look.
    pub(crate) fn rival(&self, key: &Key, time: HybridTime) -> Option<&Entry> {
        if time > self.latest { None } else { self.get(key) }
    }

    /// A hash of all records: equal on servers that hold the same.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut bytes = bytes::BytesMut::new();
        let mut sum = 0u64;
        for (key, entry) in self.store.after(None) {
            bytes.clear();
            key.encode(&mut bytes);
            entry.encode(&mut bytes);
            sum = sum.wrapping_mul(FINGERPRINT_FACTOR) ^ digest(&bytes);
        }
        sum
    }
}

/// Odd, so that the position of a key counts (the multiplier of FNV-1a).
const FINGERPRINT_FACTOR: u64 = 0x0100_0000_01b3;

#[cfg(test)]
mod tests {
    use kv_core::Value;
    use proptest::prelude::*;

    use super::*;
    use crate::ids::WriteSeq;
    use crate::state::stamp::Stamp;

    fn writes() -> impl Strategy<Value = Vec<Write>> {
        let write = (0u8..3, 0u64..3, 1u16..3, 1u64..3, 0u64..2, any::<Option<u8>>());
        let write = write.prop_map(|(key, millis, origin, incarnation, seq, value)| Write {
            key: Key::new(vec![key]).unwrap(),
            entry: Entry {
                stamp: Stamp {
                    time: HybridTime::from_millis(millis),
                    origin: NodeId::new(origin).unwrap(),
                    incarnation: Incarnation(incarnation << 32),
                },
                seq: WriteSeq(seq),
                value: value.map(|byte| Value::new(vec![byte]).unwrap()),
            },
        });
        proptest::collection::vec(write, 0..20)
    }

    fn merged(writes: impl IntoIterator<Item = Write>) -> State {
        let mut state = State::empty(NodeId::FIRST);
        for write in writes {
            state.merge(write);
        }
        state
    }

    type Content = (Vec<(Key, Entry)>, BTreeSet<(HybridTime, Key)>);

    fn content(state: &State) -> Content {
        let entries = state.store.after(None);
        let entries = entries.map(|(key, entry)| (key.clone(), entry.clone()));
        (entries.collect(), state.buried.clone())
    }

    proptest! {
        #[test]
        fn merging_is_commutative_and_idempotent(
            writes in writes(),
            order in any::<prop::sample::Index>(),
        ) {
            let expected = merged(writes.clone());
            let mut turned = writes.clone();
            let middle = order.index(turned.len() + 1);
            turned.rotate_left(middle);
            turned.reverse();
            prop_assert_eq!(content(&merged(turned)), content(&expected));
            let twice = writes.iter().cloned().chain(writes.iter().cloned());
            prop_assert_eq!(content(&merged(twice)), content(&expected));
        }

        #[test]
        fn merging_is_associative(a in writes(), b in writes(), c in writes()) {
            let rest = |writes: &State| {
                let entries = writes.store.after(None);
                let write =
                    |(key, entry): (&Key, &Entry)| Write { key: key.clone(), entry: entry.clone() };
                entries.map(write).collect::<Vec<_>>()
            };
            let left = merged([a.clone(), b.clone()].concat());
            let left = merged(rest(&left).into_iter().chain(c.clone()));
            let right = merged([b, c].concat());
            let right = merged(a.into_iter().chain(rest(&right)));
            prop_assert_eq!(content(&left), content(&right));
        }
    }

    #[test]
    fn the_fingerprint_tells_values_and_keys_apart() {
        let write = |key: &'static str, value: &'static str| Write {
            key: Key::new(key).unwrap(),
            entry: Entry {
                stamp: Stamp {
                    time: HybridTime::ZERO,
                    origin: NodeId::FIRST,
                    incarnation: Incarnation(1),
                },
                seq: WriteSeq(1),
                value: Some(Value::new(value).unwrap()),
            },
        };
        let one = merged([write("a", "1"), write("b", "2")]).fingerprint();
        let same = merged([write("b", "2"), write("a", "1")]).fingerprint();
        let other = merged([write("a", "2"), write("b", "1")]).fingerprint();
        assert_eq!(one, same);
        assert_ne!(one, other);
    }
}
