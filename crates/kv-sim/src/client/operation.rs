//! What generated clients ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kv_core::{
    Answer, Batch, Check, Command, CommandResult, Condition, Done, Dump, ExpiryMs, Key, KeyExpiry,
    Operation, Scan, SeedStream, Value, Versioned,
};

use super::{Clients, OperationKind, is_increment};
use crate::workload::pick;

impl Clients {
    pub(super) fn operation(&mut self) -> Operation {
        let kind = pick(&mut self.stream, &self.config.operations).copied();
        let kind = kind.unwrap_or(OperationKind::Get);
        let op = self.operation_of(kind);
        let too_hard = self.hard_unknown >= HARD_UNKNOWN_MAX && self.is_hard(&op);
        if too_hard || (self.increments_unknown >= INCREMENTS_UNKNOWN_MAX && is_increment(&op)) {
            let put = Operation::of(self.put());
            return if self.is_hard(&put) { Operation::of(self.get()) } else { put };
        }
        op
    }

    fn operation_of(&mut self, kind: OperationKind) -> Operation {
        match kind {
            OperationKind::Put => Operation::of(self.put()),
            OperationKind::Get => Operation::of(self.get()),
            OperationKind::Delete => Operation::delete(self.key()),
            OperationKind::Increment => Operation::of(self.increment()),
            OperationKind::Append => {
                let key = log_key().unwrap_or_else(|| self.key());
                Operation::of(Command::Append { key, suffix: self.value() })
            }
            OperationKind::ConditionalPut => {
                let command = self.put();
                let condition = self.condition(command.key().clone());
                batch(vec![condition], vec![command])
            }
            OperationKind::Transaction => self.transaction(),
            OperationKind::Scan => self.scan(),
            OperationKind::Dump => Operation::Dump(Dump { after: None, limit: 5 }),
            OperationKind::PutForATime => self.passing(),
            OperationKind::Expiry => self.timed(),
        }
    }

    /// Several commands under up to three conditions. If clients count or append at all, half of
    /// them do so as well, on keys of their own: on what was put most increments fail, and with
    /// them all. Other keys stay out of these: a command that failed says of every key in the
    /// batch that it may have held anything.
    fn transaction(&mut self) -> Operation {
        let computing = self.computes() && self.stream.chance(500);
        let conditions = [0, 0, 0, 1, 1, 2, 2, 3];
        let conditions = *pick(&mut self.stream, &conditions).unwrap_or(&0);
        let conditions = (0..conditions).map(|_| {
            let key = self.key_of(computing);
            self.condition(key)
        });
        let conditions = conditions.collect();
        let commands = (0..2 + self.stream.below(3)).map(|_| {
            let key = self.key_of(computing);
            match self.stream.below(12) {
                0..=3 => Command::Get { key },
                4 => Command::Delete { key },
                5 if computing => Command::Append { key, suffix: self.value() },
                6..=7 if computing => {
                    self.written += 1;
                    let by = i64::try_from(self.written).unwrap_or(i64::MAX);
                    Command::Increment { key, by }
                }
                _ => Command::Put { key, value: self.value(), time_to_live: None },
            }
        });
        // A version names one value only if a batch puts a key once.
        let mut put = BTreeSet::new();
        let commands = commands.map(|command| {
            let key = command.key().clone();
            let again = matches!(command, Command::Put { .. }) && !put.insert(key.clone());
            if again { Command::Get { key } } else { command }
        });
        batch(conditions, commands.collect())
    }

    /// What has to do with keys that last for a time.
    fn passing(&mut self) -> Operation {
        let keys = passing_keys();
        let key = pick(&mut self.stream, &keys).cloned().unwrap_or_else(|| self.key());
        match self.stream.below(10) {
            0..=3 => {
                let time = Duration::from_millis(self.stream.below(TIME_TO_LIVE_MS_MAX));
                let (value, time_to_live) = (self.value(), Some(time));
                Operation::of(Command::Put { key, value, time_to_live })
            }
            4 => Operation::put(key, self.value()),
            5 => Operation::delete(key),
            _ => Operation::get(key),
        }
    }

    /// What has to do with when keys expire. The moments are all different, and so far off that
    /// none comes.
    fn timed(&mut self) -> Operation {
        let keys = timed_keys();
        let key = pick(&mut self.stream, &keys).cloned().unwrap_or_else(|| self.key());
        let write = match self.stream.below(12) {
            0..=4 => {
                let reads = vec![Command::Get { key: key.clone() }, Command::Expiry { key }];
                return batch(Vec::new(), reads);
            }
            5 => Command::Put { key, value: self.value(), time_to_live: None },
            6 if self.stream.chance(500) => Command::Delete { key },
            6 => Command::Expire { key, time_to_live: None },
            7..=9 => {
                self.written += 1;
                Command::ExpireAt { key, expiry: ExpiryMs(MOMENT_MIN + self.written) }
            }
            _ => Command::Rewrite { key, value: self.value() },
        };
        let key = write.key().clone();
        let known = self.known_expiries.get(&key).copied().filter(|_| self.stream.chance(400));
        let condition = known.map(|expiry| Condition { key, check: Check::ExpiryIs(expiry) });
        batch(condition.into_iter().collect(), vec![write])
    }

    fn scan(&mut self) -> Operation {
        let from = if self.stream.chance(500) { self.key().to_shared() } else { Bytes::new() };
        let until = self.stream.chance(500).then(|| self.key().to_shared());
        let after = self.stream.chance(300).then(|| self.key());
        let limit = *pick(&mut self.stream, &[0, 1, 2, 5, 5, 100]).unwrap_or(&5);
        Operation::Scan(Scan { from, until, after, limit })
    }

    /// A condition that may well hold.
    fn condition(&mut self, key: Key) -> Condition {
        // Not `Present`: once it held, any write whose end is unknown can explain it, and the
        // history cannot be judged.
        let known = self.known.get(&key).cloned();
        let check = match (self.stream.below(10), known) {
            (0..=2, _) => Check::Absent,
            // Of a value that was computed it cannot be said which version it had.
            (3..=5, Some(known)) if !self.computes_on(&key) => Check::VersionIs(known.version),
            (3..=7, Some(known)) => Check::ValueIs(known.value),
            (_, _) => {
                let recent = self.stream.below(20).min(self.written);
                Check::ValueIs(self.padded(self.written - recent))
            }
        };
        Condition { key, check }
    }

    fn get(&mut self) -> Command {
        let asked = |kind| self.config.operations.contains(&kind);
        let counter = asked(OperationKind::Increment).then(counter_key).flatten();
        let log = asked(OperationKind::Append).then(log_key).flatten();
        let counter = counter.filter(|_| self.stream.chance(150));
        let log = log.filter(|_| self.stream.chance(100));
        Command::Get { key: counter.or(log).unwrap_or_else(|| self.key()) }
    }

    fn put(&mut self) -> Command {
        Command::Put { key: self.key(), value: self.value(), time_to_live: None }
    }

    fn increment(&mut self) -> Command {
        let key = counter_key().unwrap_or_else(|| self.key());
        let by = i64::try_from(self.stream.below(5)).unwrap_or_default() - 1;
        Command::Increment { key, by }
    }

    fn key(&mut self) -> Key {
        let number = self.stream.below(self.config.keys.max(1));
        crate::workload::key(&format!("k{number}"))
    }

    /// Whether transactions count and append on plain keys. With one key all else would be hard
    /// to judge.
    fn computes(&self) -> bool {
        let asked = |kind| self.config.operations.contains(&kind);
        let computes = asked(OperationKind::Increment) || asked(OperationKind::Append);
        computes && asked(OperationKind::Transaction) && self.config.keys > 1
    }

    /// Whether transactions count on the key or append to it, so that what it holds depends on
    /// every write before.
    pub(super) fn computes_on(&self, key: &Key) -> bool {
        let number = key.as_bytes().strip_prefix(b"k").and_then(|n| std::str::from_utf8(n).ok());
        let number = number.and_then(|number| number.parse::<u64>().ok());
        self.computes() && number.is_some_and(|number| number.is_multiple_of(3))
    }

    /// Any key, or one of those on which transactions count and append: every third.
    fn key_of(&mut self, computing: bool) -> Key {
        if !computing {
            return self.key();
        }
        let number = self.stream.below(self.config.keys.div_ceil(3).max(1));
        crate::workload::key(&format!("k{}", 3 * number))
    }

    fn value(&mut self) -> Value {
        self.written += 1;
        self.padded(self.written)
    }

    /// The value of a number: always the same, so that a condition can name it.
    fn padded(&self, number: u64) -> Value {
        let mut text = format!("v{number}");
        let bytes = SeedStream::new(number).below(self.config.value_bytes_max.max(1));
        while u64::try_from(text.len()).unwrap_or(u64::MAX) < bytes {
            text.push('.');
        }
        Value::new(text).unwrap_or_default()
    }
}

/// Notes what an answer shows of keys that hold nothing but what was put.
pub(super) fn learn(known: &mut BTreeMap<Key, Versioned>, op: &Operation, done: &Done) {
    let (Operation::Batch(batch), Answer::Results(results)) = (op, &done.answer) else {
        return;
    };
    for (command, result) in batch.commands().iter().zip(results) {
        let found = match (command, result) {
            (Command::Get { .. }, CommandResult::Value(Some(found))) => Some(found.clone()),
            (Command::Put { value, .. }, CommandResult::Written) => {
                done.version.map(|version| Versioned { value: value.clone(), version })
            }
            _ => None,
        };
        if let Some(found) = found {
            known.insert(command.key().clone(), found);
        }
    }
}

/// Notes what an answer shows of when keys expire.
pub(super) fn learn_expiry(
    known: &mut BTreeMap<Key, Option<ExpiryMs>>,
    op: &Operation,
    done: &Done,
) {
    let (Operation::Batch(batch), Answer::Results(results)) = (op, &done.answer) else {
        return;
    };
    for (command, result) in batch.commands().iter().zip(results) {
        let CommandResult::Expiry(expiry) = result else {
            continue;
        };
        match expiry {
            KeyExpiry::Missing => {}
            KeyExpiry::Never => {
                known.insert(command.key().clone(), None);
            }
            KeyExpiry::At(at) => {
                known.insert(command.key().clone(), Some(*at));
            }
        }
    }
}

/// While so many calls of a hard kind are open or ended in the unknown, clients make no more of
/// them: the history could not be judged.
const HARD_UNKNOWN_MAX: u64 = 4;

/// The same for increments: their unknown ends multiply less, as equal ones can be exchanged.
const INCREMENTS_UNKNOWN_MAX: u64 = 12;

/// The key of all increments. What they bring depends on every write before them, so that a write
/// whose end is unknown could be anywhere: nothing else writes it.
pub(super) fn counter_key() -> Option<Key> {
    Key::new("n0").ok()
}

/// The key of all appends, for the same reason.
pub(super) fn log_key() -> Option<Key> {
    Key::new("a0").ok()
}

/// The keys that are put for a time.
pub(super) fn passing_keys() -> Vec<Key> {
    ["t0", "t1"].map(crate::workload::key).to_vec()
}

/// The keys of which it is asked when they expire.
pub(super) fn timed_keys() -> Vec<Key> {
    ["e0", "e1"].map(crate::workload::key).to_vec()
}

/// All moments at which keys are to expire are later than this, in milliseconds: no run comes there.
const MOMENT_MIN: u64 = 1 << 50;

/// A key is put for less than this.
pub(crate) const TIME_TO_LIVE_MS_MAX: u64 = 3_000;

fn batch(conditions: Vec<Condition>, commands: Vec<Command>) -> Operation {
    match Batch::new(conditions, commands) {
        Ok(batch) => Operation::Batch(batch),
        Err(error) => panic!("a client's batch: {error}"),
    }
}
