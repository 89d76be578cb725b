//! The writes of a batch before it is known that all of it succeeds.

use std::collections::BTreeMap;

use kv_core::{
    Batch, Command, CommandResult, Key, KeyExpiry, NotDone, TimeToLive, Value, Version, Versioned,
    parse_integer,
};

use crate::mutation::{Broken, Mutation};
use crate::state_machine::expiry::{Expiry, Held, Live};

/// A view of the keys with the writes of a batch laid over them.
pub(crate) struct Draft<'a> {
    live: Live<'a>,
    writes: BTreeMap<Key, Option<Held>>,
    version: Version,
    /// What remaining times are counted from.
    clock_ms: u64,
    read_bytes: usize,
    broken: Broken,
}

impl<'a> Draft<'a> {
    /// Writes get `version`.
    pub(crate) const fn new(
        live: Live<'a>,
        version: Version,
        clock_ms: u64,
        broken: Broken,
    ) -> Self {
        Self { live, writes: BTreeMap::new(), version, clock_ms, read_bytes: 0, broken }
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
                let found = self.find(key).map(|held| held.versioned);
                self.read_bytes += found.as_ref().map_or(0, |found| found.value.as_bytes().len());
                if self.read_bytes > Batch::BYTES_MAX {
                    return Err(NotDone::ValueTooLarge { index: place });
                }
                Ok(CommandResult::Value(found))
            }
            Command::Put { key, value, time_to_live } => {
                let expiry = Expiry::after(self.live.now_ms, *time_to_live);
                self.write(key, value.detached(), expiry);
                Ok(CommandResult::Written)
            }
            Command::Delete { key } => {
                self.writes.insert(key.detached(), None);
                Ok(CommandResult::Written)
            }
            Command::Increment { key, by } => self.increment(place, key, *by),
            Command::Append { key, suffix } => self.append(place, key, suffix),
            Command::Expire { key, time_to_live } => {
                let expiry = Expiry::after(self.live.now_ms, *time_to_live);
                Ok(CommandResult::Changed(self.expire(key, expiry)))
            }
            Command::TimeToLive { key } => {
                let left = self.find(key).map(|held| held.expiry.time_left(self.clock_ms));
                Ok(CommandResult::TimeToLive(left.unwrap_or(TimeToLive::Missing)))
            }
            Command::Rewrite { key, value } => {
                let kept = self.find(key).map(|held| held.expiry);
                let kept = kept.filter(|_| !self.broken.is(Mutation::RewriteEndsNever));
                self.write(key, value.detached(), kept.unwrap_or(Expiry::NEVER));
                Ok(CommandResult::Written)
            }
            Command::ExpireAt { key, expiry } => {
                Ok(CommandResult::Changed(self.expire(key, Expiry::at(*expiry))))
            }
            Command::Expiry { key } => {
                let expiry = self.find(key).map(|held| held.expiry.moment());
                let expiry = expiry.map_or(KeyExpiry::Missing, |moment| {
                    moment.map_or(KeyExpiry::Never, KeyExpiry::At)
                });
                Ok(CommandResult::Expiry(expiry))
            }
        }
    }

    /// What is to be written: what a key holds, or nothing for a key that is removed.
    pub(crate) fn into_writes(self) -> BTreeMap<Key, Option<Held>> {
        self.writes
    }

    fn find(&self, key: &Key) -> Option<Held> {
        match self.writes.get(key) {
            Some(written) => written.clone().filter(|held| !held.expiry.is_over(self.live.now_ms)),
            None => self.live.held(key).cloned(),
        }
    }

    fn write(&mut self, key: &Key, value: Value, expiry: Expiry) {
        let versioned = Versioned { value, version: self.version };
        self.writes.insert(key.detached(), Some(Held { versioned, expiry }));
    }

    /// Sets a key's end; whether there is a key, and an end if it is taken away.
    fn expire(&mut self, key: &Key, expiry: Expiry) -> bool {
        let found = self.find(key);
        let Some(held) = found.filter(|held| held.expiry != expiry || expiry != Expiry::NEVER)
        else {
            return false;
        };
        self.writes.insert(key.detached(), Some(Held { expiry, ..held }));
        true
    }

    fn increment(&mut self, place: u16, key: &Key, by: i64) -> Result<CommandResult, NotDone> {
        let found = self.find(key);
        let old = match &found {
            None => Some(0),
            Some(found) => parse_integer(found.versioned.value.as_bytes()),
        };
        let sum = old.and_then(|old| old.checked_add(by));
        let number = sum.ok_or(NotDone::NotANumber { index: place })?;
        let value =
            Value::new(number.to_string()).map_err(|_| NotDone::ValueTooLarge { index: place })?;
        self.write(key, value, found.map_or(Expiry::NEVER, |found| found.expiry));
        Ok(CommandResult::Number(number))
    }

    fn append(&mut self, place: u16, key: &Key, suffix: &Value) -> Result<CommandResult, NotDone> {
        let found = self.find(key);
        let expiry = found.as_ref().map_or(Expiry::NEVER, |found| found.expiry);
        let old = found.map(|found| found.versioned.value).unwrap_or_default();
        let size = old.as_bytes().len() + suffix.as_bytes().len();
        if size > Value::LEN_MAX {
            return Err(NotDone::ValueTooLarge { index: place });
        }
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(old.as_bytes());
        bytes.extend_from_slice(suffix.as_bytes());
        let value = Value::new(bytes).map_err(|_| NotDone::ValueTooLarge { index: place })?;
        self.write(key, value, expiry);
        Ok(CommandResult::Length(u64::try_from(size).unwrap_or(u64::MAX)))
    }
}
