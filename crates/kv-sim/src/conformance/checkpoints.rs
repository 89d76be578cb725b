//! Clause 8: what an engine has written of its checkpoints is its whole state.

use std::time::Duration;

use kv_core::{
    CheckpointDelta, ConsistencyEngine, Effects, Input, NodeId, SeedStream, ViewScope,
    read_whole_view,
};

use super::failure::{Failure, Finding};
use super::scenario::{Scenario, seeds};
use crate::cluster::Cluster;
use crate::cluster::process::Restart;
use crate::config::{DiskConfig, SimConfig};
use crate::disk::Items;

/// Clause 8: what changed since the checkpoint on disk makes that one the whole state, byte for
/// byte, after any schedule of requests and faults: where checkpoints before it were not written,
/// or written and not told of, where servers restart with their disks or without, and where a
/// state is replaced by a peer's.
///
/// Half of the runs keep so little log that a server which was away is sent a checkpoint. An
/// engine that has no such thing is shown without.
///
/// # Errors
/// [`Failure`] with the seed that shows it.
pub fn checkpoints_sum_up_to_the_state<E: ConsistencyEngine>() -> Result<(), Failure> {
    for seed in seeds(60) {
        let scenario = Scenario { seed, requests: 6, process_faults: true, tapes: false };
        let config = scenario.config()?;
        let disk = DiskConfig { checkpoint_every: None, ..config.disk };
        let mut config = SimConfig { disk, ..config };
        if seed.is_multiple_of(2) {
            config.limits.log_bytes_max = 600;
            config.limits.message_bytes_max = 300;
        }
        let mut cluster = Cluster::<E>::new(config)?;
        let mut stream = SeedStream::new(seed ^ FATES);
        for round in 0..ROUNDS {
            let scenario = Scenario { seed: seed * ROUNDS + round, ..scenario };
            scenario.disturb(&mut cluster)?;
            for node in cluster.nodes().collect::<Vec<_>>() {
                let finding = write_changes(&mut cluster, node, &mut stream);
                finding.map_err(|finding| finding.of(8, seed))?;
            }
            if stream.chance(200) {
                start_all(&mut cluster)?;
            }
        }
    }
    Ok(())
}

/// Does with a server's checkpoint what a driver may.
fn write_changes<E: ConsistencyEngine>(
    cluster: &mut Cluster<E>,
    node: NodeId,
    stream: &mut SeedStream,
) -> Result<(), Finding> {
    let now = cluster.now();
    let server = cluster.server_mut(node);
    let now = server.clock.now(now);
    let Some(engine) = server.engine_mut() else {
        return Ok(());
    };
    let whole = read_whole_view(engine, ViewScope::Whole).map(Items::of_whole);
    // One may not be had while the engine lets go of a state that was replaced.
    let (Some(whole), Some(delta)) = (whole, read_whole_view(engine, ViewScope::Changes)) else {
        return Ok(());
    };
    let CheckpointDelta { covers, metadata, changes } = delta;
    let fate = stream.below(4);
    // It may fail, as on a full disk.
    if fate == 0 {
        return Ok(());
    }
    let differs = |_| Finding::CheckpointsDoNotSumUp { node, covers };
    let storage = &mut server.storage;
    let begun = storage.begin_checkpoint(covers, metadata, Some(whole));
    storage.write_changes(changes.collect());
    storage.finish_checkpoint(None).map_err(differs)?;
    let written = begun.and_then(|()| storage.end_checkpoint());
    written.map_err(|_| Finding::JournalFailed { node })?;
    // The notice may be lost.
    if fate > 1
        && let Some(engine) = server.engine_mut()
    {
        engine.step(now, Input::CheckpointWritten { covers }, &mut Effects::new());
    }
    Ok(())
}

/// Ends all faults and starts what is down, so that whoever was away is brought up.
fn start_all<E: ConsistencyEngine>(cluster: &mut Cluster<E>) -> Result<(), Failure> {
    cluster.heal();
    let halted: Vec<NodeId> = cluster.halted().map(|(node, _)| node).collect();
    for node in cluster.nodes().collect::<Vec<_>>() {
        if !cluster.is_running(node) && !halted.contains(&node) {
            cluster.restart(node, Restart::Intact)?;
        }
    }
    cluster.run_for(Duration::from_secs(3))?;
    Ok(())
}

const ROUNDS: u64 = 12;
const FATES: u64 = 0x6661_7465;
