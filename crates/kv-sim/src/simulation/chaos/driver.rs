//! Faults of what a driver is told: its connections take no more, its checkpoints fail, and its clients
//! ask for all that it holds.

use std::time::Duration;

use kv_core::{ConsistencyEngine, NodeId};

use super::{Chaos, Ending, UnderWay};
use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::injection::Injection;
use crate::violation::Violation;
use crate::workload::pick;

impl Chaos {
    /// Perhaps begins a fault, whatever others are under way.
    pub(super) fn act_on_drivers<E: ConsistencyEngine>(
        &mut self,
        cluster: &mut Cluster<E>,
    ) -> Result<(), Violation> {
        if self.under_way_of(true) < AT_ONCE
            && self.driver_stream.chance(self.per_mille)
            && let Some(kind) = pick(&mut self.driver_stream, &self.of_the_driver).copied()
            && let Some(injection) = self.draw_on_driver(cluster, kind)
        {
            let now = cluster.now();
            let (fault, span) = self.note_drawn(&injection, now);
            match begin_on_driver(cluster, &injection) {
                Some(ending) => {
                    let nanos = u64::try_from(self.lasts_max.as_nanos()).unwrap_or(u64::MAX);
                    let until = now + Duration::from_nanos(self.driver_stream.below(nanos));
                    let is_of_the_driver = true;
                    self.under_way.push(UnderWay { fault, span, until, is_of_the_driver, ending });
                }
                None => self.note_end(span, now),
            }
        }
        Ok(())
    }

    fn draw_on_driver<E: ConsistencyEngine>(
        &mut self,
        cluster: &Cluster<E>,
        fault: Fault,
    ) -> Option<Injection> {
        let all: Vec<NodeId> = cluster.nodes().collect();
        let stream = &mut self.driver_stream;
        let node = *pick(stream, &all)?;
        if fault == Fault::CongestedLink {
            let others: Vec<NodeId> = all.into_iter().filter(|other| *other != node).collect();
            let to = *pick(stream, &others)?;
            return Some(Injection::CongestLink { from: node, to, messages: 1 + stream.below(20) });
        }
        if fault == Fault::FailedCheckpoint {
            let parts = stream.below(4);
            let may = !self.spares.contains(&node);
            return may.then_some(Injection::FailCheckpoints { node, parts });
        }
        let session = stream.below(3);
        Some(if fault == Fault::CongestedClient {
            Injection::CongestClient { node, session }
        } else {
            let reads_first = self.reads_first;
            let nodes = if reads_first { vec![node] } else { all };
            Injection::BackUp { nodes, session, reads_first }
        })
    }
}

/// Begins a fault of this kind; how it ends, if it lasts.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others are begun elsewhere")]
pub(super) fn begin_on_driver<E: ConsistencyEngine>(
    cluster: &mut Cluster<E>,
    injection: &Injection,
) -> Option<Ending> {
    let place = |session: &u64| usize::try_from(*session).unwrap_or_default();
    match injection {
        Injection::CongestLink { from, to, messages } => {
            cluster.note(*from, 12, |_| {}, || format!("the connection to {to} is congested"));
            cluster.congest_link(*from, *to, *messages);
            Some(Ending::DrainLink(*from, *to))
        }
        Injection::CongestClient { node, session } => {
            cluster.note(
                *node,
                12,
                |_| {},
                || format!("the client of session {session} is behind"),
            );
            cluster.congest_client(*node, place(session));
            Some(Ending::DrainClient(*node, place(session)))
        }
        Injection::FailCheckpoints { node, parts } => {
            cluster.note(*node, 12, |_| {}, || "no checkpoint can be written".to_owned());
            cluster.fail_checkpoints(*node, *parts);
            Some(Ending::WriteCheckpoints(*node))
        }
        Injection::BackUp { nodes, session, reads_first } => {
            cluster.back_up(nodes, place(session), *reads_first);
            None
        }
        _ => None,
    }
}

const AT_ONCE: usize = 2;
