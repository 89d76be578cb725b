//! The starting log of an epoch for one follower.

use crate::log::epoch::LogIndex;
use crate::log::{Log, Position};
use crate::message::NeedStart;

/// The starting log in flight to a follower.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) need: NeedStart,
    /// Up to where the logs agree; `None` if this server does not keep that any more.
    pub(crate) base: Option<Position>,
    /// What the follower has.
    pub(crate) staged: LogIndex,
    /// Whether all of it is in flight.
    pub(crate) is_sent: bool,
}

/// The last position up to which a follower's log and this one must be equal: a log whose epoch is
/// f is the starting log of f and then a part of what f's sequencer appended, and so is this log up
/// to its last position of f. `None` if it is not kept any more.
pub(crate) fn agreement(log: &Log, need: &NeedStart) -> Option<Position> {
    let shared = log.last_through(need.log_epoch)?;
    log.position_at(shared.min(need.last))
}
