//! The current records by the names of their writes.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::{Incarnation, Key, NodeId};

use crate::ids::{WriteId, WriteSeq};
use crate::vector::Vector;

/// Which key each current record is of, by the write that made it: what a vector lacks is found in
/// time proportional to that, however many records there are.
///
/// Writes come nearly in the order of their numbers, and each replaces one of any age. So they stand
/// in chunks: to add one is to append it, and to remove one clears a bit beside its chunk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    incarnations: BTreeMap<(NodeId, Incarnation), Chunks>,
    /// Records whose name another one has, too, which only a fault can make.
    doubles: BTreeSet<(WriteId, Key)>,
}

/// Chunks by their number, none of them empty.
type Chunks = BTreeMap<u64, Chunk>;

/// The records of [`CHUNK`] numbers.
#[derive(Clone, Debug, Default)]
struct Chunk {
    /// Which of the numbers are here, the first one in the lowest bit.
    present: u64,
    /// Those, ascending, and some that were removed.
    keys: Vec<(WriteSeq, Key)>,
}

impl Index {
    pub(crate) fn insert(&mut self, id: WriteId, key: Key) {
        let chunks = self.incarnations.entry((id.origin, id.incarnation)).or_default();
        let chunk = chunks.entry(id.seq.0 / CHUNK).or_default();
        if let Err(key) = chunk.insert(id.seq, key) {
            self.doubles.insert((id, key));
        }
    }

    /// A write with this name that is of another key stays.
    pub(crate) fn remove(&mut self, id: WriteId, key: &Key) {
        if !self.doubles.is_empty() && self.remove_double(id, key) {
            return;
        }
        let incarnation = (id.origin, id.incarnation);
        let Some(chunks) = self.incarnations.get_mut(&incarnation) else {
            return;
        };
        let number = id.seq.0 / CHUNK;
        let Some(chunk) = chunks.get_mut(&number) else {
            return;
        };
        chunk.remove(id.seq);
        if chunk.present == 0 {
            chunks.remove(&number);
            if chunks.is_empty() {
                self.incarnations.remove(&incarnation);
            }
        }
    }

    /// Removes one of several records of a name, if there are several.
    fn remove_double(&mut self, id: WriteId, key: &Key) -> bool {
        let of_name = self.doubles.iter().find(|(other, _)| *other == id).cloned();
        let Some(double) = of_name else {
            return false;
        };
        if self.doubles.remove(&(id, key.clone())) {
            return true;
        }
        let chunks = self.incarnations.get_mut(&(id.origin, id.incarnation));
        let chunk = chunks.and_then(|chunks| chunks.get_mut(&(id.seq.0 / CHUNK)));
        let held = chunk.and_then(|chunk| chunk.key_mut(id.seq));
        if let Some(held) = held.filter(|held| *held == key) {
            self.doubles.remove(&double);
            *held = double.1;
        }
        true
    }

    /// The first record after `after` that a vector does not know. Of several with one name it is
    /// any one: they have one identity, and a vector does not tell them apart.
    pub(crate) fn next_lacking(
        &self,
        after: Option<WriteId>,
        known: &Vector,
    ) -> Option<(WriteId, &Key)> {
        let first = after.map_or((NodeId::FIRST, Incarnation::UNKNOWN), |after| {
            (after.origin, after.incarnation)
        });
        for (&(origin, incarnation), chunks) in self.incarnations.range(first..) {
            let is_first = after.is_some() && (origin, incarnation) == first;
            let mut last = after.filter(|_| is_first).map_or(WriteSeq(0), |after| after.seq);
            while let Some((seq, key)) = next_after(chunks, last) {
                let id = WriteId { origin, incarnation, seq };
                let Some(end) = known.run_end(id) else {
                    return Some((id, key));
                };
                last = end;
            }
        }
        None
    }
}

impl Chunk {
    /// Adds a record; gives the key back if there is one of that name and of another key.
    fn insert(&mut self, seq: WriteSeq, key: Key) -> Result<(), Key> {
        if self.keys.last().is_none_or(|(last, _)| *last < seq) {
            self.keys.push((seq, key));
        } else {
            match self.keys.binary_search_by_key(&seq, |(other, _)| *other) {
                Ok(at) => {
                    let is_present = self.has(seq);
                    if let Some((_, held)) = self.keys.get_mut(at).filter(|(_, held)| *held != key)
                    {
                        if is_present {
                            return Err(key);
                        }
                        *held = key;
                    }
                }
                Err(at) => self.keys.insert(at, (seq, key)),
            }
        }
        self.present |= bit(seq);
        Ok(())
    }

    fn remove(&mut self, seq: WriteSeq) {
        self.present &= !bit(seq);
        let present = usize::try_from(self.present.count_ones()).unwrap_or(usize::MAX);
        if present <= self.keys.len() / 4 {
            let bits = self.present;
            self.keys.retain(|(seq, _)| bits & bit(*seq) != 0);
            self.keys.shrink_to(2 * present);
        }
    }

    fn has(&self, seq: WriteSeq) -> bool {
        self.present & bit(seq) != 0
    }

    fn key_mut(&mut self, seq: WriteSeq) -> Option<&mut Key> {
        let at = self.keys.binary_search_by_key(&seq, |(other, _)| *other).ok()?;
        self.keys.get_mut(at).map(|(_, key)| key)
    }

    /// The first record whose number is greater than `last`.
    fn next_after(&self, last: WriteSeq) -> Option<(WriteSeq, &Key)> {
        let from = self.keys.partition_point(|(seq, _)| *seq <= last);
        let mut later = self.keys.iter().skip(from);
        later.find(|(seq, _)| self.has(*seq)).map(|(seq, key)| (*seq, key))
    }
}

impl FromIterator<(WriteId, Key)> for Index {
    fn from_iter<I: IntoIterator<Item = (WriteId, Key)>>(keys: I) -> Self {
        let mut index = Self::default();
        keys.into_iter().for_each(|(id, key)| index.insert(id, key));
        index
    }
}

/// The first record of an incarnation whose number is greater than `last`.
fn next_after(chunks: &Chunks, last: WriteSeq) -> Option<(WriteSeq, &Key)> {
    chunks.range(last.0 / CHUNK..).find_map(|(_, chunk)| chunk.next_after(last))
}

const fn bit(seq: WriteSeq) -> u64 {
    1 << (seq.0 % CHUNK)
}

/// How many numbers a chunk has: one for each bit.
const CHUNK: u64 = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(origin: u16, seq: u64) -> WriteId {
        let origin = NodeId::new(origin).unwrap();
        WriteId { origin, incarnation: Incarnation(1 << 32), seq: WriteSeq(seq) }
    }

    #[test]
    fn what_a_vector_lacks_is_found_in_the_order_of_the_names() {
        let key = |id: WriteId| Key::new(format!("{}-{}", id.origin, id.seq.0)).unwrap();
        let ids = [(1, 1), (1, 2), (1, 5), (2, 1), (2, 9)].map(|(origin, seq)| id(origin, seq));
        let index: Index = ids.iter().map(|id| (*id, key(*id))).collect();
        let mut known = Vector::default();
        [id(1, 1), id(1, 5), id(2, 1)].into_iter().for_each(|id| known.insert(id));
        let mut after = None;
        let mut lacking = Vec::new();
        while let Some((id, _)) = index.next_lacking(after, &known) {
            lacking.push(id);
            after = Some(id);
        }
        assert_eq!(lacking, [id(1, 2), id(2, 9)]);
        known.retire(NodeId::FIRST, Incarnation(1 << 32));
        assert_eq!(index.next_lacking(None, &known).map(|(id, _)| id), Some(id(2, 9)));
    }

    proptest! {
        #[test]
        fn it_has_the_name_of_each_record_whatever_comes_and_goes(
            steps in proptest::collection::vec((any::<bool>(), 1u16..3, 1u64..300, 0u8..3), 0..400),
            known in proptest::collection::vec((1u16..3, 1u64..300), 0..50),
        ) {
            let (mut index, mut expected) = (Index::default(), BTreeSet::new());
            for (is_new, origin, seq, key) in steps {
                let (id, key) = (id(origin, seq), Key::new(vec![key]).unwrap());
                if is_new {
                    index.insert(id, key.clone());
                    expected.insert((id, key));
                } else if expected.remove(&(id, key.clone())) {
                    index.remove(id, &key);
                }
            }
            let mut vector = Vector::default();
            known.into_iter().for_each(|(origin, seq)| vector.insert(id(origin, seq)));
            let (mut after, mut lacking) = (None, BTreeSet::new());
            while let Some((id, key)) = index.next_lacking(after, &vector) {
                prop_assert!(after.is_none_or(|after| after < id));
                prop_assert!(expected.contains(&(id, key.clone())));
                lacking.insert(id);
                after = Some(id);
            }
            let names = expected.iter().map(|(id, _)| *id).filter(|id| !vector.contains(*id));
            prop_assert_eq!(lacking, names.collect::<BTreeSet<_>>());
        }
    }
}
