//! What operations do to the keys.

pub(crate) mod dedup;
mod draft;
pub(crate) mod numbers;
pub(crate) mod page;

use kv_core::{
    Answer, Batch, Check, Command, CommandResult, Done, Key, NotDone, Operation, Outcome, Scan,
    Served, Store, Value, Version, Versioned,
};

use crate::mutation::{Broken, Mutation};
use crate::state_machine::draft::Draft;
use crate::state_machine::page::PageBounds;

/// The keys with their values: a function of the operations applied, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct StateMachine {
    store: Store<Versioned>,
}

impl StateMachine {
    /// The state on no disk.
    pub(crate) const fn new(store: Store<Versioned>) -> Self {
        Self { store }
    }

    /// Goes on with another state.
    pub(crate) fn replace(&mut self, next: Self, broken: Broken) {
        self.store.replace(next.store);
        if broken.is(Mutation::CheckpointForgetsTheInstalled) {
            self.store.note_recovered();
        }
    }

    pub(crate) const fn store(&self) -> &Store<Versioned> {
        &self.store
    }

    /// The keys, for views of them.
    pub(crate) const fn store_mut(&mut self) -> &mut Store<Versioned> {
        &mut self.store
    }

    /// Carries out the operation with a number. `bounds` limit a page that is read; they
    /// have no part in what is written.
    pub(crate) fn apply(
        &mut self,
        operation: &Operation,
        number: u64,
        bounds: PageBounds,
        broken: Broken,
    ) -> Outcome {
        let answer = match operation {
            Operation::Batch(batch) => self.apply_batch(batch, number, broken),
            Operation::Scan(scan) if broken.is(Mutation::ScanIgnoresEnd) => {
                let endless = Scan { until: None, ..scan.clone() };
                Ok(Answer::Page(page::of_scan(&self.store, &endless, bounds)))
            }
            Operation::Scan(scan) => Ok(Answer::Page(page::of_scan(&self.store, scan, bounds))),
            Operation::Dump(dump) => Ok(Answer::Page(page::of_dump(&self.store, dump, bounds))),
        };
        match answer {
            Ok(answer) => Outcome::Done(Done {
                answer,
                version: Some(Version::Log(number)),
                served: Served::Linearizable,
            }),
            Err(reason) => Outcome::NotDone(reason),
        }
    }

    fn apply_batch(
        &mut self,
        batch: &Batch,
        number: u64,
        broken: Broken,
    ) -> Result<Answer, NotDone> {
        match batch.single() {
            Some(Command::Put { key, value, .. }) => {
                self.write(key.detached(), Some(value.detached()), number);
                Ok(Answer::Results(vec![CommandResult::Written]))
            }
            Some(Command::Get { key }) => {
                let found = self.store.get(key).cloned();
                Ok(Answer::Results(vec![CommandResult::Value(found)]))
            }
            Some(Command::Delete { .. } | Command::Increment { .. } | Command::Append { .. })
            | None => self.apply_together(batch, number, broken),
        }
    }

    /// Nothing is written unless all conditions hold and all commands succeed.
    fn apply_together(
        &mut self,
        batch: &Batch,
        number: u64,
        broken: Broken,
    ) -> Result<Answer, NotDone> {
        let looked_at = if broken.is(Mutation::FirstConditionOnly) { 1 } else { usize::MAX };
        for (place, condition) in (0u16..).zip(batch.conditions()).take(looked_at) {
            let found = self.store.get(&condition.key);
            if !holds(&condition.check, found) {
                return Err(NotDone::ConditionFailed { index: place, found: found.cloned() });
            }
        }
        let mut draft = Draft::new(&self.store, Version::Log(number));
        let mut results = Vec::with_capacity(batch.commands().len());
        let mut failed = None;
        for (place, command) in (0u16..).zip(batch.commands()) {
            match draft.carry_out(place, command) {
                Ok(result) => results.push(result),
                Err(reason) if broken.is(Mutation::FailedBatchWrites) => {
                    failed = Some(reason);
                    break;
                }
                Err(reason) => return Err(reason),
            }
        }
        for (key, value) in draft.into_writes() {
            self.write(key, value, number);
        }
        failed.map_or(Ok(Answer::Results(results)), Err)
    }

    fn write(&mut self, key: Key, value: Option<Value>, number: u64) {
        let version = Version::Log(number);
        match value {
            Some(value) => self.store.insert(key, Versioned { value, version }),
            None => self.store.remove(&key),
        }
    }
}

fn holds(check: &Check, found: Option<&Versioned>) -> bool {
    match check {
        Check::Absent => found.is_none(),
        Check::Present => found.is_some(),
        Check::ValueIs(value) => found.is_some_and(|found| found.value == *value),
        Check::VersionIs(version) => found.is_some_and(|found| found.version == *version),
    }
}

#[cfg(test)]
mod tests {
    use kv_core::Condition;

    use super::*;

    const BOUNDS: PageBounds = PageBounds { entries_max: 10, bytes_max: 100 };

    fn key(text: &'static str) -> Key {
        Key::new(text).unwrap()
    }

    fn value(text: &'static str) -> Value {
        Value::new(text).unwrap()
    }

    fn put(name: &'static str, text: &'static str) -> Command {
        Command::Put { key: key(name), value: value(text), time_to_live: None }
    }

    fn increment(by: i64) -> Command {
        Command::Increment { key: key("k"), by }
    }

    /// Applies commands at the position after the last one used.
    struct Machine(StateMachine, u64);

    impl Machine {
        fn with(commands: Vec<Command>) -> Self {
            let mut machine = Self(StateMachine::default(), 0);
            machine.run(vec![], commands).unwrap();
            machine
        }

        fn run(
            &mut self,
            conditions: Vec<(&'static str, Check)>,
            commands: Vec<Command>,
        ) -> Result<Vec<CommandResult>, NotDone> {
            let condition = |(name, check)| Condition { key: key(name), check };
            let conditions = conditions.into_iter().map(condition).collect();
            let batch = Batch::new(conditions, commands).unwrap();
            self.1 += 1;
            match self.0.apply(&Operation::Batch(batch), self.1, BOUNDS, Broken::default()) {
                Outcome::Done(Done { answer: Answer::Results(results), version, served }) => {
                    assert_eq!(version, Some(Version::Log(self.1)));
                    assert_eq!(served, Served::Linearizable);
                    Ok(results)
                }
                Outcome::NotDone(reason) => Err(reason),
                other @ (Outcome::Done(_) | Outcome::Unknown(_)) => panic!("{other:?}"),
            }
        }

        fn value(&self, name: &'static str) -> Option<(Value, u64)> {
            let found = self.0.store().get(&key(name)).cloned()?;
            let Version::Log(index) = found.version else { panic!("{found:?}") };
            Some((found.value, index))
        }
    }

    #[test]
    fn puts_gets_and_deletes() {
        let mut machine = Machine::with(vec![put("k", "v")]);
        let get = || vec![Command::Get { key: key("k") }];
        let found = Some(Versioned { value: value("v"), version: Version::Log(1) });
        assert_eq!(machine.run(vec![], get()), Ok(vec![CommandResult::Value(found)]));
        let delete = vec![Command::Delete { key: key("k") }];
        assert_eq!(machine.run(vec![], delete), Ok(vec![CommandResult::Written]));
        assert_eq!(machine.run(vec![], get()), Ok(vec![CommandResult::Value(None)]));
    }

    #[test]
    fn each_condition_holds_exactly_when_it_says() {
        let cases = [
            ("k", Check::Absent, false),
            ("k", Check::Present, true),
            ("k", Check::ValueIs(value("v")), true),
            ("k", Check::ValueIs(value("w")), false),
            ("k", Check::VersionIs(Version::Log(1)), true),
            ("k", Check::VersionIs(Version::Log(2)), false),
            ("none", Check::Absent, true),
            ("none", Check::Present, false),
            ("none", Check::ValueIs(value("")), false),
            ("none", Check::VersionIs(Version::Log(0)), false),
        ];
        for (name, check, holds) in cases {
            let mut machine = Machine::with(vec![put("k", "v")]);
            let outcome = machine.run(vec![(name, check.clone())], vec![put("new", "x")]);
            assert_eq!(outcome.is_ok(), holds, "{name} {check:?}");
            assert_eq!(machine.value("new").is_some(), holds, "{name} {check:?}");
        }
    }

    #[test]
    fn a_failed_condition_is_named_with_what_was_found() {
        let mut machine = Machine::with(vec![put("k", "v")]);
        let conditions = vec![("k", Check::Present), ("k", Check::Absent)];
        let found = Some(Versioned { value: value("v"), version: Version::Log(1) });
        assert_eq!(
            machine.run(conditions, vec![put("k", "w")]),
            Err(NotDone::ConditionFailed { index: 1, found })
        );
    }

    #[test]
    fn increments_count_within_64_bits() {
        let mut machine = Machine::with(vec![put("other", "x")]);
        assert_eq!(machine.run(vec![], vec![increment(5)]), Ok(vec![CommandResult::Number(5)]));
        assert_eq!(machine.run(vec![], vec![increment(-7)]), Ok(vec![CommandResult::Number(-2)]));
        assert_eq!(machine.value("k"), Some((value("-2"), 3)));
        let not_a_number = Err(NotDone::NotANumber { index: 0 });
        assert_eq!(machine.run(vec![], vec![increment(i64::MIN)]), not_a_number);
        machine.run(vec![], vec![put("k", "1x")]).unwrap();
        assert_eq!(machine.run(vec![], vec![increment(1)]), not_a_number);
        assert_eq!(machine.value("k"), Some((value("1x"), 5)));
    }

    #[test]
    fn appends_stay_within_the_greatest_value() {
        let append = |suffix| Command::Append { key: key("k"), suffix };
        let mut machine = Machine::with(vec![append(value("ab"))]);
        let longer = machine.run(vec![], vec![append(value("c"))]);
        assert_eq!(longer, Ok(vec![CommandResult::Length(3)]));
        assert_eq!(machine.value("k"), Some((value("abc"), 2)));
        let huge = Value::new(vec![0; Value::LEN_MAX - 2]).unwrap();
        assert_eq!(
            machine.run(vec![], vec![append(huge)]),
            Err(NotDone::ValueTooLarge { index: 0 })
        );
        assert_eq!(machine.value("k"), Some((value("abc"), 2)));
    }

    #[test]
    fn commands_of_a_batch_see_each_other_and_fail_together() {
        let mut machine = Machine::with(vec![put("k", "1")]);
        let results = machine.run(
            vec![],
            vec![
                increment(1),
                Command::Get { key: key("k") },
                Command::Delete { key: key("k") },
                increment(9),
            ],
        );
        let seen = Some(Versioned { value: value("2"), version: Version::Log(2) });
        let expected = vec![
            CommandResult::Number(2),
            CommandResult::Value(seen),
            CommandResult::Written,
            CommandResult::Number(9),
        ];
        assert_eq!(results, Ok(expected));
        let failing = vec![put("k", "x"), increment(1)];
        assert_eq!(machine.run(vec![], failing), Err(NotDone::NotANumber { index: 1 }));
        assert_eq!(machine.value("k"), Some((value("9"), 2)));
    }

    #[test]
    fn a_scan_is_a_page_at_its_place() {
        let mut machine = Machine::with(vec![put("a", "1"), put("b", "2")]);
        let scan = Operation::Scan(Scan { from: "b".into(), until: None, after: None, limit: 9 });
        let Outcome::Done(done) = machine.0.apply(&scan, 2, BOUNDS, Broken::default()) else {
            panic!("a scan has no reason to fail")
        };
        let Answer::Page(page) = done.answer else { panic!("a scan gives a page") };
        assert_eq!(page.entries.len(), 1);
        assert_eq!(done.version, Some(Version::Log(2)));
    }
}
