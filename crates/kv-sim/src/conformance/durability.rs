//! Clauses 1 and 8: what reaches the disk, and what comes back from it.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_core::{
    Answer, CommandResult, ConsistencyEngine, NodeId, Operation, Outcome, PersistSeq, RequestId,
    RequestOptions, SeedStream, ViewScope, read_whole_view,
};
use kv_storage::MemoryCheckpoint;

use super::failure::{Failure, Finding};
use super::scenario::{Scenario, seeds, serving, serving_with_all};
use crate::cluster::Cluster;
use crate::cluster::process::Restart;
use crate::config::{DiskConfig, SimConfig};
use crate::workload::{key, value};

/// Clause 1: no write is done before the disks that it needs hold it.
///
/// Shown with one server (W = 1) and with three (W = 3 and W = 2): while the disks of so many
/// servers end no sync that fewer than W are left, no write anywhere is done; once they do, writes
/// are. Sequence numbers are checked to be dense in
/// every run of the suite. An engine that answers a configuration of three with "no such quorum"
/// is shown with one server alone. Acknowledgements between servers are seen only in what they
/// lead to.
///
/// # Errors
/// [`Failure`] with the seed that shows it.
pub fn withholds_until_persisted<E: ConsistencyEngine>() -> Result<(), Failure> {
    for seed in seeds(20) {
        for (nodes, write, read) in [(1, 1, 1), (3, 3, 1), (3, 2, 2)] {
            let config = SimConfig::new(nodes, write, read, seed)?
                .with_disk(DiskConfig { checkpoint_every: None, ..DiskConfig::slow() });
            match serving::<E>(config, 1)? {
                Some(mut cluster) => each_disk_is_waited_for(&mut cluster, write, seed)?,
                None if nodes > 1 => {}
                None => {
                    let (node, bound) = (NodeId::FIRST, Duration::ZERO);
                    return Err(Finding::NeverServes { node, bound }.of(1, seed));
                }
            }
        }
    }
    Ok(())
}

fn each_disk_is_waited_for<E: ConsistencyEngine>(
    cluster: &mut Cluster<E>,
    write: u16,
    seed: u64,
) -> Result<(), Failure> {
    let nodes: Vec<NodeId> = cluster.nodes().collect();
    let kept_back = nodes.len() + 1 - usize::from(write);
    for (place, &held) in nodes.iter().enumerate() {
        cluster.run_for(Duration::from_secs(1))?;
        let disks = nodes.iter().cycle().skip(place).take(kept_back);
        disks.clone().for_each(|node| cluster.hold_disk(*node));
        let mut writes = Vec::new();
        for &node in &nodes {
            for name in ["a", "b"] {
                let op = Operation::put(key(name), value(&format!("{held}{node}")));
                writes.push(cluster.submit(node, op, timeout(Duration::from_secs(10))));
            }
        }
        cluster.run_for(Duration::from_secs(2))?;
        if let Some(&id) = writes.iter().find(|id| is_done(cluster, **id)) {
            let calls = cluster.named([id]);
            return Err(Finding::DoneBeforePersisted { id, held }.shown_by(1, seed, calls));
        }
        disks.for_each(|node| cluster.release_disk(*node));
        cluster.run_for(Duration::from_secs(10))?;
        if let Some(&id) = writes.iter().find(|id| !is_done(cluster, **id)) {
            let calls = cluster.named([id]);
            return Err(Finding::NotRetransmitted { id }.shown_by(1, seed, calls));
        }
    }
    Ok(())
}

/// Clause 8: an engine goes on from every prefix of its records, and from its own disk after
/// crashes between any two effects.
///
/// # Errors
/// [`Failure`] with the seed that shows it.
pub fn recovers_from_any_prefix<E: ConsistencyEngine>() -> Result<(), Failure> {
    for seed in seeds(20) {
        let scenario = Scenario { seed, requests: 60, process_faults: true, tapes: false };
        scenario.run::<E>()?;
        let scenario = Scenario { process_faults: false, ..scenario };
        let cluster = scenario.run::<E>()?;
        for node in cluster.nodes() {
            let records = whole_journal(&cluster, node);
            for len in 0..=records.len() {
                let config = cluster.server(node).engine_config(cluster.config());
                let prefix = records.iter().take(len).cloned();
                if let Err(error) = E::recover(config, None, prefix) {
                    let records = len;
                    let finding = Finding::NotRecovered { node, records, error };
                    return Err(finding.of(8, seed));
                }
            }
        }
    }
    Ok(())
}

/// Clause 8: a server's first checkpoint with the records after it makes the state, by its fingerprint, that all
/// records make.
///
/// # Errors
/// [`Failure`] with the seed that shows it.
pub fn a_checkpoint_stands_for_its_records<E: ConsistencyEngine>() -> Result<(), Failure> {
    for seed in seeds(30) {
        let scenario = Scenario { seed, requests: 20 + seed, process_faults: false, tapes: false };
        let mut cluster = scenario.cluster::<E>()?;
        scenario.disturb(&mut cluster)?;
        let taken = checkpoints(&mut cluster);
        let scenario = Scenario { seed: seed + 1000, ..scenario };
        scenario.disturb(&mut cluster)?;
        super::scenario::settle(&mut cluster)?;
        for (node, checkpoint) in taken {
            let covers = checkpoint.covers();
            let records = whole_journal(&cluster, node);
            let tail = records.iter().filter(|(seq, _)| *seq > covers).cloned();
            let config = cluster.server(node).engine_config(cluster.config());
            let short = E::recover(config.clone(), checkpoint.read(), tail);
            let long = E::recover(config, None, records.iter().cloned());
            let both = short.and_then(|short| Ok((short, long?)));
            let (short, long) = both.map_err(|error| {
                let records = records.len();
                let finding = Finding::NotRecovered { node, records, error };
                finding.of(8, seed)
            })?;
            if short.fingerprint() != long.fingerprint() {
                return Err(Finding::CheckpointDiffers { node, covers }.of(8, seed));
            }
        }
    }
    Ok(())
}

/// Clause 8: what was acknowledged is still there after a crash of one server or of all, at the
/// very moment of the reply, and a restart from disk.
///
/// W is all servers where the engine keeps that, and R is 1. A read that is refused shows
/// nothing; at least one of each round must be answered.
///
/// # Errors
/// [`Failure`] with the seed that shows it.
pub fn acknowledged_writes_survive_a_crash<E: ConsistencyEngine>() -> Result<(), Failure> {
    for seed in seeds(8) {
        for nodes in [1, 3] {
            let mut read = 0;
            for victim in 0..=nodes {
                read += survives::<E>(nodes, victim, seed)?;
            }
            if read == 0 {
                return Err(Finding::NothingRead.of(8, seed));
            }
        }
    }
    Ok(())
}

/// Crashes server `victim`, or all of them for 0; how many reads were answered after it.
fn survives<E: ConsistencyEngine>(nodes: u16, victim: u16, seed: u64) -> Result<u64, Failure> {
    let disk = DiskConfig { checkpoint_every: Some(5), ..DiskConfig::slow() };
    let mut cluster = serving_with_all::<E>(nodes, seed, &disk, 8)?;
    let all: Vec<NodeId> = cluster.nodes().collect();
    let mut stream = SeedStream::new(seed);
    let mut read = 0;
    for round in 0..6 {
        let name = key(&format!("k{round}"));
        let written = value(&format!("v{round}"));
        let Some(&writer) = crate::workload::pick(&mut stream, &all) else {
            break;
        };
        let write = Operation::put(name.clone(), written.clone());
        let id = cluster.submit(writer, write, RequestOptions::default());
        cluster.run_until(Duration::from_secs(6), |cluster| is_done(cluster, id))?;
        let acknowledged = is_done(&cluster, id);
        let victims = || all.iter().filter(|node| victim == 0 || node.number() == victim);
        victims().for_each(|node| cluster.crash(*node));
        for node in victims() {
            cluster.restart(*node, Restart::Intact)?;
        }
        cluster.run_for(Duration::from_secs(3))?;
        for &node in all.iter().filter(|_| acknowledged) {
            let outcome = cluster.execute(node, Operation::get(name.clone()))?;
            let read_id = cluster.last_request;
            let Some(found) = found(outcome.as_ref()) else {
                continue;
            };
            read += 1;
            if found != Some(written.clone()) {
                let calls = cluster.named([id, read_id]);
                return Err(Finding::WriteLost { id }.shown_by(8, seed, calls));
            }
        }
    }
    Ok(read)
}

/// What a get that was done found; `None` if it was not done.
fn found(outcome: Option<&Outcome>) -> Option<Option<kv_core::Value>> {
    let Some(Outcome::Done(done)) = outcome else {
        return None;
    };
    match &done.answer {
        Answer::Results(results) => match results.as_slice() {
            [CommandResult::Value(found)] => {
                Some(found.as_ref().map(|versioned| versioned.value.clone()))
            }
            _ => None,
        },
        Answer::Page(_) => None,
    }
}

fn is_done<E: ConsistencyEngine>(cluster: &Cluster<E>, id: RequestId) -> bool {
    matches!(cluster.outcome(id), Some(Outcome::Done(_)))
}

fn timeout(timeout: Duration) -> RequestOptions {
    RequestOptions::default().with_timeout(timeout)
}

/// All records of a server that never wrote a checkpoint.
fn whole_journal<E: ConsistencyEngine>(
    cluster: &Cluster<E>,
    node: NodeId,
) -> Vec<(PersistSeq, E::Record)> {
    cluster.disk(node).map(|(_, records)| records).unwrap_or_default()
}

/// The first checkpoint of each server, each on a disk of its own.
fn checkpoints<E: ConsistencyEngine>(
    cluster: &mut Cluster<E>,
) -> BTreeMap<NodeId, MemoryCheckpoint> {
    let mut taken = BTreeMap::new();
    for node in cluster.nodes().collect::<Vec<_>>() {
        let engine = cluster.server_mut(node).engine_mut();
        if let Some(delta) = engine.and_then(|e| read_whole_view(e, ViewScope::Changes)) {
            let mut disk = MemoryCheckpoint::new();
            disk.write(delta);
            taken.insert(node, disk);
        }
    }
    taken
}
