//! What an engine says that it can bear.

use std::collections::BTreeSet;
use std::fmt;

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
    /// The largest W and R that the engine takes.
    pub quorum_max: u16,
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
pub enum Oracle {
    /// Every history is linearizable.
    Linearizability,
    /// After healing, reads from all servers bring these to hold the same, and show of each key
    /// the newest acknowledged write or a newer one. A write counts as acknowledged for good
    /// unless W servers or more have lost their disks since it began.
    LastWriterWins,
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
            quorum_max: u16::MAX,
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
                 keeps its disk"
            ),
            "{text}"
        );
    }
}
