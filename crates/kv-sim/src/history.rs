//! What clients saw, in the order in which they saw it.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{
    Answer, Batch, CommandResult, ConsistencyEngine, NotDone, Operation, Outcome, RequestId, Value,
};

use crate::client::Clients;
use crate::cluster::Cluster;
use crate::request::{Request, RequestState};
use crate::scan::{self, ScanRead};
use crate::version_names::VersionNames;

/// Calls and their ends on one clock: an event stands after another if it happened later.
///
/// A process has at most one call open; one that ended with [`Event::Info`] calls no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The events in order, each with its process.
    pub events: Vec<(Process, Event)>,
}

/// Names a client that calls one operation after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process(pub u64);

/// A call begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It begins.
    Invoke(Batch),
    /// It took effect and brought one result for each command.
    Ok(Vec<Seen>),
    /// It had no effect and never will.
    Fail(Refusal),
    /// Whether it took effect is unknown; it may still.
    Info,
}

/// What one command of a call brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A get: what the key held.
    Value(Option<Value>),
    /// A put or a delete.
    Written,
    /// An increment: the new number.
    Number(i64),
    /// An append: the new length in bytes.
    Length(u64),
    /// Something that nobody noted: the command took effect, and that is all.
    Unnoted,
}

/// Why a call had no effect, as far as that says something of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was never carried out: this says nothing of the state.
    NeverTried,
    /// A condition did not hold.
    Condition {
        /// Which one, from 0; those before it held.
        index: usize,
        /// What the key held, if that was told.
        found: Option<Option<Value>>,
    },
    /// A command could not be carried out on what its key held.
    Command {
        /// Which one, from 0; those before it could.
        index: usize,
    },
}

impl History {
    /// What the clients of a simulated cluster saw of the calls that a history can hold; each
    /// request is a process of its own, with its number.
    ///
    /// A call at the very moment at which another ends counts as open beside it. A page of a scan
    /// counts as one read of each key that it covers, by a process of its own, so that all are
    /// judged, and not that they were read at once. Dumps are left out: they promise nothing. A
    /// condition on a version stands as one on the value that the version names, if that is known
    /// and was put once.
    #[must_use]
    pub fn of_cluster<E: ConsistencyEngine>(cluster: &Cluster<E>) -> Self {
        let requests = cluster.requests();
        let requests: Vec<_> = requests.map(|(id, request)| (Process(id.0), request)).collect();
        Self::of_calls(&requests)
    }

    /// The same with the clients' own numbers as processes. Requests that no client put, and the
    /// reads that a page counts as, are processes of their own with the numbers after these.
    #[must_use]
    pub fn of_clients<E: ConsistencyEngine>(cluster: &Cluster<E>, clients: &Clients) -> Self {
        Self::of_clients_calls(cluster, clients, |_| true)
    }

    /// The same with those requests alone that `wanted` takes.
    pub(crate) fn of_clients_calls<E: ConsistencyEngine>(
        cluster: &Cluster<E>,
        clients: &Clients,
        wanted: impl Fn(&Request) -> bool,
    ) -> Self {
        let callers = callers(cluster, clients);
        let requests = cluster.requests().filter(|(_, request)| wanted(request));
        let requests: Vec<_> =
            requests.filter_map(|(id, request)| Some((*callers.get(&id)?, request))).collect();
        Self::of_calls(&requests)
    }

    fn of_calls(requests: &[(Process, &Request)]) -> Self {
        let mut timed = timed_events(requests);
        let last = requests.iter().map(|(process, _)| process.0).max().unwrap_or_default();
        let reads = scan::reads(requests.iter().map(|(_, request)| *request));
        for (process, read) in (last + 1..).zip(reads) {
            let ScanRead { begin, end, get, seen } = read;
            timed.push((begin, false, Process(process), Event::Invoke(get)));
            timed.push((end, true, Process(process), Event::Ok(vec![Seen::Value(seen)])));
        }
        Self::in_order(timed)
    }

    fn in_order(mut timed: Vec<TimedEvent>) -> Self {
        timed.sort_by_key(|(at, is_end, process, _)| (*at, *is_end, *process));
        let events = timed.into_iter();
        Self { events: events.map(|(_, _, process, event)| (process, event)).collect() }
    }
}

/// Who put each request: a client, or a process of its own with a number after the clients'.
pub(crate) fn callers<E: ConsistencyEngine>(
    cluster: &Cluster<E>,
    clients: &Clients,
) -> BTreeMap<RequestId, Process> {
    let mut callers: BTreeMap<RequestId, Process> = clients.calls().iter().copied().collect();
    let mut next = callers.values().map(|process| process.0).max().unwrap_or_default();
    for (id, _) in cluster.requests() {
        callers.entry(id).or_insert_with(|| {
            next += 1;
            Process(next)
        });
    }
    callers
}

/// When something happened, whether it is an end, and what it was.
type TimedEvent = (Duration, bool, Process, Event);

/// The begins and ends of all batches among the requests.
fn timed_events(requests: &[(Process, &Request)]) -> Vec<TimedEvent> {
    let names = VersionNames::of_requests(requests.iter().map(|(_, request)| *request));
    let mut timed = Vec::new();
    for (process, request) in requests {
        if let Operation::Batch(batch) = &request.op {
            let batch = names.resolve(batch);
            timed.push((request.invoked_at, false, *process, Event::Invoke(batch)));
            if let Some((at, event)) = end_of(request) {
                timed.push((at, true, *process, event));
            }
        }
    }
    timed
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
        | NotDone::ClockSkew { .. } => Refusal::NeverTried,
    }
}
