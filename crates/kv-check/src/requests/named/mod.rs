//! Requests as findings show them.

mod text;

use std::ops::RangeInclusive;
use std::time::Duration;

use kv_core::RequestId;

use super::Request;
use crate::history::Process;

/// A request with its number. Shown in a line, [`NamedRequests`] has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRequest {
    /// Its number.
    pub id: RequestId,
    /// Whose it is; `None` for one that no client asked.
    pub client: Option<Process>,
    /// The request.
    pub request: Request,
}

/// The requests that a finding names, in the order in which they were put. Shown a request a line,
/// each after a line break:
///
/// ```text
///
///   call 3 of client 5 at server 1, 120ms to 130ms: put b"k" b"v4": written as version 17
///   call 9 at server 2, 150ms to 160ms: get b"k": nothing
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedRequests {
    requests: Vec<NamedRequest>,
}

impl NamedRequests {
    /// Puts them in order, each once.
    #[must_use]
    pub fn new(requests: impl IntoIterator<Item = NamedRequest>) -> Self {
        let mut requests: Vec<NamedRequest> = requests.into_iter().collect();
        requests.sort_by_key(|named| (named.request.invoked_at, named.id));
        requests.dedup_by_key(|named| named.id);
        Self { requests }
    }

    /// The requests.
    pub fn iter(&self) -> impl Iterator<Item = &NamedRequest> {
        self.requests.iter()
    }

    /// From the begin of the first to the end of the last one, or to the end of the run where one is
    /// open; `None` without requests.
    #[must_use]
    pub fn time(&self) -> Option<RangeInclusive<Duration>> {
        let requests = || self.iter().map(|named| &named.request);
        let begin = requests().map(|request| request.invoked_at).min()?;
        let end = requests().map(|request| request.ended_at().unwrap_or(Duration::MAX)).max()?;
        Some(begin..=end)
    }
}
