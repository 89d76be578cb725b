//! The sequential specification: what commands do to the keys that they touch.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use kv_core::{Check, ExpiryMs, KeyExpiry, Value, parse_integer};

use crate::history::{Refusal, Seen};

/// What the keys of a partition hold, by their places in it.
pub(super) type State = Vec<Option<Held>>;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Held {
    value: Bytes,
    /// [`Until::Never`] on a key of which no call asks when it expires.
    until: Until,
}

/// When a key expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Until {
    Never,
    At(ExpiryMs),
    /// After a time that began at an unknown moment.
    Unknown,
}

/// A call with its keys as places in the partition's state, and with what is known of its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Call {
    pub(super) conditions: Vec<(usize, Test)>,
    pub(super) commands: Vec<(usize, Action)>,
}

/// What a condition asks of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Test {
    Absent,
    Present,
    Is(Bytes),
    Until(Option<ExpiryMs>),
}

/// What a command does to a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    Get,
    Put(Bytes),
    /// Writes the key for a time, where it is asked when it expires.
    PutForATime(Bytes),
    Delete,
    Increment(i64),
    Append(Bytes),
    /// Writes the key and leaves when it expires as it is.
    Rewrite(Bytes),
    /// Says when the key expires, if it is there.
    SetUntil(Until),
    /// Reads when the key expires.
    ReadUntil,
    /// Reads how long the key lasts, or changes when it expires where nobody asks for that.
    Time,
}

/// What is known of a call's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It took effect and brought this.
    Ok(Vec<Seen>),
    /// It had no effect, and that says something of the state.
    Refused(Refusal),
    /// Nothing: it may take effect at any time, or never.
    Open,
}

impl Test {
    /// The test of a condition; `None` for one on versions, which a history does not hold.
    pub(super) fn of(check: &Check) -> Option<Self> {
        match check {
            Check::Absent => Some(Self::Absent),
            Check::Present => Some(Self::Present),
            Check::ValueIs(value) => Some(Self::Is(value.to_shared())),
            Check::ExpiryIs(moment) => Some(Self::Until(*moment)),
            Check::VersionIs(_) => None,
        }
    }

    /// Whether it may hold; and so it may fail as well, if that is not known.
    fn may_hold(&self, held: Option<&Held>) -> bool {
        match self {
            Self::Absent => held.is_none(),
            Self::Present => held.is_some(),
            Self::Is(value) => held.is_some_and(|held| held.value == *value),
            Self::Until(moment) => held.is_some_and(|held| match held.until {
                Until::Never => moment.is_none(),
                Until::At(at) => *moment == Some(at),
                Until::Unknown => moment.is_some(),
            }),
        }
    }

    fn may_fail(&self, held: Option<&Held>) -> bool {
        let is_unknown = held.is_some_and(|held| held.until == Until::Unknown);
        !self.may_hold(held) || (is_unknown && matches!(self, Self::Until(Some(_))))
    }
}

impl Call {
    /// Whether the call changes nothing, however it ends.
    pub(super) fn only_reads(&self) -> bool {
        self.commands
            .iter()
            .all(|(_, action)| matches!(action, Action::Get | Action::ReadUntil | Action::Time))
    }

    /// How many bytes of a state are the call's own: what it puts is the history's.
    pub(super) fn bytes_made(&self, after: &State) -> usize {
        let made = self.commands.iter().filter_map(|(key, action)| match action {
            Action::Increment(_) | Action::Append(_) => {
                held(after, *key).map(|held| held.value.len())
            }
            Action::Get
            | Action::Put(_)
            | Action::PutForATime(_)
            | Action::Rewrite(_)
            | Action::Delete
            | Action::SetUntil(_)
            | Action::ReadUntil
            | Action::Time => None,
        });
        made.sum()
    }

    /// The state after the call, if it can take effect in `state` and end as it did.
    pub(super) fn apply(&self, end: &End, state: &State) -> Option<State> {
        match end {
            End::Open => {
                self.conditions_hold(state)?;
                self.run(state, |_, _| true).ok()
            }
            End::Ok(seen) => {
                self.conditions_hold(state)?;
                let matches = |index: usize, result: &Seen| {
                    let seen = seen.get(index);
                    // Of a key that expires nobody may know when.
                    let is_some_moment = *result == Seen::Unnoted
                        && matches!(seen, Some(Seen::Expiry(KeyExpiry::At(_))));
                    seen == Some(result) || seen == Some(&Seen::Unnoted) || is_some_moment
                };
                let after = self.run(state, matches).ok()?;
                (seen.len() == self.commands.len()).then_some(after)
            }
            End::Refused(refusal) => self.refuses(refusal, state).then(|| state.clone()),
        }
    }

    fn conditions_hold(&self, state: &State) -> Option<()> {
        let mut conditions = self.conditions.iter();
        conditions.all(|(key, test)| test.may_hold(held(state, *key))).then_some(())
    }

    fn refuses(&self, refusal: &Refusal, state: &State) -> bool {
        match refusal {
            Refusal::NeverTried => true,
            Refusal::Condition { index, found } => {
                let Some((key, failed)) = self.conditions.get(*index) else {
                    return false;
                };
                let told = found.as_ref().is_none_or(|found| {
                    held(state, *key).map(|held| &held.value[..])
                        == found.as_ref().map(Value::as_bytes)
                });
                let mut before = self.conditions.iter().take(*index);
                before.all(|(key, test)| test.may_hold(held(state, *key)))
                    && failed.may_fail(held(state, *key))
                    && told
            }
            Refusal::Command { index } => {
                self.conditions_hold(state).is_some()
                    && self.run(state, |_, _| true) == Err(Stuck::At(*index))
            }
        }
    }

    /// Carries out the commands one after the other while `accept` takes their results.
    fn run(&self, state: &State, accept: impl Fn(usize, &Seen) -> bool) -> Result<State, Stuck> {
        let mut state = state.clone();
        for (index, (key, action)) in self.commands.iter().enumerate() {
            let Some(held) = state.get_mut(*key) else {
                return Err(Stuck::At(index));
            };
            let seen = act(action, held).ok_or(Stuck::At(index))?;
            if !accept(index, &seen) {
                return Err(Stuck::OtherResult);
            }
        }
        Ok(state)
    }
}

/// Why commands did not run to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stuck {
    /// A command cannot be carried out on what its key holds.
    At(usize),
    /// A command brought something else than was seen.
    OtherResult,
}

/// Numbers for states, so that configurations are small.
#[derive(Debug, Default)]
pub(super) struct States {
    known: Vec<Rc<State>>,
    numbers: BTreeMap<Rc<State>, u32>,
}

impl States {
    /// The number of a state, and whether it is new.
    pub(super) fn number(&mut self, state: State) -> (u32, bool) {
        if let Some(number) = self.numbers.get(&state) {
            return (*number, false);
        }
        let number = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        let state = Rc::new(state);
        self.known.push(Rc::clone(&state));
        self.numbers.insert(state, number);
        (number, true)
    }

    pub(super) fn state(&self, number: u32) -> Option<&State> {
        self.known.get(usize::try_from(number).ok()?).map(Rc::as_ref)
    }
}

/// The value of a key; `None` if the key is missing.
pub(super) fn value_held(state: &State, key: usize) -> Option<&Bytes> {
    held(state, key).map(|held| &held.value)
}

fn held(state: &State, key: usize) -> Option<&Held> {
    state.get(key).and_then(Option::as_ref)
}

/// Does to a key what the action says; `None` if that cannot be done.
fn act(action: &Action, held: &mut Option<Held>) -> Option<Seen> {
    let kept = held.as_ref().map_or(Until::Never, |held| held.until);
    match action {
        Action::Get => {
            let value =
                held.as_ref().map(|held| Value::new(held.value.clone())).transpose().ok()?;
            Some(Seen::Value(value))
        }
        Action::Put(value) => {
            *held = Some(Held { value: value.clone(), until: Until::Never });
            Some(Seen::Written)
        }
        Action::PutForATime(value) => {
            *held = Some(Held { value: value.clone(), until: Until::Unknown });
            Some(Seen::Written)
        }
        Action::Rewrite(value) => {
            *held = Some(Held { value: value.clone(), until: kept });
            Some(Seen::Written)
        }
        Action::SetUntil(until) => {
            if let Some(held) = held {
                held.until = *until;
            }
            Some(Seen::Unnoted)
        }
        Action::ReadUntil => Some(match (&held, kept) {
            (None, _) => Seen::Expiry(KeyExpiry::Missing),
            (Some(_), Until::Never) => Seen::Expiry(KeyExpiry::Never),
            (Some(_), Until::At(at)) => Seen::Expiry(KeyExpiry::At(at)),
            (Some(_), Until::Unknown) => Seen::Unnoted,
        }),
        Action::Delete => {
            *held = None;
            Some(Seen::Written)
        }
        Action::Increment(by) => {
            let number = match held {
                Some(held) => parse_integer(&held.value)?,
                None => 0,
            };
            let number = number.checked_add(*by)?;
            *held = Some(Held { value: number.to_string().into(), until: kept });
            Some(Seen::Number(number))
        }
        Action::Time => Some(Seen::Unnoted),
        Action::Append(suffix) => {
            let before = held.as_ref().map(|held| &held.value[..]).unwrap_or_default();
            let mut value = BytesMut::from(before);
            value.extend_from_slice(suffix);
            let length = value.len();
            *held = Some(Held { value: value.freeze(), until: kept });
            (length <= Value::LEN_MAX)
                .then(|| Seen::Length(u64::try_from(length).unwrap_or(u64::MAX)))
        }
    }
}
