//! The writes of a batch before it is known that all of it succeeds.

use std::collections::BTreeMap;

use kv_core::{Batch, Command, CommandResult, Key, NotDone, Store, Value, Version, Versioned};

/// A view of the store with the writes of a batch laid over it.
pub(crate) struct Draft<'a> {
    store: &'a Store<Versioned>,
    writes: BTreeMap<Key, Option<Value>>,
    version: Version,
    read_bytes: usize,
}

impl<'a> Draft<'a> {
    /// Writes get `version`.
    pub(crate) const fn new(store: &'a Store<Versioned>, version: Version) -> Self {
        Self { store, writes: BTreeMap::new(), version, read_bytes: 0 }
    }

    /// Carries out the command at a position of the batch.
    ///
    /// What a batch reads is bounded like what it writes, since its answer must fit into a frame;
    /// the command that goes beyond fails the batch.
    pub(crate) fn carry_out(
        &mut self,
        place: u16,
        command: &Command,
    ) -> Result<CommandResult, NotDone> {
        match command {
            Command::Get { key } => {
                let found = self.find(key);
                self.read_bytes += found.as_ref().map_or(0, |found| found.value.as_bytes().len());
                if self.read_bytes > Batch::BYTES_MAX {
                    return Err(NotDone::ValueTooLarge { index: place });
                }
                Ok(CommandResult::Value(found))
            }
            Command::Put { key, value, .. } => {
                self.writes.insert(key.detached(), Some(value.detached()));
                Ok(CommandResult::Written)
            }
            Command::Delete { key } => {
                self.writes.insert(key.detached(), None);
                Ok(CommandResult::Written)
            }
            Command::Increment { key, by } => self.increment(place, key, *by),
            Command::Append { key, suffix } => self.append(place, key, suffix),
        }
    }

    /// What is to be written: a value, or nothing for a key that is removed.
    pub(crate) fn into_writes(self) -> BTreeMap<Key, Option<Value>> {
        self.writes
    }

    fn find(&self, key: &Key) -> Option<Versioned> {
        match self.writes.get(key) {
            Some(written) => {
                written.clone().map(|value| Versioned { value, version: self.version })
            }
            None => self.store.get(key).cloned(),
        }
    }

    fn increment(&mut self, place: u16, key: &Key, by: i64) -> Result<CommandResult, NotDone> {
        let old = match self.find(key) {
            None => Some(0),
            Some(found) => std::str::from_utf8(found.value.as_bytes())
                .ok()
                .and_then(|text| text.parse::<i64>().ok()),
        };
        let sum = old.and_then(|old| old.checked_add(by));
        let number = sum.ok_or(NotDone::NotANumber { index: place })?;
        let value =
            Value::new(number.to_string()).map_err(|_| NotDone::ValueTooLarge { index: place })?;
        self.writes.insert(key.detached(), Some(value));
        Ok(CommandResult::Number(number))
    }

    fn append(&mut self, place: u16, key: &Key, suffix: &Value) -> Result<CommandResult, NotDone> {
        let old = self.find(key).map(|found| found.value).unwrap_or_default();
        let size = old.as_bytes().len() + suffix.as_bytes().len();
        if size > Value::LEN_MAX {
            return Err(NotDone::ValueTooLarge { index: place });
        }
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(old.as_bytes());
        bytes.extend_from_slice(suffix.as_bytes());
        let value = Value::new(bytes).map_err(|_| NotDone::ValueTooLarge { index: place })?;
        self.writes.insert(key.detached(), Some(value));
        Ok(CommandResult::Length(u64::try_from(size).unwrap_or(u64::MAX)))
    }
}
