//! What clients saw, in the order in which they saw it.

use kv_core::{
    Answer, Batch, CommandResult, ConsistencyEngine, NotDone, Operation, Outcome, Value,
};

use crate::client::Clients;
use crate::cluster::Cluster;
use crate::request::{Request, RequestState};

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
    /// request is a process of its own.
    ///
    /// A call at the very moment at which another ends counts as open beside it. Scans and dumps
    /// are left out: they write nothing, and a dump promises nothing.
    #[must_use]
    pub fn of_cluster<E: ConsistencyEngine>(cluster: &Cluster<E>) -> Self {
        Self::of_requests(cluster.requests().map(|(id, request)| (Process(id.0), request)))
    }

    /// The same with the numbers of the clients as processes; requests that no client put are left
    /// out.
    #[must_use]
    pub fn of_clients<E: ConsistencyEngine>(cluster: &Cluster<E>, clients: &Clients) -> Self {
        let calls = clients.calls().iter();
        Self::of_requests(calls.filter_map(|(id, process)| Some((*process, cluster.request(*id)?))))
    }

    /// The requests, each with its process.
    pub(crate) fn of_requests<'a>(requests: impl Iterator<Item = (Process, &'a Request)>) -> Self {
        let mut timed = Vec::new();
        for (process, request) in requests {
            if let Operation::Batch(batch) = &request.op {
                timed.push((request.invoked_at, false, process, Event::Invoke(batch.clone())));
                if let Some((at, event)) = end_of(request) {
                    timed.push((at, true, process, event));
                }
            }
        }
        timed.sort_by_key(|(at, is_end, process, _)| (*at, *is_end, *process));
        let events = timed.into_iter();
        Self { events: events.map(|(_, _, process, event)| (process, event)).collect() }
    }
}

/// How a request ended and when; `None` while it is open.
fn end_of(request: &Request) -> Option<(std::time::Duration, Event)> {
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
