//! Choices by a seed.

use kv_core::{NodeId, SeedStream};

/// One of some servers; the first of all if there is none to choose from.
pub(super) fn one_of(stream: &mut SeedStream, nodes: Option<&[NodeId]>) -> NodeId {
    let nodes = nodes.unwrap_or_default();
    nodes.get(index(stream, nodes.len())).copied().unwrap_or(NodeId::FIRST)
}

/// A place in a list of this length.
pub(super) fn index(stream: &mut SeedStream, len: usize) -> usize {
    let below = stream.below(u64::try_from(len).unwrap_or(u64::MAX));
    usize::try_from(below).unwrap_or_default()
}
