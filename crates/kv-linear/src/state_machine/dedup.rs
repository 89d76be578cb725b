//! Each forwarded request takes effect once, decided where it is applied.

use std::collections::BTreeMap;

use kv_core::{Incarnation, NodeId, wire_struct};

use crate::log::entry::Origin;
use crate::state_machine::numbers::{NumberRanges, NumberSet};

/// The requests that have been applied, by the server that forwarded them. Replicated state: it
/// is a function of the log.
///
/// Of each server the incarnations with the highest number are remembered. A sequencer takes
/// requests only of a server's present incarnation, and their numbers only grow, so an entry of one
/// with a lower number can only be a duplicate. Two processes can have the same number, if the
/// first lost its disk before others knew of it; they differ in their random part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dedup {
    servers: BTreeMap<NodeId, BTreeMap<Incarnation, NumberSet>>,
}

impl Dedup {
    /// Notes that an entry is applied; false if its request was before, or may have been.
    pub(crate) fn note(&mut self, origin: &Origin) -> bool {
        let applied = self.servers.entry(origin.server).or_default();
        let present = highest(applied);
        if origin.incarnation.counter() < present {
            return false;
        }
        if origin.incarnation.counter() > present {
            applied.clear();
        }
        let numbers = applied.entry(origin.incarnation).or_insert_with(NumberSet::new);
        numbers.insert_below(origin.settled_below);
        if numbers.contains(origin.number) {
            return false;
        }
        numbers.insert(origin.number);
        true
    }

    /// Whether a request has been applied, or is settled in some other way.
    pub(crate) fn contains(&self, server: NodeId, incarnation: Incarnation, number: u64) -> bool {
        self.servers.get(&server).is_some_and(|applied| {
            incarnation.counter() < highest(applied)
                || applied.get(&incarnation).is_some_and(|numbers| numbers.contains(number))
        })
    }

    /// The latest incarnation of a server of which a request was applied.
    pub(crate) fn latest(&self, server: NodeId) -> Option<Incarnation> {
        self.servers.get(&server)?.keys().next_back().copied()
    }

    /// The requests of a server's incarnation that have been applied, or are settled in some other
    /// way.
    pub(crate) fn numbers_of(&self, server: NodeId, incarnation: Incarnation) -> NumberSet {
        let applied = self.servers.get(&server).and_then(|applied| applied.get(&incarnation));
        applied.map_or(NumberSet::new(), NumberSet::clone)
    }
}

/// The number that all of these have; 0 if there is none.
fn highest(applied: &BTreeMap<Incarnation, NumberSet>) -> u64 {
    applied.keys().next_back().map_or(0, |incarnation| incarnation.counter())
}

/// One server's line in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DedupLine {
    server: NodeId,
    incarnation: Incarnation,
    numbers: NumberRanges,
}

wire_struct!(DedupLine { server, incarnation, numbers });

impl From<&Dedup> for Vec<DedupLine> {
    fn from(dedup: &Dedup) -> Self {
        let mut lines = Self::new();
        for (server, applied) in &dedup.servers {
            lines.extend(applied.iter().map(|(incarnation, numbers)| DedupLine {
                server: *server,
                incarnation: *incarnation,
                numbers: numbers.into(),
            }));
        }
        lines
    }
}

impl From<Vec<DedupLine>> for Dedup {
    fn from(lines: Vec<DedupLine>) -> Self {
        let mut dedup = Self::default();
        for DedupLine { server, incarnation, numbers } in lines {
            dedup.servers.entry(server).or_default().insert(incarnation, numbers.into());
        }
        dedup
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(incarnation: u64, number: u64, settled_below: u64) -> Origin {
        Origin {
            server: NodeId::FIRST,
            incarnation: Incarnation(incarnation << 32),
            number,
            settled_below,
        }
    }

    #[test]
    fn a_request_is_new_once() {
        let mut dedup = Dedup::default();
        assert!(dedup.note(&origin(1, 2, 1)));
        assert!(!dedup.note(&origin(1, 2, 1)));
        assert!(dedup.note(&origin(1, 1, 1)));
        assert!(!dedup.note(&origin(1, 1, 1)));
    }

    #[test]
    fn a_settled_number_is_never_new() {
        let mut dedup = Dedup::default();
        assert!(dedup.note(&origin(1, 9, 9)));
        assert!(!dedup.note(&origin(1, 5, 1)));
    }

    #[test]
    fn a_new_incarnation_starts_over_and_ends_the_old_one() {
        let mut dedup = Dedup::default();
        assert!(dedup.note(&origin(1, 1, 1)));
        assert!(dedup.note(&origin(2, 1, 1)));
        assert!(!dedup.note(&origin(1, 2, 1)));
        assert!(!dedup.note(&origin(2, 1, 1)));
    }

    #[test]
    fn two_processes_with_one_number_are_apart() {
        let mut dedup = Dedup::default();
        let second = Origin { incarnation: Incarnation((1 << 32) | 7), ..origin(1, 1, 1) };
        assert!(dedup.note(&second));
        assert!(dedup.note(&origin(1, 1, 1)));
        assert!(!dedup.note(&second) && !dedup.note(&origin(1, 1, 1)));
        assert_eq!(Dedup::from(Vec::<DedupLine>::from(&dedup)), dedup);
        assert!(
            dedup.note(&origin(2, 1, 1)) && dedup.contains(NodeId::FIRST, second.incarnation, 9)
        );
    }

    #[test]
    fn servers_are_apart_and_survive_a_round_trip() {
        let mut dedup = Dedup::default();
        let other = Origin { server: NodeId::new(2).unwrap(), ..origin(1, 1, 1) };
        assert!(dedup.note(&origin(1, 1, 1)));
        assert!(dedup.note(&other));
        let lines = Vec::<DedupLine>::from(&dedup);
        assert_eq!(Dedup::from(lines), dedup);
    }
}
