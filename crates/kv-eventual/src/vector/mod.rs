//! What a server knows of all writes.

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
/// no message of them any more. An incarnation that is *retired* is known completely. The last ones of
/// a server are named, and all before those are known by one number, so that restarts do not let a
/// vector grow. Numbers follow the wall clock (`identity.rs`): only a server that starts alone, without
/// its data or with an older copy, and whose clock is behind as well, gives one that the others have
/// passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vector {
    /// Of each server the incarnation up to which all are retired and none is named.
    folded: BTreeMap<NodeId, Incarnation>,
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
            None => self.is_retired(id.origin, id.incarnation).then_some(WriteSeq(u64::MAX)),
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
        if !self.is_folded(origin, incarnation) {
            self.retired.insert((origin, incarnation));
        }
    }

    /// Names no more retired incarnations of each server than [`NAMED_MAX`], unless an earlier one is
    /// not retired.
    pub(crate) fn fold(&mut self) {
        let origins: BTreeSet<NodeId> = self.retired.iter().map(|(origin, _)| *origin).collect();
        for origin in origins {
            let named: Vec<Incarnation> = self.retired_of(origin).collect();
            let surplus = named.len().saturating_sub(NAMED_MAX);
            let first_live = self.live_of(origin).next().map(|(incarnation, _)| incarnation);
            let is_before = |name: &&Incarnation| first_live.is_none_or(|live| **name < live);
            if let Some(last) = named.iter().take(surplus).take_while(is_before).last() {
                self.fold_up_to(origin, *last);
            }
        }
    }

    fn fold_up_to(&mut self, origin: NodeId, last: Incarnation) {
        let folded = self.folded.entry(origin).or_insert(last);
        *folded = last.max(*folded);
        let last = *folded;
        let is_named = |incarnation: Incarnation| incarnation > last;
        self.retired.retain(|(of, incarnation)| *of != origin || is_named(*incarnation));
        self.live.retain(|(of, incarnation), _| *of != origin || is_named(*incarnation));
    }

    /// Asserts that it names no more retired incarnations of a server than it must.
    pub(crate) fn check_named(&self) {
        for &origin in self.folded.keys() {
            let is_open = self.live_of(origin).count() > 1;
            let named = self.retired_of(origin).count();
            assert!(is_open || named <= NAMED_MAX, "a vector does not grow with restarts");
        }
    }

    /// Adds all that another vector knows.
    pub fn join(&mut self, other: &Self) {
        for (&origin, &last) in &other.folded {
            self.fold_up_to(origin, last);
        }
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
        let is_folded = |(origin, last): (&NodeId, &Incarnation)| self.is_folded(*origin, *last);
        let is_retired = |(origin, last): &(NodeId, Incarnation)| self.is_retired(*origin, *last);
        other.folded.iter().all(is_folded)
            && other.retired.iter().all(is_retired)
            && other.live.iter().all(covers_live)
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
        let folded = self.folded.iter().map(|(origin, last)| (*origin, *last));
        folded.chain(self.retired.iter().chain(self.live.keys()).copied())
    }

    /// The incarnation of a server up to which all are retired and none is named.
    pub(crate) fn folded_of(&self, origin: NodeId) -> Option<Incarnation> {
        self.folded.get(&origin).copied()
    }

    /// The retired incarnations of a server that are named, ascending.
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

    fn is_retired(&self, origin: NodeId, incarnation: Incarnation) -> bool {
        self.is_folded(origin, incarnation) || self.retired.contains(&(origin, incarnation))
    }

    fn is_folded(&self, origin: NodeId, incarnation: Incarnation) -> bool {
        self.folded.get(&origin).is_some_and(|last| incarnation <= *last)
    }
}

/// How many retired incarnations of a server are named.
pub(crate) const NAMED_MAX: usize = 16;

/// Where all incarnations of a server up to one are retired, that one stands among the retired ones,
/// after one that no server has. So the form is the same as before there were such.
impl Wire for Vector {
    fn encode(&self, out: &mut BytesMut) {
        let folded = self.folded.iter();
        let folded =
            folded.flat_map(|(&origin, &last)| [(origin, Incarnation::UNKNOWN), (origin, last)]);
        let retired = folded.chain(self.retired.iter().copied());
        retired.collect::<Vec<(NodeId, Incarnation)>>().encode(out);
        let live = self.live.iter();
        let live = live.map(|(&(origin, incarnation), seqs)| (origin, incarnation, seqs.clone()));
        live.collect::<Vec<(NodeId, Incarnation, Seqs)>>().encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        let mut vector = Self::default();
        let mut retired = Vec::<(NodeId, Incarnation)>::decode(input)?.into_iter();
        while let Some((origin, incarnation)) = retired.next() {
            if incarnation != Incarnation::UNKNOWN {
                vector.retire(origin, incarnation);
            } else if let Some((of, last)) = retired.next().filter(|(of, _)| *of == origin) {
                vector.fold_up_to(of, last);
            } else {
                return Err(DecodeError::Invalid { what: "retired incarnations" });
            }
        }
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
        let folded = proptest::option::of((1u16..3, 1u64..3));
        (ids, retired, folded).prop_map(|(ids, retired, folded)| {
            let mut vector = Vector::default();
            ids.into_iter().for_each(|parts| vector.insert(id(parts)));
            for (origin, incarnation) in retired {
                let WriteId { origin, incarnation, .. } = id((origin, incarnation, 1));
                vector.retire(origin, incarnation);
            }
            if let Some((origin, incarnation)) = folded {
                let WriteId { origin, incarnation, .. } = id((origin, incarnation, 1));
                vector.fold_up_to(origin, incarnation);
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

    #[test]
    fn the_last_retired_incarnations_are_named_and_those_before_are_known_by_one_number() {
        let mut vector = Vector::default();
        for incarnation in (1..=100).map(|counter| id((1, counter, 1)).incarnation) {
            vector.begin(NodeId::FIRST, incarnation);
        }
        for counter in 2..100 {
            vector.retire(NodeId::FIRST, id((1, counter, 1)).incarnation);
        }
        vector.fold();
        assert_eq!(vector.retired.len(), 98, "the first incarnation is not retired");
        vector.retire(NodeId::FIRST, id((1, 1, 1)).incarnation);
        vector.fold();
        assert_eq!((vector.retired.len(), vector.live.len()), (NAMED_MAX, 1));
        assert_eq!(vector.folded_of(NodeId::FIRST), Some(id((1, 83, 1)).incarnation));
        assert!((1..100).all(|counter| vector.contains(id((1, counter, 7)))));
        assert!(!vector.contains(id((1, 100, 1))) && !vector.contains(id((2, 1, 1))));
        assert_eq!(Vector::from_bytes(vector.to_bytes()), Ok(vector));
    }
}
