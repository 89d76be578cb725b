//! The calls that logs of operations tell of, and those that they leave out.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::{Batch, Command, Key, Value};

use crate::history::{Event, History, Process, Seen};

/// All calls of a cluster's logs.
#[derive(Clone, Default)]
pub(super) struct Calls {
    pub(super) calls: Vec<Call>,
    /// When servers may have been killed, as far as their lines tell.
    pub(super) kills_ms: BTreeSet<u64>,
}

/// A call; at `u64::MAX` ends what has no end.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) begins_ms: u64,
    pub(super) ends_ms: u64,
    pub(super) command: Command,
    pub(super) end: Option<Event>,
    /// Whether it was sent before, perhaps to another server.
    pub(super) is_repeated: bool,
}

impl Call {
    /// A call without an end, sent once.
    pub(super) const fn open(begins_ms: u64, command: Command) -> Self {
        Self { begins_ms, ends_ms: u64::MAX, command, end: None, is_repeated: false }
    }
}

impl Calls {
    /// Gives calls of which nothing tells which is which the earliest of their beginnings.
    pub(super) fn make_alike(&mut self, places: impl Iterator<Item = usize> + Clone) {
        let of_all =
            |calls: &[Call], place| calls.get(place).map(|c: &Call| (c.begins_ms, c.is_repeated));
        let known = places.clone().filter_map(|place| of_all(&self.calls, place));
        let Some((begins_ms, is_repeated)) =
            known.reduce(|(begins, repeated), (other, also)| (begins.min(other), repeated || also))
        else {
            return;
        };
        for place in places {
            if let Some(call) = self.calls.get_mut(place) {
                (call.begins_ms, call.is_repeated) = (begins_ms, is_repeated);
            }
        }
    }

    /// What was shown after a server was killed and was written by nobody was written by a call
    /// whose lines are lost. Whoever finds a key missing after that may see a delete that was.
    pub(super) fn add_lost_writes(&mut self) {
        let Some(&begins_ms) = self.kills_ms.first() else {
            return;
        };
        self.add_lost_deletes();
        let writes = self.first_writes();
        let mut lost = BTreeSet::new();
        for (key, value, read) in self.shown() {
            if !writes.contains_key(&(key, value)) && read.ends_ms >= begins_ms {
                lost.insert((key.clone(), value.clone()));
            }
        }
        for (key, value) in lost {
            let command = Command::Put { key, value, time_to_live: None };
            self.calls.push(Call::open(begins_ms, command));
        }
    }

    /// Ends the calls on keys that are counted on or appended to with the first kill, and tells
    /// which keys: from there on lost calls may have left anything there. What is left is a
    /// beginning of what happened, which is linearizable if the whole is.
    pub(super) fn cut_computed(&mut self) -> Vec<Key> {
        let Some(&kill_ms) = self.kills_ms.first() else {
            return Vec::new();
        };
        let computed: BTreeSet<Key> = self.computed_keys().into_iter().cloned().collect();
        let mut cut = BTreeSet::new();
        self.calls.retain_mut(|call| {
            let key = call.command.key();
            if !computed.contains(key) || call.ends_ms < kill_ms {
                return true;
            }
            let begins_before = call.begins_ms < kill_ms;
            if call.end.is_some() || !begins_before {
                cut.insert(key.clone());
            }
            (call.ends_ms, call.end) = (u64::MAX, None);
            begins_before
        });
        cut.into_iter().collect()
    }

    /// What happened before the first kill, of which nothing was lost; `None` without a kill.
    pub(super) fn before_kills(&self) -> Option<Self> {
        let kill_ms = *self.kills_ms.first()?;
        let mut before = self.clone();
        before.kills_ms.clear();
        before.calls.retain_mut(|call| {
            if call.ends_ms >= kill_ms {
                (call.ends_ms, call.end) = (u64::MAX, None);
            }
            call.begins_ms < kill_ms
        });
        Some(before)
    }

    fn add_lost_deletes(&mut self) {
        let mut lost = BTreeSet::new();
        for call in &self.calls {
            if let Some(Event::Ok(seen)) = &call.end
                && matches!(seen.as_slice(), [Seen::Value(None)])
            {
                let before = self.kills_ms.range(..=call.ends_ms);
                lost.extend(before.map(|begins_ms| (call.command.key().clone(), *begins_ms)));
            }
        }
        for (key, begins_ms) in lost {
            let command = Command::Delete { key };
            self.calls.push(Call::open(begins_ms, command));
        }
    }

    /// What was shown before anybody can have written it was there from the first.
    pub(super) fn add_initial_values(&mut self) {
        let computed: BTreeSet<Key> = self.computed_keys().into_iter().cloned().collect();
        self.calls.retain(|call| !computed.contains(call.command.key()));
        let writes = self.first_writes();
        let mut initial = BTreeSet::new();
        for (key, value, read) in self.shown() {
            let first = writes.get(&(key, value));
            if first.is_none_or(|begins_ms| *begins_ms > read.ends_ms) {
                initial.insert((key.clone(), value.clone()));
            }
        }
        for (key, value) in initial {
            let command = Command::Put { key, value, time_to_live: None };
            let end = Some(Event::Ok(vec![Seen::Written]));
            // Calls that are older than their log begin at 0 as well, and may come later.
            self.calls.push(Call { ends_ms: 0, end, ..Call::open(0, command) });
        }
    }

    /// The values that gets show.
    fn shown(&self) -> impl Iterator<Item = (&Key, &Value, &Call)> {
        self.calls.iter().filter_map(|call| match &call.end {
            Some(Event::Ok(seen)) => match seen.as_slice() {
                [Seen::Value(Some(value))] => Some((call.command.key(), value, call)),
                _ => None,
            },
            Some(Event::Invoke(_) | Event::Fail(_) | Event::Info) | None => None,
        })
    }

    /// When the first call began that may have put each value.
    fn first_writes(&self) -> BTreeMap<(&Key, &Value), u64> {
        let mut first = BTreeMap::new();
        for call in self.calls.iter().filter(|call| !matches!(call.end, Some(Event::Fail(_)))) {
            if let Command::Put { key, value, .. } | Command::Rewrite { key, value } = &call.command
            {
                let begins_ms = first.entry((key, value)).or_insert(call.begins_ms);
                *begins_ms = call.begins_ms.min(*begins_ms);
            }
        }
        first
    }

    /// The keys that are counted on or appended to.
    fn computed_keys(&self) -> BTreeSet<&Key> {
        let computed = self.calls.iter().filter_map(|call| match &call.command {
            Command::Increment { key, .. } | Command::Append { key, .. } => Some(key),
            Command::Get { .. }
            | Command::Put { .. }
            | Command::Delete { .. }
            | Command::Expire { .. }
            | Command::TimeToLive { .. }
            | Command::Rewrite { .. }
            | Command::ExpireAt { .. }
            | Command::Expiry { .. } => None,
        });
        computed.collect()
    }

    /// The history of these calls.
    pub(super) fn history(self) -> History {
        let mut timed = Vec::new();
        for (process, call) in (0..).zip(self.calls) {
            let Ok(batch) = Batch::new(Vec::new(), vec![call.command]) else {
                continue;
            };
            // At one millisecond, calls begin before others end: they may have overlapped.
            timed.push((call.begins_ms, false, process, Event::Invoke(batch)));
            if let Some(end) = call.end {
                timed.push((call.ends_ms, true, process, end));
            }
        }
        timed.sort_by_key(|(at, is_end, process, _)| (*at, *is_end, *process));
        let events = timed.into_iter();
        History { events: events.map(|(_, _, process, event)| (Process(process), event)).collect() }
    }
}
