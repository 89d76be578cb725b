//! What an engine says that it can bear.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use kv_check::evidence::VersionScope;
use kv_check::oracle::Promise;
use kv_core::NodeId;

use crate::client::OperationKind;
use crate::fault::Fault;

/// What an engine survives today and how it is judged; the simulator asks no more of it, and
/// prints it with every sweep, so that what is left out is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// The kinds of fault that the engine survives. A [`Fault::FlippedBit`] is injected only if
    /// [`Fault::WipedDisk`] is here too: that is its remedy.
    pub survives: BTreeSet<Fault>,
    /// The servers whose processes and disks must be left alone.
    pub spares: BTreeSet<NodeId>,
    /// The servers whose processes may end, but whose disks must keep what they synced.
    pub keeps_disks: BTreeSet<NodeId>,
    /// Whether at least one server must keep its disk through the whole run.
    pub keeps_a_disk: bool,
    /// Whether so many servers must hold their data at all times that a sequencer can be chosen
    /// among them and work: N + 1 - min(W, R), W and R.
    pub keeps_quorum: bool,
    /// What clients may ask of it.
    pub operations: Vec<OperationKind>,
    /// Whether a request may bring its own W and R.
    pub request_quorums: bool,
    /// Whether the engine keeps sessions, so that clients may send writes again.
    pub sessions: bool,
    /// Whether a client that says what it has seen of a key is shown nothing older, whatever W and R
    /// are. In half of the runs clients do so; [`Promise::ReadYourWrites`],
    /// [`Promise::MonotonicReads`] and [`Promise::MonotonicWrites`] are asked there.
    pub session_guarantees: bool,
    /// The W and R that the engine takes.
    pub quorums: QuorumRule,
    /// How far the order of its versions reaches; [`Promise::VersionOrder`] is asked only where that
    /// is over all keys.
    pub versions: VersionScope,
    /// With whom up it serves, if that is less than all.
    pub availability: Option<Availability>,
    /// Whether all servers have equal fingerprints once they are at rest.
    pub converges: bool,
    /// What its histories must satisfy.
    pub oracle: Oracle,
    /// What must hold of every run beside that. Of an engine that is judged by
    /// [`Oracle::LastWriterWins`] what rests on disks is asked only in runs in which none is lost,
    /// and what rests on quorums only where all of them meet.
    pub promises: Vec<Promise>,
}

/// How the runs of an engine are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Oracle {
    /// Every history is linearizable.
    Linearizability,
    /// After healing, reads from all servers bring these to hold the same, and show of each key
    /// the newest acknowledged write or a newer one. A write counts as acknowledged for good
    /// unless W servers or more have lost their disks since it began.
    LastWriterWins,
}

/// Which W and R an engine takes. What the simulator draws is bent to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuorumRule {
    /// Any.
    Any,
    /// So many servers at most.
    AtMost(u16),
    /// A majority of the servers each.
    Majority,
    /// W + R > N.
    Meeting,
}

impl QuorumRule {
    /// The W and R that are nearest to these and fit.
    #[must_use]
    pub fn fit(self, nodes: u16, write: u16, read: u16) -> (u16, u16) {
        let (write, read) = (write.clamp(1, nodes), read.clamp(1, nodes));
        match self {
            Self::Any => (write, read),
            Self::AtMost(most) => (write.min(most), read.min(most)),
            Self::Majority => (nodes / 2 + 1, nodes / 2 + 1),
            Self::Meeting => (write, read.max(nodes + 1 - write)),
        }
    }
}

/// With whom up an engine serves, and how soon. After all faults, as many servers as may be away are
/// cut off or crash, and each of the others must do a write and a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Availability {
    /// How many servers it takes.
    pub needs: Needs,
    /// Within which virtual time each of the others does both.
    pub within: Duration,
}

/// How many connected servers an engine takes to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Needs {
    /// W and R.
    Quorums,
    /// W, R, and N + 1 - min(W, R): as many as it takes to choose a sequencer among them.
    Sequencer,
}

impl Needs {
    /// How many of so many servers may be away.
    #[must_use]
    pub fn may_be_away(self, nodes: u16, write: u16, read: u16) -> u16 {
        let quorums = write.max(read);
        let needed = match self {
            Self::Quorums => quorums,
            Self::Sequencer => quorums.max(nodes + 1 - write.min(read)),
        };
        nodes.saturating_sub(needed)
    }
}

impl Declaration {
    /// An engine that survives all that the simulator can do.
    #[must_use]
    pub fn all(oracle: Oracle, operations: &[OperationKind]) -> Self {
        Self {
            survives: Fault::ALL.into(),
            spares: BTreeSet::new(),
            keeps_disks: BTreeSet::new(),
            keeps_a_disk: false,
            keeps_quorum: false,
            operations: operations.to_vec(),
            request_quorums: false,
            sessions: false,
            session_guarantees: false,
            quorums: QuorumRule::Any,
            versions: VersionScope::Store,
            availability: None,
            converges: true,
            oracle,
            promises: match oracle {
                Oracle::Linearizability => Promise::LINEARIZABLE.into(),
                Oracle::LastWriterWins => Promise::EVENTUAL.into(),
            },
        }
    }

    /// The same without some kinds of fault.
    #[must_use]
    pub fn but_not(mut self, faults: &[Fault]) -> Self {
        self.survives.retain(|fault| !faults.contains(fault));
        self
    }

    /// The same with a server whose process and disk are left alone.
    #[must_use]
    pub fn sparing(mut self, node: NodeId) -> Self {
        self.spares.insert(node);
        self
    }

    /// The same with a server that never loses its disk.
    #[must_use]
    pub fn keeping_disk_of(mut self, node: NodeId) -> Self {
        self.keeps_disks.insert(node);
        self
    }

    /// The same with so many servers that hold their data that a sequencer can be chosen.
    #[must_use]
    pub const fn keeping_quorum(mut self) -> Self {
        self.keeps_quorum = true;
        self
    }

    /// Whether a server that has answered a read holds all that was acknowledged before it, so that a
    /// backup of one server is enough.
    pub(super) fn backs_up_one(&self) -> bool {
        self.oracle == Oracle::Linearizability && self.versions == VersionScope::Store
    }

    /// Whether one server alone, which must keep its disk, cannot be asked to lose one.
    pub(super) fn has_no_disk_to_lose(&self, nodes: u16) -> bool {
        let kept = self.keeps_a_disk
            || self.keeps_quorum
            || !self.keeps_disks.is_empty()
            || !self.spares.is_empty();
        nodes == 1 && kept
    }

    /// The kinds of fault that the engine does not survive.
    pub fn left_out(&self) -> impl Iterator<Item = Fault> + '_ {
        Fault::ALL.into_iter().filter(|fault| !self.survives.contains(fault))
    }
}

/// `survives loss, crash; not wiped disk; processes and disks of server 1 are left alone`
impl fmt::Display for Declaration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |faults: &mut dyn Iterator<Item = Fault>| {
            let names: Vec<&str> = faults.map(Fault::name).collect();
            if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
        };
        write!(f, "survives {}", list(&mut self.survives.iter().copied()))?;
        write!(f, "; left out: {}", list(&mut self.left_out()))?;
        for node in &self.spares {
            write!(f, "; the process and disk of server {node} are left alone")?;
        }
        for node in &self.keeps_disks {
            write!(f, "; server {node} keeps its disk")?;
        }
        if self.keeps_quorum {
            write!(f, "; as many servers keep their data as it takes to choose a sequencer")?;
        }
        if self.keeps_a_disk {
            write!(f, "; at least one server keeps its disk")?;
        }
        match self.availability {
            Some(Availability { needs, within }) => {
                let who = match needs {
                    Needs::Quorums => "W and R are up",
                    Needs::Sequencer => "W, R and who can choose a sequencer are up",
                };
                write!(f, "; serves within {within:?} while {who}")?;
            }
            None => f.write_str("; is not asked to serve while a server is away")?,
        }
        f.write_str(WHAT_IS_REAL)
    }
}

/// What of the disks is the servers' own code.
const WHAT_IS_REAL: &str = "; the journal is the servers' own, on simulated disks, and the \
    checkpoint a twin in memory that is on disk in one step";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorums_are_bent_to_the_rule() {
        assert_eq!(QuorumRule::Any.fit(5, 9, 2), (5, 2));
        assert_eq!(QuorumRule::AtMost(1).fit(5, 3, 2), (1, 1));
        assert_eq!(QuorumRule::Majority.fit(4, 1, 1), (3, 3));
        assert_eq!(QuorumRule::Meeting.fit(5, 2, 1), (2, 4));
        assert_eq!(QuorumRule::Meeting.fit(5, 4, 3), (4, 3));
    }

    #[test]
    fn a_sequencer_takes_more_servers_than_small_quorums_do() {
        assert_eq!(Needs::Quorums.may_be_away(5, 2, 2), 3);
        assert_eq!(Needs::Sequencer.may_be_away(5, 2, 2), 1);
        assert_eq!(Needs::Sequencer.may_be_away(3, 2, 2), 1);
        assert_eq!(Needs::Sequencer.may_be_away(3, 3, 1), 0);
    }

    #[test]
    fn what_is_left_out_is_said() {
        let declaration = Declaration::all(Oracle::Linearizability, &[OperationKind::Get])
            .but_not(&[Fault::WipedDisk])
            .sparing(NodeId::FIRST)
            .keeping_disk_of(NodeId::FIRST);
        let text = declaration.to_string();
        let text = text.strip_suffix(WHAT_IS_REAL).unwrap();
        assert!(text.starts_with("survives loss, duplication"), "{text}");
        assert!(
            text.ends_with(
                "left out: wiped disk; the process and disk of server 1 are left alone; server 1 \
                 keeps its disk; is not asked to serve while a server is away"
            ),
            "{text}"
        );
    }
}
