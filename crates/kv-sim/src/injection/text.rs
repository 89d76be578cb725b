//! Faults in the words of a trace and of a finding.

use std::fmt;

use super::Injection;
use crate::server::clock::WallOffset;

/// `server 2 crashes`
impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block { kind, links, .. } => {
                write!(f, "{kind}: nothing passes from")?;
                for (place, (from, to)) in links.iter().enumerate() {
                    let comma = if place == 0 { "" } else { "," };
                    write!(f, "{comma} {from} to {to}")?;
                }
                Ok(())
            }
            Self::Clog { from, to } => write!(f, "the link from {from} to {to} clogs"),
            Self::SlowLink { from, to, by } => {
                write!(f, "messages from {from} to {to} take {by:?} longer")
            }
            Self::HoldSyncs { node } => write!(f, "no sync of server {node} ends"),
            Self::Pause { node } => write!(f, "server {node} pauses"),
            Self::Disconnect { node, session } => {
                write!(f, "the client of session {session} of server {node} goes")
            }
            Self::HandOver { node, to } => {
                write!(f, "server {node} is asked that server {to} lead")
            }
            Self::SetClock { kind, node, offset } => {
                let (WallOffset::Ahead(off) | WallOffset::Behind(off)) = offset;
                let ahead = matches!(offset, WallOffset::Ahead(_));
                let where_to = if ahead { "ahead" } else { "behind" };
                write!(f, "{kind}: server {node}'s wall clock is {off:?} {where_to}")
            }
            Self::DriftClock { node, ppm } => {
                write!(f, "server {node}'s clocks run {ppm} ppm too fast")
            }
            Self::FreezeClock { node } => write!(f, "server {node}'s wall clock freezes"),
            Self::Crash { node } => write!(f, "server {node} crashes"),
            Self::Kill { node } => write!(f, "server {node} is killed"),
            Self::Stop { node } => write!(f, "server {node} is told to stop"),
            Self::CrashAfter { node, effects } => {
                write!(f, "server {node} crashes after {effects} effects")
            }
            Self::FailSync { node } => write!(f, "server {node}'s next sync fails"),
            Self::FailWrite { node } => write!(f, "server {node}'s next write fails"),
            Self::FillDisk { node, left } => {
                write!(f, "server {node}'s disk has {left} bytes left")
            }
            Self::LosePowerAfter { node, operations } => {
                write!(f, "server {node} loses power after {operations} operations of its disk")
            }
            Self::InterruptRecovery { node, operations, .. } => write!(
                f,
                "server {node} restarts, and loses power after {operations} operations of its disk"
            ),
            Self::FlipBit { node, .. } => {
                write!(f, "server {node} ends, and a bit of its disk flips")
            }
            Self::Wipe { node } => write!(f, "server {node} crashes and loses its disk"),
            Self::CopyDisk { node } => write!(f, "a copy of server {node}'s disk is taken"),
            Self::SetBack { node } => {
                write!(f, "server {node} is about to start on a copy of its disk")
            }
            Self::RollingRestart { order, .. } => {
                f.write_str("restart one by one:")?;
                order.iter().rev().try_for_each(|node| write!(f, " server {node}"))
            }
            Self::Misconfigure { node, wiped } => {
                let disk = if *wiped { ", and an empty disk" } else { "" };
                write!(f, "server {node} restarts with another configuration{disk}")
            }
            Self::CongestLink { .. }
            | Self::CongestClient { .. }
            | Self::FailCheckpoints { .. }
            | Self::BackUp { .. } => self.fmt_on_driver(f),
        }
    }
}

impl Injection {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others have their words elsewhere")]
    fn fmt_on_driver(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CongestLink { from, to, messages } => {
                write!(f, "the connection from {from} to {to} takes {messages} more messages")
            }
            Self::CongestClient { node, session } => {
                write!(f, "the client of session {session} of server {node} reads nothing")
            }
            Self::FailCheckpoints { node, .. } => {
                write!(f, "no checkpoint of server {node} can be written")
            }
            Self::BackUp { nodes, .. } => {
                f.write_str("a client takes a backup of")?;
                nodes.iter().try_for_each(|node| write!(f, " server {node}"))
            }
            _ => Ok(()),
        }
    }
}
