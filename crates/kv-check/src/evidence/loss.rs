//! What became of a disk.

use std::time::Duration;

use kv_core::NodeId;

/// A server's disk was lost, or an older copy took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When.
    pub at: Duration,
    /// Which server's.
    pub node: NodeId,
    /// Whether an older copy took its place. The server cannot know before it meets another one.
    pub is_set_back: bool,
    /// Since when the server is known to know of it: its answers count for nothing until it has made up
    /// for the loss.
    pub noticed: Option<Duration>,
    /// Whether one of the servers that kept their disks did not know of another one of them: only the
    /// lost disk may have known of both, and nobody else can say who is to be asked.
    pub has_strangers: bool,
}
