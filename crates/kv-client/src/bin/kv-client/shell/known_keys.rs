//! The keys that a session has met.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use kv_core::Key;

/// The keys that a session has met, to complete words by. Clones share them.
///
/// Keys over [`KEY_BYTES_MAX`] are not kept, and beyond [`KEYS_MAX`] keys no new ones are.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownKeys {
    keys: Arc<Mutex<BTreeSet<Key>>>,
}

impl KnownKeys {
    pub(crate) fn add(&self, key: &Key) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() < KEYS_MAX && key.as_bytes().len() <= KEY_BYTES_MAX {
            keys.insert(key.clone());
        }
    }

    /// The first keys that begin with `prefix`, in ascending order.
    pub(crate) fn with_prefix(&self, prefix: &[u8], limit: usize) -> Vec<Key> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let from = match Key::new(prefix.to_vec()) {
            Ok(from) => Bound::Included(from),
            Err(_) => Bound::Unbounded,
        };
        let keys = keys.range((from, Bound::Unbounded));
        let keys = keys.take_while(|key| key.as_bytes().starts_with(prefix));
        keys.take(limit).cloned().collect()
    }
}

const KEYS_MAX: usize = 10_000;

const KEY_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text.to_owned()).unwrap()
    }

    #[test]
    fn keys_are_found_by_how_they_begin() {
        let known = KnownKeys::default();
        for text in ["b", "a2", "a1", "a3", "c"] {
            known.add(&key(text));
        }
        assert_eq!(known.with_prefix(b"a", 9), ["a1", "a2", "a3"].map(key));
        assert_eq!(known.with_prefix(b"a", 2), ["a1", "a2"].map(key));
        assert_eq!(known.with_prefix(b"", 9).len(), 5);
        assert_eq!(known.with_prefix(b"d", 9), []);
    }

    #[test]
    fn there_are_bounds() {
        let known = KnownKeys::default();
        known.add(&key(&"k".repeat(KEY_BYTES_MAX + 1)));
        assert_eq!(known.with_prefix(b"", 9), []);
        for number in 0..KEYS_MAX + 5 {
            known.add(&key(&number.to_string()));
        }
        assert_eq!(known.with_prefix(b"", usize::MAX).len(), KEYS_MAX);
    }
}
