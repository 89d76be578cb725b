//! What becomes of a client's request before anything is done for it.

use std::time::Duration;

use kv_core::{
    ClusterConfig, Command, Dump, Feature, Key, Level, NotDone, Operation, Quorum, RequestId,
    RequestOptions, Scan, Value,
};

use crate::state::stamp::Stamp;

/// A request that this engine can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Reads a key from `needed` servers, and shows nothing older than what its client has seen.
    Get { key: Key, needed: ReadQuorum, seen: Option<Stamp> },
    /// Reads a range of keys from so many servers.
    Scan { scan: Scan, needed: u16 },
    /// Writes a key, or removes it, on `needed` servers, with a later stamp than what its client has
    /// seen.
    Write { key: Key, value: Option<Value>, needed: u16, seen: Option<Stamp> },
}

/// From how many servers a read needs answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadQuorum {
    pub(crate) answers: u16,
    /// How many servers must hold what it shows before it is answered; 0 unless it is atomic.
    pub(crate) holders: u16,
}

impl ReadQuorum {
    /// How many servers it takes.
    pub(crate) fn servers(self) -> u16 {
        self.answers.max(self.holders)
    }
}

/// A client's request when work on it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) id: RequestId,
    pub(crate) expires: Duration,
    /// How many requests are worked on already.
    pub(crate) pending: usize,
}

/// What a request asks for.
pub(crate) enum Admitted {
    Task(Task),
    Dump(Dump),
}

/// What is to be done for a request, or why nothing is.
pub(crate) fn admit(
    cluster: &ClusterConfig,
    op: Operation,
    options: &RequestOptions,
) -> Result<Admitted, NotDone> {
    let unsupported = |feature| Err(NotDone::NotSupported(feature));
    let quorum = |asked: Option<Quorum>, configured| match asked {
        None => Ok(configured),
        Some(quorum) => quorum.resolve(cluster.nodes()).map_err(NotDone::Quorum),
    };
    let batch = match op {
        Operation::Dump(dump) => return Ok(Admitted::Dump(dump)),
        Operation::OpenSession => return unsupported(Feature::Sessions),
        Operation::Lead { .. } => return unsupported(Feature::Lead),
        Operation::Scan(scan) => {
            if options.level.is_some() {
                return unsupported(Feature::Level);
            }
            let needed = quorum(options.read_quorum, cluster.read_quorum())?;
            return Ok(Admitted::Task(Task::Scan { scan, needed }));
        }
        Operation::Batch(batch) => batch,
    };
    let is_atomic =
        options.level == Some(Level::Atomic) && batch.commands().iter().all(Command::is_read_only);
    if options.level.is_some() && !is_atomic {
        return unsupported(Feature::Level);
    }
    let Some(command) = batch.single() else {
        return unsupported(if batch.conditions().is_empty() {
            Feature::Transactions
        } else {
            Feature::Conditions
        });
    };
    let seen = options.seen.and_then(Stamp::of_version);
    let write = |key: &Key, value| {
        Ok(Task::Write {
            key: key.clone(),
            value,
            needed: quorum(options.write_quorum, cluster.write_quorum())?,
            seen,
        })
    };
    let task = match command {
        Command::Get { key } => Ok(Task::Get {
            key: key.clone(),
            needed: ReadQuorum {
                answers: quorum(options.read_quorum, cluster.read_quorum())?,
                holders: match is_atomic {
                    true => quorum(options.write_quorum, cluster.write_quorum())?,
                    false => 0,
                },
            },
            seen,
        }),
        Command::Put { key, value, time_to_live: None } => write(key, Some(value.clone())),
        Command::Delete { key } => write(key, None),
        Command::Put { time_to_live: Some(_), .. }
        | Command::Expire { .. }
        | Command::TimeToLive { .. }
        | Command::Rewrite { .. }
        | Command::ExpireAt { .. }
        | Command::Expiry { .. } => return unsupported(Feature::TimeToLive),
        Command::Increment { .. } => return unsupported(Feature::Increment),
        Command::Append { .. } => return unsupported(Feature::Append),
    };
    task.map(Admitted::Task)
}
