//! Whether backups hold what was acknowledged before they began.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kv_check::{Request, RequestState};
use kv_core::{
    Command, ConsistencyEngine, Done, Key, NodeId, Operation, Outcome, RequestId, Version,
};

use super::{Judged, may_hide, writer};
use crate::cluster::Cluster;
use crate::cluster::backup::BackupCopy;
use crate::simulation::{BackupTaken, SimulationFailure};

/// Judges every backup: of each key it has the newest write that was acknowledged before it began,
/// or a newer one. Where one server need not hold them all a backup is made of copies of several
/// servers, and has what at least one of these must hold. How many writes were looked for.
pub(crate) fn judge<E: ConsistencyEngine>(
    run: &Judged<'_, E>,
    backs_up_one: bool,
    wipes: &[(Duration, NodeId)],
) -> Result<u64, SimulationFailure> {
    let cluster = run.cluster;
    let passing = passing_keys(cluster);
    let writes: Vec<Write<'_>> = cluster
        .requests()
        .flat_map(|(id, request)| writes_of(id, request))
        .filter(|write| !passing.contains(write.key))
        .collect();
    let mut judged = 0;
    for copies in cluster.copies.chunk_by(|one, other| one.backup == other.backup) {
        let Some(begun) = copies.first().map(|copy| copy.begun) else {
            continue;
        };
        let shown: Vec<_> = copies.iter().filter_map(BackupCopy::shown).collect();
        let missing = usize::from(cluster.config().cluster.nodes()).saturating_sub(shown.len());
        let is_held = |write: &&Write<'_>| {
            let is_certain = if backs_up_one {
                !shown.is_empty()
            } else {
                holders_left(cluster, write.request, wipes) > missing
            };
            write.ended < begun && is_certain
        };
        for write in writes.iter().filter(is_held) {
            judged += 1;
            let found =
                shown.iter().filter_map(|copy| copy.get(write.key).copied().flatten()).max();
            let mut others = cluster.requests().map(|(_, other)| other);
            let fits = found.is_some_and(|found| found >= write.version)
                || ((found.is_none() || is_set_back(cluster, copies, write))
                    && others.any(|other| may_hide(other, write.key, write.version)));
            if !fits {
                let (id, key, acknowledged) = (write.id, write.key.clone(), write.version);
                let older = found.and_then(|found| writer(cluster, &key, found));
                let nodes = copies.iter().map(|copy| copy.node).collect();
                return Err(SimulationFailure::NotInBackup {
                    id,
                    key,
                    acknowledged,
                    backup: Box::new(BackupTaken { nodes, begun }),
                    found,
                    shown_by: run.shown_by_until([id].into_iter().chain(older), begun),
                });
            }
        }
    }
    Ok(judged)
}

/// A write that was acknowledged.
struct Write<'a> {
    id: RequestId,
    request: &'a Request,
    key: &'a Key,
    version: Version,
    ended: Duration,
}

fn writes_of(id: RequestId, request: &Request) -> Vec<Write<'_>> {
    let RequestState::Replied { at, outcome: Outcome::Done(Done { version: Some(version), .. }) } =
        &request.state
    else {
        return Vec::new();
    };
    let Operation::Batch(batch) = &request.op else {
        return Vec::new();
    };
    let keys = batch.commands().iter().filter_map(|command| match command {
        Command::Put { key, .. }
        | Command::Delete { key }
        | Command::Increment { key, .. }
        | Command::Append { key, .. } => Some(key),
        Command::Get { .. }
        | Command::Expire { .. }
        | Command::TimeToLive { .. }
        | Command::Rewrite { .. }
        | Command::ExpireAt { .. }
        | Command::Expiry { .. } => None,
    });
    let (version, ended) = (*version, *at);
    keys.map(|key| Write { id, request, key, version, ended }).collect()
}

/// The keys that may go although nobody deletes them.
fn passing_keys<E: ConsistencyEngine>(cluster: &Cluster<E>) -> BTreeSet<&Key> {
    let batches = cluster.requests().filter_map(|(_, request)| match &request.op {
        Operation::Batch(batch) => Some(batch.commands()),
        Operation::Scan(_)
        | Operation::Dump(_)
        | Operation::OpenSession
        | Operation::Lead { .. } => None,
    });
    let passing = batches.flatten().filter_map(|command| match command {
        Command::Put { key, time_to_live: Some(_), .. }
        | Command::Expire { key, .. }
        | Command::Rewrite { key, .. }
        | Command::ExpireAt { key, .. } => Some(key),
        Command::Put { .. }
        | Command::Get { .. }
        | Command::Delete { .. }
        | Command::Increment { .. }
        | Command::Append { .. }
        | Command::TimeToLive { .. }
        | Command::Expiry { .. } => None,
    });
    passing.collect()
}

/// Whether one of the servers in a backup was set back since a write began: what it shows may be older
/// than a delete that no server holds any more.
fn is_set_back<E: ConsistencyEngine>(
    cluster: &Cluster<E>,
    copies: &[BackupCopy],
    write: &Write<'_>,
) -> bool {
    cluster.losses.iter().any(|loss| {
        let is_in_it = copies.iter().any(|copy| copy.node == loss.node);
        loss.is_set_back && is_in_it && loss.at >= write.request.invoked_at
    })
}

/// How many of the servers that acknowledged a write are certain to hold it still.
fn holders_left<E: ConsistencyEngine>(
    cluster: &Cluster<E>,
    write: &Request,
    wipes: &[(Duration, NodeId)],
) -> usize {
    let since = wipes.iter().filter(|(at, _)| *at >= write.invoked_at);
    let lost: BTreeMap<NodeId, Duration> = since.map(|(at, node)| (*node, *at)).collect();
    let asked = write.options.write_quorum;
    let needed = match asked.map(|quorum| quorum.resolve(cluster.config().cluster.nodes())) {
        None => cluster.config().cluster.write_quorum(),
        Some(Ok(needed)) => needed,
        Some(Err(_)) => 0,
    };
    usize::from(needed).saturating_sub(lost.len())
}
