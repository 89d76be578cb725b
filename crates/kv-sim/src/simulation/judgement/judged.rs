//! What there is to judge of a run.

use std::time::Duration;

use kv_check::{NamedRequest, NamedRequests, Process};
use kv_core::{ConsistencyEngine, RequestId};

use crate::client::Clients;
use crate::cluster::Cluster;
use crate::simulation::failure::{FaultSpan, FaultsBetween, ShownBy};

/// A run that is judged.
#[derive(Debug)]
pub(crate) struct Judged<'a, E: ConsistencyEngine> {
    pub(crate) cluster: &'a Cluster<E>,
    pub(crate) clients: &'a Clients,
    /// Calls of others than the clients, each with its session.
    pub(crate) asked: &'a [(RequestId, Process)],
    pub(crate) faults: &'a [FaultSpan],
}

impl<E: ConsistencyEngine> Judged<'_, E> {
    /// What is shown of some requests, with the faults from the begin of the first to the end of the
    /// last of them.
    pub(crate) fn shown_by(&self, ids: impl IntoIterator<Item = RequestId>) -> Box<ShownBy> {
        let calls = self.named(ids);
        let faults = FaultsBetween::of(self.faults, calls.time());
        Box::new(ShownBy { calls, faults })
    }

    /// The same with the faults up to `until`.
    pub(crate) fn shown_by_until(
        &self,
        ids: impl IntoIterator<Item = RequestId>,
        until: Duration,
    ) -> Box<ShownBy> {
        let calls = self.named(ids);
        let time = calls.time().map(|time| *time.start()..=until);
        let faults = FaultsBetween::of(self.faults, time);
        Box::new(ShownBy { calls, faults })
    }

    fn named(&self, ids: impl IntoIterator<Item = RequestId>) -> NamedRequests {
        let named = ids.into_iter().filter_map(|id| {
            let mut calls = self.clients.calls().iter().chain(self.asked);
            let client = calls.find(|(call, _)| *call == id).map(|(_, client)| *client);
            Some(NamedRequest { id, client, request: self.cluster.request(id)?.clone() })
        });
        NamedRequests::new(named)
    }
}
