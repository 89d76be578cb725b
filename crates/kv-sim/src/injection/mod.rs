//! One fault with all that was drawn for it.

mod text;

use std::time::Duration;

use kv_core::{NodeId, wire_enum};

use crate::fault::Fault;
use crate::server::clock::WallOffset;

/// A fault that begins: what happens, and to whom. Some last until they are ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Injection {
    /// Nothing passes over some links: a partition of one of the three kinds.
    Block {
        /// Which kind.
        kind: Fault,
        /// The server that it was drawn for.
        node: NodeId,
        /// The links, each from one server to another.
        links: Vec<(NodeId, NodeId)>,
    },
    /// A link keeps everything back.
    Clog {
        /// From whom.
        from: NodeId,
        /// To whom.
        to: NodeId,
    },
    /// A link is slow.
    SlowLink {
        /// From whom.
        from: NodeId,
        /// To whom.
        to: NodeId,
        /// What each message takes in addition.
        by: Duration,
    },
    /// No sync of a disk ends.
    HoldSyncs {
        /// Whose disk.
        node: NodeId,
    },
    /// A process stands still.
    Pause {
        /// Which server.
        node: NodeId,
    },
    /// The client of a session goes.
    Disconnect {
        /// Of which server.
        node: NodeId,
        /// Which of its sessions.
        session: u64,
    },
    /// A server is asked that another one become the sequencer.
    HandOver {
        /// Who is asked.
        node: NodeId,
        /// Who is to lead.
        to: NodeId,
    },
    /// A wall clock is off, by a skew or a jump.
    SetClock {
        /// Which of the two.
        kind: Fault,
        /// Whose clock.
        node: NodeId,
        /// By how much.
        offset: WallOffset,
    },
    /// Clocks run fast or slow.
    DriftClock {
        /// Whose clocks.
        node: NodeId,
        /// By how many millionths.
        ppm: i64,
    },
    /// A wall clock stands still.
    FreezeClock {
        /// Whose clock.
        node: NodeId,
    },
    /// Power is lost.
    Crash {
        /// Whose.
        node: NodeId,
    },
    /// A process ends, and what it wrote stays.
    Kill {
        /// Which server.
        node: NodeId,
    },
    /// A process is told to stop.
    Stop {
        /// Which server.
        node: NodeId,
    },
    /// A process ends after so many effects.
    CrashAfter {
        /// Which server.
        node: NodeId,
        /// How many.
        effects: u64,
    },
    /// The next sync fails.
    FailSync {
        /// Whose disk.
        node: NodeId,
    },
    /// The next write fails.
    FailWrite {
        /// Whose disk.
        node: NodeId,
    },
    /// A disk has no room.
    FillDisk {
        /// Whose disk.
        node: NodeId,
        /// How many bytes are left.
        left: u64,
    },
    /// Power is lost after so many operations of a disk.
    LosePowerAfter {
        /// Whose disk.
        node: NodeId,
        /// How many.
        operations: u64,
    },
    /// A process ends, and power is lost while it starts again.
    InterruptRecovery {
        /// Which server.
        node: NodeId,
        /// Whether it ends by a loss of power too.
        by_crash: bool,
        /// After how many operations of its disk.
        operations: u64,
    },
    /// A process ends, and finds a changed bit on its disk.
    FlipBit {
        /// Which server.
        node: NodeId,
        /// Whether it ends by a loss of power.
        by_crash: bool,
        /// Says which bit.
        bit: u64,
    },
    /// A server crashes and starts again on an empty disk.
    Wipe {
        /// Which server.
        node: NodeId,
    },
    /// A server's disk is copied, unless an older copy of it is there, and the server later starts again
    /// on the copy.
    SetBack {
        /// Which server.
        node: NodeId,
    },
    /// All these servers restart, one after the other.
    RollingRestart {
        /// The server that it was drawn for.
        node: NodeId,
        /// The last one first.
        order: Vec<NodeId>,
    },
    /// A server starts with another configuration than the others.
    Misconfigure {
        /// Which server.
        node: NodeId,
        /// Whether its disk is empty then.
        wiped: bool,
    },
    /// A connection to a peer takes only a few more messages.
    CongestLink {
        /// From whom.
        from: NodeId,
        /// To whom.
        to: NodeId,
        /// How many.
        messages: u64,
    },
    /// A client reads nothing.
    CongestClient {
        /// Of which server.
        node: NodeId,
        /// Which of its sessions.
        session: u64,
    },
    /// No checkpoint can be written.
    FailCheckpoints {
        /// Whose.
        node: NodeId,
        /// After how many parts each fails, if it has as many.
        parts: u64,
    },
    /// A client asks servers for all that they hold.
    BackUp {
        /// Whom.
        nodes: Vec<NodeId>,
        /// In which of their sessions.
        session: u64,
        /// Whether it reads at each first.
        reads_first: bool,
    },
    /// A server's disk is copied, for a time when it is set back.
    CopyDisk {
        /// Which server.
        node: NodeId,
    },
}

wire_enum!(Injection, "injected fault", {
    0 => Block { kind, node, links },
    1 => Clog { from, to },
    2 => SlowLink { from, to, by },
    3 => HoldSyncs { node },
    4 => Pause { node },
    5 => Disconnect { node, session },
    6 => HandOver { node, to },
    7 => SetClock { kind, node, offset },
    8 => DriftClock { node, ppm },
    9 => FreezeClock { node },
    10 => Crash { node },
    11 => Kill { node },
    12 => Stop { node },
    13 => CrashAfter { node, effects },
    14 => FailSync { node },
    15 => FailWrite { node },
    16 => FillDisk { node, left },
    17 => LosePowerAfter { node, operations },
    18 => InterruptRecovery { node, by_crash, operations },
    19 => FlipBit { node, by_crash, bit },
    20 => Wipe { node },
    21 => SetBack { node },
    22 => RollingRestart { node, order },
    23 => Misconfigure { node, wiped },
    24 => CongestLink { from, to, messages },
    25 => CongestClient { node, session },
    26 => FailCheckpoints { node, parts },
    27 => BackUp { nodes, session, reads_first },
    28 => CopyDisk { node },
});

impl Injection {
    /// The same of a cluster in which these servers have other names; `None` where a link would lead
    /// from a server to itself.
    pub(crate) fn renamed(mut self, name: impl Fn(NodeId) -> NodeId) -> Option<Self> {
        let rename = |node: &mut NodeId| *node = name(*node);
        match &mut self {
            Self::Block { node, links, .. } => {
                rename(node);
                for (from, to) in links.iter_mut() {
                    rename(from);
                    rename(to);
                }
                links.retain(|(from, to)| from != to);
                links.sort_unstable();
                links.dedup();
                if links.is_empty() {
                    return None;
                }
            }
            Self::Clog { from, to }
            | Self::SlowLink { from, to, .. }
            | Self::CongestLink { from, to, .. } => {
                rename(from);
                rename(to);
                if from == to {
                    return None;
                }
            }
            Self::HandOver { node, to } => {
                rename(node);
                rename(to);
            }
            Self::RollingRestart { node, order } => {
                rename(node);
                order.iter_mut().for_each(rename);
                order.sort_unstable();
                order.dedup();
            }
            Self::BackUp { nodes, .. } => {
                nodes.iter_mut().for_each(rename);
                nodes.sort_unstable();
                nodes.dedup();
            }
            Self::HoldSyncs { node }
            | Self::Pause { node }
            | Self::Disconnect { node, .. }
            | Self::CongestClient { node, .. }
            | Self::FailCheckpoints { node, .. }
            | Self::SetClock { node, .. }
            | Self::DriftClock { node, .. }
            | Self::FreezeClock { node }
            | Self::Crash { node }
            | Self::Kill { node }
            | Self::Stop { node }
            | Self::CrashAfter { node, .. }
            | Self::FailSync { node }
            | Self::FailWrite { node }
            | Self::FillDisk { node, .. }
            | Self::LosePowerAfter { node, .. }
            | Self::InterruptRecovery { node, .. }
            | Self::FlipBit { node, .. }
            | Self::Wipe { node }
            | Self::SetBack { node }
            | Self::CopyDisk { node }
            | Self::Misconfigure { node, .. } => rename(node),
        }
        Some(self)
    }
}
