//! The total order of writes.

use std::cmp::Ordering;

use kv_core::{HybridTime, Incarnation, NodeId, Value, Version, Wire, digest, wire_struct};

use crate::ids::{WriteId, WriteSeq};
use crate::mutation::{Broken, Mutation};

/// The position of a write in the order of all writes: by time, then by origin, then by that
/// server's incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The coordinator's hybrid logical clock.
    pub time: HybridTime,
    /// The server that coordinated the write.
    pub origin: NodeId,
    /// That server's incarnation.
    pub incarnation: Incarnation,
}

wire_struct!(Stamp { time, origin, incarnation });

impl Stamp {
    /// The stamp that a version of this engine is; `None` for one of another engine.
    pub(crate) const fn of_version(version: Version) -> Option<Self> {
        match version {
            Version::Stamp { time, origin, incarnation } => {
                Some(Self { time, origin, incarnation })
            }
            Version::Log(_) | Version::Tag { .. } => None,
        }
    }
}

impl From<Stamp> for Version {
    fn from(stamp: Stamp) -> Self {
        Self::Stamp { time: stamp.time, origin: stamp.origin, incarnation: stamp.incarnation }
    }
}

/// What one write made of a key: a value, or a tombstone.
///
/// Entries are totally ordered, and the greatest one wins: by stamp; a stamp that a fault issued
/// twice is decided by the hash of the values, then by the values and the write's number, so that
/// all servers agree on the winner whatever order the writes come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The write's position in the order of writes.
    pub stamp: Stamp,
    /// The write's number among its origin's.
    pub seq: WriteSeq,
    /// What was put; `None` for a delete.
    pub value: Option<Value>,
}

wire_struct!(Entry { stamp, seq, value });

impl Entry {
    /// The identity of the write that made it.
    #[must_use]
    pub const fn id(&self) -> WriteId {
        WriteId { origin: self.stamp.origin, incarnation: self.stamp.incarnation, seq: self.seq }
    }

    /// Whether it is newer than what a key holds, which may be nothing.
    #[must_use]
    pub fn supersedes(&self, held: Option<&Self>) -> bool {
        held.is_none_or(|held| self > held)
    }

    /// [`Entry::supersedes`], unless a test has broken the order of writes.
    pub(crate) fn wins_over(&self, held: Option<&Self>, broken: Broken) -> bool {
        let tie = || held.filter(|held| held.stamp.time == self.stamp.time);
        if broken.is(Mutation::LastToComeWins) {
            return held != Some(self);
        }
        if broken.is(Mutation::FirstOfATieStays) && tie().is_some() {
            return false;
        }
        if broken.is(Mutation::TiesReversed)
            && let Some(held) = tie()
        {
            return self < held;
        }
        self.supersedes(held)
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.value.as_ref().map_or(0, |value| value.as_bytes().len())
    }

    pub(crate) fn detached(&self) -> Self {
        Self { value: self.value.as_ref().map(Value::detached), ..*self }
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_content = || {
            let hash = |entry: &Self| digest(&entry.value.to_bytes());
            hash(self)
                .cmp(&hash(other))
                .then_with(|| (&self.value, self.seq).cmp(&(&other.value, other.seq)))
        };
        self.stamp.cmp(&other.stamp).then_with(by_content)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(millis: u64, origin: u16, incarnation: u64) -> Stamp {
        Stamp {
            time: HybridTime::from_millis(millis),
            origin: NodeId::new(origin).unwrap(),
            incarnation: Incarnation(incarnation),
        }
    }

    fn entry(stamp: Stamp, seq: u64, value: Option<&'static str>) -> Entry {
        Entry { stamp, seq: WriteSeq(seq), value: value.map(|text| Value::new(text).unwrap()) }
    }

    #[test]
    fn time_decides_before_origin_and_origin_before_incarnation() {
        let ascending = [stamp(1, 3, 9), stamp(2, 1, 9), stamp(2, 2, 1), stamp(2, 2, 2)];
        assert!(ascending.is_sorted());
        let entries = ascending.map(|stamp| entry(stamp, 1, Some("v")));
        assert!(entries.is_sorted());
    }

    #[test]
    fn equal_stamps_are_still_ordered() {
        let twice = stamp(1, 1, 1);
        let entries = [
            entry(twice, 1, Some("a")),
            entry(twice, 1, Some("b")),
            entry(twice, 2, Some("a")),
            entry(twice, 1, None),
        ];
        for (i, a) in entries.iter().enumerate() {
            for (j, b) in entries.iter().enumerate() {
                assert_eq!(a.cmp(b), b.cmp(a).reverse());
                assert_eq!(a.cmp(b) == Ordering::Equal, i == j);
            }
        }
        let by_hash = digest(&entries[0].value.to_bytes()) < digest(&entries[1].value.to_bytes());
        assert_eq!(entries[0] < entries[1], by_hash);
    }

    #[test]
    fn anything_supersedes_nothing_and_nothing_supersedes_itself() {
        let one = entry(stamp(1, 1, 1), 1, None);
        assert!(one.supersedes(None));
        assert!(!one.supersedes(Some(&one)));
    }
}
