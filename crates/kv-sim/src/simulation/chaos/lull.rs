//! Lulls, in which deletes are forgotten, and copies of disks from before them.

use std::time::Duration;

use kv_core::{ConsistencyEngine, NodeId, SeedStream};

use super::Chaos;
use crate::cluster::Cluster;
use crate::injection::Injection;
use crate::violation::Violation;
use crate::workload::pick;

/// A while in which nobody asks for anything.
#[derive(Clone, Copy, Debug)]
pub(in crate::simulation) struct Lull {
    pub(in crate::simulation) lasts: Duration,
    /// Whether all faults end before it; else those under way last through it.
    pub(in crate::simulation) is_quiet: bool,
}

impl Chaos {
    /// Perhaps a lull comes.
    pub(in crate::simulation) fn draw_lull(&mut self) -> Option<Lull> {
        let stream = self.lulls.as_mut()?;
        stream.chance(LULL_PER_MILLE).then(|| Lull {
            lasts: Duration::from_millis(LASTS_MS_MIN + stream.below(LASTS_MS_MORE)),
            is_quiet: stream.chance(700),
        })
    }

    /// Ends all faults; perhaps some servers are set back once the lull is over, to what they held
    /// long before.
    pub(in crate::simulation) fn begin_quiet_lull<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
        lasts: Duration,
    ) -> Result<(), Violation> {
        self.end_all(cluster)?;
        let copied: Vec<NodeId> =
            cluster.nodes().filter(|node| cluster.has_copy_of_disk(*node)).collect();
        for node in copied {
            let draw = |stream: &mut SeedStream| (stream.chance(500), stream.below(AFTER_MS_MAX));
            let Some((true, after)) = self.lulls.as_mut().map(draw) else {
                continue;
            };
            let injection = Injection::SetBack { node };
            if self.sets_back && self.may(cluster, &injection) {
                let now = cluster.now();
                let named = self.note_drawn(&injection, now);
                if let Some(ending) = self.begin(cluster, &injection)? {
                    let until = now + lasts + Duration::from_millis(after);
                    self.lasts_until(named, until, ending);
                }
            }
        }
        Ok(())
    }

    /// Perhaps takes a copy of a disk, which a disk that is set back later is set back to.
    pub(super) fn copy_disks<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
    ) -> Result<(), Violation> {
        let Some(stream) = &mut self.lulls else {
            return Ok(());
        };
        let all: Vec<NodeId> = cluster.nodes().collect();
        if stream.chance(COPY_PER_MILLE)
            && let Some(node) = pick(stream, &all).copied()
        {
            let now = cluster.now();
            let injection = Injection::CopyDisk { node };
            let (_, span) = self.note_drawn(&injection, now);
            self.begin(cluster, &injection)?;
            self.note_end(span, now);
        }
        Ok(())
    }
}

/// A run has some 500 moments.
const LULL_PER_MILLE: u64 = 6;
const COPY_PER_MILLE: u64 = 10;

/// The eventual engine forgets a delete some 10 s after every server has it, at the earliest.
const LASTS_MS_MIN: u64 = 13_000;
const LASTS_MS_MORE: u64 = 20_000;

/// Servers are set back so soon after a lull.
const AFTER_MS_MAX: u64 = 100;
