//! The requests that show a failure.

use std::fmt;

use kv_check::NamedRequests;

use super::fault_span::FaultsBetween;

/// The requests that show a failure, and the faults between them. Shown a request and a fault a
/// line, each after a line break.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShownBy {
    /// The requests.
    pub calls: NamedRequests,
    /// The faults between them.
    pub faults: FaultsBetween,
}

impl fmt::Display for ShownBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.calls, self.faults)
    }
}
