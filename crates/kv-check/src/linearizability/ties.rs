//! Which keys the open calls tie together.

use std::collections::BTreeSet;

use super::partition::Partition;

/// The keys of each call of a partition.
#[derive(Debug)]
pub(super) struct Ties {
    keys_of: Vec<Vec<usize>>,
    keys: usize,
}

/// For each key of a partition, whether it is in a set.
pub(super) struct KeySet(Vec<bool>);

impl Ties {
    /// `None` if the partition has one key alone.
    pub(super) fn of(partition: &Partition) -> Option<Self> {
        let keys = partition.keys.len();
        let keys_of = partition.ops.iter().map(|op| {
            let conditions = op.call.conditions.iter().map(|(key, _)| *key);
            let keys: BTreeSet<usize> =
                conditions.chain(op.call.commands.iter().map(|(key, _)| *key)).collect();
            keys.into_iter().collect()
        });
        (keys > 1).then(|| Self { keys_of: keys_of.collect(), keys })
    }

    /// The keys of a call, and those that calls of a list connect with them.
    pub(super) fn connected(&self, call: usize, undone: impl Iterator<Item = usize>) -> KeySet {
        let mut connected = KeySet(vec![false; self.keys]);
        connected.add(self.keys_of(call));
        let undone = undone.map(|place| self.keys_of(place));
        let mut apart: Vec<&[usize]> = undone.filter(|keys| keys.len() > 1).collect();
        loop {
            let before = apart.len();
            apart.retain(|keys| {
                let is_connected = connected.has_one_of(keys);
                if is_connected {
                    connected.add(keys);
                }
                !is_connected
            });
            if apart.len() == before {
                return connected;
            }
        }
    }

    /// Whether a call touches a key of a set.
    pub(super) fn touches(&self, call: usize, keys: &KeySet) -> bool {
        keys.has_one_of(self.keys_of(call))
    }

    fn keys_of(&self, call: usize) -> &[usize] {
        self.keys_of.get(call).map(Vec::as_slice).unwrap_or_default()
    }
}

impl KeySet {
    fn add(&mut self, keys: &[usize]) {
        for key in keys {
            if let Some(is_in) = self.0.get_mut(*key) {
                *is_in = true;
            }
        }
    }

    fn has_one_of(&self, keys: &[usize]) -> bool {
        keys.iter().any(|key| self.0.get(*key) == Some(&true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_connected_at_any_remove_and_in_any_order_of_the_calls() {
        let keys_of = vec![vec![0], vec![3, 4], vec![2, 5], vec![1, 2], vec![0, 1], vec![5]];
        let ties = Ties { keys_of, keys: 6 };
        let KeySet(connected) = ties.connected(0, 1..6);
        assert_eq!(connected, [true, true, true, false, false, true]);
        let KeySet(alone) = ties.connected(0, 1..4);
        assert_eq!(alone, [true, false, false, false, false, false]);
    }
}
