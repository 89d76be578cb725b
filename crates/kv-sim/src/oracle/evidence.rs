//! What clients were told, call by call.

use std::collections::BTreeSet;
use std::time::Duration;

use kv_core::{
    Answer, Command, CommandResult, ConsistencyEngine, Done, Key, Operation, Outcome, RequestId,
    Served, Value, Version,
};

use super::at_rest::Rest;
use crate::cluster::Cluster;
use crate::history::Process;
use crate::request::{Request, RequestState};

/// Everything that is known of a run from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// N.
    pub nodes: u16,
    /// The gets, puts and deletes, in the order in which they began.
    pub calls: Vec<Call>,
    /// What the servers hold in the end, if the run was brought to rest.
    pub rest: Option<Rest>,
}

/// One get, put or delete of one key as its client saw it.
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
    /// Takes the single gets, puts and deletes of a cluster's clients; `session` says whose call
    /// a request is. The keys of all other operations are left out.
    #[must_use]
    pub fn of_cluster<E: ConsistencyEngine>(
        cluster: &Cluster<E>,
        session: impl Fn(RequestId) -> Process,
        rest: Option<Rest>,
    ) -> Self {
        let config = &cluster.config().cluster;
        let others = cluster.requests().filter(|(_, request)| command(&request.op).is_none());
        let others: BTreeSet<&Key> = others.flat_map(|(_, request)| keys(&request.op)).collect();
        let calls = cluster.requests().filter_map(|(id, request)| {
            let (key, action) = command(&request.op)?;
            let (asked, own) = if action == Action::Get {
                (request.options.read_quorum, config.read_quorum())
            } else {
                (request.options.write_quorum, config.write_quorum())
            };
            let quorum = asked.and_then(|quorum| quorum.resolve(config.nodes()).ok());
            let end = end_of(request, quorum.unwrap_or(own));
            if others.contains(&key) {
                return None;
            }
            let begin = request.invoked_at;
            Some(Call { id, session: session(id), key, action, begin, end })
        });
        let nodes = cluster.config().cluster.nodes();
        Self { nodes, calls: calls.collect(), rest }
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

    /// What a read that was answered shows.
    pub(super) fn shown(&self) -> Option<Option<&Shown>> {
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

fn command(op: &Operation) -> Option<(Key, Action)> {
    let Operation::Batch(batch) = op else {
        return None;
    };
    let command = batch.single()?;
    let action = match command {
        Command::Get { .. } => Action::Get,
        Command::Put { value, time_to_live: None, .. } => Action::Put(value.clone()),
        Command::Delete { .. } => Action::Delete,
        Command::Put { time_to_live: Some(_), .. }
        | Command::Increment { .. }
        | Command::Append { .. } => return None,
    };
    Some((command.key().clone(), action))
}

/// All keys of an operation that has any.
fn keys(op: &Operation) -> Vec<&Key> {
    match op {
        Operation::Batch(batch) => {
            let conditions = batch.conditions().iter().map(|condition| &condition.key);
            conditions.chain(batch.commands().iter().map(Command::key)).collect()
        }
        Operation::Scan(_) | Operation::Dump(_) => Vec::new(),
    }
}

fn end_of(request: &Request, quorum: u16) -> Option<(Duration, End)> {
    match &request.state {
        RequestState::Waiting => None,
        RequestState::Refused => Some((request.invoked_at, End::NotDone)),
        RequestState::Lost { at } => Some((*at, End::Unknown { version: None })),
        RequestState::Replied { at, outcome } => match outcome {
            Outcome::Done(done) => Some((*at, end_of_done(done, quorum)?)),
            Outcome::NotDone(_) => Some((*at, End::NotDone)),
            Outcome::Unknown(unknown) => Some((*at, End::Unknown { version: unknown.version })),
        },
    }
}

fn end_of_done(done: &Done, asked: u16) -> Option<End> {
    let quorum = match done.served {
        Served::Quorum { servers } => servers.max(asked),
        Served::Linearizable | Served::Sequential | Served::Local => asked,
    };
    let Answer::Results(results) = &done.answer else {
        return None;
    };
    match results.as_slice() {
        [CommandResult::Value(found)] => {
            let shown = found.as_ref();
            let shown =
                shown.map(|found| Shown { value: found.value.clone(), version: found.version });
            Some(End::Read { shown, quorum })
        }
        [CommandResult::Written] => Some(End::Written { version: done.version?, quorum }),
        _ => None,
    }
}
