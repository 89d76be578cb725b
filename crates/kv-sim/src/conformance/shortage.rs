//! Clause 11: what a full disk cannot keep is refused.

use std::time::Duration;

use kv_core::{ConsistencyEngine, NodeId, Operation, Outcome, RequestOptions, driver};

use super::failure::{Failure, Finding};
use super::scenario::{seeds, serving};
use crate::cluster::Cluster;
use crate::config::{DiskConfig, SimConfig};
use crate::workload::{key, value};

/// Clause 11: while a lone server's disk is full each write is answered "not done", long before its
/// timeout; once there is room, writes are done.
///
/// The write that finds the disk full may still wait for it, and is not judged. No checkpoint comes
/// to the disk meanwhile, since that would make room.
///
/// # Errors
/// [`Failure`] with the seed that shows it.
pub fn refuses_at_once_what_a_full_disk_cannot_keep<E: ConsistencyEngine>() -> Result<(), Failure> {
    refuses_at_once_if_driven_by::<E>(driver::Broken::NONE)
}

/// The same for an engine whose driver breaks a rule, to see that the test can fail.
///
/// # Errors
/// [`Failure`] with the seed that shows it.
pub fn refuses_at_once_if_driven_by<E: ConsistencyEngine>(
    driver_broken: driver::Broken,
) -> Result<(), Failure> {
    let node = NodeId::FIRST;
    for seed in seeds(20) {
        let disk = DiskConfig { checkpoint_delay: NEVER..=NEVER, ..DiskConfig::slow() };
        let config = SimConfig::new(1, 1, 1, seed)?.with_disk(disk);
        let never_serves = Finding::NeverServes { node, bound: ANSWERED_WITHIN };
        let Some(mut cluster) = serving::<E>(SimConfig { driver_broken, ..config }, CLAUSE)? else {
            return Err(never_serves.of(CLAUSE, seed));
        };
        cluster.fill_disk(node, 0);
        fill_the_journal(&mut cluster, node)?;
        for name in ["a", "b"] {
            let put = Operation::put(key(name), value(name));
            let id = cluster.submit(node, put, RequestOptions::default());
            cluster.run_for(ANSWERED_WITHIN)?;
            if !matches!(cluster.outcome(id), Some(Outcome::NotDone(_))) {
                let (bound, calls) = (ANSWERED_WITHIN, cluster.named([id]));
                return Err(Finding::NotRefused { id, bound }.shown_by(CLAUSE, seed, calls));
            }
        }
        cluster.free_disk(node);
        cluster.run_for(Duration::from_secs(10))?;
        let last = cluster.execute(node, Operation::put(key("c"), value("c")))?;
        if !matches!(last, Some(Outcome::Done(_))) {
            return Err(never_serves.of(CLAUSE, seed));
        }
    }
    Ok(())
}

/// Writes until the journal has no more room, and gives the server time to notice.
fn fill_the_journal<E: ConsistencyEngine>(
    cluster: &mut Cluster<E>,
    node: NodeId,
) -> Result<(), Failure> {
    let large = "v".repeat(1 << 10);
    for _ in 0..WRITES_MAX {
        let last = cluster.execute(node, Operation::put(key("large"), value(&large)))?;
        if !matches!(last, Some(Outcome::Done(_))) {
            break;
        }
    }
    cluster.run_for(Duration::from_secs(1))?;
    Ok(())
}

const CLAUSE: u8 = 11;

/// Far less than a request's timeout.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// More than fit into what the journal has laid out.
const WRITES_MAX: usize = 200;

/// Longer than a run takes.
const NEVER: Duration = Duration::from_secs(100_000);
