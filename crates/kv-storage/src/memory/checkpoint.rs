//! The state that lets older records go.

use std::collections::BTreeMap;

use bytes::Bytes;
use kv_core::{Checkpoint, PersistSeq};

/// A checkpoint in memory: it outlives the engine that it was taken of. A new one replaces the
/// old one in one step.
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

    /// Replaces what is held, and says which records it makes superfluous.
    ///
    /// Keys and values are copied: they do not keep the engine's buffers alive.
    pub fn write(&mut self, checkpoint: Checkpoint) -> PersistSeq {
        let copied = |bytes: Bytes| Bytes::copy_from_slice(&bytes);
        let items = checkpoint.items;
        let covers = checkpoint.covers;
        self.held = Some(Held {
            covers,
            metadata: copied(checkpoint.metadata),
            items: items.map(|(k, v)| (copied(k), copied(v))).collect(),
        });
        covers
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

    fn checkpoint(covers: u64, keys: &'static [&'static str]) -> Checkpoint {
        let item = |key: &&'static str| (Bytes::from(*key), Bytes::from("v"));
        Checkpoint {
            covers: PersistSeq(covers),
            metadata: Bytes::from_static(b"m"),
            items: Box::new(keys.iter().map(item)),
        }
    }

    #[test]
    fn the_last_checkpoint_is_read_back_in_order() {
        let mut disk = MemoryCheckpoint::new();
        assert!(disk.read().is_none());
        assert_eq!(disk.covers(), PersistSeq(0));
        assert_eq!(disk.write(checkpoint(2, &["z", "old"])), PersistSeq(2));
        assert_eq!(disk.write(checkpoint(5, &["b", "a"])), PersistSeq(5));
        let read = disk.read().unwrap();
        assert_eq!((read.covers, &read.metadata[..]), (PersistSeq(5), &b"m"[..]));
        let keys: Vec<Bytes> = read.items.map(|(key, _)| key).collect();
        assert_eq!(keys, ["a", "b"].map(Bytes::from));
    }
}
