//! What servers are told about their connections to each other.

use std::collections::BTreeMap;

use kv_core::NodeId;

/// What a server was last told of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// There is no way to it.
    Down,
    /// It is connected to it.
    Up {
        /// How often the peer was started.
        starts: u64,
    },
}

/// What is due to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// The peer is what it was said to be.
    Nothing,
    /// The way to it is gone, or never was.
    Down,
    /// There is a way to it.
    Up,
    /// The connection is lost, and there is one to the peer's next process.
    DownThenUp,
}

/// What each server believes of each peer.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    told: BTreeMap<(NodeId, NodeId), Told>,
}

impl Connections {
    /// A server has started: it was told nothing yet.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.told.retain(|(knower, _), _| *knower != node);
    }

    /// What a server is to be told of a peer that is connected and was started so often, or not
    /// connected; it counts as told.
    pub(crate) fn hint(&mut self, node: NodeId, peer: NodeId, starts: Option<u64>) -> Hint {
        let actual = starts.map_or(Told::Down, |starts| Told::Up { starts });
        let before = self.told.insert((node, peer), actual);
        match (before, actual) {
            (Some(before), actual) if before == actual => Hint::Nothing,
            (_, Told::Down) => Hint::Down,
            (Some(Told::Up { .. }), Told::Up { .. }) => Hint::DownThenUp,
            (None | Some(Told::Down), Told::Up { .. }) => Hint::Up,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_what_changed_and_nothing_twice() {
        let (node, peer) = (NodeId::FIRST, NodeId::new(2).unwrap());
        let mut connections = Connections::default();
        let cases = [
            (None, Hint::Down),
            (None, Hint::Nothing),
            (Some(1), Hint::Up),
            (Some(1), Hint::Nothing),
            (Some(2), Hint::DownThenUp),
            (None, Hint::Down),
        ];
        for (starts, expected) in cases {
            assert_eq!(connections.hint(node, peer, starts), expected, "{starts:?}");
        }
        connections.forget(node);
        assert_eq!(connections.hint(node, peer, None), Hint::Down);
    }
}
