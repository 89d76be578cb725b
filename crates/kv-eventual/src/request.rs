//! What becomes of a client's request before anything is done for it.

use std::time::Duration;

use kv_core::{
    Answer, Command, CommandResult, Done, Dump, Feature, Key, NotDone, Operation, Outcome, Quorum,
    RequestId, RequestOptions, Served, Value, Version, Versioned,
};

use crate::engine::{EventualEngine, Step};
use crate::stamp::Entry;

/// A request that this engine can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Reads a key from `needed` servers.
    Get { key: Key, needed: u16 },
    /// Writes a key, or removes it, on `needed` servers.
    Write { key: Key, value: Option<Value>, needed: u16 },
}

impl EventualEngine {
    pub(crate) fn on_request(
        &mut self,
        step: &mut Step<'_>,
        id: RequestId,
        op: Operation,
        options: &RequestOptions,
    ) {
        if !self.requests.insert(id) {
            self.counters.bad_inputs += 1;
            tracing::error!(%id, "a request's number is in use; the second one is ignored");
            return;
        }
        let task = match self.admit(op, options) {
            Ok(Admitted::Task(task)) => task,
            Ok(Admitted::Dump(dump)) => {
                let page = self.dump(&dump);
                let outcome = done(Answer::Page(page), None, Served::Local);
                return self.reply(step, id, outcome);
            }
            Err(reason) => return self.reply(step, id, Outcome::NotDone(reason)),
        };
        let expires = step.now.mono.saturating_add(options.timeout);
        let can_start = match task {
            Task::Get { .. } => self.serves_reads(),
            Task::Write { .. } => self.membership.is_serving(),
        };
        if can_start {
            self.start(step, id, task, expires);
        } else if self.in_hand() >= self.config.limits.requests_max {
            self.reply(step, id, Outcome::NotDone(self.overloaded()));
        } else {
            self.enqueue(id, task, expires);
        }
    }

    pub(crate) fn start(
        &mut self,
        step: &mut Step<'_>,
        id: RequestId,
        task: Task,
        expires: Duration,
    ) {
        if !self.requests.contains(&id) {
            return;
        }
        match task {
            Task::Get { key, needed } => self.start_read(step, id, key, needed, expires),
            Task::Write { key, value, needed } => {
                self.start_write(step, id, (&key, value.as_ref()), needed, expires);
            }
        }
    }

    /// How many requests are worked on, those included whose client has gone.
    pub(crate) fn in_hand(&self) -> usize {
        self.membership.queue_len() + self.writes.waiting_len() + self.reads.len()
    }

    pub(crate) fn overloaded(&self) -> NotDone {
        let limit = self.config.limits.requests_max;
        NotDone::Overloaded { limit: u64::try_from(limit).unwrap_or(u64::MAX) }
    }

    fn admit(&self, op: Operation, options: &RequestOptions) -> Result<Admitted, NotDone> {
        let unsupported = |feature| Err(NotDone::NotSupported(feature));
        let batch = match op {
            Operation::Dump(dump) => return Ok(Admitted::Dump(dump)),
            Operation::Scan(_) => return unsupported(Feature::Scan),
            Operation::Batch(batch) => batch,
        };
        if options.level.is_some() {
            return unsupported(Feature::Level);
        }
        let Some(command) = batch.single() else {
            return unsupported(if batch.conditions().is_empty() {
                Feature::Transactions
            } else {
                Feature::Conditions
            });
        };
        let cluster = &self.config.cluster;
        let quorum = |asked: Option<Quorum>, configured| match asked {
            None => Ok(configured),
            Some(quorum) => quorum.resolve(cluster.nodes()).map_err(NotDone::Quorum),
        };
        let write = |key: &Key, value| {
            Ok(Task::Write {
                key: key.clone(),
                value,
                needed: quorum(options.write_quorum, cluster.write_quorum())?,
            })
        };
        let task = match command {
            Command::Get { key } => Ok(Task::Get {
                key: key.clone(),
                needed: quorum(options.read_quorum, cluster.read_quorum())?,
            }),
            Command::Put { key, value, time_to_live: None } => write(key, Some(value.clone())),
            Command::Delete { key } => write(key, None),
            Command::Put { time_to_live: Some(_), .. } => return unsupported(Feature::TimeToLive),
            Command::Increment { .. } => return unsupported(Feature::Increment),
            Command::Append { .. } => return unsupported(Feature::Append),
        };
        task.map(Admitted::Task)
    }
}

enum Admitted {
    Task(Task),
    Dump(Dump),
}

/// The answer to a get: what the winning entry shows to a client.
pub(crate) fn read_done(entry: Option<&Entry>, servers: u16) -> Outcome {
    let versioned = entry.and_then(|entry| {
        Some(Versioned { value: entry.value.clone()?, version: entry.stamp.into() })
    });
    let answer = Answer::Results(vec![CommandResult::Value(versioned)]);
    done(answer, None, Served::Quorum { servers })
}

/// The answer to a put or a delete.
pub(crate) fn write_done(version: Version, servers: u16) -> Outcome {
    let answer = Answer::Results(vec![CommandResult::Written]);
    done(answer, Some(version), Served::Quorum { servers })
}

const fn done(answer: Answer, version: Option<Version>, served: Served) -> Outcome {
    Outcome::Done(Done { answer, version, served })
}
