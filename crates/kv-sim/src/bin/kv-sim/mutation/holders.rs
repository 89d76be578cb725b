//! How many disks hold what the linearizable engine takes to be committed.

use kv_core::{ConsistencyEngine, EngineConfig, NodeId};
use kv_linear::{LinearEngine, LogIndex};
use kv_sim::Cluster;

use super::subject::Linear;

/// What some server takes to be committed although fewer than W disks hold it. Not to be asked
/// where servers lose their disks.
pub(super) fn thinly_held(cluster: &Cluster<Linear>) -> Option<String> {
    let engines = cluster.nodes().filter_map(|node| cluster.engine(node).map(Linear::engine));
    let by_commit = engines.map(|engine| (engine.status().positions.committed, engine));
    let (place, engine) = by_commit.max_by_key(|(place, _)| *place)?;
    let place = place.unwrap_or_default();
    let hash = engine.log_hash(LogIndex(place));
    let holds = |node: &NodeId| {
        // What is trimmed was committed, and logs are equal up to there.
        on_disk(cluster, *node).is_some_and(|disk| {
            disk.status().positions.applied >= Some(place) || disk.log_hash(LogIndex(place)) == hash
        })
    };
    let holders = cluster.nodes().filter(holds).count();
    let needed = cluster.config().cluster.write_quorum();
    (holders < usize::from(needed))
        .then(|| format!("place {place} is committed, and {holders} disks hold it"))
}

/// The engine as a restart would find it.
fn on_disk(cluster: &Cluster<Linear>, node: NodeId) -> Option<LinearEngine> {
    let (checkpoint, records) = cluster.disk(node).ok()?;
    let config = EngineConfig::new(node, cluster.config().cluster.clone(), 1);
    LinearEngine::recover(config, checkpoint.read(), records).ok()
}
