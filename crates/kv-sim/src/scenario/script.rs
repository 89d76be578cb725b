//! A scenario as data.

use kv_core::{wire_enum, wire_struct};

use super::acts::Act;

/// What happens in a run: the servers, what clients ask, and which faults there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The seed whose plan gives the network, the disks and the bounds.
    pub plan: u64,
    /// How many servers.
    pub nodes: u16,
    /// W.
    pub write: u16,
    /// R.
    pub read: u16,
    /// Decides how long messages and syncs take, and what else the cluster draws.
    pub seed: u64,
    /// What of the plan is made plain.
    pub eased: Vec<Ease>,
    /// What happens, in order.
    pub acts: Vec<Act>,
    /// Cancels after the last act: at which look of the clients at their answers, and whose.
    pub late_cancels: Vec<(u64, u64)>,
}

wire_struct!(Scenario { plan, nodes, write, read, seed, eased, acts, late_cancels });

/// A part of a plan that is made plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ease {
    /// Each link has randomness of its own.
    Links,
    /// No message is lost, copied, late or overtaken.
    Network,
    /// Disks are fast, lose whole writes alone, and have no checkpoints.
    Disks,
    /// Servers act at once.
    Processing,
    /// The bounds are the usual ones.
    Limits,
}

wire_enum!(Ease, "easing of a plan", {
    0 => Links,
    1 => Network,
    2 => Disks,
    3 => Processing,
    4 => Limits,
});
