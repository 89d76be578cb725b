//! Whether what clients saw and what servers hold in the end fit together.

use std::collections::BTreeMap;
use std::fmt;

use kv_check::{Budget, Event, History, Process as Caller, Seen, Verdict, linearizability};
use kv_core::{Batch, Command, Key, Value};

use crate::cluster::Held;
use crate::load::get;
use crate::traffic::OWN;

/// How many writes ended in which way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ends {
    pub(crate) acknowledged: u64,
    pub(crate) unknown: u64,
    pub(crate) not_done: u64,
}

impl Ends {
    fn count(&mut self, end: Option<&Event>) {
        match end {
            Some(Event::Ok(_)) => self.acknowledged += 1,
            Some(Event::Fail(_)) => self.not_done += 1,
            Some(Event::Info | Event::Invoke(_)) | None => self.unknown += 1,
        }
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, unknown, not_done } = self;
        write!(f, "{acknowledged} writes acknowledged, {unknown} unknown, {not_done} not done")
    }
}

/// Judges what clients saw, and what all servers held after the last call had ended.
///
/// # Errors
/// What does not fit.
pub(crate) fn judge(events: Vec<(Caller, Event)>, held: &Held) -> Result<Ends, String> {
    let calls = calls(&events);
    let mut all = Ends::default();
    let mut counters: BTreeMap<&Key, Ends> = BTreeMap::new();
    for (command, end) in &calls {
        match command {
            Command::Put { key, value, .. } => {
                all.count(*end);
                if key.as_bytes().starts_with(OWN.as_bytes()) {
                    check_own(key, value, *end, held)?;
                }
            }
            Command::Increment { key, .. } => {
                all.count(*end);
                counters.entry(key).or_default().count(*end);
            }
            Command::Get { .. }
            | Command::Delete { .. }
            | Command::Append { .. }
            | Command::Expire { .. }
            | Command::TimeToLive { .. }
            | Command::Rewrite { .. }
            | Command::ExpireAt { .. }
            | Command::Expiry { .. } => {}
        }
    }
    for (key, ends) in counters {
        check_counter(key, ends, held)?;
    }
    let history = History { events: with_reads_at_the_end(events, held) };
    match linearizability(&history, BUDGET).map_err(|error| error.to_string())? {
        Verdict::Linearizable => Ok(all),
        verdict @ (Verdict::NotLinearizable(_) | Verdict::Undecided { .. }) => {
            Err(verdict.to_string())
        }
    }
}

/// The commands of a history with the ends of their calls, as far as they have any.
fn calls(events: &[(Caller, Event)]) -> Vec<(&Command, Option<&Event>)> {
    let mut calls = Vec::new();
    let mut open = BTreeMap::new();
    for (caller, event) in events {
        if let Event::Invoke(batch) = event {
            open.insert(caller, calls.len());
            calls.push((batch.single().unwrap(), None));
        } else if let Some((_, end)) = open.remove(caller).and_then(|place| calls.get_mut(place)) {
            *end = Some(event);
        }
    }
    calls
}

/// Checks a key that was put once.
fn check_own(key: &Key, value: &Value, end: Option<&Event>, held: &Held) -> Result<(), String> {
    let found = held.get(key).map(|held| &held.value);
    let may_be_missing = !matches!(end, Some(Event::Ok(_)));
    let may_be_there = !matches!(end, Some(Event::Fail(_)));
    match found {
        None if may_be_missing => Ok(()),
        None => Err(format!("{key:?} was acknowledged and is missing")),
        Some(found) if found != value => Err(format!("{key:?} is {found:?}, put was {value:?}")),
        Some(_) if may_be_there => Ok(()),
        Some(_) => Err(format!("{key:?} was not done and is there")),
    }
}

fn check_counter(key: &Key, ends: Ends, held: &Held) -> Result<(), String> {
    let count = match held.get(key) {
        None => 0,
        Some(found) => number(&found.value).ok_or(format!("{key:?} is {found:?}"))?,
    };
    let range = ends.acknowledged..=ends.acknowledged + ends.unknown;
    if range.contains(&count) { Ok(()) } else { Err(format!("{key:?} is {count}: {ends}")) }
}

fn number(value: &Value) -> Option<u64> {
    std::str::from_utf8(value.as_bytes()).ok()?.parse().ok()
}

/// Adds a read of each key that was used, which showed what all servers hold.
fn with_reads_at_the_end(mut events: Vec<(Caller, Event)>, held: &Held) -> Vec<(Caller, Event)> {
    let reader = Caller(events.iter().map(|(caller, _)| caller.0 + 1).max().unwrap_or_default());
    let keys: BTreeMap<Key, ()> =
        calls(&events).into_iter().map(|(command, _)| (command.key().clone(), ())).collect();
    for key in keys.into_keys() {
        let found = held.get(&key).map(|held| held.value.clone());
        let key = String::from_utf8_lossy(key.as_bytes()).into_owned();
        let batch = Batch::new(Vec::new(), vec![get(key)]).unwrap();
        events.push((reader, Event::Invoke(batch)));
        events.push((reader, Event::Ok(vec![Seen::Value(found)])));
    }
    events
}

const BUDGET: Budget =
    Budget { steps_max: 200_000_000, shrink_steps_max: 10_000_000, memory_bytes_max: 1 << 30 };

#[cfg(test)]
mod tests {
    use kv_check::Refusal;
    use kv_core::{Version, Versioned};

    use super::*;
    use crate::load::put;

    fn call(caller: u64, command: Command, end: Event) -> [(Caller, Event); 2] {
        let batch = Batch::new(Vec::new(), vec![command]).unwrap();
        [(Caller(caller), Event::Invoke(batch)), (Caller(caller), end)]
    }

    fn done() -> Event {
        Event::Ok(vec![Seen::Written])
    }

    fn increment(key: &'static str) -> Command {
        Command::Increment { key: Key::new(key).unwrap(), by: 1 }
    }

    fn held(entries: &[(&'static str, &'static str)]) -> Held {
        let entries = entries.iter().map(|(key, value)| {
            let value = Value::new(*value).unwrap();
            (Key::new(*key).unwrap(), Versioned { value, version: Version::Log(1) })
        });
        entries.collect()
    }

    fn assert_fault(events: impl Into<Vec<(Caller, Event)>>, at_end: &Held, words: &str) {
        let fault = judge(events.into(), at_end).unwrap_err();
        assert!(fault.contains(words), "{fault}");
    }

    #[test]
    fn an_acknowledged_write_must_be_there_and_one_not_done_must_not() {
        let x = || put("own.x".to_owned(), "1");
        let there = held(&[("own.x", "1")]);
        assert_fault(call(0, x(), done()), &held(&[]), "is missing");
        assert_fault(call(0, x(), done()), &held(&[("own.x", "2")]), "put was");
        let refused = Event::Fail(Refusal::NeverTried);
        assert_fault(call(0, x(), refused.clone()), &there, "not done and is there");
        judge(call(0, x(), done()).into(), &there).unwrap();
        judge(call(0, x(), refused).into(), &held(&[])).unwrap();
        for at_end in [there, held(&[])] {
            assert_eq!(judge(call(0, x(), Event::Info).into(), &at_end).unwrap().unknown, 1);
        }
    }

    #[test]
    fn increments_count_once_each() {
        let number = |number| Event::Ok(vec![Seen::Number(number)]);
        let known = call(0, increment("counter.n"), number(1));
        let unknown = call(1, increment("counter.n"), Event::Info);
        let both = || [known.clone(), unknown.clone()].concat();
        for (end, fits) in [("0", false), ("1", true), ("2", true), ("3", false)] {
            let verdict = judge(both(), &held(&[("counter.n", end)]));
            assert_eq!(verdict.is_ok(), fits, "{end}: {verdict:?}");
        }
    }

    #[test]
    fn an_older_value_in_the_end_is_found() {
        let puts = ["1", "2"].map(|value| call(0, put("register.x".to_owned(), value), done()));
        judge(puts.concat(), &held(&[("register.x", "2")])).unwrap();
        assert_fault(puts.concat(), &held(&[("register.x", "1")]), "not linearizable");
    }
}
