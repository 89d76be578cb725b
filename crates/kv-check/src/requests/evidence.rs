//! Evidence from requests whose answers are known.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kv_core::{
    Answer, ClusterConfig, Command, CommandResult, Done, Key, Operation, Outcome, RequestId,
    Served, Version,
};

use super::{Request, RequestState};
use crate::evidence::{Action, Call, End, Evidence, Shown};
use crate::history::Process;

impl Evidence {
    /// Takes the batches among the requests to a cluster; `session` says whose call each is, and
    /// `held` what its server held of its key when it was put, where that is known. Keys that hold
    /// something for a time only are left out. Nothing is said of rest, nor of what servers were
    /// asked to keep.
    #[must_use]
    pub fn of_requests<'a>(
        config: &ClusterConfig,
        requests: impl Iterator<Item = (RequestId, &'a Request)> + Clone,
        session: impl Fn(RequestId) -> Process,
        held: impl Fn(RequestId) -> Option<Version>,
    ) -> Self {
        let left_out: BTreeSet<&Key> =
            requests.clone().flat_map(|(_, request)| passing_keys(&request.op)).collect();
        let mut calls = Vec::new();
        for (id, request) in requests {
            let actions = actions(&request.op);
            let writes = actions.iter().filter(|(_, action, _)| *action != Action::Get).count();
            for (key, action, place) in actions {
                if left_out.contains(&key) {
                    continue;
                }
                let (asked, own) = if action == Action::Get {
                    (request.options.read_quorum, config.read_quorum())
                } else {
                    (request.options.write_quorum, config.write_quorum())
                };
                let quorum = asked.and_then(|quorum| quorum.resolve(config.nodes()).ok());
                let end = end_of(request, place, quorum.unwrap_or(own));
                let (session, begin) = (session(id), request.invoked_at);
                let held = held(id).filter(|_| action != Action::Get && writes == 1);
                let node = request.node;
                calls.push(Call { id, session, node, key, action, begin, held, end });
            }
        }
        Self { nodes: config.nodes(), calls, ..Self::default() }
    }
}

/// What a batch does to each key, with the places of the commands: first what it reads of keys
/// that it has not written by then, and then its writes, of each key the last one.
fn actions(op: &Operation) -> Vec<(Key, Action, usize)> {
    let Operation::Batch(batch) = op else {
        return Vec::new();
    };
    let mut reads = Vec::new();
    let mut writes: BTreeMap<Key, (Action, usize)> = BTreeMap::new();
    for (place, command) in batch.commands().iter().enumerate() {
        let key = command.key().clone();
        let action = match command {
            Command::TimeToLive { .. } | Command::Expiry { .. } => continue,
            Command::Get { .. } if writes.contains_key(&key) => continue,
            Command::Get { .. } => {
                reads.push((key, Action::Get, place));
                continue;
            }
            Command::Put { value, .. } | Command::Rewrite { value, .. } => {
                Action::Put(value.clone())
            }
            Command::Delete { .. } => Action::Delete,
            Command::Increment { .. }
            | Command::Append { .. }
            | Command::Expire { .. }
            | Command::ExpireAt { .. } => Action::Change,
        };
        writes.insert(key, (action, place));
    }
    let writes = writes.into_iter().map(|(key, (action, place))| (key, action, place));
    reads.into_iter().chain(writes).collect()
}

/// The keys to which an operation writes for a time only.
fn passing_keys(op: &Operation) -> Vec<&Key> {
    let Operation::Batch(batch) = op else {
        return Vec::new();
    };
    let passing = batch.commands().iter().filter_map(|command| match command {
        Command::Put { key, time_to_live: Some(_), .. }
        | Command::Expire { key, .. }
        | Command::ExpireAt { key, .. } => Some(key),
        Command::Put { .. }
        | Command::Get { .. }
        | Command::Delete { .. }
        | Command::Increment { .. }
        | Command::Append { .. }
        | Command::TimeToLive { .. }
        | Command::Rewrite { .. }
        | Command::Expiry { .. } => None,
    });
    passing.collect()
}

fn end_of(request: &Request, place: usize, quorum: u16) -> Option<(Duration, End)> {
    match &request.state {
        RequestState::Waiting => None,
        RequestState::Refused => Some((request.invoked_at, End::NotDone)),
        RequestState::Lost { at } => Some((*at, End::Unknown { version: None })),
        RequestState::Replied { at, outcome } => match outcome {
            Outcome::Done(done) => Some((*at, end_of_done(done, place, quorum)?)),
            Outcome::NotDone(_) => Some((*at, End::NotDone)),
            Outcome::Unknown(unknown) => Some((*at, End::Unknown { version: unknown.version })),
        },
    }
}

fn end_of_done(done: &Done, place: usize, asked: u16) -> Option<End> {
    let quorum = match done.served {
        Served::Quorum { servers } => servers.max(asked),
        Served::Linearizable | Served::Local => asked,
        // It meets no write quorum.
        Served::Sequential => 0,
    };
    let Answer::Results(results) = &done.answer else {
        return None;
    };
    match results.get(place)? {
        CommandResult::Value(found) => {
            let shown = found.as_ref();
            let shown =
                shown.map(|found| Shown { value: found.value.clone(), version: found.version });
            // Of a read with a place in the one log, the version is its own.
            let deleted = done.version.filter(|version| matches!(version, Version::Stamp { .. }));
            let deleted = deleted.filter(|_| shown.is_none());
            Some(End::Read { shown, deleted, quorum })
        }
        CommandResult::Written
        | CommandResult::Number(_)
        | CommandResult::Length(_)
        | CommandResult::Changed(_) => Some(End::Written { version: done.version?, quorum }),
        CommandResult::TimeToLive(_) | CommandResult::Expiry(_) => None,
    }
}
