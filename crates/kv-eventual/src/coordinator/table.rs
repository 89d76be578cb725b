//! Writes under way, as their coordinator keeps them.

use std::collections::VecDeque;
use std::time::Duration;

use kv_core::{Outcome, RequestId, Unknown};

use crate::deadline::Backoff;
use crate::ids::{SlotSet, WriteId};
use crate::state::record::Write;

/// Writes by their identity, the oldest first.
///
/// They come in the order of their numbers and leave nearly in it, so that they stand in a queue with
/// gaps, where one is found by counting from the first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// Ascending; a write that has left is `None`. The first one is not.
    places: VecDeque<(WriteId, Option<Box<PendingWrite>>)>,
    sum: Sum,
}

/// How many writes there are, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct PendingWrite {
    pub(crate) write: Write,
    pub(crate) request: RequestId,
    pub(crate) needed: u16,
    /// The servers that hold it on their disks.
    pub(crate) acked: SlotSet,
    /// The servers that will not take it.
    pub(crate) rejected: SlotSet,
    /// Whether it may go to the others: at once if its stamp is below the bound on this server's
    /// disk, else once it is on that disk itself.
    pub(crate) is_sent: bool,
    /// Whether it is on this server's own disk. It is not done before that.
    pub(crate) is_persisted: bool,
    pub(crate) expires: Duration,
    pub(crate) armed: Option<Duration>,
    pub(crate) backoff: Backoff,
}

impl Table {
    pub(crate) const fn sum(&self) -> Sum {
        self.sum
    }

    /// Takes in a write.
    pub(crate) fn insert(&mut self, id: WriteId, pending: PendingWrite) {
        self.sum.add(&pending);
        let place = (id, Some(Box::new(pending)));
        if self.places.back().is_none_or(|(last, _)| *last < id) {
            self.places.push_back(place);
        } else {
            let at = self.places.partition_point(|(other, _)| *other < id);
            self.places.insert(at, place);
        }
    }

    pub(crate) fn get(&self, id: WriteId) -> Option<&PendingWrite> {
        self.places.get(self.find(id)?)?.1.as_deref()
    }

    pub(crate) fn get_mut(&mut self, id: WriteId) -> Option<&mut PendingWrite> {
        let at = self.find(id)?;
        self.places.get_mut(at)?.1.as_deref_mut()
    }

    pub(crate) fn remove(&mut self, id: WriteId) -> Option<Box<PendingWrite>> {
        let at = self.find(id)?;
        let pending = self.places.get_mut(at)?.1.take()?;
        self.sum.subtract(&pending);
        while self.places.front().is_some_and(|(_, pending)| pending.is_none()) {
            self.places.pop_front();
        }
        // One that stays for long must not have the gaps behind it stay, too.
        if self.places.len() > 2 * self.sum.count + GAPS_ALLOWED {
            self.places.retain(|(_, pending)| pending.is_some());
        }
        Some(pending)
    }

    /// All of them, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (WriteId, &PendingWrite)> {
        self.places.iter().filter_map(|(id, pending)| Some((*id, pending.as_deref()?)))
    }

    fn find(&self, id: WriteId) -> Option<usize> {
        let (first, _) = self.places.front()?;
        let ahead = usize::try_from(id.seq.0.wrapping_sub(first.seq.0)).ok();
        let is_there = |at: &usize| self.places.get(*at).is_some_and(|(other, _)| *other == id);
        // Without gaps that were closed and without another incarnation, this is where it stands.
        ahead
            .filter(is_there)
            .or_else(|| self.places.binary_search_by_key(&id, |(other, _)| *other).ok())
    }
}

impl Sum {
    fn add(&mut self, pending: &PendingWrite) {
        self.count += 1;
        self.bytes += pending.write.size_bytes();
    }

    fn subtract(&mut self, pending: &PendingWrite) {
        self.count -= 1;
        self.bytes -= pending.write.size_bytes();
    }
}

impl PendingWrite {
    /// A write that begins.
    pub(crate) fn new(
        write: Write,
        (request, needed): (RequestId, u16),
        expires: Duration,
        backoff: Backoff,
    ) -> Self {
        Self {
            write,
            request,
            needed,
            acked: SlotSet::default(),
            rejected: SlotSet::default(),
            is_sent: false,
            is_persisted: false,
            expires,
            armed: None,
            backoff,
        }
    }

    /// What its client is told if it may or may not take effect.
    pub(crate) fn unknown(&self) -> Outcome {
        Outcome::Unknown(Unknown {
            version: Some(self.write.entry.stamp.into()),
            acks: self.acked.len(),
            needed: self.needed,
        })
    }
}

/// So many gaps cost less than to close them.
const GAPS_ALLOWED: usize = 1_024;

#[cfg(test)]
mod tests {
    use kv_core::{HybridTime, Incarnation, Key, NodeId, Timing, Value};

    use super::*;
    use crate::ids::WriteSeq;
    use crate::state::stamp::{Entry, Stamp};

    fn pending(incarnation: u64, seq: u64) -> (WriteId, PendingWrite) {
        let stamp = Stamp {
            time: HybridTime::from_millis(seq),
            origin: NodeId::FIRST,
            incarnation: Incarnation(incarnation),
        };
        let value = Some(Value::new("v").unwrap());
        let entry = Entry { stamp, seq: WriteSeq(seq), value };
        let write = Write { key: Key::new("k").unwrap(), entry };
        let backoff = Backoff::new(&Timing::default());
        (write.entry.id(), PendingWrite::new(write, (RequestId(seq), 1), Duration::ZERO, backoff))
    }

    fn table(ids: impl IntoIterator<Item = (u64, u64)>) -> Table {
        let mut table = Table::default();
        for (incarnation, seq) in ids {
            let (id, pending) = pending(incarnation, seq);
            table.insert(id, pending);
        }
        table
    }

    fn requests(table: &Table) -> Vec<u64> {
        table.iter().map(|(_, pending)| pending.request.0).collect()
    }

    #[test]
    fn each_is_found_whatever_has_left_and_whatever_incarnation_began() {
        let mut table = table([(1, 7), (1, 8), (1, 9), (2, 1), (2, 2)]);
        assert_eq!(requests(&table), [7, 8, 9, 1, 2]);
        let all = [(1, 7), (1, 8), (1, 9), (2, 1), (2, 2)].map(|(life, seq)| pending(life, seq).0);
        assert!(table.remove(all[1]).is_some() && table.remove(all[1]).is_none());
        assert!(table.remove(all[0]).is_some());
        assert_eq!(all.map(|id| table.get(id).is_some()), [false, false, true, true, true]);
        assert!(table.remove(all[3]).is_some());
        assert_eq!(requests(&table), [9, 2]);
        assert_eq!(table.sum().count, 2);
        let each = pending(1, 9).1.write.size_bytes();
        assert_eq!(table.sum().bytes, 2 * each);
    }

    #[test]
    fn one_that_stays_keeps_no_gaps() {
        let mut table = table((1..=100_000).map(|seq| (1, seq)));
        for seq in 2..=99_999 {
            assert!(table.remove(pending(1, seq).0).is_some());
        }
        assert!(table.places.len() <= GAPS_ALLOWED + 4, "{}", table.places.len());
        assert_eq!(requests(&table), [1, 100_000]);
        assert!(table.get(pending(1, 100_000).0).is_some());
    }
}
