//! Histories cut into parts that can be judged one by one.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kv_core::{Batch, Check, Command, Condition, Key};

use super::observation::Observations;
use super::register::{Action, Call, End, Test, Until};
use crate::expiry;
use crate::history::{Event, History, Process, Refusal, Seen};

/// A history of some keys that no call connects with other keys: it is linearizable exactly when
/// each part is (Herlihy & Wing, *Linearizability*, 1990, theorem 1).
#[derive(Clone, Debug, Default)]
pub(super) struct Partition {
    pub(super) keys: Vec<Key>,
    pub(super) ops: Vec<Op>,
    /// In order of time.
    pub(super) moments: Vec<Moment>,
}

/// One call of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Op {
    pub(super) process: Process,
    pub(super) call: Call,
    pub(super) end: End,
    /// The call as the client made it.
    pub(super) batch: Batch,
    /// Its end as the client saw it.
    pub(super) told: End,
}

/// A call begins or returns; the number is its place in [`Partition::ops`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Invoke(usize),
    Return(usize),
}

/// Why a history cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// A process begins a call while it has one open, or ends one that it has not begun.
    #[error("event {index} of the history: process {} has a call open, or none to end", process.0)]
    Order {
        /// The event's place in the history, from 0.
        index: usize,
        /// Whose event it is.
        process: Process,
    },
    /// A condition on a version of which it is not known which value it names, or whose value was
    /// put more than once: a history does not hold the versions of unknown writes.
    #[error(
        "event {index} of the history has a condition on a version that names no value; read or \
         write the version before, and put each value once"
    )]
    Version {
        /// The event's place in the history, from 0.
        index: usize,
    },
}

/// A call with its place in time, before it is put into a partition.
struct Whole<'a> {
    process: Process,
    batch: Cow<'a, Batch>,
    invoked: usize,
    end: End,
    returned: Option<usize>,
}

/// Cuts a history into partitions, in the order of their least keys. Calls that were never tried
/// and open reads are left out: they say nothing.
pub(super) fn partitions(history: &History) -> Result<Vec<Partition>, HistoryError> {
    let mut calls = whole_calls(history)?;
    let expiries = expiries(&calls);
    calls.extend(expiries);
    // Before the keys are grouped: such a call connects none.
    calls.retain(|call| !call.says_nothing());
    let mut groups = Groups::default();
    for call in &calls {
        groups.join(call.keys());
    }
    let mut parts: BTreeMap<&Key, Vec<&Whole<'_>>> = BTreeMap::new();
    for call in &calls {
        if let Some(key) = call.keys().next() {
            parts.entry(groups.least(key)).or_default().push(call);
        }
    }
    parts.values().map(|calls| partition(calls)).collect()
}

impl Partition {
    /// The same with some calls left out.
    pub(super) fn without(&self, left_out: impl Fn(usize) -> bool) -> Self {
        let mut places = BTreeMap::new();
        let mut ops = Vec::new();
        for (place, op) in self.ops.iter().enumerate().filter(|(place, _)| !left_out(*place)) {
            places.insert(place, ops.len());
            ops.push(op.clone());
        }
        let moments = self.moments.iter().filter_map(|moment| match moment {
            Moment::Invoke(op) => places.get(op).copied().map(Moment::Invoke),
            Moment::Return(op) => places.get(op).copied().map(Moment::Return),
        });
        Self { keys: self.keys.clone(), moments: moments.collect(), ops }
    }

    /// The same up to the moment at `last`. What a call that returns later brings is still known:
    /// the search had made use of it. Reads that have not returned by then are left out.
    pub(super) fn up_to(&self, last: usize) -> Self {
        let moments: Vec<Moment> = self.moments.iter().take(last + 1).copied().collect();
        let mut invoked = BTreeSet::new();
        let mut returned = BTreeSet::new();
        for moment in &moments {
            match moment {
                Moment::Invoke(op) => invoked.insert(*op),
                Moment::Return(op) => returned.insert(*op),
            };
        }
        let says_nothing = |place: usize| {
            let reads = |op: &Op| op.changes_nothing() && !returned.contains(&place);
            !invoked.contains(&place) || self.ops.get(place).is_none_or(reads)
        };
        let cut = Self { keys: self.keys.clone(), ops: self.ops.clone(), moments };
        cut.without(says_nothing)
    }

    /// What is known of one key alone, by its place: if the calls have an order, so have these.
    pub(super) fn onto(&self, key: usize) -> Self {
        let mut left_out = BTreeSet::new();
        let mut ops = Vec::new();
        for (place, op) in self.ops.iter().enumerate() {
            let (call, end) = op.onto(key).unwrap_or_else(|| {
                left_out.insert(place);
                (op.call.clone(), op.end.clone())
            });
            ops.push(Op { call, end, ..op.clone() });
        }
        let keys = self.keys.get(key).cloned().into_iter().collect();
        let moments = self.moments.clone();
        Self { keys, ops, moments }.without(|place| left_out.contains(&place))
    }

    /// The same without those calls of a range of places that the others can do without
    /// ([`Observations::take_out`]), tried from the last to the first.
    pub(super) fn without_superfluous(&self, range: std::ops::Range<usize>) -> Self {
        let mut observations = Observations::of(self);
        let mut left_out = BTreeSet::new();
        for (place, op) in self.ops.iter().enumerate().rev() {
            if range.contains(&place) && observations.take_out(op) {
                left_out.insert(place);
            }
        }
        self.without(|place| left_out.contains(&place))
    }

    /// Leaves out the open writes that nobody can have seen: they may as well never have taken
    /// effect.
    fn without_unseen_writes(self) -> Self {
        let mut observations = Observations::of(&self);
        let mut left_out = BTreeSet::new();
        for (place, op) in self.ops.iter().enumerate().rev() {
            if op.end == End::Open && observations.take_out(op) {
                left_out.insert(place);
            }
        }
        self.without(|place| left_out.contains(&place))
    }
}

impl Whole<'_> {
    fn says_nothing(&self) -> bool {
        match &self.end {
            End::Refused(refusal) => *refusal == Refusal::NeverTried,
            End::Open => self.batch.commands().iter().all(Command::is_read_only),
            End::Ok(_) => false,
        }
    }

    /// The conditions and commands whose keys matter to how the call ended: where a condition failed,
    /// nobody looked further.
    fn looked_at(&self) -> (&[Condition], &[Command]) {
        let (conditions, commands) = (self.batch.conditions(), self.batch.commands());
        match &self.end {
            End::Refused(Refusal::Condition { index, .. }) => {
                (conditions.get(..=*index).unwrap_or(conditions), &[])
            }
            End::Refused(Refusal::NeverTried | Refusal::Command { .. })
            | End::Ok(_)
            | End::Open => (conditions, commands),
        }
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        let (conditions, commands) = self.looked_at();
        let conditions = conditions.iter().map(|condition| &condition.key);
        commands.iter().map(Command::key).chain(conditions)
    }

    /// The keys of which it is asked, or known, when they expire.
    fn timed_keys(&self) -> impl Iterator<Item = &Key> {
        let conditions = self.batch.conditions().iter();
        let conditions = conditions.filter(|c| matches!(c.check, Check::ExpiryIs(_)));
        let seen: &[Seen] = if let End::Ok(seen) = &self.end { seen } else { &[] };
        let commands = self.batch.commands().iter().zip(seen);
        let commands = commands.filter(|(_, seen)| matches!(seen, Seen::Expiry(_)));
        conditions.map(|c| &c.key).chain(commands.map(|(command, _)| command.key()))
    }
}

impl Op {
    /// What the call says of one key, which then is the only one; `None` if that is nothing.
    fn onto(&self, wanted: usize) -> Option<(Call, End)> {
        let conditions = self.call.conditions.iter().filter(|(key, _)| *key == wanted);
        let conditions: Vec<_> = conditions.map(|(_, test)| (0, test.clone())).collect();
        let commands = self.call.commands.iter().enumerate().filter(|(_, (key, _))| *key == wanted);
        let (places, commands): (Vec<usize>, Vec<_>) =
            commands.map(|(place, (_, action))| (place, (0, action.clone()))).unzip();
        match &self.end {
            End::Ok(seen) => {
                let seen: Option<Vec<_>> = places.iter().map(|n| seen.get(*n).cloned()).collect();
                let says_something = !conditions.is_empty() || !commands.is_empty();
                says_something.then_some((Call { conditions, commands }, End::Ok(seen?)))
            }
            End::Open => {
                let call = Call { conditions, commands };
                (!call.only_reads()).then_some((call, End::Open))
            }
            // Which condition failed depends on those before it, which held.
            End::Refused(Refusal::Condition { index, found }) => {
                let (key, test) = self.call.conditions.get(*index)?;
                let conditions = vec![(0, test.clone())];
                let refusal = Refusal::Condition { index: 0, found: found.clone() };
                let call = Call { conditions, commands: Vec::new() };
                (*key == wanted).then_some((call, End::Refused(refusal)))
            }
            End::Refused(Refusal::NeverTried | Refusal::Command { .. }) => None,
        }
    }

    /// Whether the state is the same before and after the call.
    pub(super) fn changes_nothing(&self) -> bool {
        matches!(self.end, End::Refused(_)) || self.call.only_reads()
    }
}

fn whole_calls(history: &History) -> Result<Vec<Whole<'_>>, HistoryError> {
    let mut calls: Vec<Whole<'_>> = Vec::new();
    let mut open: BTreeMap<Process, usize> = BTreeMap::new();
    let mut retired: BTreeSet<Process> = BTreeSet::new();
    for (index, (process, event)) in history.events.iter().enumerate() {
        let process = *process;
        let order = HistoryError::Order { index, process };
        if let Event::Invoke(batch) = event {
            let place = calls.len();
            if retired.contains(&process) || open.insert(process, place).is_some() {
                return Err(order);
            }
            let batch = Cow::Borrowed(batch);
            calls.push(Whole { process, batch, invoked: index, end: End::Open, returned: None });
            continue;
        }
        let place = open.remove(&process).ok_or(order)?;
        let call = calls.get_mut(place).ok_or(order)?;
        call.end = match event {
            Event::Ok(seen) => End::Ok(seen.clone()),
            Event::Fail(refusal) => End::Refused(refusal.clone()),
            Event::Info | Event::Invoke(_) => End::Open,
        };
        match event {
            Event::Info => {
                retired.insert(process);
            }
            Event::Ok(_) | Event::Fail(_) | Event::Invoke(_) => call.returned = Some(index),
        }
    }
    Ok(calls)
}

/// The ends of what calls let last for a time. A history does not say when they are: they may come
/// at any time after the call began.
fn expiries(calls: &[Whole<'_>]) -> Vec<Whole<'static>> {
    let expiries = calls.iter().flat_map(|call| {
        let expiries = call.batch.commands().iter().filter_map(expiry::of_command);
        expiries.map(|(_, batch)| (call.invoked, batch))
    });
    let expiry = |(number, (invoked, batch))| {
        let process = Process(number);
        Whole { process, batch: Cow::Owned(batch), invoked, end: End::Open, returned: None }
    };
    (0..=u64::MAX).rev().zip(expiries).map(expiry).collect()
}

fn partition(calls: &[&Whole<'_>]) -> Result<Partition, HistoryError> {
    let keys: BTreeSet<Key> = calls.iter().flat_map(|call| call.keys()).cloned().collect();
    let keys: Vec<Key> = keys.into_iter().collect();
    let places: BTreeMap<&Key, usize> = keys.iter().enumerate().map(|(n, key)| (key, n)).collect();
    let timed: BTreeSet<&Key> = calls.iter().flat_map(|call| call.timed_keys()).collect();
    let mut ops = Vec::new();
    let mut moments = Vec::new();
    for whole in calls {
        let call = call(whole, &places, &timed)?;
        moments.push((whole.invoked, Moment::Invoke(ops.len())));
        if let Some(returned) = whole.returned {
            moments.push((returned, Moment::Return(ops.len())));
        }
        ops.push(Op {
            process: whole.process,
            call,
            end: whole.end.clone(),
            batch: Batch::clone(&whole.batch),
            told: whole.end.clone(),
        });
    }
    moments.sort_unstable_by_key(|(at, _)| *at);
    let partition = Partition {
        ops,
        moments: moments.into_iter().map(|(_, moment)| moment).collect(),
        keys: keys.clone(),
    };
    Ok(partition.without_unseen_writes())
}

fn call(
    whole: &Whole<'_>,
    places: &BTreeMap<&Key, usize>,
    timed: &BTreeSet<&Key>,
) -> Result<Call, HistoryError> {
    let place = |key: &Key| places.get(key).copied().unwrap_or(usize::MAX);
    let (looked_at, commands) = whole.looked_at();
    let mut conditions = Vec::new();
    for condition in looked_at {
        let index = whole.invoked;
        let test = Test::of(&condition.check).ok_or(HistoryError::Version { index })?;
        conditions.push((place(&condition.key), test));
    }
    let commands = commands.iter();
    let commands = commands.map(|c| (place(c.key()), action(c, timed.contains(c.key()))));
    Ok(Call { conditions, commands: commands.collect() })
}

/// What a command does to a key. If calls ask when it expires (`is_timed`), that is a part of the state.
fn action(command: &Command, is_timed: bool) -> Action {
    let until = |time: &Option<Duration>| time.map_or(Until::Never, |_| Until::Unknown);
    match command {
        Command::Get { .. } => Action::Get,
        Command::Put { value, time_to_live: Some(_), .. } if is_timed => {
            Action::PutForATime(value.to_shared())
        }
        Command::Put { value, .. } => Action::Put(value.to_shared()),
        Command::Delete { .. } => Action::Delete,
        Command::Increment { by, .. } => Action::Increment(*by),
        Command::Append { suffix, .. } => Action::Append(suffix.to_shared()),
        Command::Rewrite { value, .. } if is_timed => Action::Rewrite(value.to_shared()),
        Command::Rewrite { value, .. } => Action::Put(value.to_shared()),
        Command::Expire { time_to_live, .. } if is_timed => Action::SetUntil(until(time_to_live)),
        Command::ExpireAt { expiry, .. } if is_timed => Action::SetUntil(Until::At(*expiry)),
        Command::Expiry { .. } if is_timed => Action::ReadUntil,
        Command::Expire { .. }
        | Command::ExpireAt { .. }
        | Command::Expiry { .. }
        | Command::TimeToLive { .. } => Action::Time,
    }
}

/// Keys that some call touches together.
#[derive(Default)]
struct Groups<'a> {
    parents: BTreeMap<&'a Key, &'a Key>,
}

impl<'a> Groups<'a> {
    fn join(&mut self, mut keys: impl Iterator<Item = &'a Key>) {
        let Some(first) = keys.next() else {
            return;
        };
        let mut least = self.least(first);
        self.parents.entry(least).or_insert(least);
        for key in keys {
            let other = self.least(key);
            let (low, high) = (least.min(other), least.max(other));
            self.parents.insert(low, low);
            self.parents.insert(high, low);
            least = low;
        }
    }

    /// The least key of a key's group.
    fn least(&self, key: &'a Key) -> &'a Key {
        let mut key = key;
        while let Some(parent) = self.parents.get(key).filter(|parent| **parent != key) {
            key = parent;
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use kv_core::Value;

    use super::*;

    fn put(keys: &[&str]) -> Event {
        let put = |key: &&str| Command::Put {
            key: Key::new((*key).to_owned()).unwrap(),
            value: Value::default(),
            time_to_live: None,
        };
        Event::Invoke(Batch::new(Vec::new(), keys.iter().map(put).collect()).unwrap())
    }

    /// How many parts are left of writes of `a`, of `b`, and of a transaction on both.
    fn parts(end_of_both: Event) -> usize {
        let written = Event::Ok(vec![Seen::Written]);
        let events = [
            (Process(0), put(&["a"])),
            (Process(0), written.clone()),
            (Process(1), put(&["a", "b"])),
            (Process(1), end_of_both),
            (Process(2), put(&["b"])),
            (Process(2), written),
        ];
        partitions(&History { events: events.into() }).unwrap().len()
    }

    #[test]
    fn keys_are_connected_by_calls_that_say_something_alone() {
        assert_eq!(parts(Event::Fail(Refusal::NeverTried)), 2);
        assert_eq!(parts(Event::Ok(vec![Seen::Written, Seen::Written])), 1);
        assert_eq!(parts(Event::Info), 1);
    }

    #[test]
    fn keys_after_a_condition_that_failed_are_not_connected() {
        let name = |key: &str| Key::new(key.to_owned()).unwrap();
        let is_there = |key| Condition { key: name(key), check: Check::Present };
        let put =
            |key| Command::Put { key: name(key), value: Value::default(), time_to_live: None };
        let batch = Batch::new(vec![is_there("a"), is_there("b")], vec![put("c")]).unwrap();
        let written = Event::Ok(vec![Seen::Written]);
        let parts = |index| {
            let refusal = Refusal::Condition { index, found: None };
            let others = ["a", "b", "c"].into_iter().flat_map(|key| {
                let put = Event::Invoke(Batch::new(Vec::new(), vec![put(key)]).unwrap());
                [(Process(0), put), (Process(0), written.clone())]
            });
            let call =
                [(Process(1), Event::Invoke(batch.clone())), (Process(1), Event::Fail(refusal))];
            partitions(&History { events: call.into_iter().chain(others).collect() }).unwrap().len()
        };
        assert_eq!([parts(0), parts(1)], [3, 2]);
    }
}
