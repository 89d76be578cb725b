//! How many servers it takes for what.

use kv_core::ClusterConfig;

/// The sizes of the quorums that follow from N, W and R (Howard, Malkhi & Spiegelman, *Flexible
/// Paxos*, 2016: only quorums of different kinds must meet).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorums {
    /// N: all voters.
    pub nodes: u16,
    /// W: how many must hold an entry on disk before it is committed, the sequencer among them.
    pub write: u16,
    /// R: how many must confirm a read, the sequencer among them.
    pub read: u16,
    /// V: how many must promise before another server may become the sequencer. Any V servers
    /// have one in common with any W, so that one of them has every committed entry, and with any
    /// R, so that no former sequencer serves a read any more.
    pub promises: u16,
    /// How many must agree that a sequencer is missing before one is chosen: enough to choose one,
    /// and enough for it to work.
    pub pre_votes: u16,
    /// How many others must be sound before a server that lost its data takes part again.
    pub recovery: u16,
}

impl Quorums {
    /// The quorums of a cluster.
    #[must_use]
    pub fn of(cluster: &ClusterConfig) -> Self {
        let (nodes, write, read) = (cluster.nodes(), cluster.write_quorum(), cluster.read_quorum());
        let promises = (nodes + 1).saturating_sub(write.min(read));
        Self {
            nodes,
            write,
            read,
            promises,
            pre_votes: promises.max(write).max(read),
            recovery: nodes.saturating_sub(1).min((nodes + 1).saturating_sub(promises)),
        }
    }

    /// The same with promises that meet writes alone, for tests of the checkers.
    pub(crate) fn without_reads(self) -> Self {
        let promises = (self.nodes + 1).saturating_sub(self.write);
        Self { promises, pre_votes: promises.max(self.write), ..self }
    }

    /// Whether another server can take over when the sequencer is lost for good.
    #[must_use]
    pub const fn survive_the_sequencer(&self) -> bool {
        self.promises < self.nodes
    }
}

#[cfg(test)]
mod tests {
    use kv_core::{NodeId, Quorum};

    use super::*;

    fn quorums(nodes: u16, write: u16, read: u16) -> Quorums {
        let voters = (1..=nodes).map(|node| NodeId::new(node).unwrap());
        let cluster = ClusterConfig::new(voters, Quorum::Count(write), Quorum::Count(read));
        Quorums::of(&cluster.unwrap())
    }

    #[test]
    fn promises_meet_every_quorum_of_writes_and_reads() {
        for nodes in 1..=10 {
            for write in 1..=nodes {
                for read in 1..=nodes {
                    let quorums = quorums(nodes, write, read);
                    assert!(quorums.promises + write > nodes && quorums.promises + read > nodes);
                    assert!(quorums.promises <= nodes && quorums.pre_votes <= nodes);
                    assert!(2 * quorums.pre_votes > nodes);
                    assert!(quorums.recovery < nodes);
                }
            }
        }
    }

    #[test]
    fn the_usual_ones() {
        let majority = quorums(3, 2, 2);
        assert_eq!((majority.promises, majority.pre_votes, majority.recovery), (2, 2, 2));
        assert!(majority.survive_the_sequencer());
        let one = quorums(3, 1, 1);
        assert_eq!((one.promises, one.recovery), (3, 1));
        assert!(!one.survive_the_sequencer());
        assert_eq!(quorums(10, 2, 2).promises, 9);
        assert_eq!(quorums(3, 3, 3).promises, 1);
    }
}
