//! What looks at a cluster after each of its steps.

use kv_core::NodeId;
use kv_sim::Cluster;

use super::Subject;

/// A message with its sender and receiver.
pub(crate) type Sent<M> = (NodeId, NodeId, M);

/// Looks at a cluster of an engine after each of its steps.
pub(crate) trait Watch<E: Subject>: Default {
    /// Whether it wants to see a message that is sent.
    fn wants(message: &E::Message) -> bool;

    /// Looks once more; `sent` is what the last step sent of what it wants to see, each message
    /// with its sender and receiver.
    fn look(&mut self, cluster: &Cluster<E>, sent: &[Sent<E::Message>]);

    /// What it found.
    fn found(self) -> Found;
}

/// What was found first of each kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Servers had different logs where they must be equal.
    pub(crate) logs: Option<String>,
    /// A server said what its disk did not bear out.
    pub(crate) unfounded: Option<String>,
}

/// For an engine that has no log.
#[derive(Default)]
pub(crate) struct NotWatched;

impl<E: Subject> Watch<E> for NotWatched {
    fn wants(_message: &E::Message) -> bool {
        false
    }

    fn look(&mut self, _cluster: &Cluster<E>, _sent: &[Sent<E::Message>]) {}

    fn found(self) -> Found {
        Found::default()
    }
}
