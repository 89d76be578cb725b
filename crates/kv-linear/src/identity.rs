//! Who a server is.

use kv_core::{ClusterId, Incarnation};

use crate::log::epoch::Epoch;

/// Who a server is in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster: ClusterId,
    pub(crate) incarnation: Incarnation,
    /// The epoch whose whole starting log this server holds; the sequencer's own one.
    pub(crate) epoch: Epoch,
    /// The sequencer's incarnation in which it founded the cluster or took this server in.
    pub(crate) sequencer: Incarnation,
}
