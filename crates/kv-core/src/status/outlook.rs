//! What the next failure costs.

use std::fmt;

use crate::cluster::id::NodeId;
use crate::status::{Counter, Role, Status};

/// What the loss of one more server would cost a cluster, as one of its servers sees it. Its text is a sentence without a full stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It has stopped already.
    Stopped {
        /// How many servers have to be up.
        needed: usize,
    },
    /// The loss of any server that is up stops it.
    AtLimit {
        /// How many servers have to be up.
        needed: usize,
    },
    /// It goes on without any one follower, and stops without its sequencer.
    NeedsSequencer {
        /// The sequencer.
        sequencer: NodeId,
        /// How many servers have to be up for another one to take its place; `None` if no number of
        /// them will do.
        to_succeed: Option<usize>,
    },
    /// It goes on without any one server.
    Safe {
        /// Without how many one after the other it goes on.
        spare: usize,
    },
}

impl Status {
    /// The server that was the sequencer when the log's last entry was made, as far as this one
    /// knows; `None` in an engine without one.
    #[must_use]
    pub fn last_sequencer(&self) -> Option<NodeId> {
        let owner = u16::try_from(self.positions.epoch_owner?).ok()?;
        NodeId::new(owner).ok()
    }

    /// How many servers it is connected to that are of another cluster or configuration.
    #[must_use]
    pub fn peers_refused(&self) -> usize {
        let refused = self.counter(Counter::PeersRefused).unwrap_or(0);
        usize::try_from(refused).unwrap_or(usize::MAX)
    }

    /// What the next loss costs; `None` for a server that is no part of its cluster yet. In an engine
    /// without a sequencer, it is what the loss costs requests with the cluster's quorums.
    #[must_use]
    pub fn outlook(&self) -> Option<Outlook> {
        let sequencer = match self.role {
            Role::Joining | Role::Founding => return None,
            Role::Sequencer | Role::Follower => Some(self.last_sequencer()?),
            Role::Coordinator => None,
        };
        let write = usize::from(self.cluster.write_quorum());
        let read = usize::from(self.cluster.read_quorum());
        let servers = self.cluster.voters().len();
        let (needed, promises) = (write.max(read), servers + 1 - write.min(read));
        let to_succeed = if sequencer.is_some() { needed.max(promises) } else { needed };
        let up = (self.connected.len() + 1).saturating_sub(self.peers_refused());
        Some(if up < needed {
            Outlook::Stopped { needed }
        } else if up == needed {
            Outlook::AtLimit { needed }
        } else if up > to_succeed {
            Outlook::Safe { spare: up - to_succeed }
        } else {
            let sequencer = sequencer?;
            let to_succeed = Some(to_succeed).filter(|to_succeed| *to_succeed < servers);
            Outlook::NeedsSequencer { sequencer, to_succeed }
        })
    }
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped { needed } => {
                write!(f, "the cluster goes on once {} up", servers(*needed, "is", "are"))
            }
            Self::AtLimit { needed: 1 } => {
                f.write_str("without this server the cluster stops until it is back")
            }
            Self::AtLimit { needed } => write!(
                f,
                "the loss of one more server stops the cluster until {} up again",
                servers(*needed, "is", "are")
            ),
            Self::NeedsSequencer { sequencer, to_succeed: None } => write!(
                f,
                "a follower may be lost; without its sequencer, server {sequencer}, the cluster stops \
                 until that is back"
            ),
            Self::NeedsSequencer { sequencer, to_succeed: Some(needed) } => write!(
                f,
                "a follower may be lost; without its sequencer, server {sequencer}, the cluster stops \
                 until that is back or {} up",
                servers(*needed, "is", "are")
            ),
            Self::Safe { spare: 1 } => f.write_str("any one server may be lost, the others go on"),
            Self::Safe { spare } => {
                write!(f, "any {spare} servers may be lost one after the other, the others go on")
            }
        }
    }
}

fn servers(count: usize, one: &str, several: &str) -> String {
    match count {
        1 => format!("1 server {one}"),
        count => format!("{count} servers {several}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterConfig;
    use crate::cluster::quorum::Quorum;
    use crate::status::Positions;

    /// What server 2 of `servers` says, whose sequencer is server 1, while `up` of them are up.
    fn outlook(servers: u16, write: u16, read: u16, up: usize) -> String {
        outlook_of(Role::Follower, servers, (write, read), up)
    }

    fn outlook_of(role: Role, servers: u16, (write, read): (u16, u16), up: usize) -> String {
        let node = |number| NodeId::new(number).unwrap();
        let (write, read) = (Quorum::Count(write), Quorum::Count(read));
        let cluster = ClusterConfig::new((1..=servers).map(node), write, read).unwrap();
        let others = (1..=servers).filter(|id| *id != 2).map(node);
        let status = Status {
            node: node(2),
            cluster,
            role,
            connected: others.take(up - 1).collect(),
            positions: Positions { epoch_owner: Some(1), ..Positions::default() },
            ..crate::status::tests::status()
        };
        status.outlook().unwrap().to_string()
    }

    #[test]
    fn majorities_go_on_without_any_server_and_then_stop() {
        assert_eq!(outlook(3, 2, 2, 3), "any one server may be lost, the others go on");
        assert_eq!(
            outlook(3, 2, 2, 2),
            "the loss of one more server stops the cluster until 2 servers are up again"
        );
        assert_eq!(outlook(3, 2, 2, 1), "the cluster goes on once 2 servers are up");
        assert_eq!(
            outlook(5, 3, 3, 5),
            "any 2 servers may be lost one after the other, the others go on"
        );
        assert_eq!(outlook(1, 1, 1, 1), "without this server the cluster stops until it is back");
    }

    #[test]
    fn few_acknowledgements_cost_the_successor() {
        assert_eq!(
            outlook(3, 1, 1, 3),
            "a follower may be lost; without its sequencer, server 1, the cluster stops until that is \
             back"
        );
        assert_eq!(
            outlook(10, 2, 2, 5),
            "a follower may be lost; without its sequencer, server 1, the cluster stops until that is \
             back or 9 servers are up"
        );
        assert_eq!(outlook(10, 2, 2, 10), "any one server may be lost, the others go on");
    }

    #[test]
    fn a_connected_server_of_another_cluster_counts_for_nothing() {
        let node = |number| NodeId::new(number).unwrap();
        let quorum = Quorum::Count(2);
        let status = |refused| Status {
            node: node(1),
            cluster: ClusterConfig::new((1..=3).map(node), quorum, quorum).unwrap(),
            role: Role::Sequencer,
            connected: vec![node(2), node(3)],
            positions: Positions { epoch_owner: Some(1), ..Positions::default() },
            counters: vec![(Counter::PeersRefused, refused)],
            ..crate::status::tests::status()
        };
        assert_eq!(status(0).outlook(), Some(Outlook::Safe { spare: 1 }));
        assert_eq!(status(1).outlook(), Some(Outlook::AtLimit { needed: 2 }));
        assert_eq!(status(2).outlook(), Some(Outlook::Stopped { needed: 2 }));
    }

    #[test]
    fn whoever_is_no_part_of_a_cluster_says_nothing() {
        let status = crate::status::tests::status();
        assert_eq!(Status { role: Role::Joining, ..status.clone() }.outlook(), None);
        assert_eq!(Status { role: Role::Founding, ..status }.outlook(), None);
    }

    #[test]
    fn without_a_sequencer_the_greater_quorum_decides() {
        let outlook = |write, read, up| outlook_of(Role::Coordinator, 5, (write, read), up);
        assert_eq!(outlook(2, 4, 5), "any one server may be lost, the others go on");
        assert_eq!(
            outlook(4, 1, 4),
            "the loss of one more server stops the cluster until 4 servers are up again"
        );
        assert_eq!(outlook(3, 3, 2), "the cluster goes on once 3 servers are up");
    }
}
