//! Whether what clients saw is what the engine promises.

pub(super) mod backups;
mod judged;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use kv_check::evidence::{Evidence, Rest, VersionScope};
use kv_check::oracle::{BrokenPromise, Promise};
use kv_check::{
    Budget, Counterexample, History, Process, Request, RequestState, Verdict, answered_twice,
    disorderly_page, linearizability,
};
use kv_core::{
    Answer, Command, CommandResult, ConsistencyEngine, Done, Key, Level, NodeId, Operation,
    Outcome, RequestId, Value, Version, Versioned,
};

use super::failure::{FaultSpan, FaultsBetween, SimulationFailure};
use crate::client::Clients;
use crate::cluster::Cluster;
pub(super) use judged::Judged;

/// All calls of a run but the reads that asked for a weaker level.
pub(super) fn history<E: ConsistencyEngine>(cluster: &Cluster<E>, clients: &Clients) -> History {
    let is_weak = |request: &Request| {
        request.options.level == Some(Level::Sequential) && request.op.is_read_only()
    };
    cluster.history_of_requests(clients, |request| !is_weak(request))
}

/// Judges the history of a run.
pub(super) fn judge_linearizability<E: ConsistencyEngine>(
    run: &Judged<'_, E>,
) -> Result<(), SimulationFailure> {
    let Judged { cluster, clients, faults, .. } = *run;
    if let Some(id) = disorderly_page(cluster.requests()) {
        let shown_by = run.shown_by([id]);
        return Err(SimulationFailure::Disorderly { id, shown_by });
    }
    if let Some((one, other)) = answered_twice(cluster.requests()) {
        let shown_by = run.shown_by([one, other]);
        return Err(SimulationFailure::AnsweredTwice { one, other, shown_by });
    }
    match linearizability(&history(cluster, clients), Budget::default())? {
        Verdict::Linearizable => Ok(()),
        Verdict::NotLinearizable(smallest) => {
            let faults = FaultsBetween::of(faults, time_of(&smallest, cluster, clients));
            let counterexample = Box::new(smallest);
            Err(SimulationFailure::NotLinearizable { counterexample, faults })
        }
        Verdict::Undecided { key, bound } => Err(SimulationFailure::Undecided { key, bound }),
    }
}

/// From the begin of the first call of a counterexample to the end of the last one that ended. A
/// history has no times: the calls are found by who asked for what.
fn time_of<E: ConsistencyEngine>(
    counterexample: &Counterexample,
    cluster: &Cluster<E>,
    clients: &Clients,
) -> Option<RangeInclusive<Duration>> {
    let callers = cluster.callers(clients);
    let is_one = |(id, request): &(RequestId, &Request)| {
        counterexample.calls.iter().any(|call| {
            let asks = matches!(&request.op, Operation::Batch(batch) if *batch == call.batch);
            asks && callers.get(id) == Some(&call.process)
        })
    };
    let calls: Vec<&Request> = cluster.requests().filter(is_one).map(|(_, call)| call).collect();
    let begin = calls.iter().map(|call| call.invoked_at).min()?;
    let ends = calls.iter().filter_map(|call| match &call.state {
        RequestState::Replied { at, .. } | RequestState::Lost { at } => Some(*at),
        RequestState::Waiting | RequestState::Refused => None,
    });
    Some(begin..=ends.max().unwrap_or(Duration::MAX))
}

/// Judges the reads `finals`, which came after every time to live was over: what was put for a time
/// is gone, although nobody wrote since.
pub(super) fn judge_expiry<E: ConsistencyEngine>(
    run: &Judged<'_, E>,
    finals: &[RequestId],
) -> Result<(), SimulationFailure> {
    let mut passing: BTreeMap<(&Key, &Value), RequestId> = BTreeMap::new();
    for (id, request) in run.cluster.requests() {
        if let Operation::Batch(batch) = &request.op {
            for command in batch.commands() {
                if let Command::Put { key, value, time_to_live: Some(_) } = command {
                    passing.insert((key, value), id);
                }
            }
        }
    }
    for (id, read) in requests(run.cluster, finals) {
        let found = command(read).map(|(key, _)| key).zip(shown(read));
        if let Some((key, found)) = found
            && let Some(put) = passing.get(&(key, &found.value))
        {
            let (key, node, version) = (key.clone(), read.node, found.version);
            let shown_by = run.shown_by([*put, id]);
            return Err(SimulationFailure::NotExpired { key, node, version, shown_by });
        }
    }
    Ok(())
}

/// The servers at rest: their fingerprints, and what the last reads of all keys showed.
pub(super) fn rest<E: ConsistencyEngine>(
    cluster: &Cluster<E>,
    finals: &[RequestId],
    fingerprints: BTreeMap<NodeId, u64>,
) -> Rest {
    let read = |id: &RequestId| {
        let read = cluster.request(*id)?;
        Some(((read.node, command(read)?.0.clone()), shown(read).map(|found| found.version)))
    };
    Rest { fingerprints, shown: finals.iter().filter_map(read).collect() }
}

/// Judges a run by some promises; `calls` say whose call a request is. How many keys each judged.
pub(super) fn judge_promises<'a, E: ConsistencyEngine>(
    (cluster, versions): (&Cluster<E>, VersionScope),
    calls: impl Iterator<Item = &'a (RequestId, Process)>,
    rest: Rest,
    promises: impl Iterator<Item = Promise>,
    faults: &[FaultSpan],
) -> Result<BTreeMap<Promise, u64>, SimulationFailure> {
    let calls: BTreeMap<RequestId, Process> = calls.copied().collect();
    // Whoever is no client asks once.
    let clients = calls.values().map(|process| process.0).max().unwrap_or_default();
    let session =
        |id: RequestId| calls.get(&id).copied().unwrap_or_else(|| Process(clients + id.0));
    let evidence = Evidence { versions, ..cluster.evidence(session, Some(rest)) };
    let mut judged = BTreeMap::new();
    for promise in promises {
        promise.judge(&evidence).map_err(|finding| {
            let BrokenPromise { promise, finding, calls } =
                BrokenPromise::new(promise, finding, &evidence);
            let faults = FaultsBetween::of(faults, calls.time());
            SimulationFailure::Promise { promise, finding, calls, faults }
        })?;
        judged.insert(promise, promise.keys_judged(&evidence));
    }
    Ok(judged)
}

/// Judges the reads `finals`, which asked all servers after all others had ended: each shows the
/// newest write of its key that was acknowledged for good, or a newer one.
pub(super) fn judge_last_writes<E: ConsistencyEngine>(
    run: &Judged<'_, E>,
    finals: &[RequestId],
    wipes: &[(Duration, NodeId)],
) -> Result<(), SimulationFailure> {
    let cluster = run.cluster;
    for (read_id, read) in requests(cluster, finals) {
        let Some((key, _)) = command(read) else {
            continue;
        };
        let lasting = cluster.requests().filter(|(_, write)| {
            command(write).is_some_and(|(other, is_write)| other == key && is_write)
                && is_for_good(cluster, write, wipes)
        });
        let newest = lasting.filter_map(|(id, write)| Some((done(write)?.version?, id))).max();
        let Some((acknowledged, id)) = newest else {
            continue;
        };
        let found = shown(read).map(|found| found.version);
        let fits = match found {
            Some(found) => found >= acknowledged,
            None => cluster.requests().any(|(_, other)| may_hide(other, key, acknowledged)),
        };
        if !fits {
            let (key, node) = (key.clone(), read.node);
            let older = found.and_then(|found| writer(cluster, &key, found));
            let shown_by = run.shown_by([id, read_id].into_iter().chain(older));
            return Err(SimulationFailure::WriteLost {
                id,
                key,
                acknowledged,
                node,
                found,
                shown_by,
            });
        }
    }
    Ok(())
}

fn requests<'a, E: ConsistencyEngine>(
    cluster: &'a Cluster<E>,
    ids: &[RequestId],
) -> impl Iterator<Item = (RequestId, &'a Request)> {
    ids.iter().filter_map(|id| Some((*id, cluster.request(*id)?)))
}

/// The request that wrote this version of a key, if its client was told.
pub(super) fn writer<E: ConsistencyEngine>(
    cluster: &Cluster<E>,
    key: &Key,
    version: Version,
) -> Option<RequestId> {
    let wrote = |request: &Request| {
        let Operation::Batch(batch) = &request.op else {
            return false;
        };
        let writes = |command: &Command| command.key() == key && !command.is_read_only();
        let told = match request.outcome() {
            Some(Outcome::Done(done)) => done.version,
            Some(Outcome::Unknown(unknown)) => unknown.version,
            Some(Outcome::NotDone(_)) | None => None,
        };
        told == Some(version) && batch.commands().iter().any(writes)
    };
    cluster.requests().find(|(_, request)| wrote(request)).map(|(id, _)| id)
}

/// Whether a done write is on a disk still: fewer servers have lost theirs since it began than
/// acknowledged it.
fn is_for_good<E: ConsistencyEngine>(
    cluster: &Cluster<E>,
    write: &Request,
    wipes: &[(Duration, NodeId)],
) -> bool {
    let since = wipes.iter().filter(|(at, _)| *at >= write.invoked_at);
    let lost: BTreeSet<NodeId> = since.map(|(_, node)| *node).collect();
    let asked = write.options.write_quorum;
    let needed = match asked.map(|quorum| quorum.resolve(cluster.config().cluster.nodes())) {
        None => cluster.config().cluster.write_quorum(),
        Some(Ok(needed)) => needed,
        Some(Err(_)) => return false,
    };
    lost.len() < usize::from(needed)
}

/// Whether a request is a delete that can be at least this new.
pub(super) fn may_hide(request: &Request, key: &Key, newest: Version) -> bool {
    let Operation::Batch(batch) = &request.op else {
        return false;
    };
    let deletes = |command: &Command| matches!(command, Command::Delete { key: k } if k == key);
    let version = done(request).and_then(|done| done.version);
    let tried = !matches!(request.outcome(), Some(Outcome::NotDone(_)));
    tried && batch.commands().iter().any(deletes) && version.is_none_or(|version| version >= newest)
}

/// The key of a request of one command, and whether it writes.
fn command(request: &Request) -> Option<(&Key, bool)> {
    match &request.op {
        Operation::Batch(batch) => {
            let command = batch.single()?;
            Some((command.key(), !matches!(command, Command::Get { .. })))
        }
        Operation::Scan(_)
        | Operation::Dump(_)
        | Operation::OpenSession
        | Operation::Lead { .. } => None,
    }
}

fn shown(read: &Request) -> Option<&Versioned> {
    let Answer::Results(results) = &done(read)?.answer else {
        return None;
    };
    match results.as_slice() {
        [CommandResult::Value(Some(found))] => Some(found),
        _ => None,
    }
}

fn done(request: &Request) -> Option<&Done> {
    match request.outcome() {
        Some(Outcome::Done(done)) => Some(done),
        Some(Outcome::NotDone(_) | Outcome::Unknown(_)) | None => None,
    }
}
