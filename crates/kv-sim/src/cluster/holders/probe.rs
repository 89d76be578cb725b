//! What the simulator may ask an engine beyond its contract.

use std::fmt;

use kv_check::evidence::KeptWrite;
use kv_core::{ConsistencyEngine, Key, NodeId, Version};

/// Four questions about what a server holds. Whoever has an engine of its own can offer them, and
/// gets more rules for it: [`Breach::ThinlyHeld`](crate::Breach::ThinlyHeld), and the promises
/// [`VersionsAdvance`](kv_check::oracle::Promise::VersionsAdvance),
/// [`UniqueNames`](kv_check::oracle::Promise::UniqueNames) and
/// [`SentStampsRise`](kv_check::oracle::Promise::SentStampsRise).
pub struct Probe<E: ConsistencyEngine> {
    /// Whether a disk holds a write: given the engine as a restart would find it on that disk, the
    /// engine that acknowledged the write, the write's key and its version. A newer version that
    /// replaces it is as good.
    pub holds: fn(&E, &E, &Key, Version) -> bool,
    /// The version that a running server itself holds of a key, also of one that was deleted if
    /// the engine remembers it.
    pub held: fn(&E, &Key) -> Option<Version>,
    /// The write that a record asks a server to keep; `None` if it is no write, or if the engine
    /// gives its writes no names.
    pub kept: fn(&E::Record) -> Option<KeptWrite>,
    /// Whether a disk knows of another server: given the engine as a restart would find it. True for
    /// an engine that asks all servers that are listed.
    pub knows: fn(&E, NodeId) -> bool,
}

impl<E: ConsistencyEngine> Clone for Probe<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E: ConsistencyEngine> Copy for Probe<E> {}

impl<E: ConsistencyEngine> fmt::Debug for Probe<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}
