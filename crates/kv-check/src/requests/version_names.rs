//! Which value a version names, so that a condition on a version can be judged as one on a value.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::{
    Answer, Batch, Check, Command, CommandResult, Condition, Done, Key, NotDone, Operation,
    Outcome, Value, Version, Versioned,
};

use super::{Request, RequestState};

/// What the answers of some requests tell of versions.
///
/// Where every value is put at most once, a key has a version exactly while it has that version's
/// value; nothing is said of keys on which that does not hold.
#[derive(Debug, Default)]
pub(crate) struct VersionNames<'a> {
    values: BTreeMap<(&'a Key, Version), Named<'a>>,
    /// How many commands that may have taken effect put a value.
    puts: BTreeMap<(&'a Key, &'a Value), u64>,
    /// The keys that are counted on or appended to.
    computed: BTreeSet<&'a Key>,
}

/// What a version names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named<'a> {
    One(&'a Value),
    /// A version of two values is a defect of the engine, and names nothing.
    Several,
}

impl<'a> VersionNames<'a> {
    pub(crate) fn of_requests(requests: impl Iterator<Item = &'a Request>) -> Self {
        let mut names = Self::default();
        for request in requests {
            if let Operation::Batch(batch) = &request.op {
                names.take_commands(batch, &request.state);
                names.take_answer(batch, &request.state);
            }
        }
        names
    }

    /// The batch with every condition on a version as one on the value that the version names;
    /// those whose value is not known stay as they are.
    pub(crate) fn resolve(&self, batch: &Batch) -> Batch {
        let by_version = |c: &Condition| matches!(c.check, Check::VersionIs(_));
        if !batch.conditions().iter().any(by_version) {
            return batch.clone();
        }
        let conditions = batch.conditions().iter();
        let conditions = conditions.map(|Condition { key, check }| {
            let value = match check {
                Check::VersionIs(version) => self.value(key, *version).cloned(),
                Check::Absent | Check::Present | Check::ValueIs(_) | Check::ExpiryIs(_) => None,
            };
            let check = value.map_or_else(|| check.clone(), Check::ValueIs);
            Condition { key: key.clone(), check }
        });
        let commands = batch.commands().to_vec();
        // Larger than a batch may be: then it is not resolved, and not judged.
        Batch::new(conditions.collect(), commands).unwrap_or_else(|_| batch.clone())
    }

    fn value(&self, key: &'a Key, version: Version) -> Option<&'a Value> {
        match self.values.get(&(key, version)) {
            Some(Named::One(value)) => {
                let once = self.puts.get(&(key, *value)).is_none_or(|puts| *puts == 1);
                (once && !self.computed.contains(key)).then_some(*value)
            }
            Some(Named::Several) | None => None,
        }
    }

    fn take_commands(&mut self, batch: &'a Batch, state: &RequestState) {
        let refused = matches!(
            state,
            RequestState::Refused | RequestState::Replied { outcome: Outcome::NotDone(_), .. }
        );
        if refused {
            return;
        }
        for command in batch.commands() {
            match command {
                Command::Put { key, value, .. } | Command::Rewrite { key, value } => {
                    *self.puts.entry((key, value)).or_default() += 1
                }
                Command::Increment { key, .. } | Command::Append { key, .. } => {
                    self.computed.insert(key);
                }
                Command::Get { .. }
                | Command::Delete { .. }
                | Command::Expire { .. }
                | Command::TimeToLive { .. }
                | Command::ExpireAt { .. }
                | Command::Expiry { .. } => {}
            }
        }
    }

    fn take_answer(&mut self, batch: &'a Batch, state: &'a RequestState) {
        let RequestState::Replied { outcome, .. } = state else {
            return;
        };
        match outcome {
            Outcome::Done(Done { answer: Answer::Results(results), version, .. }) => {
                for (command, result) in batch.commands().iter().zip(results) {
                    match (command, result) {
                        (Command::Get { key }, CommandResult::Value(Some(found))) => {
                            self.take_found(key, found);
                        }
                        (
                            Command::Put { key, value, .. } | Command::Rewrite { key, value },
                            CommandResult::Written,
                        ) => {
                            self.take(key, *version, value);
                        }
                        _ => {}
                    }
                }
            }
            Outcome::NotDone(NotDone::ConditionFailed { index, found: Some(found) }) => {
                if let Some(condition) = batch.conditions().get(usize::from(*index)) {
                    self.take_found(&condition.key, found);
                }
            }
            Outcome::Done(_) | Outcome::NotDone(_) | Outcome::Unknown(_) => {}
        }
    }

    fn take_found(&mut self, key: &'a Key, found: &'a Versioned) {
        self.take(key, Some(found.version), &found.value);
    }

    fn take(&mut self, key: &'a Key, version: Option<Version>, value: &'a Value) {
        let Some(version) = version else {
            return;
        };
        let named = self.values.entry((key, version)).or_insert(Named::One(value));
        if *named != Named::One(value) {
            *named = Named::Several;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kv_core::{NodeId, RequestOptions, Served};

    use super::*;

    fn request(op: Operation, version: u64) -> Request {
        let answer = Answer::Results(vec![CommandResult::Written]);
        let version = Some(Version::Log(version));
        let outcome = Outcome::Done(Done { answer, version, served: Served::Linearizable });
        Request {
            node: NodeId::FIRST,
            op,
            options: RequestOptions::default(),
            invoked_at: Duration::ZERO,
            cancelled: false,
            state: RequestState::Replied { at: Duration::ZERO, outcome },
        }
    }

    fn key() -> Key {
        Key::new("k").unwrap()
    }

    fn put(text: &'static str) -> Operation {
        Operation::put(key(), Value::new(text).unwrap())
    }

    fn resolved(requests: &[Request], version: u64) -> Check {
        let check = Check::VersionIs(Version::Log(version));
        let conditions = vec![Condition { key: key(), check }];
        let batch = Batch::new(conditions, vec![Command::Delete { key: key() }]).unwrap();
        let batch = VersionNames::of_requests(requests.iter()).resolve(&batch);
        batch.conditions()[0].check.clone()
    }

    #[test]
    fn a_version_names_the_value_that_was_put_under_it() {
        let requests = [request(put("a"), 1), request(put("b"), 2)];
        assert_eq!(resolved(&requests, 2), Check::ValueIs(Value::new("b").unwrap()));
        assert_eq!(resolved(&requests, 3), Check::VersionIs(Version::Log(3)));
    }

    #[test]
    fn a_value_that_was_put_twice_names_no_version() {
        let requests = [request(put("a"), 1), request(put("a"), 2)];
        assert_eq!(resolved(&requests, 1), Check::VersionIs(Version::Log(1)));
    }
}
