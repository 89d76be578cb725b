//! The current records by the names of their writes.

use std::collections::BTreeMap;
use std::ops::Bound;

use kv_core::Key;

use crate::ids::WriteId;
use crate::vector::Vector;

/// Which key each current record is of, by the write that made it: what a vector lacks is found in
/// time proportional to that, however many records there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    keys: BTreeMap<WriteId, Key>,
}

impl Index {
    pub(crate) fn insert(&mut self, id: WriteId, key: Key) {
        self.keys.insert(id, key);
    }

    /// A write with this name that is of another key stays: a fault may name two alike.
    pub(crate) fn remove(&mut self, id: WriteId, key: &Key) {
        if self.keys.get(&id).is_some_and(|held| held == key) {
            self.keys.remove(&id);
        }
    }

    /// The first record after `after` that a vector does not know.
    pub(crate) fn next_lacking(
        &self,
        after: Option<WriteId>,
        known: &Vector,
    ) -> Option<(WriteId, &Key)> {
        let mut from = after.map_or(Bound::Unbounded, Bound::Excluded);
        loop {
            let (&id, key) = self.keys.range((from, Bound::Unbounded)).next()?;
            let Some(seq) = known.run_end(id) else {
                return Some((id, key));
            };
            from = Bound::Excluded(WriteId { seq, ..id });
        }
    }
}

impl FromIterator<(WriteId, Key)> for Index {
    fn from_iter<I: IntoIterator<Item = (WriteId, Key)>>(keys: I) -> Self {
        Self { keys: keys.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use kv_core::{Incarnation, NodeId};

    use super::*;
    use crate::ids::WriteSeq;

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
}
