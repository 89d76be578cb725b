//! Tests of what operations do to the keys.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{Condition, ExpiryMs, KeyExpiry, TimeToLive, Value, Wire};
use proptest::collection::vec;
use proptest::prelude::*;

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
        let found = self.0.live().get(&key(name)).cloned()?;
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
    for text in ["007", "+7", "-0", " 7", ""] {
        let mut machine = Machine::with(vec![put("k", text)]);
        assert_eq!(machine.run(vec![], vec![increment(1)]), not_a_number, "{text:?}");
    }
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
    assert_eq!(machine.run(vec![], vec![append(huge)]), Err(NotDone::ValueTooLarge { index: 0 }));
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

const MS: Duration = Duration::from_millis(1);

fn put_for(name: &'static str, time_ms: u32) -> Command {
    Command::Put { key: key(name), value: value("v"), time_to_live: Some(MS * time_ms) }
}

/// How long a key lasts, by log time.
fn time_to_live(machine: &mut Machine, name: &'static str) -> TimeToLive {
    let results = machine.run(vec![], vec![Command::TimeToLive { key: key(name) }]).unwrap();
    let [CommandResult::TimeToLive(left)] = results[..] else { panic!("{results:?}") };
    left
}

#[test]
fn a_key_is_gone_once_log_time_reaches_its_deadline() {
    let mut machine = Machine::with(vec![put_for("k", 10)]);
    machine.0.advance(9);
    assert_eq!(time_to_live(&mut machine, "k"), TimeToLive::Left(MS));
    machine.0.advance(10);
    assert_eq!(time_to_live(&mut machine, "k"), TimeToLive::Missing);
    assert_eq!(machine.run(vec![], vec![increment(1)]), Ok(vec![CommandResult::Number(1)]));
    machine.run(vec![("k", Check::Present)], vec![put("k", "w")]).unwrap();
    machine.run(vec![("none", Check::Absent)], vec![put_for("k", 10)]).unwrap();
    machine.0.advance(20);
    machine.run(vec![("k", Check::Absent)], vec![put("k", "w")]).unwrap();
    // Log time does not fall, whatever an entry says.
    machine.0.advance(3);
    machine.run(vec![], vec![put_for("k", 5)]).unwrap();
    machine.0.advance(25);
    assert_eq!(time_to_live(&mut machine, "k"), TimeToLive::Missing);
    assert_eq!((machine.0.store().len(), machine.0.next_deadline_ms()), (0, None));
}

#[test]
fn a_put_takes_the_deadline_away_and_an_increment_and_an_append_keep_it() {
    let mut machine = Machine::with(vec![put_for("a", 10)]);
    machine.run(vec![], vec![put("a", "x")]).unwrap();
    assert_eq!(time_to_live(&mut machine, "a"), TimeToLive::Endless);
    let expire = |name, time_to_live| Command::Expire { key: key(name), time_to_live };
    machine.run(vec![], vec![put("k", "1"), expire("k", Some(MS * 7))]).unwrap();
    machine.run(vec![], vec![increment(1)]).unwrap();
    let append = Command::Append { key: key("k"), suffix: value("0") };
    machine.run(vec![], vec![append]).unwrap();
    assert_eq!(time_to_live(&mut machine, "k"), TimeToLive::Left(MS * 7));
    assert_eq!(machine.value("k").map(|(value, _)| value), Some(value("20")));
}

#[test]
fn a_change_of_the_deadline_says_whether_there_was_something_to_change() {
    let mut machine = Machine::with(vec![put("k", "v")]);
    machine.0.advance(1);
    let expire = |time_to_live| vec![Command::Expire { key: key("k"), time_to_live }];
    let changed = |changed| Ok(vec![CommandResult::Changed(changed)]);
    assert_eq!(machine.run(vec![], expire(None)), changed(false));
    assert_eq!(machine.run(vec![], expire(Some(MS))), changed(true));
    assert_eq!(machine.run(vec![], expire(Some(MS))), changed(true));
    assert_eq!(machine.run(vec![], expire(None)), changed(true));
    // The version is still that of the value.
    assert_eq!(machine.value("k"), Some((value("v"), 1)));
    assert_eq!(machine.run(vec![], expire(Some(Duration::ZERO))), changed(true));
    assert_eq!(machine.value("k"), None);
    assert_eq!(machine.run(vec![], expire(Some(MS))), changed(false));
}

/// When a key expires.
fn expiry(machine: &mut Machine, name: &'static str) -> KeyExpiry {
    let results = machine.run(vec![], vec![Command::Expiry { key: key(name) }]).unwrap();
    let [CommandResult::Expiry(expiry)] = results[..] else { panic!("{results:?}") };
    expiry
}

#[test]
fn a_key_expires_at_the_moment_that_was_set_whatever_rewrites_it() {
    let mut machine = Machine::with(vec![put("k", "1")]);
    assert_eq!(expiry(&mut machine, "k"), KeyExpiry::Never);
    assert_eq!(expiry(&mut machine, "none"), KeyExpiry::Missing);
    let at = KeyExpiry::At(ExpiryMs(100));
    let expire_at = |name, ms| Command::ExpireAt { key: key(name), expiry: ExpiryMs(ms) };
    let changed = |changed| Ok(vec![CommandResult::Changed(changed)]);
    assert_eq!(machine.run(vec![], vec![expire_at("k", 100)]), changed(true));
    assert_eq!(machine.run(vec![], vec![expire_at("none", 100)]), changed(false));
    // The version is still that of the value.
    assert_eq!(machine.value("k"), Some((value("1"), 1)));
    let append = || Command::Append { key: key("k"), suffix: value("0") };
    let rewrite = || Command::Rewrite { key: key("k"), value: value("7") };
    for (log_time_ms, command) in [(10, rewrite()), (20, increment(1)), (30, append())] {
        machine.0.advance(log_time_ms);
        machine.run(vec![], vec![command]).unwrap();
        assert_eq!(expiry(&mut machine, "k"), at);
    }
    assert_eq!(machine.value("k").map(|(value, _)| value), Some(value("80")));
    machine.0.advance(99);
    assert_eq!(expiry(&mut machine, "k"), at);
    machine.0.advance(100);
    assert_eq!(expiry(&mut machine, "k"), KeyExpiry::Missing);
    machine.run(vec![], vec![rewrite()]).unwrap();
    assert_eq!(expiry(&mut machine, "k"), KeyExpiry::Never);
    assert_eq!(machine.run(vec![], vec![expire_at("k", 100)]), changed(true));
    assert_eq!(expiry(&mut machine, "k"), KeyExpiry::Missing);
}

#[test]
fn a_condition_on_the_expiry_notices_a_change_of_that_alone() {
    let mut machine = Machine::with(vec![put("k", "1")]);
    let mut runs_if = |name, at: Option<u64>, command: Command| {
        machine.run(vec![(name, Check::ExpiryIs(at.map(ExpiryMs)))], vec![command]).is_ok()
    };
    let expire_at = |ms| Command::ExpireAt { key: key("k"), expiry: ExpiryMs(ms) };
    assert!(!runs_if("k", Some(5), expire_at(100)));
    assert!(runs_if("k", None, expire_at(100)));
    assert!(!runs_if("k", None, expire_at(200)));
    assert!(runs_if("k", Some(100), Command::Expire { key: key("k"), time_to_live: None }));
    assert!(runs_if("k", None, expire_at(300)));
    assert!(!runs_if("none", None, expire_at(300)));
}

#[test]
fn an_entry_removes_so_many_keys_at_most_and_the_others_are_gone_all_the_same() {
    let mut machine = Machine::with(vec![put("last", "v")]);
    let count = REMOVED_AT_ONCE + 1;
    for number in 0..count {
        let key = Key::new(format!("{number}")).unwrap();
        let put = Command::Put { key, value: value("v"), time_to_live: Some(MS) };
        machine.run(vec![], vec![put]).unwrap();
    }
    machine.0.advance(1);
    assert_eq!((machine.0.store().len(), machine.0.live().after(None).count()), (2, 1));
    assert_eq!(machine.0.next_deadline_ms(), Some(1));
    machine.0.advance(1);
    assert_eq!((machine.0.store().len(), machine.0.next_deadline_ms()), (1, None));
}

#[test]
fn the_time_left_is_read_by_the_clock_where_log_time_is_behind() {
    let machine = Machine::with(vec![put_for("k", 10)]);
    let read = Operation::of(Command::TimeToLive { key: key("k") });
    for (clock_ms, left) in [(0, 10), (4, 6), (99, 0)] {
        let with = (BOUNDS, Broken::default());
        let Outcome::Done(done) = machine.0.read(&read, 1, clock_ms, with) else { panic!() };
        let expected = CommandResult::TimeToLive(TimeToLive::Left(MS * left));
        assert_eq!(done.answer.single(), Some(expected));
    }
}

#[derive(Clone, Debug)]
enum Act {
    Put {
        key: u8,
        time: Option<u8>,
    },
    Expire {
        key: u8,
        time: Option<u8>,
    },
    Append {
        key: u8,
    },
    Delete {
        key: u8,
    },
    Advance {
        by: u8,
    },
    /// The state goes through a checkpoint.
    Restore,
}

fn act() -> impl Strategy<Value = Act> {
    let time = || proptest::option::of(0..20_u8);
    prop_oneof![
        (0..5_u8, time()).prop_map(|(key, time)| Act::Put { key, time }),
        (0..5_u8, time()).prop_map(|(key, time)| Act::Expire { key, time }),
        (0..5_u8).prop_map(|key| Act::Append { key }),
        (0..5_u8).prop_map(|key| Act::Delete { key }),
        (0..15_u8).prop_map(|by| Act::Advance { by }),
        Just(Act::Restore),
    ]
}

fn restored(machine: &StateMachine) -> StateMachine {
    let mut restored = StateMachine::default();
    for (key, held) in machine.store().after(None) {
        restored.restore(key.clone(), Held::from_bytes(held.to_bytes()).unwrap());
    }
    restored.resume(machine.now_ms);
    restored
}

proptest! {
    /// The keys and their deadlines are those of a map that is looked through at every moment.
    #[test]
    fn keys_last_as_long_as_in_a_model(acts in vec(act(), 0..60)) {
        let mut machine = Machine(StateMachine::default(), 0);
        let mut model: BTreeMap<u8, (usize, Option<u64>)> = BTreeMap::new();
        let mut now = 1;
        machine.0.advance(now);
        let name = |number: u8| Key::new(vec![b'a' + number]).unwrap();
        let deadline = |now: u64, time: Option<u8>| time.map(|time| now + u64::from(time));
        for act in acts {
            let until = |time: Option<u8>| time.map(|time| MS * u32::from(time));
            let command = match act {
                Act::Put { key, time } => {
                    model.insert(key, (1, deadline(now, time)));
                    Command::Put { key: name(key), value: value("v"), time_to_live: until(time) }
                }
                Act::Expire { key, time } => {
                    if let Some((_, end)) = model.get_mut(&key) {
                        *end = deadline(now, time);
                    }
                    Command::Expire { key: name(key), time_to_live: until(time) }
                }
                Act::Append { key } => {
                    model.entry(key).or_insert((0, None)).0 += 1;
                    Command::Append { key: name(key), suffix: value("v") }
                }
                Act::Delete { key } => {
                    model.remove(&key);
                    Command::Delete { key: name(key) }
                }
                Act::Advance { by } => {
                    now += u64::from(by);
                    machine.0.advance(now);
                    model.retain(|_, (_, end)| end.is_none_or(|end| end > now));
                    continue;
                }
                Act::Restore => {
                    machine.0 = restored(&machine.0);
                    continue;
                }
            };
            machine.run(vec![], vec![command]).unwrap();
            model.retain(|_, (_, end)| end.is_none_or(|end| end > now));
            let live = machine.0.live();
            let found: Vec<_> = live.after(None).map(|(key, held)| {
                let end = live.held(key).unwrap().expiry.deadline_ms();
                (key.clone(), (held.value.as_bytes().len(), end))
            }).collect();
            let expected: Vec<_> = model.iter().map(|(key, held)| (name(*key), *held)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
