//! Keys as a transaction sees them: what was read, with its own writes laid over it.

use std::collections::BTreeMap;

use kv_core::{Batch, Check, Command, Condition, Key, Value, Version};

use crate::clock::left;
use crate::error::ReplyError;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) value: Value,
    /// In milliseconds since the Unix epoch.
    pub(crate) deadline_ms: Option<i64>,
}

/// What was read of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) held: Held,
    pub(crate) version: Version,
}

/// The keys of a transaction.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    slots: BTreeMap<Key, Slot>,
    /// How many bytes were copied, or gone through as often as copied ones.
    work_bytes: usize,
}

#[derive(Debug)]
struct Slot {
    read: Option<Version>,
    held: Option<Held>,
    change: Change,
}

/// What the transaction did to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    None,
    Deadline,
    Value,
}

impl Overlay {
    /// Lays down what was read of a key.
    pub(crate) fn insert(&mut self, key: Key, read: Option<Read>) {
        let (version, held) = match read {
            Some(Read { held, version }) => (Some(version), Some(held)),
            None => (None, None),
        };
        self.slots.insert(key, Slot { read: version, held, change: Change::None });
    }

    /// What a key holds.
    pub(crate) fn get(&self, key: &Key) -> Option<&Held> {
        self.slots.get(key)?.held.as_ref()
    }

    /// Counts bytes that a command copies, or goes through as many times.
    pub(crate) const fn spend(&mut self, bytes: usize) {
        self.work_bytes = self.work_bytes.saturating_add(bytes);
    }

    /// How much work the commands were so far, in bytes.
    pub(crate) const fn work_bytes(&self) -> usize {
        self.work_bytes
    }

    /// The version that was read of a key.
    pub(crate) fn version(&self, key: &Key) -> Option<Version> {
        self.slots.get(key)?.read
    }

    /// Writes a key. A deadline that is over removes it.
    pub(crate) fn put(&mut self, key: &Key, held: Held, now_ms: i64) {
        if held.deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms) {
            return self.delete(key);
        }
        self.write(key, Some(held), Change::Value);
    }

    /// Removes a key.
    pub(crate) fn delete(&mut self, key: &Key) {
        self.write(key, None, Change::Value);
    }

    /// Sets how long a key lasts that is there. A deadline that is over removes it.
    pub(crate) fn expire(&mut self, key: &Key, deadline_ms: Option<i64>, now_ms: i64) {
        if deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms) {
            return self.delete(key);
        }
        if let Some(slot) = self.slots.get_mut(key)
            && let Some(held) = &mut slot.held
        {
            held.deadline_ms = deadline_ms;
            slot.change = slot.change.max(Change::Deadline);
        }
    }

    fn write(&mut self, key: &Key, held: Option<Held>, change: Change) {
        let missing = || Slot { read: None, held: None, change: Change::None };
        let slot = self.slots.entry(key.clone()).or_insert_with(missing);
        slot.held = held;
        slot.change = change;
    }

    /// What writes the changes, if all keys are still as they were read; `None` if there are none.
    ///
    /// # Errors
    /// If that is more than a batch takes.
    pub(crate) fn into_batch(self, now_ms: i64) -> Result<Option<Batch>, ReplyError> {
        if self.slots.values().all(|slot| slot.change == Change::None) {
            return Ok(None);
        }
        let (mut conditions, mut commands) = (Vec::new(), Vec::new());
        for (key, slot) in self.slots {
            let check = slot.read.map_or(Check::Absent, Check::VersionIs);
            conditions.push(Condition { key: key.clone(), check });
            let time_to_live =
                |held: &Held| held.deadline_ms.map(|deadline_ms| left(deadline_ms, now_ms));
            match (slot.change, slot.held) {
                (Change::None, _) => {}
                (Change::Value | Change::Deadline, None) => commands.push(Command::Delete { key }),
                (Change::Deadline, Some(held)) => {
                    commands.push(Command::Expire { key, time_to_live: time_to_live(&held) });
                }
                (Change::Value, Some(held)) => {
                    let time_to_live = time_to_live(&held);
                    commands.push(Command::Put { key, value: held.value, time_to_live });
                }
            }
        }
        Batch::new(conditions, commands).map(Some).map_err(Into::into)
    }
}
