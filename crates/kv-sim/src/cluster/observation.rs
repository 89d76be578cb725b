//! What clients of a cluster saw, for whoever judges it.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_check::evidence::{Call, Evidence, Rest};
use kv_check::{History, NamedRequest, NamedRequests, Process, Request, merged};
use kv_core::{ConsistencyEngine, Key, NodeId, Operation, Quorum, RequestId, RequestOptions};

use super::Cluster;
use crate::client::Clients;
use crate::violation::Violation;

impl<E: ConsistencyEngine> Cluster<E> {
    /// What the clients saw, as [`History::of_requests`] takes it; each request is a process of its
    /// own, with its number.
    #[must_use]
    pub fn history(&self) -> History {
        let requests: Vec<_> =
            self.requests().map(|(id, request)| (Process(id.0), request)).collect();
        History::of_requests(&requests, self.clocks_apart())
    }

    /// How far the servers' clocks may be apart, or may have been: not at all, unless something was
    /// done to one of them.
    const fn clocks_apart(&self) -> Duration {
        if self.clocks_differed { Duration::MAX } else { Duration::ZERO }
    }

    /// The same with the clients' own numbers as processes. Requests that no client put, and the
    /// reads that a page counts as, are processes of their own with the numbers after these.
    #[must_use]
    pub fn history_of_clients(&self, clients: &Clients) -> History {
        self.history_of_requests(clients, |_| true)
    }

    /// The same with those requests alone that `wanted` takes.
    pub(crate) fn history_of_requests(
        &self,
        clients: &Clients,
        wanted: impl Fn(&Request) -> bool,
    ) -> History {
        let callers = self.callers(clients);
        let requests = self.requests().filter(|(_, request)| wanted(request));
        let requests: Vec<_> =
            requests.filter_map(|(id, request)| Some((*callers.get(&id)?, request))).collect();
        History::of_requests(&requests, self.clocks_apart())
    }

    /// Who put each request: a client, or a process of its own with a number after the clients'.
    pub(crate) fn callers(&self, clients: &Clients) -> BTreeMap<RequestId, Process> {
        let mut callers: BTreeMap<RequestId, Process> = clients.calls().iter().copied().collect();
        let mut next = callers.values().map(|process| process.0).max().unwrap_or_default();
        for (id, _) in self.requests() {
            callers.entry(id).or_insert_with(|| {
                next += 1;
                Process(next)
            });
        }
        callers
    }

    /// Requests as findings show them, of no client.
    pub(crate) fn named(&self, ids: impl IntoIterator<Item = RequestId>) -> NamedRequests {
        let named = ids.into_iter().filter_map(|id| {
            let request = self.request(id)?.clone();
            Some(NamedRequest { id, client: None, request })
        });
        NamedRequests::new(named)
    }

    /// What the oracles judge: the batches of the clients, where `session` says whose call a
    /// request is, and what servers were asked to keep. Keys that hold something for a time only
    /// are left out.
    #[must_use]
    pub fn evidence(&self, session: impl Fn(RequestId) -> Process, rest: Option<Rest>) -> Evidence {
        let merged = merged(self.requests.iter().map(|(id, request)| (*id, request)));
        let requests = merged.iter().map(|(id, request)| (*id, request.as_ref()));
        let held = |id| self.held_at_begin(id);
        let evidence = Evidence::of_requests(&self.config.cluster, requests, session, held);
        Evidence {
            rest,
            kept: self.kept.clone(),
            losses: self.losses.clone(),
            write_quorum: self.config.cluster.write_quorum(),
            ..evidence
        }
    }

    /// Has every server read every key, up to `rounds` times with 6 s in between, until all
    /// running servers have one fingerprint, and takes what the last reads show. Faults must be
    /// over and the servers up.
    ///
    /// Reads ask all servers where `all` says so, so that an engine which repairs what reads find
    /// stale has found everything.
    ///
    /// # Errors
    /// [`Violation`] if an engine breaks its contract meanwhile.
    pub fn bring_to_rest(
        &mut self,
        keys: &[Key],
        rounds: u32,
        all: bool,
    ) -> Result<Rest, Violation> {
        let options = RequestOptions::default().with_read_quorum(all.then_some(Quorum::All));
        let nodes: Vec<NodeId> = self.nodes().collect();
        let mut rest = Rest::default();
        for _ in 0..rounds {
            let mut reads = Vec::new();
            for &node in &nodes {
                for key in keys {
                    let id = self.submit(node, Operation::get(key.clone()), options.clone());
                    reads.push((id, node, key.clone()));
                }
            }
            self.run_for(ROUND)?;
            rest.fingerprints = self.fingerprints();
            rest.shown.clear();
            let evidence = self.evidence(|id| Process(id.0), None);
            let calls: BTreeMap<_, &Call> = evidence.calls.iter().map(|c| (c.id, c)).collect();
            for (id, node, key) in reads {
                if let Some(shown) = calls.get(&id).and_then(|call| call.shown()) {
                    rest.shown.insert((node, key), shown.map(|shown| shown.version));
                }
            }
            if rest.is_one_state() {
                break;
            }
        }
        Ok(rest)
    }
}

/// Longer than the default timeout of a request, so that each read has ended.
const ROUND: Duration = Duration::from_secs(6);
