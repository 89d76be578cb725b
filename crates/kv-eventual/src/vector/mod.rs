//! What a server knows of all writes.

pub(crate) mod cuts;
pub(crate) mod seqs;

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use kv_core::{DecodeError, Incarnation, NodeId, Wire};

use crate::ids::{WriteId, WriteSeq};
use seqs::Seqs;

/// The writes that a server reflects: of each of them it holds that version, or a newer one of the
/// same key, or it has forgotten a delete after it that every server had.
///
/// An incarnation that has an entry here, if an empty one, fences those before it: the server takes
/// no message of them any more. An incarnation that is *retired* is known completely; each one is
/// named, since a server that lost its disk and is alone may begin one with a lower number again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vector {
    /// The incarnations of which every write is reflected that any server holds.
    retired: BTreeSet<(NodeId, Incarnation)>,
    live: BTreeMap<(NodeId, Incarnation), Seqs>,
}

impl Vector {
    /// Whether a write is reflected.
    #[must_use]
    pub fn contains(&self, id: WriteId) -> bool {
        self.run_end(id).is_some()
    }

    /// The last number of the run of known writes that a write is in; `None` if it is not known.
    pub(crate) fn run_end(&self, id: WriteId) -> Option<WriteSeq> {
        let incarnation = (id.origin, id.incarnation);
        match self.live.get(&incarnation) {
            Some(seqs) => seqs.run_end(id.seq.0).map(WriteSeq),
            None => self.retired.contains(&incarnation).then_some(WriteSeq(u64::MAX)),
        }
    }

    /// Whether there is an entry for an incarnation, which fences those before it.
    pub(crate) fn has_entry(&self, origin: NodeId, incarnation: Incarnation) -> bool {
        self.is_retired(origin, incarnation) || self.live.contains_key(&(origin, incarnation))
    }

    /// Adds a write.
    pub fn insert(&mut self, id: WriteId) {
        if let Some(seqs) = self.live.get_mut(&(id.origin, id.incarnation)) {
            seqs.insert(id.seq.0);
        } else if !self.is_retired(id.origin, id.incarnation) {
            self.live.entry((id.origin, id.incarnation)).or_default().insert(id.seq.0);
        }
    }

    /// Makes an entry for an incarnation.
    pub(crate) fn begin(&mut self, origin: NodeId, incarnation: Incarnation) {
        if incarnation.counter() > 0 && !self.is_retired(origin, incarnation) {
            self.live.entry((origin, incarnation)).or_default();
        }
    }

    /// Takes every write of an incarnation for known.
    pub(crate) fn retire(&mut self, origin: NodeId, incarnation: Incarnation) {
        self.live.remove(&(origin, incarnation));
        self.retired.insert((origin, incarnation));
    }

    /// Adds all that another vector knows.
    pub fn join(&mut self, other: &Self) {
        for &(origin, incarnation) in &other.retired {
            self.retire(origin, incarnation);
        }
        for (&(origin, incarnation), seqs) in &other.live {
            if !self.is_retired(origin, incarnation) {
                self.live.entry((origin, incarnation)).or_default().join(seqs);
            }
        }
    }

    /// Whether it knows all that another vector does.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let covers_live = |(&(origin, incarnation), seqs): (&(NodeId, Incarnation), &Seqs)| {
            let known = self.live.get(&(origin, incarnation));
            self.is_retired(origin, incarnation) || known.is_some_and(|known| known.covers(seqs))
        };
        other.retired.is_subset(&self.retired) && other.live.iter().all(covers_live)
    }

    /// The incarnations of a server that are not retired, with what is known of each, ascending.
    pub(crate) fn live_of(
        &self,
        origin: NodeId,
    ) -> impl DoubleEndedIterator<Item = (Incarnation, &Seqs)> {
        let range = (origin, Incarnation::UNKNOWN)..=(origin, Incarnation(u64::MAX));
        self.live.range(range).map(|(&(_, incarnation), seqs)| (incarnation, seqs))
    }

    /// The servers of which it has an entry.
    pub(crate) fn origins(&self) -> impl Iterator<Item = (NodeId, Incarnation)> + '_ {
        self.retired.iter().chain(self.live.keys()).copied()
    }

    /// The retired incarnations of a server, ascending.
    pub(crate) fn retired_of(&self, origin: NodeId) -> impl Iterator<Item = Incarnation> + '_ {
        let range = (origin, Incarnation::UNKNOWN)..=(origin, Incarnation(u64::MAX));
        self.retired.range(range).map(|(_, incarnation)| *incarnation)
    }

    /// How many writes it knows that another vector does not, as far as incarnations are live.
    pub(crate) fn ahead_of(&self, other: &Self) -> u64 {
        let ahead = self.live.iter().map(|(&(origin, incarnation), seqs)| {
            if other.is_retired(origin, incarnation) {
                return 0;
            }
            let mut both = other.live.get(&(origin, incarnation)).cloned().unwrap_or_default();
            let known = both.count();
            both.join(seqs);
            both.count().saturating_sub(known)
        });
        ahead.fold(0, u64::saturating_add)
    }

    /// How many incarnations are followed by another and not retired.
    pub(crate) fn former(&self) -> usize {
        let followed = self.live.keys().zip(self.live.keys().skip(1));
        followed.filter(|((node, _), (next, _))| node == next).count()
    }

    /// How many gaps it has: numbers that are missing below others of the same incarnation.
    pub(crate) fn gaps(&self) -> usize {
        self.live.values().map(Seqs::gaps).sum()
    }

    /// Whether a write is known only since its incarnation is retired: no server may ever have had it.
    pub(crate) fn is_void(&self, id: WriteId) -> bool {
        self.is_retired(id.origin, id.incarnation)
    }

    fn is_retired(&self, origin: NodeId, incarnation: Incarnation) -> bool {
        self.retired.contains(&(origin, incarnation))
    }
}

impl Wire for Vector {
    fn encode(&self, out: &mut BytesMut) {
        self.retired.iter().copied().collect::<Vec<(NodeId, Incarnation)>>().encode(out);
        let live = self.live.iter();
        let live = live.map(|(&(origin, incarnation), seqs)| (origin, incarnation, seqs.clone()));
        live.collect::<Vec<(NodeId, Incarnation, Seqs)>>().encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        let mut vector = Self::default();
        let retired = Vec::<(NodeId, Incarnation)>::decode(input)?;
        vector.retired.extend(retired);
        for (origin, incarnation, seqs) in Vec::<(NodeId, Incarnation, Seqs)>::decode(input)? {
            if !vector.is_retired(origin, incarnation) {
                vector.live.insert((origin, incarnation), seqs);
            }
        }
        Ok(vector)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id((origin, incarnation, seq): (u16, u64, u64)) -> WriteId {
        WriteId {
            origin: NodeId::new(origin).unwrap(),
            incarnation: Incarnation(incarnation << 32),
            seq: WriteSeq(seq),
        }
    }

    fn vectors() -> impl Strategy<Value = Vector> {
        let ids = proptest::collection::vec((1u16..3, 1u64..4, 1u64..6), 0..12);
        let retired = proptest::collection::vec((1u16..3, 1u64..3), 0..2);
        (ids, retired).prop_map(|(ids, retired)| {
            let mut vector = Vector::default();
            ids.into_iter().for_each(|parts| vector.insert(id(parts)));
            for (origin, incarnation) in retired {
                let WriteId { origin, incarnation, .. } = id((origin, incarnation, 1));
                vector.retire(origin, incarnation);
            }
            vector
        })
    }

    fn joined(a: &Vector, b: &Vector) -> Vector {
        let mut joined = a.clone();
        joined.join(b);
        joined
    }

    proptest! {
        #[test]
        fn joining_is_commutative_associative_and_idempotent(
            a in vectors(), b in vectors(), c in vectors(),
        ) {
            prop_assert_eq!(joined(&a, &b), joined(&b, &a));
            prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
            prop_assert_eq!(joined(&a, &a), a.clone());
            prop_assert_eq!(Vector::from_bytes(a.to_bytes()), Ok(a));
        }

        #[test]
        fn a_join_knows_what_either_knows_and_nothing_else(a in vectors(), b in vectors()) {
            let both = joined(&a, &b);
            prop_assert!(both.covers(&a) && both.covers(&b));
            prop_assert_eq!(a.covers(&b), both == a);
            for origin in 1..3 {
                for incarnation in 1..4 {
                    for seq in 1..7 {
                        let id = id((origin, incarnation, seq));
                        let either = a.contains(id) || b.contains(id);
                        prop_assert_eq!(both.contains(id), either);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_retired_needs_no_entry_and_takes_none() {
        let mut vector = Vector::default();
        vector.insert(id((1, 1, 3)));
        vector.insert(id((1, 2, 1)));
        vector.begin(id((1, 3, 1)).origin, id((1, 3, 1)).incarnation);
        assert_eq!((vector.gaps(), vector.live.len()), (1, 3));
        let WriteId { origin, incarnation, .. } = id((1, 2, 1));
        vector.retire(origin, incarnation);
        vector.insert(id((1, 1, 5)));
        vector.insert(id((1, 2, 5)));
        assert_eq!((vector.gaps(), vector.live.len()), (2, 2));
        assert!(vector.contains(id((1, 2, 9))) && !vector.contains(id((1, 1, 2))));
        assert!(!vector.contains(id((1, 3, 1))));
    }
}
