//! The state that lets older records go.

use std::collections::BTreeMap;

use bytes::Bytes;
use kv_core::{Checkpoint, CheckpointDelta, PersistSeq};

/// A checkpoint in memory: it outlives the engine that it was taken of. Each change of it takes
/// effect in one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryCheckpoint {
    held: Option<Held>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    covers: PersistSeq,
    metadata: Bytes,
    items: BTreeMap<Bytes, Bytes>,
}

impl MemoryCheckpoint {
    /// Holds no checkpoint yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { held: None }
    }

    /// Makes what is held a later one by what changed, and says which records it makes
    /// superfluous.
    ///
    /// Keys and values are copied: they do not keep the engine's buffers alive.
    pub fn write(&mut self, delta: CheckpointDelta) -> PersistSeq {
        let copied = |bytes: Bytes| Bytes::copy_from_slice(&bytes);
        let CheckpointDelta { covers, metadata, changes } = delta;
        let mut items = self.held.take().map(|held| held.items).unwrap_or_default();
        for (key, value) in changes {
            match value {
                Some(value) => items.insert(copied(key), copied(value)),
                None => items.remove(&key),
            };
        }
        self.held = Some(Held { covers, metadata: copied(metadata), items });
        covers
    }

    /// What it will be with these changes; it stays as it is.
    #[must_use]
    pub fn followed_by(&self, delta: CheckpointDelta) -> Self {
        let mut next = self.clone();
        next.write(delta);
        next
    }

    /// The checkpoint last written, its items in ascending order.
    #[must_use]
    pub fn read(&self) -> Option<Checkpoint> {
        self.held.clone().map(|held| Checkpoint {
            covers: held.covers,
            metadata: held.metadata,
            items: Box::new(held.items.into_iter()),
        })
    }

    /// The last record that the checkpoint reflects; 0 without one.
    #[must_use]
    pub fn covers(&self) -> PersistSeq {
        self.held.as_ref().map_or(PersistSeq(0), |held| held.covers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(covers: u64, changes: &'static [(&'static str, bool)]) -> CheckpointDelta {
        let change = |(key, is_there): &(&'static str, bool)| {
            (Bytes::from(*key), is_there.then(|| Bytes::from("v")))
        };
        CheckpointDelta {
            covers: PersistSeq(covers),
            metadata: Bytes::from_static(b"m"),
            changes: Box::new(changes.iter().map(change)),
        }
    }

    #[test]
    fn what_was_written_is_read_back_in_order() {
        let mut disk = MemoryCheckpoint::new();
        assert!(disk.read().is_none());
        assert_eq!(disk.covers(), PersistSeq(0));
        assert_eq!(disk.write(delta(2, &[("a", true), ("z", true)])), PersistSeq(2));
        let second = delta(5, &[("b", true), ("x", false), ("z", false)]);
        assert_eq!(disk.write(second), PersistSeq(5));
        let read = disk.read().unwrap();
        assert_eq!((read.covers, &read.metadata[..]), (PersistSeq(5), &b"m"[..]));
        let keys: Vec<Bytes> = read.items.map(|(key, _)| key).collect();
        assert_eq!(keys, ["a", "b"].map(Bytes::from));
    }
}
