//! Histories from requests whose answers are known.

use std::collections::BTreeSet;
use std::time::Duration;

use kv_core::{Answer, Batch, Check, Command, CommandResult, Key, NotDone, Operation, Outcome};

use super::scan::{self, ScanRead};
use super::version_names::VersionNames;
use super::{Request, RequestState, merged};
use crate::expiry;
use crate::history::{Event, History, Process, Refusal, Seen};

impl History {
    /// What clients saw of the calls that a history can hold, each with who called.
    ///
    /// A call at the very moment at which another ends counts as open beside it. A page of a scan
    /// counts as one read of each key that it covers, by a process of its own with a number after
    /// all others, so that all are judged, and not that they were read at once. Dumps are left
    /// out: they promise nothing. A condition on a version stands as one on the value that the
    /// version names, if that is known and was put once.
    ///
    /// Copies of one request of a session count as one call.
    ///
    /// A key that is put for a time may be missing once that is over, or earlier by as much as the
    /// servers' clocks are apart: `clocks_apart`. The same holds for one that expires at a moment,
    /// which is one of the time by which the requests were put.
    #[must_use]
    pub fn of_requests(requests: &[(Process, &Request)], clocks_apart: Duration) -> Self {
        let merged = merged(requests.iter().copied());
        let requests: Vec<(Process, &Request)> =
            merged.iter().map(|(process, request)| (*process, request.as_ref())).collect();
        let requests = requests.as_slice();
        let mut timed = timed_events(requests);
        let last = requests.iter().map(|(process, _)| process.0).max().unwrap_or_default();
        let reads = scan::reads(requests.iter().map(|(_, request)| *request));
        for (process, read) in (last + 1..).zip(reads) {
            let ScanRead { begin, end, get, seen } = read;
            timed.push((begin, false, Process(process), Event::Invoke(get)));
            timed.push((end, true, Process(process), Event::Ok(vec![Seen::Value(seen)])));
        }
        let expiries = requests.iter().flat_map(|(_, request)| expiries(request, clocks_apart));
        for (process, (begin, expiry)) in (0..u64::MAX).rev().zip(expiries) {
            timed.push((begin, false, Process(process), Event::Invoke(expiry)));
        }
        Self::in_order(timed)
    }

    fn in_order(mut timed: Vec<TimedEvent>) -> Self {
        timed.sort_by_key(|(at, is_end, process, _)| (*at, *is_end, *process));
        let events = timed.into_iter();
        Self { events: events.map(|(_, _, process, event)| (process, event)).collect() }
    }
}

/// When something happened, whether it is an end, and what it was.
type TimedEvent = (Duration, bool, Process, Event);

/// The begins and ends of all batches among the requests.
fn timed_events(requests: &[(Process, &Request)]) -> Vec<TimedEvent> {
    let names = VersionNames::of_requests(requests.iter().map(|(_, request)| *request));
    let timed_keys: BTreeSet<&Key> =
        requests.iter().flat_map(|(_, request)| timed_keys(&request.op)).collect();
    let mut timed = Vec::new();
    for (process, request) in requests {
        if let Operation::Batch(batch) = &request.op {
            let batch = expiry::without_times(names.resolve(batch), |key| timed_keys.contains(key));
            timed.push((request.invoked_at, false, *process, Event::Invoke(batch)));
            if let Some((at, event)) = end_of(request) {
                timed.push((at, true, *process, event));
            }
        }
    }
    timed
}

/// The keys of which it is asked when they expire.
fn timed_keys(op: &Operation) -> Vec<&Key> {
    let Operation::Batch(batch) = op else {
        return Vec::new();
    };
    let conditions = batch.conditions().iter();
    let conditions = conditions.filter(|c| matches!(c.check, Check::ExpiryIs(_))).map(|c| &c.key);
    let commands = batch.commands().iter();
    let commands = commands.filter(|c| matches!(c, Command::Expiry { .. })).map(Command::key);
    conditions.chain(commands).collect()
}

/// The earliest moments at which what a request puts for a time may be gone, with what that does.
fn expiries(request: &Request, clocks_apart: Duration) -> Vec<(Duration, Batch)> {
    let Operation::Batch(batch) = &request.op else {
        return Vec::new();
    };
    // Those of what is rewritten are the checker's to add: nobody knows when they are.
    let commands = batch.commands().iter();
    let commands = commands.filter(|command| !matches!(command, Command::Rewrite { .. }));
    let expiries = commands.filter_map(expiry::of_command);
    let timed = expiries.map(|(time_to_live, expiry)| {
        let earliest = time_to_live.saturating_sub(clocks_apart);
        (request.invoked_at.saturating_add(earliest), expiry)
    });
    let at_moments = batch.commands().iter().filter_map(expiry::of_moment);
    let at_moments = at_moments.map(|(moment, expiry)| {
        let earliest = Duration::from_millis(moment.0).saturating_sub(clocks_apart);
        (request.invoked_at.max(earliest), expiry)
    });
    timed.chain(at_moments).collect()
}

/// How a request ended and when; `None` while it is open.
fn end_of(request: &Request) -> Option<(Duration, Event)> {
    match &request.state {
        RequestState::Waiting => None,
        RequestState::Refused => Some((request.invoked_at, Event::Fail(Refusal::NeverTried))),
        RequestState::Lost { at } => Some((*at, Event::Info)),
        RequestState::Replied { at, outcome } => Some((*at, event_of(outcome))),
    }
}

fn event_of(outcome: &Outcome) -> Event {
    match outcome {
        Outcome::Done(done) => match &done.answer {
            Answer::Results(results) => Event::Ok(results.iter().map(seen).collect()),
            // An engine that answers a batch with a page has seen none of its commands.
            Answer::Page(_) => Event::Ok(Vec::new()),
        },
        Outcome::Unknown(_) => Event::Info,
        Outcome::NotDone(reason) => Event::Fail(refusal(reason)),
    }
}

fn seen(result: &CommandResult) -> Seen {
    match result {
        CommandResult::Value(found) => Seen::Value(found.as_ref().map(|found| found.value.clone())),
        CommandResult::Written => Seen::Written,
        CommandResult::Number(number) => Seen::Number(*number),
        CommandResult::Length(length) => Seen::Length(*length),
        CommandResult::Expiry(expiry) => Seen::Expiry(*expiry),
        // A history does not hold how long keys last.
        CommandResult::Changed(_) | CommandResult::TimeToLive(_) => Seen::Unnoted,
    }
}

fn refusal(reason: &NotDone) -> Refusal {
    match reason {
        NotDone::ConditionFailed { index, found } => Refusal::Condition {
            index: usize::from(*index),
            found: Some(found.as_ref().map(|found| found.value.clone())),
        },
        NotDone::NotANumber { index } | NotDone::ValueTooLarge { index } => {
            Refusal::Command { index: usize::from(*index) }
        }
        NotDone::Unavailable { .. }
        | NotDone::Waiting(_)
        | NotDone::TimedOut { .. }
        | NotDone::NotSupported(_)
        | NotDone::Quorum(_)
        | NotDone::Overloaded { .. }
        | NotDone::NotCaughtUp { .. }
        | NotDone::ClockSkew { .. }
        | NotDone::SessionExpired
        | NotDone::CannotLead(_)
        | _ => Refusal::NeverTried,
    }
}

#[cfg(test)]
mod tests {
    use kv_core::{Done, ExpiryMs, KeyExpiry, NodeId, RequestOptions, Served, Value, Version};

    use super::*;
    use crate::{Budget, Verdict, linearizability};

    const SECOND: Duration = Duration::from_secs(1);

    fn request(command: Command, at: Duration, result: CommandResult) -> Request {
        let done = Done {
            answer: Answer::Results(vec![result]),
            version: Some(Version::Log(1)),
            served: Served::Linearizable,
        };
        Request {
            node: NodeId::FIRST,
            op: Operation::of(command),
            options: RequestOptions::default(),
            invoked_at: at,
            cancelled: false,
            state: RequestState::Replied { at: at + SECOND / 10, outcome: Outcome::Done(done) },
        }
    }

    #[test]
    fn a_key_that_was_put_for_a_time_is_there_for_that_time() {
        let key = || Key::new("k").unwrap();
        let value = Value::new("v").unwrap();
        let put = Command::Put { key: key(), value, time_to_live: Some(SECOND * 5) };
        let put = request(put, SECOND, CommandResult::Written);
        let is_linearizable = |gone_at: Duration, clocks_apart: Duration| {
            let get = Command::Get { key: key() };
            let get = request(get, gone_at, CommandResult::Value(None));
            let requests = [(Process(1), &put), (Process(2), &get)];
            let history = History::of_requests(&requests, clocks_apart);
            linearizability(&history, Budget::default()).unwrap() == Verdict::Linearizable
        };
        assert!(is_linearizable(SECOND * 6, Duration::ZERO));
        assert!(!is_linearizable(SECOND * 5, Duration::ZERO));
        assert!(is_linearizable(SECOND * 5, SECOND));
        assert!(is_linearizable(SECOND * 2, Duration::MAX));
    }

    #[test]
    fn a_key_is_there_until_the_moment_at_which_it_expires() {
        let key = || Key::new("k").unwrap();
        let put = Command::Put { key: key(), value: Value::new("v").unwrap(), time_to_live: None };
        let put = request(put, Duration::ZERO, CommandResult::Written);
        let expire = Command::ExpireAt { key: key(), expiry: ExpiryMs(5_000) };
        let expire = request(expire, SECOND, CommandResult::Changed(true));
        let is_linearizable = |(at, result), clocks_apart| {
            let read = request(Command::Expiry { key: key() }, at, CommandResult::Expiry(result));
            let requests = [(Process(1), &put), (Process(1), &expire), (Process(2), &read)];
            let history = History::of_requests(&requests, clocks_apart);
            linearizability(&history, Budget::default()).unwrap() == Verdict::Linearizable
        };
        let there = KeyExpiry::At(ExpiryMs(5_000));
        assert!(is_linearizable((SECOND * 2, there), Duration::ZERO));
        assert!(!is_linearizable((SECOND * 2, KeyExpiry::Never), Duration::ZERO));
        assert!(!is_linearizable((SECOND * 2, KeyExpiry::Missing), Duration::ZERO));
        assert!(is_linearizable((SECOND * 5, KeyExpiry::Missing), Duration::ZERO));
        assert!(is_linearizable((SECOND * 2, KeyExpiry::Missing), SECOND * 3));
    }

    #[test]
    fn when_a_key_expires_that_was_put_for_a_time_is_not_known_but_that_it_does() {
        let key = || Key::new("k").unwrap();
        let value = Value::new("v").unwrap();
        let put = Command::Put { key: key(), value, time_to_live: Some(SECOND * 5) };
        let put = request(put, Duration::ZERO, CommandResult::Written);
        let is_linearizable = |result| {
            let read = Command::Expiry { key: key() };
            let read = request(read, SECOND, CommandResult::Expiry(result));
            let history =
                History::of_requests(&[(Process(1), &put), (Process(2), &read)], Duration::ZERO);
            linearizability(&history, Budget::default()).unwrap() == Verdict::Linearizable
        };
        assert!(is_linearizable(KeyExpiry::At(ExpiryMs(5_003))));
        assert!(!is_linearizable(KeyExpiry::Never));
        assert!(!is_linearizable(KeyExpiry::Missing));
    }
}
