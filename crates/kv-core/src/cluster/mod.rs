//! The configuration that all servers of a cluster share.

pub(crate) mod id;
pub(crate) mod quorum;

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::cluster::id::NodeId;
use crate::cluster::quorum::{Quorum, QuorumError};
use crate::digest::digest;
use crate::wire::{DecodeError, Wire};

/// The servers of a cluster and its quorums, with a version.
///
/// A value that exists is legal: 1 to [`ClusterConfig::VOTERS_MAX`] distinct voters in ascending
/// order, and quorums that this many servers can give.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClusterConfig {
    version: u64,
    voters: Vec<NodeId>,
    write_quorum: u16,
    read_quorum: u16,
}

impl ClusterConfig {
    /// The most servers that a cluster may have.
    pub const VOTERS_MAX: u16 = 10;

    /// Makes the first version of a configuration; the order of the voters does not matter.
    ///
    /// # Errors
    /// [`ClusterConfigError`] that says which number is outside its limits.
    pub fn new(
        voters: impl IntoIterator<Item = NodeId>,
        write: Quorum,
        read: Quorum,
    ) -> Result<Self, ClusterConfigError> {
        let mut voters: Vec<NodeId> = voters.into_iter().collect();
        voters.sort_unstable();
        if let Some(twice) = voters.windows(2).find_map(|pair| match pair {
            [a, b] if a == b => Some(*a),
            _ => None,
        }) {
            return Err(ClusterConfigError::ListedTwice { node: twice });
        }
        let count = u16::try_from(voters.len()).unwrap_or(u16::MAX);
        if count == 0 || count > Self::VOTERS_MAX {
            return Err(ClusterConfigError::VoterCount { count: voters.len() });
        }
        let quorum = |name, quorum: Quorum| {
            quorum.resolve(count).map_err(|problem| ClusterConfigError::Quorum { name, problem })
        };
        Ok(Self {
            version: 1,
            write_quorum: quorum("W", write)?,
            read_quorum: quorum("R", read)?,
            voters,
        })
    }

    /// Which version this is, from 1.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The servers, in ascending order, at least one.
    #[must_use]
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// N: how many servers there are, 1 to [`ClusterConfig::VOTERS_MAX`].
    #[must_use]
    pub fn nodes(&self) -> u16 {
        u16::try_from(self.voters.len()).unwrap_or(Self::VOTERS_MAX)
    }

    /// W: how many servers must hold a write, 1 to N.
    #[must_use]
    pub const fn write_quorum(&self) -> u16 {
        self.write_quorum
    }

    /// R: how many servers must answer a read, 1 to N.
    #[must_use]
    pub const fn read_quorum(&self) -> u16 {
        self.read_quorum
    }

    /// Whether a server is one of the voters.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.voters.contains(&node)
    }

    /// All voters but one.
    pub fn peers_of(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.iter().copied().filter(move |voter| *voter != node)
    }

    /// A hash of everything in the configuration; equal on all servers that agree.
    #[must_use]
    pub fn hash(&self) -> u64 {
        digest(&self.to_bytes())
    }
}

/// `N=3 W=2 R=2, servers 1 2 3`
impl fmt::Display for ClusterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "N={} W={} R={}, servers", self.nodes(), self.write_quorum, self.read_quorum)?;
        self.voters.iter().try_for_each(|voter| write!(f, " {voter}"))
    }
}

/// Why a configuration is not legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterConfigError {
    /// W or R cannot be had from this many servers.
    #[error("{name}: {problem}")]
    Quorum {
        /// `W` or `R`.
        name: &'static str,
        /// What is wrong with it.
        problem: QuorumError,
    },
    /// A server stands in the list twice.
    #[error("server {node} is listed twice")]
    ListedTwice {
        /// Which one.
        node: NodeId,
    },
    /// None, or more than [`ClusterConfig::VOTERS_MAX`].
    #[error("a cluster has 1 to {max} servers, not {count}", max = ClusterConfig::VOTERS_MAX)]
    VoterCount {
        /// How many were listed.
        count: usize,
    },
}

impl Wire for ClusterConfig {
    fn encode(&self, out: &mut BytesMut) {
        self.version.encode(out);
        self.voters.encode(out);
        self.write_quorum.encode(out);
        self.read_quorum.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        let version = u64::decode(input)?;
        let voters = Vec::<NodeId>::decode(input)?;
        let write = Quorum::Count(u16::decode(input)?);
        let read = Quorum::Count(u16::decode(input)?);
        let config = Self::new(voters, write, read)
            .map_err(|_| DecodeError::Invalid { what: "cluster configuration" })?;
        Ok(Self { version, ..config })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    #[test]
    fn voters_are_sorted_and_quorums_resolved() {
        let config =
            ClusterConfig::new([3, 1, 2].map(node), Quorum::Majority, Quorum::All).unwrap();
        assert_eq!(config.voters(), [1, 2, 3].map(node));
        assert_eq!((config.write_quorum(), config.read_quorum()), (2, 3));
        assert_eq!(config.to_string(), "N=3 W=2 R=3, servers 1 2 3");
        assert_eq!(ClusterConfig::from_bytes(config.to_bytes()), Ok(config));
    }

    #[test]
    fn illegal_configurations_are_refused_by_name() {
        let one = Quorum::Count(1);
        assert_eq!(
            ClusterConfig::new([], one, one),
            Err(ClusterConfigError::VoterCount { count: 0 })
        );
        assert_eq!(
            ClusterConfig::new((1..=11).map(node), one, one),
            Err(ClusterConfigError::VoterCount { count: 11 })
        );
        assert_eq!(
            ClusterConfig::new([1, 2, 1].map(node), one, one),
            Err(ClusterConfigError::ListedTwice { node: node(1) })
        );
        assert_eq!(
            ClusterConfig::new([1, 2].map(node), Quorum::Count(3), one).unwrap_err().to_string(),
            "W: a quorum of 3 servers cannot be had: the cluster has 2"
        );
    }

    #[test]
    fn the_hash_tells_quorums_and_voters_apart() {
        let config = |voters: &[u16], w| {
            let voters = voters.iter().copied().map(node);
            ClusterConfig::new(voters, Quorum::Count(w), Quorum::Count(1)).unwrap().hash()
        };
        assert_eq!(config(&[1, 2], 1), config(&[2, 1], 1));
        assert_ne!(config(&[1, 2], 1), config(&[1, 2], 2));
        assert_ne!(config(&[1, 2], 1), config(&[1, 3], 1));
    }
}
