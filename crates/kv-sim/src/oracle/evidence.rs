//! What clients were told, call by call.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kv_core::{
    Answer, ClusterConfig, Command, CommandResult, Done, Key, NodeId, Operation, Outcome,
    RequestId, Served, Value, Version,
};

use super::at_rest::Rest;
use super::kept_write::KeptWrite;
use crate::history::Process;
use crate::request::{Request, RequestState};

/// Everything that is known of a run from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// N.
    pub nodes: u16,
    /// What was read and written of single keys, in the order in which it began. A batch that
    /// touches several keys is several calls of one id.
    pub calls: Vec<Call>,
    /// What the servers hold in the end, if the run was brought to rest.
    pub rest: Option<Rest>,
    /// Which server was asked to keep which write, crashes or not. Empty of an engine that does
    /// not say so.
    pub kept: BTreeSet<(KeptWrite, NodeId)>,
}

/// One read or write of one key as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Names it in findings.
    pub id: RequestId,
    /// Whose call it is. A session makes one call after the other.
    pub session: Process,
    /// The key.
    pub key: Key,
    /// What was asked for.
    pub action: Action,
    /// When it began.
    pub begin: Duration,
    /// The version that the server which was asked held of the key then, if that is known.
    pub held: Option<Version>,
    /// When and how it ended; `None` while it is open.
    pub end: Option<(Duration, End)>,
}

/// What a call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// What a key holds.
    Get,
    /// A value for a key.
    Put(Value),
    /// No value for a key.
    Delete,
    /// A value that depends on what the key held.
    Change,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A get was answered.
    Read {
        /// What it shows; `None` for a missing key.
        shown: Option<Shown>,
        /// How many servers answered: as many as were asked for, or more if the engine says so.
        quorum: u16,
    },
    /// A write was acknowledged.
    Written {
        /// Its version.
        version: Version,
        /// How many servers acknowledged: as many as were asked for, or more if the engine says
        /// so.
        quorum: u16,
    },
    /// It has no effect and never will.
    NotDone,
    /// It may have taken effect, or may still; under this version, if that was told.
    Unknown {
        /// Its version.
        version: Option<Version>,
    },
}

/// A value that a read shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The value.
    pub value: Value,
    /// Which write it is from.
    pub version: Version,
}

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
                calls.push(Call { id, session, key, action, begin, held, end });
            }
        }
        Self { nodes: config.nodes(), calls, rest: None, kept: BTreeSet::new() }
    }

    /// The keys that some call touches.
    pub(super) fn keys(&self) -> BTreeSet<&Key> {
        self.calls.iter().map(|call| &call.key).collect()
    }

    /// The keys that hold something that no client wrote as it is.
    pub(super) fn changed_keys(&self) -> BTreeSet<&Key> {
        let changes = self.calls.iter().filter(|call| call.action == Action::Change);
        changes.map(|call| &call.key).collect()
    }
}

impl Call {
    /// When it was acknowledged, under which version, by how many servers; `None` if it is no
    /// acknowledged write.
    pub(super) const fn acknowledged(&self) -> Option<(Duration, Version, u16)> {
        match &self.end {
            Some((at, End::Written { version, quorum })) => Some((*at, *version, *quorum)),
            Some((_, End::Read { .. } | End::NotDone | End::Unknown { .. })) | None => None,
        }
    }

    /// What a read that was answered shows; the inner `None` for a missing key.
    #[must_use]
    pub fn shown(&self) -> Option<Option<&Shown>> {
        match &self.end {
            Some((_, End::Read { shown, .. })) => Some(shown.as_ref()),
            Some((_, End::Written { .. } | End::NotDone | End::Unknown { .. })) | None => None,
        }
    }

    /// Whether it is a delete that may have been in effect by `moment`, under a version that is
    /// greater than `version`: then a missing key is newer than that.
    pub(super) fn may_hide(&self, key: &Key, version: Version, moment: Duration) -> bool {
        let newer = match &self.end {
            None | Some((_, End::Unknown { version: None })) => true,
            Some((_, End::Written { version: own, .. } | End::Unknown { version: Some(own) })) => {
                *own >= version
            }
            Some((_, End::NotDone | End::Read { .. })) => false,
        };
        self.action == Action::Delete && self.key == *key && self.begin <= moment && newer
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
            Command::Get { .. } if writes.contains_key(&key) => continue,
            Command::Get { .. } => {
                reads.push((key, Action::Get, place));
                continue;
            }
            Command::Put { value, .. } => Action::Put(value.clone()),
            Command::Delete { .. } => Action::Delete,
            Command::Increment { .. } | Command::Append { .. } => Action::Change,
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
        Command::Put { key, time_to_live: Some(_), .. } => Some(key),
        Command::Put { .. }
        | Command::Get { .. }
        | Command::Delete { .. }
        | Command::Increment { .. }
        | Command::Append { .. } => None,
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
        Served::Linearizable | Served::Sequential | Served::Local => asked,
    };
    let Answer::Results(results) = &done.answer else {
        return None;
    };
    match results.get(place)? {
        CommandResult::Value(found) => {
            let shown = found.as_ref();
            let shown =
                shown.map(|found| Shown { value: found.value.clone(), version: found.version });
            Some(End::Read { shown, quorum })
        }
        CommandResult::Written | CommandResult::Number(_) | CommandResult::Length(_) => {
            Some(End::Written { version: done.version?, quorum })
        }
    }
}
