//! Each forwarded request takes effect once, decided where it is applied.

use std::collections::BTreeMap;

use kv_core::{Incarnation, NodeId, wire_struct};

use crate::log::entry::Origin;
use crate::state_machine::numbers::{NumberRanges, NumberSet};

/// The requests that have been applied, by the server that forwarded them. Replicated state: it
/// is a function of the log.
///
/// One incarnation of a server is remembered. A sequencer takes requests only of a server's present
/// incarnation, and incarnations only grow, so an entry of an older one can only be a duplicate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dedup {
    servers: BTreeMap<NodeId, Applied>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Applied {
    incarnation: Incarnation,
    numbers: NumberSet,
}

impl Dedup {
    /// Notes that an entry is applied; false if its request was before, or may have been.
    pub(crate) fn note(&mut self, origin: &Origin) -> bool {
        let applied = self
            .servers
            .entry(origin.server)
            .or_insert(Applied { incarnation: origin.incarnation, numbers: NumberSet::new() });
        if origin.incarnation < applied.incarnation {
            return false;
        }
        if origin.incarnation > applied.incarnation {
            applied.incarnation = origin.incarnation;
            applied.numbers = NumberSet::new();
        }
        applied.numbers.insert_below(origin.settled_below);
        if applied.numbers.contains(origin.number) {
            return false;
        }
        applied.numbers.insert(origin.number);
        true
    }

    /// Whether a request has been applied, or is settled in some other way.
    pub(crate) fn contains(&self, server: NodeId, incarnation: Incarnation, number: u64) -> bool {
        self.servers.get(&server).is_some_and(|applied| {
            incarnation < applied.incarnation
                || incarnation == applied.incarnation && applied.numbers.contains(number)
        })
    }

    /// The requests of a server's incarnation that have been applied, or are settled in some other
    /// way.
    pub(crate) fn numbers_of(&self, server: NodeId, incarnation: Incarnation) -> NumberSet {
        let applied = self.servers.get(&server).filter(|of| of.incarnation == incarnation);
        applied.map_or(NumberSet::new(), |applied| applied.numbers.clone())
    }
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
        let line = |(server, applied): (&NodeId, &Applied)| DedupLine {
            server: *server,
            incarnation: applied.incarnation,
            numbers: (&applied.numbers).into(),
        };
        dedup.servers.iter().map(line).collect()
    }
}

impl From<Vec<DedupLine>> for Dedup {
    fn from(lines: Vec<DedupLine>) -> Self {
        let applied = |line: DedupLine| Applied {
            incarnation: line.incarnation,
            numbers: line.numbers.into(),
        };
        let servers = lines.into_iter().map(|line| (line.server, applied(line)));
        Self { servers: servers.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(incarnation: u64, number: u64, settled_below: u64) -> Origin {
        Origin {
            server: NodeId::FIRST,
            incarnation: Incarnation(incarnation),
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
    fn servers_are_apart_and_survive_a_round_trip() {
        let mut dedup = Dedup::default();
        let other = Origin { server: NodeId::new(2).unwrap(), ..origin(1, 1, 1) };
        assert!(dedup.note(&origin(1, 1, 1)));
        assert!(dedup.note(&other));
        let lines = Vec::<DedupLine>::from(&dedup);
        assert_eq!(Dedup::from(lines), dedup);
    }
}
