//! How many disks hold what the linearizable engine takes to be committed.

use kv_core::{ConsistencyEngine, EngineConfig, NodeId};
use kv_linear::LinearEngine;
use kv_sim::Cluster;

use super::breakable::Linear;

/// What some server takes to be committed although fewer than W disks hold it. Not to be asked
/// where servers lose their disks.
pub(super) fn thinly_held(cluster: &Cluster<Linear>) -> Option<String> {
    let engines = cluster.nodes().filter_map(|node| cluster.engine(node).map(Linear::engine));
    let engine = engines.max_by_key(|engine| engine.committed_index())?;
    let place = engine.committed_index();
    let hash = engine.log_hash(place);
    let holds = |node: &NodeId| {
        // What is trimmed was committed, and logs are equal up to there.
        on_disk(cluster, *node, usize::MAX).is_some_and(|disk| {
            disk.status().positions.applied >= Some(place.0) || disk.log_hash(place) == hash
        })
    };
    let holders = cluster.nodes().filter(holds).count();
    let needed = cluster.config().cluster.write_quorum();
    (holders < usize::from(needed))
        .then(|| format!("place {place} is committed, and {holders} disks hold it"))
}

/// The engine as a restart would find it, on no more than so many records after the checkpoint.
pub(super) fn on_disk(
    cluster: &Cluster<Linear>,
    node: NodeId,
    records_max: usize,
) -> Option<LinearEngine> {
    let (checkpoint, records) = cluster.disk(node).ok()?;
    let config = EngineConfig::seeded(node, cluster.config().cluster.clone(), 1);
    let records = records.into_iter().take(records_max);
    LinearEngine::recover(config, checkpoint.read(), records).ok()
}
