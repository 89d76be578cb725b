//! Keys as a transaction sees them: what was read, with its own writes laid over it.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{Batch, Check, Command, Condition, ExpiryMs, Key, Value, Version};

use crate::clock::left;
use crate::error::ReplyError;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) value: Value,
    pub(crate) end: End,
}

/// When a key ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Never,
    At(ExpiryMs),
    /// So many milliseconds from when it is written.
    In(i64),
}

/// What was read of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) value: Value,
    pub(crate) state: KeyState,
}

/// What tells whether a key is still as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyState {
    pub(crate) version: Version,
    pub(crate) expiry: Option<ExpiryMs>,
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
    read: Option<KeyState>,
    held: Option<Held>,
    change: Change,
    /// The key is written with an end of its own, not with the one that it has.
    has_new_end: bool,
    /// Something depends on when the key ends.
    is_end_asked: bool,
}

/// What the transaction did to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    None,
    End,
    Value,
}

impl End {
    /// The end in milliseconds since the Unix epoch, if there is one.
    pub(crate) fn deadline_ms(self, now_ms: i64) -> Option<i64> {
        match self {
            Self::Never => None,
            Self::At(at) => Some(i64::try_from(at.0).unwrap_or(i64::MAX)),
            Self::In(ms) => Some(now_ms.saturating_add(ms)),
        }
    }
}

impl Overlay {
    /// Lays down what was read of a key.
    pub(crate) fn insert(&mut self, key: Key, read: Option<Read>) {
        let state = read.as_ref().map(|read| read.state);
        let held = read.map(|Read { value, state }| Held {
            value,
            end: state.expiry.map_or(End::Never, End::At),
        });
        self.slots.insert(key, Slot { held, ..Slot::of(state) });
    }

    /// What a key holds.
    pub(crate) fn value(&self, key: &Key) -> Option<&Value> {
        Some(&self.slots.get(key)?.held.as_ref()?.value)
    }

    /// The same with its end, on which the transaction depends from here on.
    pub(crate) fn held(&mut self, key: &Key) -> Option<&Held> {
        let slot = self.slots.get_mut(key)?;
        slot.is_end_asked = true;
        slot.held.as_ref()
    }

    /// Counts bytes that a command copies, or goes through as many times.
    pub(crate) const fn spend(&mut self, bytes: usize) {
        self.work_bytes = self.work_bytes.saturating_add(bytes);
    }

    /// How much work the commands were so far, in bytes.
    pub(crate) const fn work_bytes(&self) -> usize {
        self.work_bytes
    }

    /// What was read of a key, on which the transaction depends from here on.
    pub(crate) fn state(&mut self, key: &Key) -> Option<KeyState> {
        let slot = self.slots.get_mut(key)?;
        slot.is_end_asked = true;
        slot.read
    }

    /// Writes a key. An end that is over removes it.
    pub(crate) fn put(&mut self, key: &Key, held: Held, now_ms: i64) {
        let deadline_ms = held.end.deadline_ms(now_ms);
        let is_over = deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms);
        self.write(key, Some(held).filter(|_| !is_over));
    }

    /// Writes a key and leaves its end as it is.
    pub(crate) fn rewrite(&mut self, key: &Key, value: Value) {
        let slot = self.slots.entry(key.clone()).or_insert_with(|| Slot::of(None));
        let end = slot.held.as_ref().map_or(End::Never, |held| held.end);
        slot.held = Some(Held { value, end });
        slot.change = Change::Value;
    }

    /// Removes a key.
    pub(crate) fn delete(&mut self, key: &Key) {
        self.write(key, None);
    }

    /// Sets the end of a key that is there. One that is over removes it.
    pub(crate) fn expire(&mut self, key: &Key, end: End, now_ms: i64) {
        if end.deadline_ms(now_ms).is_some_and(|deadline_ms| deadline_ms <= now_ms) {
            return self.delete(key);
        }
        if let Some(slot) = self.slots.get_mut(key)
            && let Some(held) = &mut slot.held
        {
            held.end = end;
            slot.has_new_end = true;
            slot.change = slot.change.max(Change::End);
        }
    }

    fn write(&mut self, key: &Key, held: Option<Held>) {
        let slot = self.slots.entry(key.clone()).or_insert_with(|| Slot::of(None));
        slot.held = held;
        slot.has_new_end = true;
        slot.change = Change::Value;
    }

    /// What writes the changes, if all keys are still as they were read; `None` if there are none.
    ///
    /// # Errors
    /// If that is more than a batch takes.
    pub(crate) fn into_batch(self) -> Result<Option<Batch>, ReplyError> {
        if self.slots.values().all(|slot| slot.change == Change::None) {
            return Ok(None);
        }
        let (mut conditions, mut commands) = (Vec::new(), Vec::new());
        for (key, slot) in self.slots {
            let mut ask = |check| conditions.push(Condition { key: key.clone(), check });
            ask(slot.read.map_or(Check::Absent, |read| Check::VersionIs(read.version)));
            if let Some(read) = slot.read.filter(|_| slot.is_end_asked) {
                ask(Check::ExpiryIs(read.expiry));
            }
            slot.write_to(key, &mut commands);
        }
        Batch::new(conditions, commands).map(Some).map_err(Into::into)
    }
}

impl Slot {
    const fn of(read: Option<KeyState>) -> Self {
        Self { read, held: None, change: Change::None, has_new_end: false, is_end_asked: false }
    }

    fn write_to(self, key: Key, commands: &mut Vec<Command>) {
        let Some(Held { value, end }) = self.held else {
            if self.change != Change::None {
                commands.push(Command::Delete { key });
            }
            return;
        };
        match (self.change, end) {
            (Change::None, _) => {}
            (Change::End, End::At(expiry)) => commands.push(Command::ExpireAt { key, expiry }),
            (Change::End, End::Never | End::In(_)) => {
                commands.push(Command::Expire { key, time_to_live: time_to_live(end) });
            }
            (Change::Value, _) if !self.has_new_end => {
                commands.push(Command::Rewrite { key, value });
            }
            (Change::Value, _) => {
                let put_key = key.clone();
                let time_to_live = time_to_live(end);
                commands.push(Command::Put { key: put_key, value, time_to_live });
                if let End::At(expiry) = end {
                    commands.push(Command::ExpireAt { key, expiry });
                }
            }
        }
    }
}

fn time_to_live(end: End) -> Option<Duration> {
    match end {
        End::In(ms) => Some(left(ms, 0)),
        End::Never | End::At(_) => None,
    }
}
